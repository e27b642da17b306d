//! A plugin of the simulation: a description and a pure function of what it is asked and what it
//! reads. The function is run again and again with the answers so far until it needs no more, so
//! that time passes, and the world moves, between its reads.

use std::sync::Arc;

use serde_json::Value;
use setpoint_core::contract::{
    Child, Description, Failure, ListQuery, Outcome, OwnedKind, ReadError, ReadKind, ReadScope, Tuning, Update,
};
use setpoint_core::grants::{Grant, Grants, Scope};
use setpoint_core::key::{GroupKind, GroupVersionKind, Key, split_api_version};

use crate::kinds::{GROUP, definition, document, version_of};

/// Why a function has no outcome (yet).
#[derive(Clone, Debug)]
pub enum Stop {
    /// It asked something that is not answered yet.
    Pending,
    /// A read has no answer. A function that passes it on fails with it.
    Read(ReadError),
    /// It fails.
    Fail(Failure),
    /// It traps.
    Trap(String),
}

/// What a function is asked.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The object's key.
    pub key: Key,
    /// Its content.
    pub object: Value,
    /// It is being deleted.
    pub deleting: bool,
    /// The operator's configuration.
    pub config: Value,
}

impl Ask {
    /// A field of the spec as text; empty if it is not there.
    pub fn text(&self, field: &str) -> String {
        match &self.object["spec"][field] {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            other => other.to_string(),
        }
    }

    /// A field of the spec as a number; 0 if it is not there.
    pub fn number(&self, field: &str) -> u64 {
        self.object["spec"][field].as_u64().unwrap_or(0)
    }
}

/// The reads of a call.
pub trait Reads {
    /// One object; none is proven absence.
    ///
    /// # Errors
    /// [`Stop::Pending`] must be passed on; [`Stop::Read`] may be.
    fn get(&mut self, key: &Key) -> Result<Option<Value>, Stop>;

    /// A whole list.
    ///
    /// # Errors
    /// As [`Reads::get`].
    fn list(&mut self, query: &ListQuery) -> Result<Vec<Value>, Stop>;
}

/// What a plugin does.
pub type Function = Arc<dyn Fn(&Ask, &mut dyn Reads) -> Result<Outcome, Stop> + Send + Sync>;

/// One version of a plugin with its configuration.
#[derive(Clone)]
pub struct Plugin {
    /// What it says of itself.
    pub description: Arc<Description>,
    /// Digest of the version.
    pub digest: String,
    /// Its configuration as JSON.
    pub config: String,
    /// Its calls may answer differently next time (rule A7).
    pub impure: bool,
    /// What it was granted.
    pub grants: Grants,
    /// What it does.
    pub function: Function,
}

impl Plugin {
    /// A plugin that owns one kind of [`GROUP`], with no configuration.
    pub fn new(
        name: &str,
        kind: &str,
        function: impl Fn(&Ask, &mut dyn Reads) -> Result<Outcome, Stop> + Send + Sync + 'static,
    ) -> Self {
        let owned = GroupVersionKind::new(GROUP, "v1", kind);
        let description = Description {
            name: name.into(),
            version: "0.1.0".into(),
            kinds: vec![OwnedKind { crd: definition(kind).to_string(), kind: owned, finalizer: false }],
            reads: Vec::new(),
            writes: Vec::new(),
            capabilities: Vec::new(),
            config_schema: None,
            tuning: Tuning::default(),
        };
        Self {
            description: Arc::new(description),
            digest: format!("{name}-1"),
            config: "{}".into(),
            impure: false,
            grants: Grants::new(vec![Grant::Described(Scope::everywhere())]),
            function: Arc::new(function),
        }
    }

    fn edit(mut self, change: impl FnOnce(&mut Description)) -> Self {
        change(Arc::make_mut(&mut self.description));
        self
    }

    /// It reads a kind through a mask; an empty one shows everything.
    pub fn reads(self, kind: &GroupKind, mask: &[&str]) -> Self {
        let read = ReadKind {
            kind: GroupVersionKind::new(&kind.group, version_of(&kind.group), &kind.kind),
            scope: ReadScope::All,
            fields: mask.iter().map(|path| (*path).to_owned()).collect(),
            indexes: Vec::new(),
        };
        self.edit(|description| description.reads.push(read))
    }

    /// It writes children of a kind.
    pub fn writes(self, kind: &GroupKind) -> Self {
        let written = GroupVersionKind::new(&kind.group, version_of(&kind.group), &kind.kind);
        self.edit(|description| description.writes.push(written))
    }

