//! One file's text as objects, unclaimed documents, errors and notices.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};

use setpoint_core::Key;

use super::event::UnclaimedDocument;
use super::identity::{Identified, Identity, Notice, Place, Scope, identify};
use super::yaml::{Position, SourceError, Spans, parse_documents};

/// An object that a file defines.
pub(super) struct FileObject {
    pub(super) object: Identified,
    pub(super) line: u32,
    pub(super) spans: Spans,
    /// Of its content; comparable within one process.
    pub(super) digest: u64,
}

/// A file that was read.
#[derive(Default)]
pub(super) struct ParsedFile {
    pub(super) objects: Vec<FileObject>,
    pub(super) unclaimed: Vec<UnclaimedDocument>,
    pub(super) errors: Vec<SourceError>,
    pub(super) notices: Vec<Notice>,
}

impl ParsedFile {
    /// A file that could not be read at all.
    pub(super) fn unreadable(error: SourceError) -> Self {
        Self { errors: vec![error], ..Self::default() }
    }

    /// Parses the text of a file of a cluster, whose path below the root is `file`.
    pub(super) fn parse(
        cluster: &str,
        file: &str,
        text: &str,
        scope_of: impl Fn(&str, &str) -> Option<Scope>,
        digests: &RandomState,
    ) -> Self {
        let documents = parse_documents(text);
        let place = Place { cluster, file, alone: documents.len() == 1 };
        let mut parsed = Self::default();
        let mut lines: BTreeMap<Key, u32> = BTreeMap::new();
        let mut ignored: Option<(Position, Vec<String>)> = None;
        for document in documents {
            let document = match document {
                Ok(document) => document,
                Err(error) => {
                    parsed.errors.push(error);
                    continue;
                }
            };
            let line = document.line;
            for (position, message) in &document.booleans {
                parsed.notices.push(Notice { position: *position, message: message.clone() });
            }
            match identify(&document, place, &scope_of) {
                Err(error) => parsed.errors.push(error),
                Ok(Identity::Unclaimed(unclaimed)) => {
                    parsed.unclaimed.push(UnclaimedDocument { document: unclaimed, line });
                }
                Ok(Identity::Object(object)) => {
                    if let Some(first) = lines.get(&object.key) {
                        let message = format!("{} is defined in line {first} of this file already", title(&object.key));
                        parsed.errors.push(SourceError::new(Position { line, column: 1 }, message));
                        continue;
                    }
                    lines.insert(object.key.clone(), line);
                    if let Some(pointer) = object.ignored.first() {
                        let (_, fields) =
                            ignored.get_or_insert_with(|| (document.spans.locate_key(pointer), Vec::new()));
                        let fresh = object.ignored.iter().filter(|field| !fields.contains(field)).cloned();
                        fields.extend(fresh.collect::<Vec<_>>());
                    }
                    parsed.notices.extend(object.notices.iter().cloned());
                    let digest = digests.hash_one(object.value.to_string());
                    parsed.objects.push(FileObject { object: *object, line, spans: document.spans, digest });
                }
            }
        }
        if let Some((position, fields)) = ignored {
            let fields: Vec<String> = fields.iter().map(|field| field[1..].replace('/', ".")).collect();
            let message = format!("ignored, because only the host sets it: {}", fields.join(", "));
            parsed.notices.push(Notice { position, message });
        }
        parsed.notices.sort_by_key(|notice| notice.position);
        parsed
    }
}

/// An object as its author knows it: `ConfigMap default/a`.
pub(super) fn title(key: &Key) -> String {
    match &key.namespace {
        Some(namespace) => format!("{} {namespace}/{}", key.group_kind(), key.name),
        None => format!("{} {}", key.group_kind(), key.name),
    }
}
