//! A file of the plugins directory: looked at before it is opened, and read within bounds (rule D12).

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::path::Path;
use std::time::SystemTime;

/// A component has at most so many bytes: 64 MiB.
pub const MAX_COMPONENT: u64 = 64 << 20;

const MIB: u64 = 1 << 20;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum What {
    File,
    Directory,
    Pipe,
    Socket,
    Device,
    /// A link that leads to nothing, or in a circle.
    Nowhere,
    /// No file: the program brings it that the host is part of.
    Given,
}

/// What a file looks like from outside. When this differs, its content may.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Seen {
    what: What,
    len: u64,
    modified: Option<SystemTime>,
    /// Another file may have been moved here with the same length and time.
    inode: u64,
    /// Rights that were given show only here.
    changed: (i64, i64),
}

impl Seen {
    /// None if there is nothing of this name.
    pub(super) fn look(path: &Path) -> Option<Self> {
        match fs::metadata(path) {
            Ok(metadata) => Some(Self::of(&metadata)),
            Err(_) => fs::symlink_metadata(path).is_ok().then_some(Self {
                what: What::Nowhere,
                len: 0,
                modified: None,
                inode: 0,
                changed: (0, 0),
            }),
        }
    }

    /// What is no file, and never changes.
    pub(super) fn given() -> Self {
        Self { what: What::Given, len: 0, modified: None, inode: 0, changed: (0, 0) }
    }

    fn of(metadata: &Metadata) -> Self {
        Self {
            what: what(metadata),
            len: metadata.len(),
            modified: metadata.modified().ok(),
            inode: inode(metadata),
            changed: changed(metadata),
        }
    }

    /// Why it is not even opened: opening a pipe may block for ever.
    pub(super) fn refusal(&self) -> Option<String> {
        let what = match self.what {
            What::File if self.len > MAX_COMPONENT => return Some(too_large(self.len)),
            What::File | What::Given => return None,
            What::Nowhere => return Some("it is a link that leads to no file; mend the link or remove it".into()),
            What::Directory => "a directory",
            What::Pipe => "a pipe",
            What::Socket => "a socket",
            What::Device => "a device",
        };
        Some(format!("it is {what} and no file, and is not opened; rename it or move it elsewhere"))
    }

    /// Whether it may still be being written: a regular file that changed less than this ago.
    pub(super) fn younger_than(&self, age: std::time::Duration) -> bool {
        let passed = self.modified.and_then(|modified| modified.elapsed().ok());
        self.what == What::File && passed.is_some_and(|passed| passed < age)
    }
}

#[cfg(unix)]
fn changed(metadata: &Metadata) -> (i64, i64) {
    use std::os::unix::fs::MetadataExt;
    (metadata.ctime(), metadata.ctime_nsec())
}

#[cfg(not(unix))]
fn changed(_: &Metadata) -> (i64, i64) {
    (0, 0)
}

#[cfg(unix)]
fn what(metadata: &Metadata) -> What {
    use std::os::unix::fs::FileTypeExt;
    let kind = metadata.file_type();
    if kind.is_file() {
        What::File
    } else if kind.is_dir() {
        What::Directory
    } else if kind.is_fifo() {
        What::Pipe
    } else if kind.is_socket() {
        What::Socket
    } else {
        What::Device
    }
}

#[cfg(not(unix))]
fn what(metadata: &Metadata) -> What {
    if metadata.is_file() {
        What::File
    } else if metadata.is_dir() {
        What::Directory
    } else {
        What::Device
    }
}