    /// It wants to clean up before an object goes.
    pub fn with_finalizer(self) -> Self {
        self.edit(|description| description.kinds.iter_mut().for_each(|kind| kind.finalizer = true))
    }

    /// It was granted this as well.
    pub fn granted(mut self, grants: &[Grant]) -> Self {
        self.grants = Grants::new(self.grants.iter().chain(grants).cloned().collect());
        self
    }

    /// Its tuning.
    pub fn tuned(self, tuning: Tuning) -> Self {
        self.edit(|description| description.tuning = tuning)
    }

    /// The same plugin in another version.
    pub fn version(&self, number: u32) -> Self {
        let mut next = self.clone();
        next.digest = format!("{}-{number}", self.description.name);
        next
    }

    /// Whether it reconciles a kind.
    pub fn owns(&self, kind: &GroupKind) -> bool {
        self.description.kinds.iter().any(|owned| owned.kind.group_kind() == *kind)
    }

    /// The mask through which it reads a kind.
    pub fn mask_of(&self, kind: &GroupKind) -> Vec<String> {
        let read = self.description.reads.iter().find(|read| read.kind.group_kind() == *kind);
        read.map(|read| read.fields.clone()).unwrap_or_default()
    }
}

/// The core kind that most children are of.
pub fn maps() -> GroupKind {
    GroupKind::new("", "ConfigMap")
}

/// A child in the owner's cluster, or in the one that its key names.
pub fn child(owner: &Key, key: &Key, given: Value) -> Child {
    Child {
        cluster: (key.cluster != owner.cluster).then(|| key.cluster.to_string()),
        object: document(key, given).to_string(),
        update: Update::InPlace,
    }
}

/// The key of a child as a plugin returns it.
pub fn child_key(owner: &Key, child: &Child) -> Option<Key> {
    let object: Value = serde_json::from_str(&child.object).ok()?;
    let (group, _) = split_api_version(object["apiVersion"].as_str()?);
    let namespace = object["metadata"]["namespace"].as_str().or(owner.namespace.as_deref());
    let cluster = child.cluster.as_deref().unwrap_or(&owner.cluster);
    Some(Key::new(cluster, group, object["kind"].as_str()?, namespace, object["metadata"]["name"].as_str()?))
}

/// One question of a call.
#[derive(Clone, PartialEq, Debug)]
pub enum Question {
    /// One object.
    Get(Key),
    /// A list.
    List(ListQuery),
}

/// An answer to a [`Question`].
#[derive(Clone, PartialEq, Debug)]
pub enum Told {
    /// To a get.
    Object(Option<Arc<str>>),
    /// To a list.
    Objects(Vec<Arc<str>>),
}

/// The answers of a call so far: the first answer to a question is repeated (rule A3).
#[derive(Clone, Default, Debug)]
pub struct Answers {
    /// Questions with their answers, in order.
    pub told: Vec<(Question, Result<Told, ReadError>)>,
    /// The question that is to be answered next.
    pub open: Option<Question>,
}

impl Answers {
    /// Answers the open question.
    pub fn tell(&mut self, answer: Result<Told, ReadError>) {
        if let Some(question) = self.open.take() {
            self.told.push((question, answer));
        }
    }

    /// Whether a read had no answer (rule A4).
    pub fn unavailable(&self) -> bool {
        self.told.iter().any(|(_, answer)| matches!(answer, Err(ReadError::Unavailable(_))))
    }

    fn ask(&mut self, question: Question) -> Result<Told, Stop> {
        match self.told.iter().find(|(known, _)| *known == question) {
            Some((_, answer)) => answer.clone().map_err(Stop::Read),
            None => {
                self.open.get_or_insert(question);
                Err(Stop::Pending)
            }
        }
    }
}

fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or(Value::Null)
}

impl Reads for Answers {
    fn get(&mut self, key: &Key) -> Result<Option<Value>, Stop> {
        match self.ask(Question::Get(key.clone()))? {
            Told::Object(object) => Ok(object.map(|text| parse(&text))),
            Told::Objects(_) => Ok(None),
        }
    }

    fn list(&mut self, query: &ListQuery) -> Result<Vec<Value>, Stop> {
        match self.ask(Question::List(query.clone()))? {
            Told::Objects(objects) => Ok(objects.iter().map(|text| parse(text)).collect()),
            Told::Object(_) => Ok(Vec::new()),
        }
    }
}
