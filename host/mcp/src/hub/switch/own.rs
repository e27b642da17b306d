//! What the hub itself asks the server: `initialize` once, the tools whenever they change, and `ping`.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;
use setpoint_core::Time;
use setpoint_core::probe::{ProbeReason, Server};

use super::{Effect, Pending, Switch};
use crate::failure::Failure;
use crate::hub::{HubState, PROTOCOL_VERSIONS, Session};
use crate::message::{self, Body};

/// Lists of tools are asked for at least so far apart, in milliseconds, however often they change.
const LIST_SPACING: Time = 250;
/// A list of which a page takes longer is given up, in milliseconds.
const LIST_TIMEOUT: Time = 30_000;
/// Pages of a list at most.
const PAGES: u32 = 256;
/// Tools that are listed at most.
pub(crate) const TOOLS: usize = 10_000;
/// Longer names of tools are cut, in characters.
const LONGEST_NAME: usize = 256;

/// A request of the hub's own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Own {
    Initialize,
    /// A page of the list of this number.
    Tools(u64),
    Ping,
}

/// The list of tools that is being read.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// The list under way, and until when its next page has to come.
    current: Option<(u64, Time)>,
    lists: u64,
    names: Vec<String>,
    pages: u32,
    /// The tools have changed since the list under way was asked for.
    again: bool,
    /// Before this no other list is asked for.
    not_before: Time,
}

