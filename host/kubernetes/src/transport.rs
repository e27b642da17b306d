//! One request to an API server, and what came of it.
//!
//! Nothing is retried here that may have been done already, but for the renewal of credentials and the pauses
//! that the server asks for: the rules decide what is tried again. Bodies are never logged.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use setpoint_cluster::{Permit, ServiceAccount, Warrant};
use tokio::time::Instant;
use tower::ServiceExt;

use crate::access::{Link, Place, Service, shown};
use crate::failure::Failure;
use crate::options::{Access, Limits};
use crate::status::ApiStatus;
use crate::throttle::Throttle;

/// An answer larger than this is not read: pages of lists are made smaller long before.
const MAX_BODY: usize = 256 << 20;
/// Between two links because of failures: making one may run a command that fetches credentials.
const RENEW_AT_MOST_EVERY: Duration = Duration::from_secs(5);
/// The same while nothing listens at the address: it is tried anyway.
const READ_ANEW_EVERY: Duration = Duration::from_secs(30);
/// A pause that the server asks for without saying how long.
const PAUSE: Duration = Duration::from_secs(1);
/// How often a request is made anew that the server has refused without doing anything.
const AGAIN: u32 = 3;
/// What an API server knows this host by.
const AGENT: &str = concat!("setpoint/", env!("CARGO_PKG_VERSION"));

/// As whom a request is made.
const IMPERSONATE: &str = "impersonate-user";

pub(crate) const JSON: &str = "application/json";
pub(crate) const APPLY: &str = "application/apply-patch+yaml";
pub(crate) const MERGE_PATCH: &str = "application/merge-patch+json";

/// Whether this host may write now (rule D8).
pub trait Fence: Send + Sync {
    /// Asked immediately before each mutating request.
    fn may_write(&self) -> bool;

    /// How long a mutating request may take.
    fn write_timeout(&self) -> Duration;
}

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    /// Path and query, without the server's own.
    pub(crate) path: String,
    pub(crate) accept: &'static str,
    /// Its type and content.
    pub(crate) body: Option<(&'static str, Bytes)>,
    /// Until when there has to be an answer, from now; none: as long as requests may take.
    pub(crate) within: Option<Duration>,
    /// It writes by the rules of this host: the lease has to be held (rule D8).
    pub(crate) fenced: bool,
    /// Asked in the place of the connection's own fence: what it is written for may be another host's meanwhile.
    pub(crate) permit: Option<Permit>,
    /// Made as this account; none: as who the credentials are of.
    pub(crate) acts_as: Option<Arc<ServiceAccount>>,
    /// It does not wait for its turn.
    pub(crate) urgent: bool,
}

impl Call {
    /// Asks for something.
    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self {
            method: Method::GET,
            path: path.into(),
            accept: JSON,
            body: None,
            within: None,
            fenced: false,
            permit: None,
            acts_as: None,
            urgent: false,
        }
    }

    /// Writes something.
    pub(crate) fn write(method: Method, path: impl Into<String>, kind: &'static str, body: Vec<u8>) -> Self {
        Self { method, body: Some((kind, Bytes::from(body))), fenced: true, ..Self::get(path) }
    }

    /// Written by this right.
    pub(crate) fn warranted(mut self, warrant: &Warrant) -> Self {
        Warrant { permit: self.permit, acts_as: self.acts_as } = warrant.clone();
        self
    }

    pub(crate) fn accept(mut self, accept: &'static str) -> Self {
        self.accept = accept;
        self
    }

    fn mutates(&self) -> bool {
        self.method != Method::GET
    }
}

/// A success.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) code: StatusCode,
    pub(crate) body: Bytes,
}

/// An answer that goes on.
pub(crate) struct Opened {
    pub(crate) body: Incoming,
    _place: Place,
}

/// Requests by what came of them.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) requests: AtomicU64,
    pub(crate) failures: AtomicU64,
    pub(crate) links: AtomicU64,
    /// By method and status; 0: there was no answer.
    answers: Mutex<BTreeMap<(String, u16), u64>>,
}

