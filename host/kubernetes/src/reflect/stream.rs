//! Lists and watches as they come over the wire.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use setpoint_core::coverage::Scope;
use setpoint_core::effects::OWNER_LABEL;
use setpoint_core::key::{Key, Name};
use setpoint_core::object::Object;
use setpoint_core::reflector::{End, SILENCE};

use crate::failure::{Failure, chain};
use crate::intake::{Bookmark, Intake, Page, WatchEvent};
use crate::lines::Lines;
use crate::resource::{Query, Resource};
use crate::rights::Asked;
use crate::status::ApiStatus;
use crate::transport::{Call, JSON, Transport};

const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
const METADATA_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
/// A page of this size makes the next one smaller.
const LARGE_PAGE: usize = 8 << 20;
/// One page may take so long.
const PAGE_TIMEOUT: Duration = Duration::from_secs(60);
/// A list whose pages expire is begun anew so many times in a row before it is asked for as a whole.
const EXPIRED: u32 = 2;

/// What a list or a watch shows.
#[derive(Debug)]
pub(crate) enum Shown {
    /// An object as it is; none: it is gone, or not selected any more.
    Object(Key, Option<Arc<Object>>),
    /// An object that is there and cannot be read.
    Unreadable(Key),
    /// Everything up to this version was shown.
    Bookmark(String),
    /// All that was there when the watch began was shown, up to this version.
    Listed(String),
}

/// Which objects of a kind, and how much of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Selection {
    namespace: Option<Name>,
    name: Option<Name>,
    labels: Option<String>,
    metadata_only: bool,
}

impl Selection {
    pub(crate) fn of(scope: &Scope, metadata_only: bool) -> Self {
        let all = Self { namespace: None, name: None, labels: None, metadata_only };
        match scope.clone() {
            Scope::All => all,
            Scope::Namespace(namespace) => Self { namespace: Some(namespace), ..all },
            Scope::Object(namespace, name) => Self { namespace, name: Some(name), ..all },
            Scope::Owned(namespace) => Self { namespace, labels: Some(OWNER_LABEL.to_owned()), ..all },
        }
    }

    /// Those of one owner, in one namespace or in all.
    pub(crate) fn owned_by(mark: &str, namespace: Option<Name>) -> Self {
        let labels = Some(format!("{OWNER_LABEL}={mark}"));
        Self { namespace, name: None, labels, metadata_only: false }
    }

    /// The same without content.
    pub(crate) fn metadata(self) -> Self {
        Self { metadata_only: true, ..self }
    }

    fn query(&self, resource: &Resource) -> Query {
        let mut query = Query::new(resource.collection(self.namespace.as_deref()));
        if let Some(labels) = &self.labels {
            query = query.with("labelSelector", labels);
        }
        if let Some(name) = &self.name {
            query = query.with("fieldSelector", &format!("metadata.name={name}"));
        }
        query
    }

    /// The right that it takes.
    pub(crate) fn asked<'a>(&'a self, resource: &'a Resource, verbs: &'static [&'static str]) -> Asked<'a> {
        Asked::within(resource, (self.namespace.as_deref(), self.name.as_deref()), verbs)
    }
}

/// Lists and watches of one selection.
pub(crate) struct Stream<'a> {
    pub(crate) transport: &'a Transport,
    pub(crate) resource: &'a Resource,
    pub(crate) selection: &'a Selection,
    pub(crate) intake: &'a Intake,
}

