//! Reading a file of desired state, within bounds.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use super::scan::FileState;
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
        let kind = metadata.file_type();
        let what = if kind.is_dir() {
            "a directory"
        } else if kind.is_fifo() {
            "a pipe"
        } else if kind.is_socket() {
            "a socket"
        } else {
            "a device"
        };
        let message = format!("it is {what} and not a regular file, and is not opened; move it elsewhere");
        return Err(SourceError::new(START, message));
    }
    if metadata.len() > MAX_FILE {
        let length = metadata.len();
        let message = format!("{length} bytes are more than the {MAX_FILE} that a file may have; divide the file");
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
    let mut file = File::open(path)?;
    let metadata = file.metadata()?;
    check(&metadata)?;
    let bytes = read_bounded(&mut file, metadata.len())?;
    // What was changed under the reading is half of one version and half of another.
    if FileState::of(&file.metadata()?) != FileState::of(&metadata) {
        let message = "the file was changed while it was read; it is read again when the writing has ended";
        return Err(ReadError::Refused(SourceError::new(START, message)));
    }
    Ok((decode(bytes)?, metadata))
}

/// Everything that a reader gives, up to [`MAX_FILE`]. `expected` in bytes.
fn read_bounded(reader: impl Read, expected: u64) -> Result<Vec<u8>, ReadError> {
    let mut bytes = Vec::with_capacity(usize::try_from(expected.min(MAX_FILE)).unwrap_or(0) + 1);
    reader.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE {
        let message = "the file grows beyond the largest size while it is read";
        return Err(ReadError::Refused(SourceError::new(START, message)));
    }
    Ok(bytes)
}

/// Bytes of a file as text: UTF-8 without NUL.
fn decode(bytes: Vec<u8>) -> Result<String, SourceError> {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(SourceError::new(START, "the file is in UTF-16 (or UTF-32); save it as UTF-8"));
    }
    if let Some(nul) = bytes.iter().position(|byte| *byte == 0) {
        let message = "a NUL byte: this is no text, or UTF-16 without a mark; save it as UTF-8";
        return Err(SourceError::new(position_of(&bytes[..nul]), message));
    }
    String::from_utf8(bytes).map_err(|error| {
        let (valid, _) = error.as_bytes().split_at(error.utf8_error().valid_up_to());
        SourceError::new(position_of(valid), "not UTF-8; save the file as UTF-8")
    })
}

/// The place just behind these bytes.
fn position_of(before: &[u8]) -> Position {
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let last = before.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    let column = String::from_utf8_lossy(last).chars().count() + 1;
    let small = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Position { line: small(line), column: small(column) }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk that fails in the middle of a file.
    struct Broken(usize);

    impl Read for Broken {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            if self.0 == 0 {
                return Err(io::Error::from(io::ErrorKind::PermissionDenied));
            }
            let count = out.len().min(self.0);
            out[..count].fill(b'a');
            self.0 -= count;
            Ok(count)
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_to_its_end_is_refused_and_not_taken_in_part() {
        let Err(ReadError::Refused(error)) = read_bounded(Broken(10), 20) else { panic!("it was read") };
        assert!(error.message.starts_with("cannot be read: "), "{error}");
    }

    #[test]
    fn a_file_that_grows_without_end_is_read_up_to_the_limit_only() {
        let Err(ReadError::Refused(error)) = read_bounded(io::repeat(b'a'), 10) else { panic!("it has no end") };
        assert!(error.message.contains("largest size"), "{error}");
    }

    #[test]
    fn bytes_that_are_no_text_are_refused_at_their_place() {
        let refused = |bytes: &[u8]| decode(bytes.to_vec()).expect_err("it is no text");
        let utf16 = refused(b"\xff\xfea\0:\0");
        assert!(utf16.message.contains("UTF-16") && utf16.message.contains("save it as UTF-8"), "{utf16}");
        assert!(refused(b"\xfe\xff\0a").message.contains("UTF-16"));
        let nul = refused(b"a: 1\nb: \0");
        assert_eq!((nul.position.line, nul.position.column), (2, 4));
        let broken = refused(b"a: 1\nb: \xc3\xa4\xff\n");
        assert_eq!((broken.position.line, broken.position.column), (2, 5));
        assert_eq!(decode(b"a: \xc3\xa4".to_vec()).as_deref(), Ok("a: \u{e4}"));
    }
}
