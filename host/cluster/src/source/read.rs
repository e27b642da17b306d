//! Reading a file of desired state, within bounds.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::path::Path;

use super::yaml::{Position, SourceError};

/// Files above this size are refused without being read: 16 MiB.
pub const MAX_FILE: u64 = 16 << 20;

const START: Position = Position { line: 1, column: 1 };

/// Whether a file can be one of ours: regular and not above [`MAX_FILE`]. Pipes and devices are
/// refused before they are opened, because opening them may block for ever.
///
/// # Errors
/// Says what the file is instead.
pub fn check(metadata: &Metadata) -> Result<(), SourceError> {
    if !metadata.is_file() {
        return Err(SourceError::new(START, "not a regular file"));
    }
    if metadata.len() > MAX_FILE {
        let message = format!("{} bytes are more than the {MAX_FILE} that a file may have", metadata.len());
        return Err(SourceError::new(START, message));
    }
    Ok(())
}

/// The text of a file, and the metadata of just what was read.
///
/// # Errors
/// [`ReadError::Gone`] if there is no such file, otherwise what is wrong with it and where.
pub fn read_text(path: &Path) -> Result<(String, Metadata), ReadError> {
    check(&std::fs::metadata(path)?)?;
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    check(&metadata)?;
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0) + 1);
    file.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(ReadError::Refused(SourceError::new(
            START,
            "the file grows beyond the largest size while it is read",
        )));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let (valid, _) = error.as_bytes().split_at(error.utf8_error().valid_up_to());
        let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
        let last = valid.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
        let column = String::from_utf8_lossy(last).chars().count() + 1;
        let small = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let position = Position { line: small(line), column: small(column) };
        ReadError::Refused(SourceError::new(position, "not UTF-8"))
    })?;
    Ok((text, metadata))
}

/// Why a file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is no such file (any more).
    #[error("no such file")]
    Gone,
    /// It is there, and this is wrong with it.
    #[error(transparent)]
    Refused(#[from] SourceError),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Gone,
            _ => Self::Refused(from_io(&error)),
        }
    }
}

/// An error of the file system in words; it has no place in the file.
pub(super) fn from_io(error: &io::Error) -> SourceError {
    SourceError::new(START, format!("cannot be read: {error}"))
}
