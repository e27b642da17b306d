//! What goes into the proof and what comes out of it.

use std::fmt;

use crate::Time;
use crate::key::Name;

/// Which directory a root is, whatever its path: device and inode of the resolved path (rule D1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct RootIdentity {
    /// Device number.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
}

/// What one scan of the root found. What each file defines was told before, file by file.
#[derive(Clone, Debug)]
pub struct ScanResult {
    /// When the scan began.
    pub started: Time,
    /// The directory that was scanned; none if it is not there or cannot be read at all.
    pub identity: Option<RootIdentity>,
    /// Whether the scan went through to its end. One that did not proves nothing.
    pub complete: bool,
    /// The files that are there, readable or broken.
    pub files: Vec<Name>,
    /// Files and directories that could not be looked into. Only the keys last seen there are
    /// unknown for that.
    pub unreadable: Vec<Name>,
}

/// What was decided. Each decision is reported once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Decision<K> {
    /// From now on this file gives the key: it is new, it came back, or another file took over.
    Present {
        /// The key.
        key: K,
        /// The file that gives it.
        file: Name,
    },
    /// The key is proven to be deleted, and forgotten here.
    Absent {
        /// The key.
        key: K,
        /// The file that gave it last.
        file: Name,
    },
}

/// Three-valued presence (rule D1): only `Absent` may ever be treated as a deletion.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Presence {
    /// A file defines it.
    Present,
    /// Proven to be defined nowhere.
    Absent,
    /// Neither.
    Unknown,
}

/// Why nothing is deleted although objects are not there (`SourceSuspicious`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Suspicion {
    /// The root itself is not there.
    RootGone,
    /// The same directory lost everything, and no file was seen going away.
    Emptied {
        /// Objects known from it.
        known: usize,
        /// How many of them are there again.
        there: usize,
    },
    /// Another directory is in its place, with less than half of the objects.
    Replaced {
        /// Objects known from the former one.
        known: usize,
        /// How many of them are there again.
        there: usize,
    },
}

impl fmt::Display for Suspicion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RootGone => write!(f, "the directory is not there; its objects are kept until it returns"),
            Self::Emptied { known, there } => write!(
                f,
                "the directory lost its objects at once and no file was seen being deleted ({there} of {known} are there); \
                 they are kept until the files return or the loss is confirmed"
            ),
            Self::Replaced { known, there } => write!(
                f,
                "another directory is in its place and defines only {there} of {known} known objects; \
                 they are kept until the files return or the loss is confirmed"
            ),
        }
    }
}
