//! One call, as a reconciler sees it.

use std::cell::OnceCell;
use std::rc::Rc;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::bindings::setpoint::reconciler::types::{Cause, Key, Request};
use crate::host::place_text;
use crate::object::WithMetadata;
use crate::{Error, Host, Level, Metadata, Object, ObjectRef, Query, RawQuery, ReadError, Reconciler, Resource};

/// One call: the object as it was when the call began, the configuration, and the way to read more.
pub struct Context<R: Reconciler> {
    key: Key,
    object: String,
    metadata: OnceCell<Metadata>,
    spec: R::Spec,
    status: Option<R::Status>,
    config: R::Config,
    deleting: bool,
    attempt: u32,
    last_error: Option<String>,
    causes: Vec<Cause>,
    host: Rc<dyn Host>,
}

#[derive(Deserialize)]
struct WithSpec<S> {
    spec: Option<S>,
}

#[derive(Deserialize)]
struct WithStatus<S> {
    status: Option<S>,
}

impl<R: Reconciler> Context<R> {
    /// The context of a request. Called by [`crate::export!`]'s adapter and by the test kit.
    ///
    /// # Errors
    /// Permanent ones: the object or the configuration does not fit the reconciler's types. The
    /// former waits for a change of the object, the latter for one of the configuration.
    pub fn new(request: Request, host: Rc<dyn Host>) -> Result<Self, Error> {
        let Request { key, object, deleting, attempt, last_error, causes, config, extra: _ } = request;
        let object_spec: WithSpec<R::Spec> = serde_json::from_str(&object)
            .map_err(|error| Error::permanent(format_args!("the object does not fit: {error}")))?;
        let spec = match object_spec.spec {
            Some(spec) => spec,
            None => serde_json::from_str("{}")
                .map_err(|error| Error::permanent(format_args!("the object has no spec: {error}")))?,
        };
        let config = serde_json::from_str(&config)
            .map_err(|error| Error::permanent(format_args!("the configuration does not fit: {error}")))?;
        // What an older version of the plugin wrote must not stop a newer one.
        let status = serde_json::from_str(&object).ok().and_then(|WithStatus { status }| status);
        let metadata = OnceCell::new();
        Ok(Self { key, object, metadata, spec, status, config, deleting, attempt, last_error, causes, host })
    }

    /// The one name of the object.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The object's name.
    pub fn name(&self) -> &str {
        &self.key.name
    }

    /// The object's namespace; none for cluster-scoped kinds.
    pub fn namespace(&self) -> Option<&str> {
        self.key.namespace.as_deref()
    }

    /// The object's labels, annotations, uid, generation and so on. Read when first asked for.
    ///
    /// # Errors
    /// A permanent one if the object's metadata are none, which no server gives away.
    pub fn metadata(&self) -> Result<&Metadata, Error> {
        if let Some(metadata) = self.metadata.get() {
            return Ok(metadata);
        }
        let WithMetadata { metadata } = serde_json::from_str(&self.object)
            .map_err(|error| Error::permanent(format_args!("the object's metadata do not fit: {error}")))?;
        Ok(self.metadata.get_or_init(|| metadata))
    }

    /// What the user asks for.
    pub fn spec(&self) -> &R::Spec {
        &self.spec
    }

    /// The status that is there; none if there is none yet or it does not fit this version's type.
    pub fn status(&self) -> Option<&R::Status> {
        self.status.as_ref()
    }

    /// The operator's configuration.
    pub fn config(&self) -> &R::Config {
        &self.config
    }

    /// The whole object as JSON text.
    pub fn object_json(&self) -> &str {
        &self.object
    }

    /// Whether the object is being deleted and waits for this plugin's clean-up. Only if
    /// [`crate::Describe::finalizer`] was asked for (rule B12).
    pub fn deleting(&self) -> bool {
        self.deleting
    }

    /// 1 for the first attempt since the last success. For messages only (rule A6).
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Why the previous attempt failed. For messages only (rule A6).
    pub fn last_error(&self) -> Option<&str> {
        self.last_error.as_deref()
    }

