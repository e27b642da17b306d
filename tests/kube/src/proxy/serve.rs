//! Ends the client's TLS, lets rules decide on each request, and passes on what is left to the server.

use std::convert::Infallible;
use std::io;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::header::{CONNECTION, HOST, HeaderName, TRANSFER_ENCODING};
use hyper::http::{request, response};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::rules::{Asked, Fate, Kept, Rule};
use crate::api::Connections;
use crate::background;

type Answer = Response<BoxBody<Bytes, io::Error>>;

/// What requests meet, and those that came.
pub(crate) struct State {
    pub(crate) server: String,
    pub(crate) connections: Connections,
    pub(crate) rules: Mutex<Vec<Rule>>,
    pub(crate) seen: Mutex<Vec<Seen>>,
}

/// A request that came.
#[derive(Clone, Debug)]
pub struct Seen {
    /// What was asked.
    pub asked: Asked,
    /// Whether a rule was met.
    pub by_rule: bool,
    /// `HTTP/1.1` or `HTTP/2.0`.
    pub version: String,
}

/// Listens on a free port of 127.0.0.1, which it returns.
pub(crate) fn listen(state: &Arc<State>, tls: TlsAcceptor) -> (u16, tokio::task::AbortHandle) {
    let bound = background::wait(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
    let (listener, port) = bound
        .and_then(|listener| listener.local_addr().map(|address| (listener, address.port())))
        .unwrap_or_else(|error| panic!("a proxy cannot listen on 127.0.0.1: {error}"));
    let state = state.clone();
    let accepting = async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                // Such as too many open files: it passes, or the test ends.
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            };
            tokio::spawn(connection(stream, tls.clone(), state.clone()));
        }
    };
    (port, background::handle().spawn(accepting).abort_handle())
}

async fn connection(stream: TcpStream, tls: TlsAcceptor, state: Arc<State>) {
    // A client that trusts nobody here, or goes away, is the client's business.
    let Ok(stream) = tls.accept(stream).await else { return };
    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let service = service_fn(move |request| {
        let state = state.clone();
        // Carried on even if the client goes away: what is in the network is not taken back.
        let answer = tokio::spawn(async move { answer(&state, request).await });
        async move { answer.await.unwrap_or_else(|error| Err(io::Error::other(error))) }
    });
    let stream = TokioIo::new(stream);
    let _ = if http2 {
        http2::Builder::new(TokioExecutor::new()).serve_connection(stream, service).await
    } else {
        http1::Builder::new().serve_connection(stream, service).await
    };
}

/// An error breaks the connection, or with HTTP/2 the stream.
async fn answer(state: &State, request: Request<Incoming>) -> io::Result<Answer> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let asked = Asked {
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        headers: head.headers.clone(),
        body: body.clone(),
    };
    let fate = lock(&state.rules).iter().find_map(|rule| rule.takes(&asked));
    let version = format!("{:?}", head.version);
    lock(&state.seen).push(Seen { asked: asked.clone(), by_rule: fate.is_some(), version });
    match fate {
        None => pass(state, &head, body).await,
        Some(Fate::Answered { status, headers, body }) => json(status, headers, &body),
        Some(Fate::Computed(answers)) => json(200, Vec::new(), &answers(&asked)),
        Some(Fate::Lost) => {
            // The server has carried it out once its answer is there.
            let lost = pass(state, &head, body).await?;
            lost.into_body().collect().await?;
            Err(io::Error::other("the test loses this answer"))
        }
        Some(Fate::Broken { after }) => {
            let response = pass(state, &head, body).await?;
            Ok(response.map(|body| BoxBody::new(Breaking { body, left: after })))
        }
        Some(Fate::Late(delay)) => {
            tokio::time::sleep(delay).await;
            pass(state, &head, body).await
        }
        Some(Fate::Held(mut opened)) => {
            // An error says that the gate is gone, which opens it too.
            let _ = opened.wait_for(|opened| *opened).await;
            pass(state, &head, body).await
        }
        Some(Fate::Frozen(kept)) => {
            let kept = kept.get_or_try_init(|| async { keep(pass(state, &head, body).await?).await }).await?;
            let mut response = Response::new(whole(kept.body.clone()));
            *response.status_mut() = hyper::StatusCode::from_u16(kept.status).map_err(io::Error::other)?;
            *response.headers_mut() = kept.headers.clone();
            Ok(response)
        }
    }
}

async fn pass(state: &State, head: &request::Parts, body: Bytes) -> io::Result<Answer> {
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::builder().method(&head.method).uri(format!("{}{path}", state.server));
    for (name, value) in head.headers.iter().filter(|(name, _)| *name != HOST && !of_connection(name)) {
        request = request.header(name, value);
    }
    let request = request.body(Full::new(body)).map_err(io::Error::other)?;
    let (head, body) = state.connections.request(request).await.map_err(io::Error::other)?.into_parts();
    let response::Parts { status, mut headers, .. } = head;
    let names: Vec<HeaderName> = headers.keys().filter(|name| of_connection(name)).cloned().collect();
    for name in names {
        headers.remove(name);
    }
    let mut response = Response::new(BoxBody::new(body.map_err(io::Error::other)));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Ok(response)
}

fn json(status: u16, headers: Vec<(&'static str, String)>, body: &Value) -> io::Result<Answer> {
    let mut response = Response::builder().status(status).header("content-type", "application/json");
    for (name, value) in headers {
        response = response.header(name, value);
    }
    response.body(whole(body.to_string().into())).map_err(io::Error::other)
}

async fn keep(response: Answer) -> io::Result<Kept> {
    let (head, body) = response.into_parts();
    let body = body.collect().await?.to_bytes();
    Ok(Kept { status: head.status.as_u16(), headers: head.headers, body })
}

/// Headers that say how one connection works.
fn of_connection(name: &HeaderName) -> bool {
    *name == CONNECTION || *name == TRANSFER_ENCODING || name.as_str() == "keep-alive"
}

fn whole(bytes: Bytes) -> BoxBody<Bytes, io::Error> {
    BoxBody::new(Full::new(bytes).map_err(|never: Infallible| match never {}))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A body that fails after so many bytes.
struct Breaking {
    body: BoxBody<Bytes, io::Error>,
    left: usize,
}

impl Body for Breaking {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.left == 0 {
            return Poll::Ready(Some(Err(io::Error::other("the test breaks this answer"))));
        }
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        Poll::Ready(match frame {
            Some(Ok(frame)) => Some(Ok(match frame.into_data() {
                Ok(mut bytes) => {
                    bytes.truncate(self.left);
                    self.left -= bytes.len();
                    Frame::data(bytes)
                }
                Err(frame) => frame,
            })),
            // Broken also where the answer is shorter: the client has not heard its end.
            None => Some(Err(io::Error::other("the test breaks this answer"))),
            error => error,
        })
    }
}