impl Stream<'_> {
    /// A complete list, page by page, as of one version. Nothing older than what the server knows for certain.
    ///
    /// # Errors
    /// It could not be completed: what was shown of it is no list.
    pub(crate) async fn list(&self, hear: &mut (dyn FnMut(Shown) + Send)) -> Result<String, Failure> {
        let accept = if self.selection.metadata_only { METADATA_LIST } else { JSON };
        let mut limit = self.transport.limits().page;
        let mut next = String::new();
        let mut expired = 0;
        loop {
            let mut query = self.selection.query(self.resource);
            if limit > 0 {
                query = query.with("limit", &limit.to_string());
            }
            if !next.is_empty() {
                query = query.with("continue", &next);
            }
            let call = Call { within: Some(PAGE_TIMEOUT), ..Call::get(query.done()).accept(accept) };
            let reply = match self.transport.send(call).await {
                Ok(reply) => reply,
                Err(failure) if !next.is_empty() && failure.status().is_some_and(ApiStatus::is_expired) => {
                    // The rest of that list is not to be had any more.
                    expired += 1;
                    next.clear();
                    if expired >= EXPIRED {
                        limit = 0;
                    }
                    continue;
                }
                Err(failure) => return Err(failure),
            };
            let page: Page<'_> = serde_json::from_slice(&reply.body)
                .map_err(|error| Failure::Garbled(format!("a list of {}: {error}", self.resource.plural)))?;
            for item in page.items.unwrap_or_default() {
                hear(self.shown(item.get().as_bytes())?);
            }
            if page.metadata.next.is_empty() {
                return Ok(page.metadata.resource_version);
            }
            next = page.metadata.next;
            if reply.body.len() > LARGE_PAGE && limit > 1 {
                limit = (limit / 2).max(1);
            }
        }
    }

    /// The version that the server has come to.
    ///
    /// # Errors
    /// It does not say.
    pub(crate) async fn version(&self) -> Result<String, Failure> {
        let query = self.selection.query(self.resource).with("limit", "1").done();
        let reply = self.transport.send(Call::get(query).accept(METADATA_LIST)).await?;
        let page: Page<'_> = serde_json::from_slice(&reply.body)
            .map_err(|error| Failure::Garbled(format!("a list of {}: {error}", self.resource.plural)))?;
        Ok(page.metadata.resource_version)
    }

    fn shown(&self, json: &[u8]) -> Result<Shown, Failure> {
        match self.intake.read(json) {
            Ok((key, object)) => Ok(Shown::Object(key, Some(object))),
            Err(error) => match self.intake.identify(json) {
                Some(key) => {
                    tracing::error!(%key, "an object cannot be read and is left as it was known: {error}");
                    Ok(Shown::Unreadable(key))
                }
                None => Err(Failure::Garbled(format!("an object of {}: {error}", self.resource.plural))),
            },
        }
    }

    /// Watches from a version, or, without one, from the beginning: then everything that is there is shown
    /// first. `begun` is called when the server has begun to answer. Ends with the reason for which it ended.
    pub(crate) async fn watch(
        &self,
        version: Option<&str>,
        begun: impl FnOnce() + Send,
        hear: &mut (dyn FnMut(Shown) + Send),
    ) -> End {
        let seconds = 300 + super::random() % 300;
        let mut query = self
            .selection
            .query(self.resource)
            .with("watch", "true")
            .with("allowWatchBookmarks", "true")
            .with("timeoutSeconds", &seconds.to_string());
        query = match version {
            Some(version) => query.with("resourceVersion", version),
            None => query.with("sendInitialEvents", "true").with("resourceVersionMatch", "NotOlderThan"),
        };
        let accept = if self.selection.metadata_only { METADATA } else { JSON };
        let mut opened = match self.transport.open(Call::get(query.done()).accept(accept)).await {
            Ok(opened) => opened,
            Err(failure) if version.is_none() && is_no_streaming(&failure) => return End::NoStreaming,
            Err(failure) => return self.end(&failure),
        };
        begun();
        let mut lines = Lines::default();
        let silence = Duration::from_millis(SILENCE);
        loop {
            let piece = match tokio::time::timeout(silence, opened.body.frame()).await {
                Err(_) => {
                    self.transport.doubt_link().await;
                    return End::Silent;
                }
                Ok(None) => return End::Closed,
                Ok(Some(Err(error))) => return End::Lost(format!("the watch was cut: {}", chain(&error))),
                Ok(Some(Ok(piece))) => piece,
            };
            let Some(data) = piece.data_ref() else { continue };
            if lines.push(data).is_err() {
                return End::Lost("the server sends an event that has no end".into());
            }
            while let Some(line) = lines.next() {
                match self.event(&line) {
                    Ok(Some(shown)) => hear(shown),
                    Ok(None) => {}
                    Err(end) => return end,
                }
            }
        }
    }

    fn event(&self, line: &[u8]) -> Result<Option<Shown>, End> {
        let event: WatchEvent<'_> = serde_json::from_slice(line)
            .map_err(|error| End::Lost(format!("the server sends what is no event: {error}")))?;
        let json = event.object.get().as_bytes();
        match event.kind {
            "ADDED" | "MODIFIED" => self.shown(json).map(Some).map_err(|failure| End::Lost(failure.to_string())),
            "DELETED" => match self.intake.identify(json) {
                Some(key) => Ok(Some(Shown::Object(key, None))),
                None => Err(End::Lost("the server tells that something is gone that has no name".into())),
            },
            "BOOKMARK" => {
                let bookmark: Bookmark = serde_json::from_slice(json)
                    .map_err(|error| End::Lost(format!("the server sends what is no bookmark: {error}")))?;
                let version = bookmark.version().to_owned();
                Ok(Some(if bookmark.ends_initial_events() { Shown::Listed(version) } else { Shown::Bookmark(version) }))
            }
            "ERROR" => Err(self.end(&Failure::Status(Box::new(ApiStatus::read(200, None, json))))),
            // Of a later version of the API; what it says is not known.
            _ => Ok(None),
        }
    }

    /// What a failure of a list or a watch means.
    pub(crate) fn end(&self, failure: &Failure) -> End {
        let text = failure.to_string();
        let Failure::Status(status) = failure else { return End::Lost(text) };
        if status.is_expired() {
            return End::Expired;
        }
        if status.is_busy() {
            return End::Busy(status.retry_after.map(|seconds| seconds * 1_000), text);
        }
        match status.code {
            403 if status.is_missing_right() => {
                End::Forbidden(self.selection.asked(self.resource, &["list", "watch"]).forbidden())
            }
            403 => End::Forbidden(text),
            404 => End::NotServed(format!(
                "the API server does not serve {} in {}",
                self.resource.kind.kind,
                self.resource.kind.api_version()
            )),
            405 => End::NotServed(format!("{} cannot be listed and watched", self.resource.plural)),
            _ => End::Lost(text),
        }
    }
}

/// Whether a server refuses to list as the beginning of a watch.
fn is_no_streaming(failure: &Failure) -> bool {
    failure.is_code(400) || failure.is_code(422) || failure.is_code(406)
}
