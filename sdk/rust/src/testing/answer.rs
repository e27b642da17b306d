//! The host of a test: answers reads as the description allows, and records them.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::run::{LogLine, ReadMade};
use super::select::{self, Path};
use crate::bindings::setpoint::reconciler::types::{Description, ReadKind, ReadScope};
use crate::host::GroupKindText;
use crate::{Host, Key, Level, RawPage, RawQuery, ReadError};

/// Host calls that one call may make, as in the host.
const MOST_CALLS: usize = 10_000;

/// What there is, by cluster, group, kind, namespace (empty for none) and name: a list is a range.
pub(super) type Objects = BTreeMap<(String, String, String, String, String), Value>;

pub(super) fn place(key: &Key) -> (String, String, String, String, String) {
    let Key { cluster, group, kind, namespace, name } = key.clone();
    (cluster, group, kind, namespace.unwrap_or_default(), name)
}

pub(super) struct Answers {
    pub(super) own_cluster: String,
    pub(super) objects: Objects,
    pub(super) description: Description,
    pub(super) unavailable: BTreeSet<String>,
    pub(super) not_granted: BTreeSet<String>,
    pub(super) calls: Cell<usize>,
    pub(super) reads: RefCell<Vec<ReadMade>>,
    pub(super) logs: RefCell<Vec<LogLine>>,
}

impl Answers {
    /// The description of a read, if it may be answered. Texts are those of the host, so that a scenario
    /// comes to the same here and on the compiled component.
    fn described(&self, group: &str, kind: &str, scope: ReadScope) -> Result<&ReadKind, ReadError> {
        self.calls.set(self.calls.get() + 1);
        if self.calls.get() > MOST_CALLS {
            return Err(ReadError::LimitExceeded(format!("more than {MOST_CALLS} host calls")));
        }
        let name = GroupKindText(group, kind);
        let read = self.description.reads.iter().find(|read| read.kind.group == group && read.kind.kind == kind);
        let Some(read) = read else {
            return Err(ReadError::NotDescribed(format!("the plugin does not describe that it reads {name}")));
        };
        if scope == ReadScope::All && read.scope == ReadScope::Named {
            let text = format!("{name} is described with scope `named`; `list` needs scope `all`");
            return Err(ReadError::NotDescribed(text));
        }
        if self.not_granted.contains(kind) {
            let group = if group.is_empty() { "core" } else { group };
            return Err(ReadError::NotGranted(format!("grant it with read:{group}/{kind}@{}", self.own_cluster)));
        }
        if self.unavailable.contains(kind) {
            return Err(ReadError::Unavailable(format!("{name} is not synced")));
        }
        Ok(read)
    }

    fn show(read: &ReadKind, object: &Value) -> Result<String, ReadError> {
        let fields = read.fields.iter().map(|path| Path::parse(path)).collect::<Result<Vec<_>, _>>();
        let fields = fields.map_err(|problem| ReadError::NotDescribed(format!("a field mask: {problem}")))?;
        Ok(select::mask(&fields, object).to_string())
    }
}

impl Host for Answers {
    fn get(&self, key: &Key) -> Result<Option<String>, ReadError> {
        self.reads.borrow_mut().push(ReadMade::Get(key.clone()));
        let read = self.described(&key.group, &key.kind, ReadScope::Named)?;
        self.objects.get(&place(key)).map(|object| Self::show(read, object)).transpose()
    }

    fn list(&self, query: &RawQuery) -> Result<RawPage, ReadError> {
        if query.continue_.is_none() {
            self.reads.borrow_mut().push(ReadMade::List(query.clone()));
        }
        let read = self.described(&query.kind.group, &query.kind.kind, ReadScope::All)?;
        let limit = match query.limit.unwrap_or(100) {
            limit @ 1..=500 => limit as usize,
            limit => {
                return Err(ReadError::Invalid(format!("a page of {limit} objects: 1 to 500 are allowed")));
            }
        };
        let start: usize = match query.continue_.as_deref().map(str::parse) {
            None => 0,
            Some(Ok(start)) => start,
            Some(Err(_)) => {
                return Err(ReadError::Invalid("continue is not from a page of this list".into()));
            }
        };
        let index = match &query.index {
            None => None,
            Some(wanted) => {
                let index = read.indexes.iter().find(|index| index.name == wanted.index);
                let index = index.ok_or_else(|| ReadError::NotDescribed(format!("index {}", wanted.index)))?;
                let path = Path::parse(&index.path).map_err(|problem| ReadError::NotDescribed(problem.into()))?;
                Some((path, &wanted.value))
            }
        };
        let cluster = query.cluster.as_ref().unwrap_or(&self.own_cluster);
        let mut found = Vec::new();
        for ((in_cluster, group, kind, namespace, _), object) in &self.objects {
            let here = in_cluster == cluster
                && *group == query.kind.group
                && *kind == query.kind.kind
                && query.namespace.as_ref().is_none_or(|wanted| wanted == namespace);
            let selector = query.labels.as_deref().unwrap_or_default();
            let labels = object.pointer("/metadata/labels");
            // The selector is read even if there is no object, so that a wrong one is always found.
            let selected = select::matches(selector, labels).map_err(ReadError::Invalid)?;
            let indexed = || index.as_ref().is_none_or(|(path, value)| path.values(object).contains(value));
            if here && selected && indexed() {
                found.push(Self::show(read, object)?);
            }
        }
        let more = found.len() > start + limit;
        Ok(RawPage {
            items: found.into_iter().skip(start).take(limit).collect(),
            continue_: more.then(|| (start + limit).to_string()),
        })
    }

    fn log(&self, level: Level, message: &str, fields: &[(String, String)]) {
        let line = LogLine { level, message: message.to_owned(), fields: fields.to_vec() };
        self.logs.borrow_mut().push(line);
    }
}
