//! Clients of remote MCP servers, on the SDK: streamable HTTP and the legacy HTTP with server-sent events.
//!
//! The SDK owns the protocol; what goes over the wire is ours ([`crate::http`]), so that headers stay secret, hosts are
//! those that were granted, and a failure keeps its class: the first one of a conversation is kept beside the
//! SDK, which wraps errors in several ways.

use std::sync::{Arc, Mutex, PoisonError};

use rmcp::model::{
    ClientCapabilities, ClientConfig, ErrorCode, Implementation, PaginatedRequestParams, ProtocolVersion,
};
use rmcp::service::{
    ClientInitializeError, ClientLifecycleMode, ClientServiceExt, RoleClient, RunningService, ServiceError,
};
use rmcp::transport::IntoTransport;
use setpoint_core::probe::{ProbeReason, Server};

use crate::failure::Failure;

mod legacy;
mod streamable;

pub use legacy::LegacySse;
pub(crate) use streamable::streamable;
pub use streamable::{Streamable, StreamableTransport};

/// Longer messages of a server are not taken, in bytes.
const LONGEST: usize = crate::message::LONGEST_MESSAGE;
/// Pages of a list of tools at most.
const PAGES: usize = 256;
/// Tools at most.
const TOOLS: usize = 10_000;

/// Where the first failure of a conversation is kept.
#[derive(Clone, Debug, Default)]
pub(crate) struct FirstFailure(Arc<Mutex<Option<Failure>>>);

impl FirstFailure {
    /// Keeps it, if it is the first.
    pub(crate) fn keep(&self, failure: &Failure) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| failure.clone());
    }

    pub(crate) fn take(&self) -> Option<Failure> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// How a conversation begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Begin {
    /// With `initialize`, as nearly all servers want it.
    Initialize,
    /// With `server/discover`, for servers that know only protocol versions without `initialize`.
    Discover,
}

/// Why a conversation did not begin.
pub(crate) enum NotBegun {
    /// The server does not know `initialize`, or none of the versions that have it.
    Newer(Failure),
    Failed(Failure),
}

/// A conversation with a server.
pub(crate) struct Conversation {
    service: RunningService<RoleClient, ClientConfig>,
    first: FirstFailure,
}

impl Conversation {
    /// Begins to speak.
    pub(crate) async fn begin<T, E, A>(transport: T, begin: Begin, first: FirstFailure) -> Result<Self, NotBegun>
    where
        T: IntoTransport<RoleClient, E, A>,
        E: std::error::Error + Send + Sync + 'static,
    {
        let me = Implementation::new("setpoint", env!("CARGO_PKG_VERSION"));
        let info = ClientConfig::new(ClientCapabilities::default(), me)
            .with_protocol_version(ProtocolVersion::LATEST_WITH_INITIALIZE);
        let lifecycle = match begin {
            Begin::Initialize => ClientLifecycleMode::Initialize,
            Begin::Discover => ClientLifecycleMode::Discover { preferred_versions: vec![ProtocolVersion::LATEST] },
        };
        match info.serve_with_lifecycle(transport, lifecycle).await {
            Ok(service) => Ok(Self { service, first }),
            Err(error) => Err(not_begun(error, &first)),
        }
    }

    /// Who the server is, and its tools.
    pub(crate) async fn look(&self) -> Result<(Server, Vec<String>), Failure> {
        let Some(info) = self.service.peer_info() else {
            return Err(Failure::new(ProbeReason::ProtocolError, "the server did not say who it is"));
        };
        let named = info.server_info.as_ref();
        let server = Server {
            name: named.map(|named| named.name.clone()).unwrap_or_default(),
            version: named.map(|named| named.version.clone()).unwrap_or_default(),
            protocol_version: info.protocol_version.to_string(),
        };
        let mut tools = Vec::new();
        let mut cursor = None;
        if info.capabilities.tools.is_some() {
            for _ in 0..PAGES {
                let params = PaginatedRequestParams::default().with_cursor(cursor);
                let page = self.service.list_tools(Some(params)).await.map_err(|error| self.failed(error))?;
                let room = TOOLS.saturating_sub(tools.len());
                tools.extend(page.tools.into_iter().take(room).map(|tool| tool.name.into_owned()));
                cursor = page.next_cursor;
                if cursor.is_none() || tools.len() >= TOOLS {
                    break;
                }
            }
        }
        Ok((server, tools))
    }

    fn failed(&self, error: ServiceError) -> Failure {
        if let Some(failure) = self.first.take() {
            return failure;
        }
        let why = match error {
            ServiceError::McpError(error) => {
                format!("the server answered tools/list with error {}: {}", error.code.0, error.message)
            }
            ServiceError::UnexpectedResponse => {
                "the server's answer to tools/list is not as the protocol has it".into()
            }
            _ => "the server ended the connection without an answer to tools/list".into(),
        };
        Failure::new(ProbeReason::ProtocolError, why)
    }

    /// Ends it: the server is told, if it has sessions.
    pub(crate) async fn end(self) {
        let _ = self.service.cancel().await;
    }
}

fn not_begun(error: ClientInitializeError, first: &FirstFailure) -> NotBegun {
    if let Some(failure) = first.take() {
        return NotBegun::Failed(failure);
    }
    let why = match &error {
        ClientInitializeError::JsonRpcError(error) => {
            let why = format!("the server answered initialize with error {}: {}", error.code.0, error.message);
            let failure = Failure::new(ProbeReason::ProtocolError, why);
            let newer = [ErrorCode::METHOD_NOT_FOUND, ErrorCode::UNSUPPORTED_PROTOCOL_VERSION].contains(&error.code);
            return if newer { NotBegun::Newer(failure) } else { NotBegun::Failed(failure) };
        }
        ClientInitializeError::NoCompatibleProtocolVersion { server_supported, .. } => {
            let versions: Vec<String> = server_supported.iter().map(ToString::to_string).collect();
            format!("the server speaks protocol versions {}, none of which is known", versions.join(", "))
        }
        ClientInitializeError::ConnectionClosed(_) | ClientInitializeError::TransportError { .. } => {
            "the server ended the connection without an answer to initialize".into()
        }
        _ => "the server's answer to initialize is not as the protocol has it".into(),
    };
    tracing::debug!(%error, "a conversation did not begin");
    NotBegun::Failed(Failure::new(ProbeReason::ProtocolError, why))
}