    /// Why this call happens, oldest first. For messages only (rule A6).
    pub fn causes(&self) -> &[Cause] {
        &self.causes
    }

    /// One object; `None` is proven absence. The read is tracked: a change of the answer, coming and
    /// going included, runs this object again (rule A1).
    ///
    /// # Errors
    /// See [`ReadError`]; pass it on with `?`.
    pub fn get<T: Resource + DeserializeOwned>(
        &self,
        object: impl Into<ObjectRef>,
    ) -> Result<Option<Object<T>>, ReadError> {
        let key = object.into().key::<T>(&self.key)?;
        self.host.get(&key)?.map(|json| Object::parse(&json)).transpose()
    }

    /// All objects that match, in ascending order of namespace and name, from one moment. The list
    /// is tracked as a whole: an object that enters, leaves or changes runs this object again.
    ///
    /// # Errors
    /// See [`ReadError`]; pass it on with `?`. There is no partial answer.
    pub fn list<T: Resource + DeserializeOwned>(&self, query: Query) -> Result<Vec<Object<T>>, ReadError> {
        let mut objects = Vec::new();
        self.pages(query.raw::<T>(&self.key)?, |json| {
            objects.push(Object::parse(json)?);
            Ok(())
        })?;
        Ok(objects)
    }

    /// Like [`Context::get`] for a kind that is known only at run time.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn get_json(&self, key: &Key) -> Result<Option<Value>, ReadError> {
        self.host.get(key)?.map(|json| parse_json(&json)).transpose()
    }

    /// Like [`Context::list`] for a kind that is known only at run time. `query.continue_` is not looked at.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn list_json(&self, query: RawQuery) -> Result<Vec<Value>, ReadError> {
        let mut objects = Vec::new();
        self.pages(query, |json| {
            objects.push(parse_json(json)?);
            Ok(())
        })?;
        Ok(objects)
    }

    fn pages(&self, mut query: RawQuery, mut take: impl FnMut(&str) -> Result<(), ReadError>) -> Result<(), ReadError> {
        query.continue_ = None;
        loop {
            let page = self.host.list(&query)?;
            page.items.iter().try_for_each(|json| take(json))?;
            if page.continue_.is_none() {
                return Ok(());
            }
            query.continue_ = page.continue_;
        }
    }

    /// A name for a child that is the same at each call and unique to this object and these parts
    /// (rule B10); see [`crate::stable_name`].
    pub fn stable_name<S: AsRef<str>>(&self, prefix: &str, parts: impl IntoIterator<Item = S>) -> String {
        crate::stable_name(&self.key, prefix, parts)
    }

    /// Logs a line with fields of its own. Key and attempt are there by themselves.
    pub fn log(&self, level: Level, message: impl AsRef<str>, fields: &[(&str, &str)]) {
        let fields: Vec<(String, String)> = fields.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        self.host.log(level, message.as_ref(), &fields);
    }

    /// Logs a line for finding mistakes.
    pub fn debug(&self, message: impl AsRef<str>) {
        self.log(Level::Debug, message, &[]);
    }

    /// Logs a line that tells what happens.
    pub fn info(&self, message: impl AsRef<str>) {
        self.log(Level::Info, message, &[]);
    }

    /// Logs a line about something that somebody should look at.
    pub fn warn(&self, message: impl AsRef<str>) {
        self.log(Level::Warn, message, &[]);
    }

    /// Logs a line about something that went wrong.
    pub fn error(&self, message: impl AsRef<str>) {
        self.log(Level::Error, message, &[]);
    }
}

impl<R: Reconciler> std::fmt::Debug for Context<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let place = place_text(self.namespace(), self.name());
        f.debug_struct("Context").field("kind", &self.key.kind).field("object", &place).finish_non_exhaustive()
    }
}

fn parse_json(json: &str) -> Result<Value, ReadError> {
    serde_json::from_str(json).map_err(|error| ReadError::Malformed(error.to_string()))
}