impl Counters {
    fn begins(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    fn ended(&self, method: &Method, code: u16, failed: bool) {
        if failed {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        *answers.entry((method.to_string(), code)).or_default() += 1;
    }

    /// How many there were of each method and status.
    pub(crate) fn answers(&self) -> Vec<(String, u16, u64)> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.iter().map(|((method, code), count)| (method.clone(), *code, *count)).collect()
    }
}

/// The status of a failure; 0: there was no answer.
fn code_of(failure: &Failure) -> u16 {
    failure.status().map_or(0, |status| status.code)
}

/// The way to one API server.
pub(crate) struct Transport {
    access: Access,
    limits: Limits,
    link: RwLock<Arc<Link>>,
    /// Held while a link is made; when the last one was.
    renewing: tokio::sync::Mutex<Instant>,
    throttle: Throttle,
    fence: RwLock<Option<Arc<dyn Fence>>>,
    pub(crate) counters: Counters,
}

impl Transport {
    /// A way by these credentials. Nothing is sent.
    ///
    /// # Errors
    /// What is wrong with the configuration, and where.
    pub(crate) async fn new(access: Access, limits: Limits) -> Result<Self, String> {
        let link = Link::make(&access, 1).await?;
        Ok(Self {
            throttle: Throttle::new(&limits),
            access,
            limits,
            link: RwLock::new(Arc::new(link)),
            renewing: tokio::sync::Mutex::new(Instant::now()),
            fence: RwLock::default(),
            counters: Counters::default(),
        })
    }

    /// From now on mutating requests are made only while this holds.
    pub(crate) fn set_fence(&self, fence: Option<Arc<dyn Fence>>) {
        *self.fence.write().unwrap_or_else(PoisonError::into_inner) = fence;
    }

    /// The address of the server, and where it was read, for people.
    pub(crate) fn shown(&self) -> String {
        format!("{} ({})", self.server(), shown(&self.access))
    }