#[cfg(test)]
impl Listing {
    pub(super) fn is_under_way(&self) -> bool {
        self.current.is_some()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Initialized {
    protocol_version: String,
    #[serde(default)]
    capabilities: Capabilities,
    server_info: ServerInfo,
}

#[derive(Deserialize, Default)]
struct Capabilities {
    #[serde(default)]
    tools: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct ServerInfo {
    name: String,
    #[serde(default)]
    version: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    tools: Vec<Tool>,
    #[serde(default)]
    next_cursor: Option<String>,
}

#[derive(Deserialize)]
struct Tool {
    name: String,
}

#[derive(Deserialize)]
struct Problem {
    #[serde(default)]
    code: i64,
    #[serde(default)]
    message: String,
}

fn problem(method: &str, error: &RawValue) -> Failure {
    let problem = serde_json::from_str(error.get()).unwrap_or(Problem { code: 0, message: "an error".into() });
    Failure::new(
        ProbeReason::ProtocolError,
        format!("the server answered {method} with error {}: {}", problem.code, problem.message),
    )
}

impl Switch {
    /// Asks the server who it is. Not while that is under way or done; after a failure once more.
    pub(crate) fn initialize(&mut self) {
        if self.last > 0 {
            if !matches!(self.state, HubState::Failed(_)) {
                return;
            }
            self.state = HubState::Starting;
            self.effects.push(Effect::Changed);
        }
        let params = format!(
            r#"{{"protocolVersion":{},"capabilities":{},"clientInfo":{{"name":"setpoint","version":{}}}}}"#,
            message::quote(PROTOCOL_VERSIONS[PROTOCOL_VERSIONS.len() - 1]),
            self.capabilities,
            message::quote(env!("CARGO_PKG_VERSION")),
        );
        self.own(Some(Own::Initialize), "initialize", Some(&params));
    }

    /// Asks the server once more for what it did not tell: who it is, or its tools.
    pub(crate) fn ask_again(&mut self, now: Time) {
        match &mut self.state {
            HubState::Failed(_) => self.initialize(),
            HubState::Ready(session) if matches!(session.tools, Some(Err(_))) => {
                Arc::make_mut(session).tools = None;
                self.effects.push(Effect::Changed);
                // One may be under way, because the tools have changed.
                if self.listing.current.is_none() {
                    self.list(now);
                }
            }
            HubState::Ready(_) | HubState::Starting | HubState::Ended => {}
        }
    }

    /// Asks the server for a sign of life. [`Effect::Pong`] has the same number.
    pub(crate) fn ping(&mut self) -> u64 {
        self.own(Some(Own::Ping), "ping", None)
    }

    /// Nobody waits for this sign of life any more.
    pub(crate) fn forget_ping(&mut self, number: u64) {
        if matches!(self.pending.get(&number), Some(Pending::Own(Own::Ping))) {
            self.pending.remove(&number);
        }
    }

    /// The tools have changed: they are listed again, soon.
    pub(super) fn tools_changed(&mut self, now: Time) {
        self.listing.again = true;
        self.tick(now);
    }

    /// Does what is due.
    pub(crate) fn tick(&mut self, now: Time) {
        if let Some((list, deadline)) = self.listing.current
            && now >= deadline
        {
            self.pending.retain(|_, pending| !matches!(pending, Pending::Own(Own::Tools(at)) if *at == list));
            let why = Failure::new(ProbeReason::Timeout, "the server did not answer tools/list");
            self.listed(now, Err(why));
        }
        let ready = matches!(self.state, HubState::Ready(_));
        if ready && self.listing.again && self.listing.current.is_none() && now >= self.listing.not_before {
            self.list(now);
        }
    }

    /// When [`Switch::tick`] has something to do, if nothing happens before.
    pub(crate) fn wake(&self) -> Option<Time> {
        match (&self.listing.current, &self.state) {
            (Some((_, deadline)), _) => Some(*deadline),
            (None, HubState::Ready(_)) if self.listing.again => Some(self.listing.not_before),
            _ => None,
        }
    }

    fn list(&mut self, now: Time) {
        self.listing.again = false;
        self.listing.lists += 1;
        self.listing.names.clear();
        self.listing.pages = 0;
        self.listing.not_before = now + LIST_SPACING;
        self.page(now, None);
    }

    fn page(&mut self, now: Time, cursor: Option<&str>) {
        self.listing.pages += 1;
        self.listing.current = Some((self.listing.lists, now + LIST_TIMEOUT));
        let params = cursor.map(|cursor| format!(r#"{{"cursor":{}}}"#, message::quote(cursor)));
        self.own(Some(Own::Tools(self.listing.lists)), "tools/list", params.as_deref());
    }

    /// The server answered the hub.
    pub(super) fn own_answered(&mut self, now: Time, number: u64, own: Own, body: Body<'_>) {
        match own {
            Own::Initialize => self.initialized(now, body),
            Own::Tools(list) => self.page_came(now, list, body),
            // An error is a sign of life as well.
            Own::Ping => self.effects.push(Effect::Pong(number)),
        }
    }

    fn initialized(&mut self, now: Time, body: Body<'_>) {
        let known = match body {
            Body::Error(error) => Err(problem("initialize", error)),
            Body::Result(result) => match serde_json::from_str::<Initialized>(result.get()) {
                Err(error) => Err(format!("the server's answer to initialize is not as the protocol has it: {error}")),
                Ok(known) if !PROTOCOL_VERSIONS.contains(&known.protocol_version.as_str()) => {
                    Err(format!("the server speaks protocol version {}, which is not known", known.protocol_version))
                }
                Ok(known) => Ok((known, result)),
            }
            .map_err(|why| Failure::new(ProbeReason::ProtocolError, why)),
        };
        match known {
            Err(failure) => {
                self.state = HubState::Failed(Arc::new(failure));
                self.effects.push(Effect::Changed);
                self.welcome_all();
            }
            Ok((known, result)) => {
                self.effects.push(Effect::Server(message::notification("notifications/initialized", None)));
                let has_tools = known.capabilities.tools.is_some();
                self.state = HubState::Ready(Arc::new(Session {
                    server: Server {
                        name: cut(known.server_info.name),
                        version: cut(known.server_info.version),
                        protocol_version: known.protocol_version,
                    },
                    initialize: result.to_owned(),
                    tools: (!has_tools).then(|| Ok(Arc::from([]))),
                }));
                self.effects.push(Effect::Changed);
                self.welcome_all();
                if has_tools {
                    self.list(now);
                }
            }
        }
    }

    fn page_came(&mut self, now: Time, list: u64, body: Body<'_>) {
        if self.listing.current.is_none_or(|(current, _)| current != list) {
            self.strays += 1;
            return;
        }
        let page = match body {
            Body::Error(error) => Err(problem("tools/list", error)),
            Body::Result(result) => serde_json::from_str::<Page>(result.get()).map_err(|error| {
                let why = format!("the server's answer to tools/list is not as the protocol has it: {error}");
                Failure::new(ProbeReason::ProtocolError, why)
            }),
        };
        let page = match page {
            Ok(page) => page,
            Err(failure) => return self.listed(now, Err(failure)),
        };
        let room = TOOLS.saturating_sub(self.listing.names.len());
        self.listing.names.extend(page.tools.into_iter().take(room).map(|tool| cut(tool.name)));
        match page.next_cursor {
            Some(cursor) if self.listing.pages < PAGES && self.listing.names.len() < TOOLS => {
                self.page(now, Some(&cursor));
            }
            _ => {
                let mut names = std::mem::take(&mut self.listing.names);
                names.sort_unstable();
                names.dedup();
                self.listed(now, Ok(names.into()));
            }
        }
    }

    /// A list has come, or will not.
    fn listed(&mut self, now: Time, tools: Result<Arc<[String]>, Failure>) {
        self.listing.current = None;
        self.listing.names = Vec::new();
        if let HubState::Ready(session) = &mut self.state {
            let tools = tools.map_err(Arc::new);
            if session.tools.as_ref() != Some(&tools) {
                Arc::make_mut(session).tools = Some(tools);
                self.effects.push(Effect::Changed);
            }
        }
        self.tick(now);
    }

    fn welcome_all(&mut self) {
        let clients: Vec<_> = self.clients.keys().copied().collect();
        for client in clients {
            self.welcome(client);
        }
    }
}

fn cut(mut name: String) -> String {
    if let Some((end, _)) = name.char_indices().nth(LONGEST_NAME) {
        name.truncate(end);
    }
    name
}
