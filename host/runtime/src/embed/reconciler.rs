//! A reconciler that is a Rust type of the program.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::de::DeserializeOwned;
use setpoint_core::contract::{Failure, ListQuery, Outcome, ReadError, Request};
use setpoint_core::key::Key;
use setpoint_plugin::{BoxFuture, Reads};

use super::Describe;

/// Reconciles objects of the kinds that it describes, beside the components of a host and as they do: it is given a
/// request, reads through the host, and returns what there should be. It writes nothing itself.
///
/// ```
/// use setpoint_runtime::embed::{Child, Describe, Failure, Outcome, Reconciler, Request, TrackedReads, Update};
///
/// struct Greeter;
///
/// impl Reconciler for Greeter {
///     fn describe(&self) -> Describe {
///         let crd = serde_json::json!({/* the CustomResourceDefinition */});
///         Describe::new("greeter", "1.0.0").owns("v1", crd).writes("", "v1", "ConfigMap").pure()
///     }
///
///     async fn reconcile(&self, request: Request, _: TrackedReads) -> Result<Outcome, Failure> {
///         let greeting = serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap",
///             "metadata": {"name": &*request.key.name}, "data": {"text": "hello"}});
///         let child = Child { cluster: None, object: greeting.to_string(), update: Update::InPlace };
///         Ok(Outcome { children: Some(vec![child]), ..Outcome::default() })
///     }
/// }
/// ```
///
/// A panic is a failed attempt, and so is a call that takes longer than its timeout: it is given up where it next
/// waits. Of one that blocks its thread the host cannot take that back, so it must not: work that blocks belongs on a
/// thread of its own.
pub trait Reconciler: Send + Sync + 'static {
    /// What it is. Asked once.
    fn describe(&self) -> Describe;

    /// What there should be for one object.
    ///
    /// # Errors
    /// Why it cannot be said, and when to ask again.
    fn reconcile(&self, request: Request, reads: TrackedReads)
    -> impl Future<Output = Result<Outcome, Failure>> + Send;
}

/// The same for all types.
pub(super) trait AnyReconciler: Send + Sync {
    fn reconcile(&self, request: Request, reads: TrackedReads) -> BoxFuture<'_, Result<Outcome, Failure>>;
}

impl<R: Reconciler> AnyReconciler for R {
    fn reconcile(&self, request: Request, reads: TrackedReads) -> BoxFuture<'_, Result<Outcome, Failure>> {
        Box::pin(Reconciler::reconcile(self, request, reads))
    }
}

type Got = Result<Option<Arc<str>>, ReadError>;
type Listed = Result<Arc<[Arc<str>]>, ReadError>;

#[derive(Default)]
struct Answered {
    gets: HashMap<Key, Got>,
    lists: HashMap<ListQuery, Listed>,
    calls: u32,
}

/// Reads of one call. Each is recorded before it is answered: when what was read changes, comes or goes, the object is
/// reconciled again. A question that is asked twice in a call has one answer (rule A3). Cheap to clone.
#[derive(Clone)]
pub struct TrackedReads {
    source: Arc<dyn Reads>,
    answered: Arc<Mutex<Answered>>,
    most: u32,
}

impl TrackedReads {
    pub(super) fn new(source: Arc<dyn Reads>, most: u32) -> Self {
        Self { source, answered: Arc::default(), most }
    }

    fn lock(&self) -> MutexGuard<'_, Answered> {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, answered: &mut Answered) -> Result<(), ReadError> {
        if answered.calls >= self.most {
            return Err(ReadError::LimitExceeded(format!("more than {} reads in one call", self.most)));
        }
        answered.calls += 1;
        Ok(())
    }

    /// One object as JSON. None: it is proven that there is none.
    ///
    /// # Errors
    /// It may not be read, or cannot be known at present. Neither says that there is none.
    pub async fn get(&self, key: &Key) -> Got {
        {
            let mut answered = self.lock();
            self.count(&mut answered)?;
            if let Some(known) = answered.gets.get(key) {
                return known.clone();
            }
        }
        let answer = self.source.get(key.clone()).await;
        // Of two who ask at the same time the first has the answer.
        self.lock().gets.entry(key.clone()).or_insert(answer).clone()
    }

    /// The objects of a list as JSON, in order of namespace and name. All of them, or an error.
    ///
    /// # Errors
    /// As [`TrackedReads::get`].
    pub async fn list(&self, query: &ListQuery) -> Listed {
        {
            let mut answered = self.lock();
            self.count(&mut answered)?;
            if let Some(known) = answered.lists.get(query) {
                return known.clone();
            }
        }
        let answer = self.source.list(query.clone()).await;
        self.lock().lists.entry(query.clone()).or_insert(answer).clone()
    }

    /// As [`TrackedReads::get`], as a type.
    ///
    /// # Errors
    /// A failure to be returned as it is: one that is tried again where the host cannot know, and a permanent one where
    /// it may not be read or is not of this type, until that changes.
    pub async fn get_as<T: DeserializeOwned>(&self, key: &Key) -> Result<Option<T>, Failure> {
        let Some(json) = self.get(key).await.map_err(failure)? else { return Ok(None) };
        parse(&json, || key.to_string()).map(Some)
    }

    /// As [`TrackedReads::list`], as a type.
    ///
    /// # Errors
    /// As [`TrackedReads::get_as`].
    pub async fn list_as<T: DeserializeOwned>(&self, query: &ListQuery) -> Result<Vec<T>, Failure> {
        let items = self.list(query).await.map_err(failure)?;
        items.iter().map(|json| parse(json, || format!("an object of {}", query.kind))).collect()
    }
}

fn parse<T: DeserializeOwned>(json: &str, what: impl Fn() -> String) -> Result<T, Failure> {
    serde_json::from_str(json).map_err(|error| Failure::Permanent(format!("{}: {error}", what())))
}

fn failure(error: ReadError) -> Failure {
    match error {
        ReadError::Unavailable(_) => Failure::Retry(error.to_string()),
        _ => Failure::Permanent(error.to_string()),
    }
}