    /// The address of the server.
    pub(crate) fn server(&self) -> String {
        self.link().server.clone()
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    fn link(&self) -> Arc<Link> {
        self.link.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn fence(&self) -> Option<Arc<dyn Fence>> {
        self.fence.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How long a mutating request may take in the server, as its parameter `timeout`.
    pub(crate) fn write_timeout(&self) -> Duration {
        self.fence().map_or(self.limits.request, |fence| fence.write_timeout().min(self.limits.request))
    }

    /// Makes a request and reads the whole answer.
    ///
    /// # Errors
    /// Anything that is no success.
    pub(crate) async fn send(&self, call: Call) -> Result<Reply, Failure> {
        let mut within = call.within.unwrap_or(self.limits.request);
        if call.mutates() && call.fenced {
            within = within.min(self.write_timeout());
        }
        let deadline = Instant::now() + within;
        let mut tries = 0;
        loop {
            tries += 1;
            let link = self.link();
            let failure = match self.once(&link, &call, deadline).await {
                Ok(reply) => return Ok(reply),
                Err(failure) => failure,
            };
            if tries >= AGAIN || !self.may_be_sent_again(&link, &failure, deadline).await {
                return Err(failure);
            }
        }
    }

    /// Whether a request that has failed was not done, and may do better now.
    async fn may_be_sent_again(&self, link: &Link, failure: &Failure, deadline: Instant) -> bool {
        match failure {
            Failure::Status(status) if status.is_busy() => {
                let pause = status.retry_after.map_or(PAUSE, Duration::from_secs);
                self.throttle.pause(pause);
                // A proxy's 503 may have come after the request was passed on.
                status.code == 429 && Instant::now() + pause < deadline
            }
            failure if failure.wants_new_link() => {
                let every = match failure {
                    Failure::Unreachable(_) => READ_ANEW_EVERY,
                    _ => RENEW_AT_MOST_EVERY,
                };
                let renewed = self.renew(link.number, every).await;
                // Refused for want of credentials, it was not done; the others are for the rules to decide.
                renewed && failure.is_code(401) && Instant::now() < deadline
            }
            _ => false,
        }
    }

    async fn once(&self, link: &Link, call: &Call, deadline: Instant) -> Result<Reply, Failure> {
        let _slot = if call.urgent { None } else { Some(self.throttle.admit(deadline).await?) };
        self.check_fence(call)?;
        self.counters.begins();
        let answer = async {
            let response = respond(link.service.clone(), request(call)?).await?;
            let (parts, body) = response.into_parts();
            let body = collect(body).await?;
            Ok::<_, Failure>((parts, body))
        };
        let result = match tokio::time::timeout_at(deadline, answer).await {
            Ok(Ok((parts, body))) if parts.status.is_success() => Ok(Reply { code: parts.status, body }),
            Ok(Ok((parts, body))) => Err(refused(parts.status, &parts.headers, &body)),
            Ok(Err(failure)) => Err(failure),
            Err(_) => Err(Failure::NoAnswer("it took too long".into())),
        };
        let code = result.as_ref().map_or_else(code_of, |reply| reply.code.as_u16());
        self.counters.ended(&call.method, code, result.is_err());
        result
    }

    fn check_fence(&self, call: &Call) -> Result<(), Failure> {
        let may_write = match &call.permit {
            _ if !call.fenced || !call.mutates() => true,
            Some(permit) => permit.holds(),
            None => self.fence().is_none_or(|fence| fence.may_write()),
        };
        if may_write { Ok(()) } else { Err(Failure::NotHolder) }
    }

    /// Begins to read an answer that goes on.
    ///
    /// # Errors
    /// Anything that is no success.
    pub(crate) async fn open(&self, call: Call) -> Result<Opened, Failure> {
        let deadline = Instant::now() + call.within.unwrap_or(self.limits.request);
        let mut tries = 0;
        loop {
            tries += 1;
            let link = self.link();
            let failure = match self.open_once(&link, &call, deadline).await {
                Ok(body) => return Ok(body),
                Err(failure) => failure,
            };
            if tries >= AGAIN || !self.may_be_sent_again(&link, &failure, deadline).await {
                return Err(failure);
            }
        }
    }

    async fn open_once(&self, link: &Link, call: &Call, deadline: Instant) -> Result<Opened, Failure> {
        // Watches hold no slot: they are as many as there are reflectors.
        drop(self.throttle.admit(deadline).await?);
        self.counters.begins();
        let place = link.place();
        let answer = async {
            let response = respond(place.service(), request(call)?).await?;
            if response.status().is_success() {
                return Ok(response.into_body());
            }
            let (parts, body) = response.into_parts();
            Err(refused(parts.status, &parts.headers, &collect(body).await?))
        };
        let result = tokio::time::timeout_at(deadline, answer).await;
        let result = result.unwrap_or_else(|_| Err(Failure::NoAnswer("it took too long".into())));
        self.counters.ended(&call.method, result.as_ref().map_or_else(code_of, |_| 200), result.is_err());
        Ok(Opened { body: result?, _place: place })
    }

    /// Reads the credentials anew and makes another link of them, unless somebody else just has. What runs on
    /// the old one goes on there. Answers whether there is another link now.
    async fn renew(&self, number: u64, every: Duration) -> bool {
        let mut last = self.renewing.lock().await;
        if self.link().number != number {
            return true;
        }
        if self.counters.links.load(Ordering::Relaxed) > 0 && last.elapsed() < every {
            return false;
        }
        *last = Instant::now();
        self.counters.links.fetch_add(1, Ordering::Relaxed);
        match Link::make(&self.access, number + 1).await {
            Ok(link) => {
                *self.link.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(link);
                true
            }
            Err(error) => {
                tracing::warn!("{error}; the credentials that were read last stay in use");
                false
            }
        }
    }

    /// A watch has gone silent: the next one is made over another connection.
    pub(crate) async fn doubt_link(&self) {
        let number = self.link().number;
        self.renew(number, RENEW_AT_MOST_EVERY).await;
    }
}

fn request(call: &Call) -> Result<Request<Full<Bytes>>, Failure> {
    let mut builder = Request::builder()
        .method(call.method.clone())
        .uri(&call.path)
        .header(ACCEPT, call.accept)
        .header(ACCEPT_ENCODING, "identity")
        .header(USER_AGENT, AGENT);
    if let Some(account) = &call.acts_as {
        builder = builder.header(IMPERSONATE, account.user());
    }
    let mut content = Bytes::new();
    if let Some((kind, body)) = &call.body {
        builder = builder.header(CONTENT_TYPE, *kind);
        content = body.clone();
    }
    builder.body(Full::new(content)).map_err(|error| Failure::Garbled(format!("{}: {error}", call.path)))
}

async fn respond(service: Service, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Failure> {
    service.oneshot(request).await.map_err(|error| Failure::of_client(error.as_ref()))
}

async fn collect(mut body: Incoming) -> Result<Bytes, Failure> {
    let expected = body.size_hint().exact().unwrap_or(0).min(MAX_BODY as u64) as usize;
    let mut whole = BytesMut::with_capacity(expected);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Failure::NoAnswer(crate::failure::chain(&error)))?;
        if let Some(data) = frame.data_ref() {
            if whole.len() + data.len() > MAX_BODY {
                return Err(Failure::Garbled("it is larger than the host reads".into()));
            }
            whole.extend_from_slice(data);
        }
    }
    Ok(whole.freeze())
}

fn refused(code: StatusCode, headers: &HeaderMap, body: &[u8]) -> Failure {
    let after = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    Failure::Status(Box::new(ApiStatus::read(code.as_u16(), after, body)))
}
