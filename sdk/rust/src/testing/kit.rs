//! What there is in a test, and the call.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::marker::PhantomData;
use std::rc::Rc;

use serde_json::{Value, json};

use super::answer::{Answers, Objects, place};
use super::run::Run;
use crate::bindings::setpoint::reconciler::types::{Failure, Outcome, Request};
use crate::{Cause, Component, Description, Key, Reconciler};

/// A test of a reconciler: what there is, and then [`TestKit::run`]. All objects are in cluster
/// `local`, and in namespace `default` unless they say otherwise.
pub struct TestKit<R> {
    world: World,
    reconciler: PhantomData<fn() -> R>,
}

/// All of it that does not depend on the reconciler's types.
#[derive(Clone)]
pub(super) struct World {
    description: Description,
    pub(super) group: String,
    version: String,
    pub(super) kind: String,
    namespaced: bool,
    finalizer: bool,
    objects: Objects,
    pub(super) config: Value,
    pub(super) unavailable: BTreeSet<String>,
    pub(super) not_granted: BTreeSet<String>,
    attempt: u32,
    last_error: Option<String>,
    causes: Vec<Cause>,
}

pub(super) const CLUSTER: &str = "local";

impl<R> Clone for TestKit<R> {
    fn clone(&self) -> Self {
        Self { world: self.world.clone(), reconciler: PhantomData }
    }
}

impl<R: Reconciler> Default for TestKit<R> {
    fn default() -> Self {
        Self::new()
    }
}

impl<R: Reconciler> TestKit<R> {
    /// A world without objects.
    ///
    /// # Panics
    /// If the host would refuse the description.
    pub fn new() -> Self {
        Self { world: World::new(super::describe::<(R,)>(), 0), reconciler: PhantomData }
    }

    /// Adds an object of the reconciler's kind; apiVersion and kind are filled in.
    ///
    /// # Panics
    /// If it has no name, or is of another kind.
    #[must_use]
    pub fn object(self, mut object: Value) -> Self {
        let version = if self.world.group.is_empty() {
            self.world.version.clone()
        } else {
            format!("{}/{}", self.world.group, self.world.version)
        };
        for (field, own) in [("apiVersion", version), ("kind", self.world.kind.clone())] {
            if object[field].is_null() {
                object[field] = own.into();
            }
        }
        assert!(object["kind"] == self.world.kind, "object() is for kind {}; add others by with()", self.world.kind);
        self.with(object)
    }

    /// Like [`TestKit::object`], from YAML with one or several documents.
    ///
    /// # Panics
    /// If it is no YAML.
    #[must_use]
    pub fn object_yaml(self, text: &str) -> Self {
        yaml(text).into_iter().fold(self, Self::object)
    }

    /// Adds an object of any kind, or an array of them; apiVersion is `v1` unless given. One of the
    /// same name is replaced.
    ///
    /// # Panics
    /// If kind or name is missing, or if the plugin reads the kind in another version.
    #[must_use]
    pub fn with(self, object: Value) -> Self {
        self.with_in(CLUSTER, object)
    }

    /// Like [`TestKit::with`], from YAML with one or several documents.
    ///
    /// # Panics
    /// If it is no YAML.
    #[must_use]
    pub fn with_yaml(self, text: &str) -> Self {
        yaml(text).into_iter().fold(self, Self::with)
    }

    /// Like [`TestKit::with`], in another cluster.
    ///
    /// # Panics
    /// As [`TestKit::with`].
    #[must_use]
    pub fn with_in(mut self, cluster: &str, object: Value) -> Self {
        if let Value::Array(objects) = object {
            return objects.into_iter().fold(self, |kit, object| kit.with_in(cluster, object));
        }
        self.world.add(cluster, object);
        self
    }

    /// The operator's configuration; `{}` without this.
    #[must_use]
    pub fn config(mut self, config: Value) -> Self {
        self.world.config = config;
        self
    }

    /// The host cannot know anything about this kind, such as `ConfigMap` (rule A4).
    #[must_use]
    pub fn unavailable(mut self, kind: &str) -> Self {
        self.world.unavailable.insert(kind.to_owned());
        self
    }

    /// The operator did not grant reads of this kind.
    #[must_use]
    pub fn not_granted(mut self, kind: &str) -> Self {
        self.world.not_granted.insert(kind.to_owned());
        self
    }

    /// A later attempt, after this error.
    #[must_use]
    pub fn attempt(mut self, attempt: u32, last_error: &str) -> Self {
        self.world.attempt = attempt;
        self.world.last_error = Some(last_error.to_owned());
        self.world.causes = vec![Cause::Retry];
        self
    }

    /// The object of this name is being deleted.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn deleting(mut self, name: &str) -> Self {
        self.world.delete(name);
        self
    }

    /// Reconciles the object of this name (`name`, or `namespace/name`), once.
    ///
    /// # Panics
    /// If there is no such object, or if the host would not call: the object is being deleted and the
    /// reconciler asked for no finalizer.
    pub fn run(&self, name: &str) -> Run<R> {
        let key = self.world.key(name);
        let Some(object) = self.world.objects.get(&place(&key)) else {
            let names: Vec<&String> = self
                .world
                .objects
                .keys()
                .filter(|(_, _, kind, ..)| *kind == self.world.kind)
                .map(|(.., name)| name)
                .collect();
            panic!("there is no {} {name}; there are {names:?}", self.world.kind);
        };
        let Called { result, deleting, answers } = self.world.call::<(R,)>(&key, object);
        Run::new(result, &self.world.description, &key, deleting, answers.reads.take(), answers.logs.take())
    }
}

