//! What the file source tells: decided facts, per object and per file.

use setpoint_core::Key;
use setpoint_core::file_proof::{RootIdentity, Suspicion};
use setpoint_core::key::Name;

use super::identity::{Identified, Notice, Unclaimed};
use super::yaml::{SourceError, Spans};

/// An object as a file wants it.
#[derive(Clone, PartialEq, Debug)]
pub struct Desired {
    /// The object.
    pub object: Identified,
    /// The file, relative to the root, with `/`.
    pub file: Name,
    /// Line of the document's first content.
    pub line: u32,
    /// Where each value was written; for the errors of the admission, then to be dropped.
    pub spans: Spans,
}

/// A document whose kind is not known (rule D5).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnclaimedDocument {
    /// What it is called.
    pub document: Unclaimed,
    /// Line of its first content.
    pub line: u32,
}

/// All there is to say about one file (or unreadable directory) beside its objects. Each report
/// replaces the one before; an empty one says that all is well, or that the file is gone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileReport {
    /// The file, relative to the root, with `/`.
    pub file: Name,
    /// What is wrong, in the order of the file. Documents without error count nevertheless.
    pub errors: Vec<SourceError>,
    /// Objects that the file gave before and that keep their last good content, because it cannot
    /// be told what it says of them now.
    pub held: Vec<Key>,
    /// Documents of unknown kinds.
    pub unclaimed: Vec<UnclaimedDocument>,
    /// What the author should know.
    pub notices: Vec<Notice>,
}

impl FileReport {
    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.errors.is_empty() && self.held.is_empty() && self.unclaimed.is_empty() && self.notices.is_empty()
    }
}

/// What the file source tells, in order.
#[derive(Clone, PartialEq, Debug)]
pub enum SourceEvent {
    /// An object is new, has other content than told last, or another file gives it now.
    Desired(Box<Desired>),
    /// An object is proven to be deleted (rules D1, D2).
    Deleted {
        /// The object.
        key: Key,
        /// The file that gave it last.
        file: Name,
    },
    /// What there is to say about a file has changed.
    Report(FileReport),
    /// The store has to remember this identity of the root from now on (rule D1).
    Identity(RootIdentity),
    /// Objects are not there and it is not proven that they were deleted: everything runs on, the
    /// source is not ready.
    Suspicious(Suspicion),
    /// The suspicion is over.
    Trusted,
    /// The root was missing at the start and was made.
    RootCreated,
    /// Changes are not reported by the system; the files are polled.
    Polling {
        /// Why.
        reason: String,
    },
    /// Changes are reported by the system again.
    Watching,
    /// Every file was read once, and everything found was told.
    InitialScanDone,
    /// The documents that nobody claimed were evaluated again after
    /// [`FileSource::reclassify`](super::FileSource::reclassify), and everything found was told.
    Reclassified {
        /// The latest ticket that was asked with.
        ticket: u64,
    },
}
