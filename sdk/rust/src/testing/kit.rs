//! What there is in a test, and the call.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::marker::PhantomData;
use std::rc::Rc;

use serde_json::{Value, json};

use super::answer::{Answers, Objects, place};
use super::run::Run;
use crate::bindings::setpoint::reconciler::types::Request;
use crate::{Cause, Component, Description, Key, Reconciler};

/// A test of a reconciler: what there is, and then [`TestKit::run`]. All objects are in cluster
/// `local`, and in namespace `default` unless they say otherwise.
pub struct TestKit<R> {
    world: World,
    reconciler: PhantomData<fn() -> R>,
}

/// All of it that does not depend on the reconciler's types.
#[derive(Clone)]
struct World {
    description: Description,
    group: String,
    version: String,
    kind: String,
    namespaced: bool,
    objects: Objects,
    config: Value,
    unavailable: BTreeSet<String>,
    not_granted: BTreeSet<String>,
    attempt: u32,
    last_error: Option<String>,
    causes: Vec<Cause>,
}

const CLUSTER: &str = "local";

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
        let description = super::describe::<(R,)>();
        let crd = super::crd::<(R,)>();
        let (group, version, kind) = match R::describe().group_version_kind() {
            Ok(gvk) => gvk,
            Err(error) => panic!("{error}"),
        };
        let world = World {
            description,
            group,
            version,
            kind,
            namespaced: crd["spec"]["scope"] != "Cluster",
            objects: Objects::new(),
            config: json!({}),
            unavailable: BTreeSet::new(),
            not_granted: BTreeSet::new(),
            attempt: 1,
            last_error: None,
            causes: vec![Cause::Changed],
        };
        Self { world, reconciler: PhantomData }
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
        let (key, object) = self.world.complete(cluster, object);
        self.world.objects.insert(place(&key), object);
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
        let place = place(&self.world.key(name));
        let Some(object) = self.world.objects.get_mut(&place) else { panic!("there is no {} {name}", self.world.kind) };
        object["metadata"]["deletionTimestamp"] = "2026-01-02T00:00:00Z".into();
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
        let deleting = !object["metadata"]["deletionTimestamp"].is_null();
        let finalizer = self.world.description.kinds.first().is_some_and(|kind| kind.finalizer);
        assert!(finalizer || !deleting, "{name} is being deleted: without .finalizer() the host makes no call");
        let request = Request {
            key: key.clone(),
            object: object.to_string(),
            deleting,
            attempt: self.world.attempt,
            last_error: self.world.last_error.clone(),
            causes: self.world.causes.clone(),
            config: self.world.config.to_string(),
            extra: Vec::new(),
        };
        let answers = Rc::new(Answers {
            own_cluster: CLUSTER.into(),
            objects: self.world.objects.clone(),
            description: self.world.description.clone(),
            unavailable: self.world.unavailable.clone(),
            not_granted: self.world.not_granted.clone(),
            calls: Cell::new(0),
            reads: RefCell::default(),
            logs: RefCell::default(),
        });
        let result = <(R,) as Component>::call(request, answers.clone());
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

impl World {
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

fn yaml(text: &str) -> Vec<Value> {
    match serde_saphyr::from_multiple(text) {
        Ok(documents) => documents,
        Err(error) => panic!("this is no YAML: {error}"),
    }
}
