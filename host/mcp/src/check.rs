//! Looking at an endpoint once: what a Probe asks for.

use std::sync::Arc;
use std::time::Duration;

use axum::http::Method as HttpMethod;
use setpoint_core::probe::{HttpTarget, McpTarget, Method, ProbeReason, Report, Server, Target, TcpTarget};
use tokio::time::Instant;

use crate::failure::Failure;
use crate::http::{Access, Ask, Http, SecretHeaders, Tls, Trail, dial, parse_url};
use crate::hub::Hub;
use crate::remote::{Begin, Conversation, FirstFailure, LegacySse, NotBegun, StreamableTransport, streamable};

/// How long the end of a conversation may take, which nobody waits for.
const FAREWELL: Duration = Duration::from_secs(5);

/// Looks at endpoints. One for all of them: they share what is known of certificate authorities, and no connections.
#[derive(Clone, Debug)]
pub struct Checker {
    tls: Arc<Tls>,
}

/// What an attempt needs beside its target.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The target's headers, with their values.
    pub headers: SecretHeaders,
    /// Hosts and ports that may be connected to, also by redirects.
    pub access: Access,
    /// The longest that it may take.
    pub timeout: Duration,
    /// The hub of the Process that the target names; none if that does not run.
    pub hub: Option<Hub>,
}

/// What came of an attempt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Checked {
    /// How the endpoint was found.
    pub report: Report,
    /// How long that took.
    pub latency: Duration,
}

impl Checker {
    /// Trusts the system's certificate authorities, and those of a bundle in PEM form.
    ///
    /// # Errors
    /// The bundle cannot be read.
    pub fn new(bundle: Option<&[u8]>) -> Result<Self, String> {
        Ok(Self { tls: Arc::new(Tls::new(bundle)?) })
    }

    /// Looks at an endpoint. Never takes longer than the timeout, and always answers.
    pub async fn check(&self, target: &Target, attempt: &Attempt) -> Checked {
        let began = Instant::now();
        let report = match (target, &attempt.hub) {
            (Target::Mcp(McpTarget::Stdio { .. }), Some(hub)) => hub.check(attempt.timeout).await,
            (Target::Mcp(McpTarget::Stdio { process }), None) => {
                Report::failure(ProbeReason::ProcessNotReady, &format!("process {process} does not run"))
            }
            (Target::Tcp(tcp), _) => self.timed(attempt, &tcp.host, |trail| connect(tcp, attempt, trail)).await,
            (Target::Http(http), _) => self.timed(attempt, &http.url, |trail| self.request(http, attempt, trail)).await,
            (Target::Mcp(McpTarget::StreamableHttp { url, .. }), _) => {
                self.timed(attempt, url, |trail| self.streamable(url, attempt, trail)).await
            }
            (Target::Mcp(McpTarget::Sse { url, .. }), _) => {
                self.timed(attempt, url, |trail| self.legacy(url, attempt, trail)).await
            }
        };
        Checked { report, latency: began.elapsed() }
    }

    /// A transport of the SDK to a server that speaks streamable HTTP. It listens to notifications as well.
    pub fn streamable_transport(&self, url: &str, headers: SecretHeaders, access: Access) -> StreamableTransport {
        let http = Http::new(self.tls.clone(), access, headers, Trail::default(), ProbeReason::NotMCP);
        streamable(http, url, FirstFailure::default(), true)
    }

    /// A transport of the SDK to a server that speaks the legacy HTTP with server-sent events.
    ///
    /// # Errors
    /// Its stream does not come about.
    pub async fn legacy_transport(
        &self,
        url: &str,
        headers: SecretHeaders,
        access: Access,
    ) -> Result<LegacySse, Failure> {
        let http = Http::new(self.tls.clone(), access, headers, Trail::default(), ProbeReason::NotMCP);
        LegacySse::connect(http, url, FirstFailure::default()).await
    }

