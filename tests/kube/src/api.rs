//! A client that shows what was answered: status, headers, body. It decides nothing and tries nothing twice.

use std::fmt;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tokio_rustls::rustls::ClientConfig;

use crate::background;
use crate::watch::Watch;

/// Unless a call says otherwise.
const PATIENCE: Duration = Duration::from_secs(30);

/// A client with its connections, for other parts of the harness.
pub(crate) type Connections = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// Connections over HTTP/1.1, kept while they are idle.
pub(crate) fn connections(tls: ClientConfig) -> Connections {
    let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().build();
    Client::builder(TokioExecutor::new()).build(connector)
}

/// A server as one user sees it. Its calls block; those that return an [`Answer`] panic when there is none.
#[derive(Clone)]
pub struct Api {
    connections: Connections,
    server: String,
    authorization: Option<HeaderValue>,
}

/// One request.
#[derive(Clone, Debug)]
pub struct Call {
    method: Method,
    path: String,
    accept: &'static str,
    headers: Vec<(&'static str, String)>,
    body: Option<(&'static str, Value)>,
    patience: Duration,
}

impl Call {
    /// A request without a body. The path has its query with it.
    pub fn new(method: Method, path: impl Into<String>) -> Self {
        Self {
            method,
            path: path.into(),
            accept: "application/json",
            headers: Vec::new(),
            body: None,
            patience: PATIENCE,
        }
    }

    /// A server-side apply, which fails when another manager owns a field in it with another value.
    pub fn apply(path: &str, manager: &str, object: &Value) -> Self {
        let manager = manager.replace('/', "%2F");
        let joint = if path.contains('?') { '&' } else { '?' };
        Self::new(Method::PATCH, format!("{path}{joint}fieldManager={manager}&force=false"))
            .body("application/apply-patch+yaml", object)
    }

    /// A server-side apply that takes fields over from other managers.
    pub fn force(path: &str, manager: &str, object: &Value) -> Self {
        let mut call = Self::apply(path, manager, object);
        call.path = call.path.replace("&force=false", "&force=true");
        call
    }

    /// A JSON merge patch.
    pub fn merge(path: &str, patch: &Value) -> Self {
        Self::new(Method::PATCH, path).body("application/merge-patch+json", patch)
    }

    /// With a body.
    #[must_use]
    pub fn body(mut self, content_type: &'static str, body: &Value) -> Self {
        self.body = Some((content_type, body.clone()));
        self
    }

    /// In another form, such as metadata only.
    #[must_use]
    pub fn accept(mut self, accept: &'static str) -> Self {
        self.accept = accept;
        self
    }

    /// With another header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// How long the whole answer may take.
    #[must_use]
    pub fn within(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }
}

/// What was answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as JSON; a string, if it is none.
    pub body: Value,
}

impl Answer {
    /// The body of a success.
    ///
    /// # Panics
    /// With the answer, if it is none.
    #[track_caller]
    pub fn ok(self) -> Value {
        assert!((200..300).contains(&self.status), "{}: {}", self.status, self.body);
        self.body
    }

    /// The body of an answer with this status.
    ///
    /// # Panics
    /// With the answer, if its status is another.
    #[track_caller]
    pub fn with(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.body);
        self.body
    }

    /// The `reason` of every cause in the `details` of a refusal, in their order.
    pub fn causes(&self) -> Vec<&str> {
        let causes = self.body["details"]["causes"].as_array();
        causes.into_iter().flatten().filter_map(|cause| cause["reason"].as_str()).collect()
    }
}

impl Api {
    pub(crate) fn new(server: String, tls: ClientConfig, token: Option<&str>) -> Self {
        let authorization = token.map(|token| {
            HeaderValue::try_from(format!("Bearer {token}")).unwrap_or_else(|_| panic!("a token is not text"))
        });
        Self { connections: connections(tls), server, authorization }
    }

