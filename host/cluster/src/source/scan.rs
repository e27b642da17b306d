//! Which files of desired state a directory holds.
//!
//! Files are `*.yaml`, `*.yml` and `*.json`, in directories of any depth. What begins with a `.` is
//! skipped, and so is what editors leave behind. Symlinks are followed, to directories as well, so
//! that a mounted ConfigMap works: its visible entries lead into a hidden `..data` that is swapped
//! as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use setpoint_core::file_proof::RootIdentity;
use setpoint_core::key::Name;

use super::read;
use super::yaml::{Position, SourceError};

/// Directories below each other that are followed at most.
const MAX_DEPTH: usize = 64;

/// What tells one state of a file from another without reading it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileState {
    /// Bytes.
    pub len: u64,
    /// Last modification: seconds and nanoseconds since the epoch.
    pub modified: (i64, i64),
    /// Last change of the inode, which no tool can set back.
    pub changed: (i64, i64),
    /// Inode of the resolved file.
    pub ino: u64,
    /// Device of the resolved file.
    pub dev: u64,
}

impl FileState {
    /// The state that metadata describe.
    pub fn of(metadata: &Metadata) -> Self {
        Self {
            len: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            ino: metadata.ino(),
            dev: metadata.dev(),
        }
    }
}

/// A directory that was looked into.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Directory {
    /// Path below the root, empty for the root itself.
    pub relative: Name,
    /// Path without symlinks.
    pub resolved: PathBuf,
}

/// What a scan found.
#[derive(Clone, Debug, Default)]
pub struct Scan {
    /// The directory that the root's path leads to; none if it is not there or cannot be read.
    pub identity: Option<RootIdentity>,
    /// Files by path below the root, in byte order. Not yet read.
    pub files: BTreeMap<Name, FileState>,
    /// All directories, the root first.
    pub directories: Vec<Directory>,
    /// Directories elsewhere (or hidden) that symlinked files live in.
    pub outside: BTreeSet<PathBuf>,
    /// What could not be looked into.
    pub errors: BTreeMap<Name, SourceError>,
    /// Whether nothing moved away under the scan.
    pub complete: bool,
}

/// Whether a file of this name is desired state.
pub fn is_definition(name: &str) -> bool {
    !is_hidden(name) && [".yaml", ".yml", ".json"].iter().any(|extension| name.ends_with(extension))
}

/// Whether an entry of this name is never looked at.
pub fn is_hidden(name: &str) -> bool {
    name.starts_with('.') || name.ends_with('~') || name.starts_with('#') || name.ends_with(".swp")
}

/// The identity of a directory.
pub fn identity_of(metadata: &Metadata) -> RootIdentity {
    RootIdentity { dev: metadata.dev(), ino: metadata.ino() }
}

/// A path below the root, from that of its directory.
pub fn join(directory: &str, name: &str) -> Name {
    if directory.is_empty() { name.into() } else { format!("{directory}/{name}").into() }
}

/// Scans a root. `enter` is called with each directory (resolved, with its identity) before it is
/// listed, so that a watch placed there misses nothing.
pub fn scan(root: &Path, enter: &mut dyn FnMut(&Path, RootIdentity)) -> Scan {
    let Ok((resolved, identity)) = resolve(root) else {
        return Scan::default();
    };
    let mut scanner = Scanner { scan: Scan { complete: true, ..Scan::default() }, above: Vec::new(), enter };
    let listed = scanner.directory("", &resolved, identity);
    let mut scan = scanner.scan;
    if listed.is_err() {
        return Scan::default();
    }
    scan.identity = Some(identity);
    scan.complete &= resolve(root).is_ok_and(|(_, now)| now == identity);
    let directories: BTreeSet<&Path> = scan.directories.iter().map(|directory| directory.resolved.as_path()).collect();
    scan.outside.retain(|path| !directories.contains(path.as_path()));
    for path in &scan.outside {
        if let Ok(metadata) = fs::metadata(path) {
            enter(path, identity_of(&metadata));
        }
    }
    scan
}

fn resolve(root: &Path) -> io::Result<(PathBuf, RootIdentity)> {
    let resolved = fs::canonicalize(root)?;
    let metadata = fs::metadata(&resolved)?;
    if !metadata.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    Ok((resolved, identity_of(&metadata)))
}

struct Scanner<'a> {
    scan: Scan,
    /// The directories that lead here, to refuse loops.
    above: Vec<RootIdentity>,
    enter: &'a mut dyn FnMut(&Path, RootIdentity),
}

impl Scanner<'_> {
    fn directory(&mut self, relative: &str, resolved: &Path, identity: RootIdentity) -> io::Result<()> {
        (self.enter)(resolved, identity);
        let entries = fs::read_dir(resolved)?;
        self.scan.directories.push(Directory { relative: relative.into(), resolved: resolved.to_owned() });
        self.above.push(identity);
        let mut result = Ok(());
        for entry in entries {
            match entry {
                Ok(entry) => self.entry(relative, &entry),
                Err(error) => result = Err(error),
            }
        }
        self.above.pop();
        result
    }

    fn entry(&mut self, directory: &str, entry: &fs::DirEntry) {
        let name = entry.file_name();
        let Some(name) = name.to_str() else {
            let name = name.to_string_lossy();
            if is_definition(&name) {
                self.refuse(join(directory, &name), "the file's name is not UTF-8");
            }
            return;
        };
        if is_hidden(name) {
            return;
        }
        let path = entry.path();
        let relative = join(directory, name);
        let Ok(kind) = entry.file_type() else {
            self.scan.complete = false;
            return;
        };
        let metadata = match fs::metadata(&path) {
            Ok(metadata) => metadata,
            Err(_) if !kind.is_symlink() && !path.exists() => {
                // It went while the directory was listed; the next look says where it is now.
                self.scan.complete = false;
                return;
            }
            // A link that leads nowhere may be a mount that is missing: nothing to conclude from.
            Err(error) if kind.is_symlink() || is_definition(name) => {
                self.scan.errors.insert(relative, read::from_io(&error));
                return;
            }
            Err(_) => return,
        };
        if metadata.is_dir() {
            self.subdirectory(relative, &path, kind.is_symlink(), identity_of(&metadata));
        } else if is_definition(name) {
            if kind.is_symlink()
                && let Ok(target) = fs::canonicalize(&path)
                && let Some(parent) = target.parent()
            {
                self.scan.outside.insert(parent.to_owned());
            }
            match read::check(&metadata) {
                Ok(()) => drop(self.scan.files.insert(relative, FileState::of(&metadata))),
                Err(error) => drop(self.scan.errors.insert(relative, error)),
            }
        }
    }

    fn subdirectory(&mut self, relative: Name, path: &Path, link: bool, identity: RootIdentity) {
        if self.above.contains(&identity) {
            return self.refuse(relative, "a symlink that leads to a directory above itself");
        }
        if self.above.len() >= MAX_DEPTH {
            return self.refuse(relative, "directories are nested too deeply");
        }
        let resolved = if link { fs::canonicalize(path) } else { Ok(path.to_owned()) };
        let listed = resolved.and_then(|resolved| self.directory(&relative, &resolved, identity));
        match listed {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.scan.complete = false,
            Err(error) => drop(self.scan.errors.insert(relative, read::from_io(&error))),
        }
    }

    fn refuse(&mut self, relative: Name, why: &str) {
        self.scan.errors.insert(relative, SourceError::new(Position { line: 1, column: 1 }, why));
    }
}
