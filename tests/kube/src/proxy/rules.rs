//! What can happen to requests: which rule meets which request, and how often.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hyper::HeaderMap;
use hyper::body::Bytes;
use serde_json::{Value, json};
use tokio::sync::watch;

/// A request as a rule sees it.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Such as `GET`.
    pub method: String,
    /// Without the query.
    pub path: String,
    /// What stands after `?`; empty where nothing does.
    pub query: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Asked {
    /// Whether it is to change something.
    pub fn is_write(&self) -> bool {
        !matches!(self.method.as_str(), "GET" | "HEAD" | "OPTIONS")
    }

    /// Whether it is a watch.
    pub fn is_watch(&self) -> bool {
        self.query.split('&').any(|part| matches!(part, "watch=true" | "watch=1"))
    }
}

/// What happens to a request.
#[derive(Clone)]
pub(crate) enum Fate {
    /// The server is not asked.
    Answered { status: u16, headers: Vec<(&'static str, String)>, body: Value },
    /// The server is not asked; what is answered depends on the request.
    Computed(Arc<Answers>),
    /// The server has answered, but the connection breaks before the client hears of it.
    Lost,
    /// The connection breaks after so many bytes of the answer's body.
    Broken { after: usize },
    /// It reaches the server so much later, whether the client still waits or not.
    Late(Duration),
    /// It reaches the server when it is let go, whether the client still waits or not.
    Held(watch::Receiver<bool>),
    /// What was answered first is answered for ever.
    Frozen(Arc<tokio::sync::OnceCell<Kept>>),
}

/// An answer that was kept.
#[derive(Clone)]
pub(crate) struct Kept {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

type Meets = dyn Fn(&Asked) -> bool + Send + Sync;
type Answers = dyn Fn(&Asked) -> Value + Send + Sync;

/// A rule that is in force.
#[derive(Clone)]
pub(crate) struct Rule {
    meets: Arc<Meets>,
    left: Arc<AtomicUsize>,
    hits: Arc<AtomicUsize>,
    fate: Fate,
}

impl Rule {
    /// Whether the request meets it; if so, one of its times is used up.
    pub(crate) fn takes(&self, asked: &Asked) -> Option<Fate> {
        if !(self.meets)(asked) {
            return None;
        }
        let take = |left: usize| left.checked_sub(1);
        self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).ok()?;
        self.hits.fetch_add(1, Ordering::SeqCst);
        Some(self.fate.clone())
    }
}

/// A rule in the making: which requests, and how often.
#[must_use = "it says what is to happen, not yet that it shall"]
pub struct When<'p> {
    pub(crate) enforce: Box<dyn FnOnce(Rule) + 'p>,
    pub(crate) meets: Arc<Meets>,
    pub(crate) times: usize,
}

impl When<'_> {
    /// Only the first so many requests; the others pass.
    pub fn times(mut self, times: usize) -> Self {
        self.times = times;
        self
    }

    /// Only the first request.
    pub fn once(self) -> Self {
        self.times(1)
    }

    /// Is refused as an API server refuses: with a `Status` of this code and reason, such as 409 and `Conflict`.
    /// The server is not asked.
    pub fn refused(self, status: u16, reason: &str, message: &str) -> Hits {
        let body = refusal(status, reason, message);
        self.enforce(Fate::Answered { status, headers: Vec::new(), body })
    }

    /// The same, with `Retry-After`.
    pub fn refused_for(self, status: u16, reason: &str, retry_after: Duration) -> Hits {
        let body = refusal(status, reason, "the test says so");
        let headers = vec![("retry-after", retry_after.as_secs().to_string())];
        self.enforce(Fate::Answered { status, headers, body })
    }

    /// Is answered with this. The server is not asked.
    pub fn answered(self, status: u16, body: &Value) -> Hits {
        self.enforce(Fate::Answered { status, headers: Vec::new(), body: body.clone() })
    }

    /// Is answered with what this makes of it, such as a webhook's verdict. The server is not asked.
    pub fn answers(self, answer: impl Fn(&Asked) -> Value + Send + Sync + 'static) -> Hits {
        self.enforce(Fate::Computed(Arc::new(answer)))
    }

    /// Is carried out by the server, but the connection breaks before the client hears of it.
    pub fn loses_its_answer(self) -> Hits {
        self.enforce(Fate::Lost)
    }

    /// Is answered by the server, but the connection breaks after so many bytes of the body.
    pub fn breaks_after(self, bytes: usize) -> Hits {
        self.enforce(Fate::Broken { after: bytes })
    }

    /// Reaches the server so much later, even if the client has stopped waiting by then.
    pub fn is_late_by(self, delay: Duration) -> Hits {
        self.enforce(Fate::Late(delay))
    }

    /// Is stuck in the network until it is let go, and reaches the server then, even if the client has stopped
    /// waiting.
    pub fn is_held(self) -> Held {
        let (gate, opened) = watch::channel(false);
        Held { hits: self.enforce(Fate::Held(opened)), gate }
    }

    /// What the server answers first is answered again and again: the view of a server that has fallen behind.
    pub fn is_frozen(self) -> Hits {
        self.enforce(Fate::Frozen(Arc::default()))
    }

    fn enforce(self, fate: Fate) -> Hits {
        let hits = Arc::new(AtomicUsize::new(0));
        let left = Arc::new(AtomicUsize::new(self.times));
        (self.enforce)(Rule { meets: self.meets, left: left.clone(), hits: hits.clone(), fate });
        Hits { hits, left }
    }
}

/// How often a rule was met.
#[derive(Clone, Debug)]
pub struct Hits {
    hits: Arc<AtomicUsize>,
    left: Arc<AtomicUsize>,
}

impl Hits {
    /// Until now.
    pub fn count(&self) -> usize {
        self.hits.load(Ordering::SeqCst)
    }

    /// The rule holds no more.
    pub fn lift(&self) {
        self.left.store(0, Ordering::SeqCst);
    }
}

/// Requests that are stuck. Dropped, they are let go.
#[derive(Debug)]
pub struct Held {
    hits: Hits,
    gate: watch::Sender<bool>,
}

impl Held {
    /// How many are stuck, or were.
    pub fn count(&self) -> usize {
        self.hits.count()
    }

    /// They reach the server now, and the rule holds no more.
    pub fn let_go(self) {
        drop(self);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.hits.lift();
        self.gate.send_replace(true);
    }
}

impl fmt::Debug for When<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "When({} times)", self.times)
    }
}

fn refusal(status: u16, reason: &str, message: &str) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": status,
    })
}