    /// `https://HOST:PORT`
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Sends it and reads the whole answer.
    ///
    /// # Errors
    /// Nobody answered, or not to the end, or not within the time; in words.
    pub fn send(&self, call: Call) -> Result<Answer, String> {
        let (connections, request, patience) = (self.connections.clone(), self.request(&call)?, call.patience);
        let what = format!("{} {}", call.method, call.path);
        let answer = background::wait(async move {
            tokio::time::timeout(patience, async {
                let response = connections.request(request).await.map_err(|error| in_words(&error))?;
                let (head, body) = response.into_parts();
                let bytes = body.collect().await.map_err(|error| in_words(&error))?.to_bytes();
                Ok(Answer { status: head.status.as_u16(), headers: head.headers, body: parsed(&bytes) })
            })
            .await
            .unwrap_or_else(|_| Err(format!("no answer within {patience:?}")))
        });
        answer.map_err(|error| format!("{what}: {error}"))
    }

    /// Sends it.
    ///
    /// # Panics
    /// Nobody answered.
    #[track_caller]
    pub fn call(&self, call: Call) -> Answer {
        self.send(call).unwrap_or_else(|error| panic!("{error}"))
    }

    /// # Panics
    /// Nobody answered.
    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        self.call(Call::new(Method::GET, path))
    }

    /// # Panics
    /// Nobody answered.
    #[track_caller]
    pub fn post(&self, path: &str, object: &Value) -> Answer {
        self.call(Call::new(Method::POST, path).body("application/json", object))
    }

    /// # Panics
    /// Nobody answered.
    #[track_caller]
    pub fn put(&self, path: &str, object: &Value) -> Answer {
        self.call(Call::new(Method::PUT, path).body("application/json", object))
    }

    /// # Panics
    /// Nobody answered.
    #[track_caller]
    pub fn delete(&self, path: &str) -> Answer {
        self.call(Call::new(Method::DELETE, path))
    }

    /// A deletion with `DeleteOptions`, such as preconditions.
    ///
    /// # Panics
    /// Nobody answered.
    #[track_caller]
    pub fn delete_with(&self, path: &str, options: &Value) -> Answer {
        self.call(Call::new(Method::DELETE, path).body("application/json", options))
    }

    /// See [`Call::apply`].
    ///
    /// # Panics
    /// Nobody answered.
    #[track_caller]
    pub fn apply(&self, path: &str, manager: &str, object: &Value) -> Answer {
        self.call(Call::apply(path, manager, object))
    }

    /// See [`Call::force`].
    ///
    /// # Panics
    /// Nobody answered.
    #[track_caller]
    pub fn force(&self, path: &str, manager: &str, object: &Value) -> Answer {
        self.call(Call::force(path, manager, object))
    }

    /// See [`Call::merge`].
    ///
    /// # Panics
    /// Nobody answered.
    #[track_caller]
    pub fn merge(&self, path: &str, patch: &Value) -> Answer {
        self.call(Call::merge(path, patch))
    }

    /// Begins a watch. The path has `watch=true` in its query.
    ///
    /// # Panics
    /// Nobody answered, or with anything but a stream.
    #[track_caller]
    pub fn watch(&self, path: &str) -> Watch {
        let request = self.request(&Call::new(Method::GET, path)).unwrap_or_else(|error| panic!("{error}"));
        let connections = self.connections.clone();
        let response: Result<Response<Incoming>, String> =
            background::wait(async move { connections.request(request).await.map_err(|error| in_words(&error)) });
        let response = response.unwrap_or_else(|error| panic!("GET {path}: {error}"));
        assert_eq!(response.status(), 200, "GET {path}");
        Watch::new(response.into_body())
    }

    fn request(&self, call: &Call) -> Result<Request<Full<Bytes>>, String> {
        let mut request = Request::builder()
            .method(&call.method)
            .uri(format!("{}{}", self.server, call.path))
            .header(ACCEPT, call.accept);
        for (name, value) in &call.headers {
            request = request.header(*name, value);
        }
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let body = match &call.body {
            Some((content_type, value)) => {
                request = request.header(CONTENT_TYPE, *content_type);
                value.to_string()
            }
            None => String::new(),
        };
        request.body(Full::new(body.into())).map_err(|error| format!("{}: {error}", call.path))
    }
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Api({})", self.server)
    }
}

fn parsed(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(bytes).into_owned()))
}

/// With what is behind it.
fn in_words(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        words = format!("{words}: {error}");
        source = error.source();
    }
    words
}