impl<R> std::fmt::Debug for TestKit<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TestKit")
            .field("kind", &self.world.kind)
            .field("objects", &self.world.objects.len())
            .finish_non_exhaustive()
    }
}

/// What came of a call.
pub(super) struct Called {
    pub(super) result: Result<Outcome, Failure>,
    pub(super) deleting: bool,
    pub(super) answers: Rc<Answers>,
}

impl World {
    /// A world without objects, in which objects of one of the description's kinds are reconciled.
    ///
    /// # Panics
    /// If the description has no such kind, or its CRD is none.
    pub(super) fn new(description: Description, kind: usize) -> Self {
        let Some(owned) = description.kinds.get(kind) else { panic!("the description has no kind {kind}") };
        let crd: Value = match owned.crd.parse() {
            Ok(crd) => crd,
            Err(error) => panic!("the CRD is no JSON: {error}"),
        };
        let text = |pointer: &str| crd.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        Self {
            group: text("/spec/group"),
            version: owned.version.clone(),
            kind: text("/spec/names/kind"),
            namespaced: text("/spec/scope") != "Cluster",
            finalizer: owned.finalizer,
            objects: Objects::new(),
            config: json!({}),
            unavailable: BTreeSet::new(),
            not_granted: BTreeSet::new(),
            attempt: 1,
            last_error: None,
            causes: vec![Cause::Changed],
            description,
        }
    }

    /// Adds an object, or replaces it; answers its key.
    pub(super) fn add(&mut self, cluster: &str, object: Value) -> Key {
        let (key, object) = self.complete(cluster, object);
        self.objects.insert(place(&key), object);
        key
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Value> {
        self.objects.get(&place(key))
    }

    /// Marks an object of the reconciled kind as being deleted.
    pub(super) fn delete(&mut self, name: &str) {
        let place = place(&self.key(name));
        let Some(object) = self.objects.get_mut(&place) else { panic!("there is no {} {name}", self.kind) };
        object["metadata"]["deletionTimestamp"] = "2026-01-02T00:00:00Z".into();
    }

    /// Makes the call for an object.
    pub(super) fn call<C: Component>(&self, key: &Key, object: &Value) -> Called {
        let deleting = !object["metadata"]["deletionTimestamp"].is_null();
        let name = &key.name;
        assert!(self.finalizer || !deleting, "{name} is being deleted: without .finalizer() the host makes no call");
        let request = Request {
            key: key.clone(),
            object: object.to_string(),
            deleting,
            attempt: self.attempt,
            last_error: self.last_error.clone(),
            causes: self.causes.clone(),
            config: self.config.to_string(),
            extra: Vec::new(),
        };
        let answers = Rc::new(Answers {
            own_cluster: CLUSTER.into(),
            objects: self.objects.clone(),
            description: self.description.clone(),
            unavailable: self.unavailable.clone(),
            not_granted: self.not_granted.clone(),
            calls: Cell::new(0),
            reads: RefCell::default(),
            logs: RefCell::default(),
        });
        let result = C::call(request, answers.clone());
        Called { result, deleting, answers }
    }

    /// What a server would add, and only content (rule A2).
    fn complete(&self, cluster: &str, mut object: Value) -> (Key, Value) {
        if object["apiVersion"].is_null() {
            object["apiVersion"] = "v1".into();
        }
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let Some(api_version) = text(&object["apiVersion"]) else { panic!("apiVersion is no text in {object}") };
        let Some(kind) = text(&object["kind"]) else { panic!("kind is missing in {object}") };
        let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
        let own = group == self.group && kind == self.kind;
        let spoken = self.description.reads.iter().map(|read| &read.kind).find(|k| k.group == group && k.kind == kind);
        let spoken = if own { Some(self.version.as_str()) } else { spoken.map(|k| k.version.as_str()) };
        if let Some(spoken) = spoken {
            assert!(spoken == version, "{kind} is read in version {spoken}; the host would convert, a test cannot");
        }
        let Some(name) = text(&object["metadata"]["name"]) else { panic!("metadata.name is missing in {object}") };
        let cluster_scoped = if own { !self.namespaced } else { object["metadata"]["namespace"] == "" };
        let namespace = match text(&object["metadata"]["namespace"]) {
            _ if cluster_scoped => None,
            given => Some(given.unwrap_or_else(|| "default".to_owned())),
        };
        if let Some(metadata) = object["metadata"].as_object_mut() {
            match &namespace {
                Some(namespace) => metadata.insert("namespace".into(), namespace.clone().into()),
                None => metadata.remove("namespace"),
            };
            let uid = format!("uid-{cluster}-{kind}-{}-{name}", namespace.as_deref().unwrap_or_default());
            metadata.entry("uid").or_insert_with(|| uid.into());
            metadata.entry("generation").or_insert_with(|| 1.into());
            metadata.entry("creationTimestamp").or_insert_with(|| "2026-01-01T00:00:00Z".into());
            metadata.remove("resourceVersion");
            metadata.remove("managedFields");
            if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
                annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
            }
        }
        (Key { cluster: cluster.into(), group: group.into(), kind, namespace, name }, object)
    }

    fn key(&self, name: &str) -> Key {
        let (namespace, name) = name.split_once('/').unwrap_or(("default", name));
        Key {
            cluster: CLUSTER.into(),
            group: self.group.clone(),
            kind: self.kind.clone(),
            namespace: self.namespaced.then(|| namespace.to_owned()),
            name: name.to_owned(),
        }
    }
}

pub(super) fn yaml(text: &str) -> Vec<Value> {
    match serde_saphyr::from_multiple(text) {
        Ok(documents) => documents,
        Err(error) => panic!("this is no YAML: {error}"),
    }
}