#[cfg(unix)]
fn inode(metadata: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn inode(_: &Metadata) -> u64 {
    0
}

fn too_large(len: u64) -> String {
    format!(
        "it has {} MiB, and a component may have {} MiB; build it with --release, without debug information",
        len.div_ceil(MIB),
        MAX_COMPONENT / MIB
    )
}

/// The bytes of a file.
///
/// # Errors
/// What it is instead, or why it cannot be read, and what to do.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, String> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => "it disappeared before it was read; put it there again".to_owned(),
        io::ErrorKind::PermissionDenied => format!("it cannot be read: {error}; let the user of the host read it"),
        _ => format!("it cannot be read: {error}"),
    };
    let check = |seen: Seen| seen.refusal().map_or(Ok(seen), Err);
    // Looked at by name before it is opened, and once more when it is: it may be another by then.
    check(Seen::of(&fs::metadata(path).map_err(failed)?))?;
    let file = File::open(path).map_err(failed)?;
    let seen = check(Seen::of(&file.metadata().map_err(failed)?))?;
    let mut bytes = Vec::with_capacity(usize::try_from(seen.len).unwrap_or(0) + 1);
    (&file).take(MAX_COMPONENT + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_COMPONENT {
        return Err(too_large(bytes.len() as u64));
    }
    if Seen::of(&file.metadata().map_err(failed)?) != seen || bytes.len() as u64 != seen.len {
        return Err("it was changed while it was read; it is read again when that has ended".into());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn refusal(path: &Path) -> String {
        let refusal = Seen::look(path).and_then(|seen| seen.refusal()).expect("refused when it is looked at");
        assert!(read(path).is_err(), "refused when it is read");
        refusal
    }

    #[test]
    fn a_file_is_read_and_is_another_when_another_takes_its_place() {
        let dir = tempfile::tempdir().expect("a directory");
        let (path, other) = (dir.path().join("a.wasm"), dir.path().join("b"));
        fs::write(&path, b"one").expect("written");
        assert_eq!(read(&path), Ok(b"one".to_vec()));
        let seen = Seen::look(&path).expect("it is there");
        assert_eq!(seen.refusal(), None);
        assert!(seen.younger_than(Duration::from_secs(60)) && !seen.younger_than(Duration::ZERO));
        fs::write(&other, b"two").expect("written");
        let time = fs::metadata(&path).and_then(|metadata| metadata.modified()).expect("a time");
        File::options().write(true).open(&other).and_then(|file| file.set_modified(time)).expect("a time");
        fs::rename(&other, &path).expect("moved");
        assert_ne!(Seen::look(&path), Some(seen), "same length, same time, another file");
    }

    #[test]
    fn what_is_no_file_is_refused_without_being_opened() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = |name: &str| dir.path().join(name);
        fs::create_dir(path("dir.wasm")).expect("made");
        assert!(refusal(&path("dir.wasm")).starts_with("it is a directory and no file"));
        assert_eq!(Seen::look(&path("none.wasm")), None);
        assert!(read(&path("none.wasm")).is_err_and(|error| error.starts_with("it disappeared")));
    }

    #[cfg(unix)]
    #[test]
    fn pipes_sockets_and_links_to_nowhere_are_refused_without_waiting() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = |name: &str| dir.path().join(name);
        let made = std::process::Command::new("mkfifo").arg(path("pipe.wasm")).status().expect("mkfifo is there");
        assert!(made.success());
        assert!(refusal(&path("pipe.wasm")).starts_with("it is a pipe"), "opening it would wait for a writer");
        let _socket = std::os::unix::net::UnixListener::bind(path("socket.wasm")).expect("bound");
        assert!(refusal(&path("socket.wasm")).starts_with("it is a socket"));
        std::os::unix::fs::symlink(path("gone"), path("link.wasm")).expect("linked");
        assert!(refusal(&path("link.wasm")).contains("leads to no file"));
        std::os::unix::fs::symlink(path("loop.wasm"), path("loop.wasm")).expect("linked");
        assert!(refusal(&path("loop.wasm")).contains("leads to no file"));
    }

    #[test]
    fn a_file_beyond_the_limit_is_refused_without_being_read() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("large.wasm");
        let file = File::create(&path).expect("made");
        file.set_len(1 << 30).expect("a sparse file");
        assert!(refusal(&path).starts_with("it has 1024 MiB, and a component may have 64 MiB"));
    }
}