    /// Within the timeout, and with nothing secret in what is said.
    async fn timed<F>(&self, attempt: &Attempt, what: &str, look: impl FnOnce(Trail) -> F) -> Report
    where
        F: Future<Output = Result<Report, Failure>>,
    {
        let trail = Trail::default();
        let looked = tokio::time::timeout(attempt.timeout, look(trail.clone())).await;
        let looked =
            looked.unwrap_or_else(|_| Err(Failure::new(ProbeReason::Timeout, format!("{what}: {}", trail.missing()))));
        match looked {
            Ok(report) => report,
            Err(failure) => {
                let said = attempt.headers.scrub(failure.message());
                let failed = Failure::new(failure.reason(), said).report();
                failed.with_http_status(failure.http_status())
            }
        }
    }

    fn client(&self, attempt: &Attempt, trail: Trail, garbage: ProbeReason) -> Http {
        Http::new(self.tls.clone(), attempt.access.clone(), attempt.headers.clone(), trail, garbage)
    }

    async fn request(&self, target: &HttpTarget, attempt: &Attempt, trail: Trail) -> Result<Report, Failure> {
        let method = match target.method {
            Method::Get => HttpMethod::GET,
            Method::Head => HttpMethod::HEAD,
        };
        let mut ask = Ask::new(method, parse_url(&target.url)?);
        ask.wanted.clone_from(&target.expected_status);
        let answer = self.client(attempt, trail, ProbeReason::ProtocolError).send(&ask).await?;
        let status = answer.status();
        if !target.expects(status) {
            return Err(answer.refused());
        }
        Ok(Report::healthy("the server answers as expected").with_http_status(Some(status)))
    }

    async fn streamable(&self, url: &str, attempt: &Attempt, trail: Trail) -> Result<Report, Failure> {
        let http = self.client(attempt, trail, ProbeReason::NotMCP);
        let begin = |begin| {
            let first = FirstFailure::default();
            Conversation::begin(streamable(http.clone(), url, first.clone(), false), begin, first)
        };
        let conversation = match begin(Begin::Initialize).await {
            Ok(conversation) => conversation,
            Err(NotBegun::Failed(failure)) => return Err(failure),
            // The failure of the usual way is the one that is told.
            Err(NotBegun::Newer(failure)) => begin(Begin::Discover).await.map_err(|_| failure)?,
        };
        look(conversation, attempt).await
    }

    async fn legacy(&self, url: &str, attempt: &Attempt, trail: Trail) -> Result<Report, Failure> {
        let first = FirstFailure::default();
        let transport =
            LegacySse::connect(self.client(attempt, trail, ProbeReason::NotMCP), url, first.clone()).await?;
        match Conversation::begin(transport, Begin::Initialize, first).await {
            Ok(conversation) => look(conversation, attempt).await,
            Err(NotBegun::Newer(failure) | NotBegun::Failed(failure)) => Err(failure),
        }
    }
}

/// Whether a connection can be made.
async fn connect(target: &TcpTarget, attempt: &Attempt, trail: Trail) -> Result<Report, Failure> {
    dial(&target.host, target.port, &attempt.access, &trail).await?;
    Ok(Report::healthy("the port accepts connections"))
}

/// Looks at a server, and takes leave without anybody waiting for it.
async fn look(conversation: Conversation, attempt: &Attempt) -> Result<Report, Failure> {
    let looked = conversation.look().await;
    tokio::spawn(tokio::time::timeout(FAREWELL, conversation.end()));
    let (server, tools) = looked?;
    let scrub = |text: &str| attempt.headers.scrub(text);
    let server = Server {
        name: scrub(&server.name),
        version: scrub(&server.version),
        protocol_version: scrub(&server.protocol_version),
    };
    let tools = tools.iter().map(|tool| scrub(tool)).collect();
    Ok(Report::healthy("the server answers").with_server(server, tools))
}
