//! What the status of a Probe shows, and whether a difference is worth a write.

use crate::Time;

use super::status::{ProbeReason, ProbeState, ProbeStatus, Report, Server};

/// A moment that goes into the status: of this host's time, or as an earlier host wrote it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Stamp {
    At(Time),
    Kept(Box<str>),
}

impl Stamp {
    fn text(&self, wall: impl Fn(Time) -> String) -> String {
        match self {
            Stamp::At(time) => wall(*time),
            Stamp::Kept(text) => text.to_string(),
        }
    }

    fn kept(text: &Option<String>) -> Option<Self> {
        text.as_deref().map(|text| Stamp::Kept(text.into()))
    }
}

/// The content of a status, with times as the machine knows them.
#[derive(Clone, Debug, Default)]
pub(super) struct Shown {
    state: ProbeState,
    reason: Option<ProbeReason>,
    message: Option<String>,
    http_status: Option<u16>,
    server: Option<Server>,
    tools: Option<Vec<String>>,
    last_connected: Option<Stamp>,
    failures: u32,
    last_attempt: Option<Stamp>,
    next_attempt: Option<Stamp>,
}

impl Shown {
    /// What a status says that an earlier host wrote.
    pub(super) fn kept(status: &ProbeStatus) -> Self {
        Self {
            state: status.state,
            reason: status.reason,
            message: status.message.clone(),
            http_status: status.http_status,
            server: status.server.clone(),
            tools: status.tools.clone(),
            last_connected: Stamp::kept(&status.last_connected),
            failures: status.consecutive_failures,
            last_attempt: Stamp::kept(&status.last_attempt),
            next_attempt: Stamp::kept(&status.next_attempt),
        }
    }

    /// Takes over what stays true of an endpoint that cannot be looked at.
    pub(super) fn carry(&mut self, earlier: &Shown) {
        self.server = earlier.server.clone();
        self.last_connected = earlier.last_connected.clone();
        self.failures = earlier.failures;
        self.last_attempt = earlier.last_attempt.clone();
    }

    pub(super) fn is(&self, state: ProbeState) -> bool {
        self.state == state
    }

    pub(super) fn state(&self) -> (ProbeState, Option<ProbeReason>, Option<&str>) {
        (self.state, self.reason, self.message.as_deref())
    }

    /// Whether the last that counts of it is an answer.
    pub(super) fn answers(&self) -> bool {
        matches!(self.state, ProbeState::Healthy | ProbeState::AuthRequired)
    }

    /// Whether this usually lasts for a moment only.
    pub(super) fn passes(&self) -> bool {
        self.state == ProbeState::Unknown || self.reason == Some(ProbeReason::ProcessNotReady)
    }

    /// Nothing is known any more but who it was.
    pub(super) fn forget(&mut self) {
        let (server, last_connected, failures) = (self.server.take(), self.last_connected.take(), self.failures);
        *self = Self { server, last_connected, failures, ..Self::default() };
    }

    /// It cannot be looked at.
    pub(super) fn close(&mut self, reason: ProbeReason, message: String) {
        self.state = ProbeState::Unhealthy;
        self.reason = Some(reason);
        self.message = Some(message);
        self.http_status = None;
        self.tools = None;
        self.next_attempt = None;
    }

    /// It answered, and that counts.
    pub(super) fn answered(&mut self, report: &Report, now: Time) {
        let healthy = report.state() == ProbeState::Healthy;
        if healthy && self.state != ProbeState::Healthy {
            self.last_connected = Some(Stamp::At(now));
        }
        // A sentence that is put differently is no change by itself.
        if self.state != report.state() || self.reason != Some(report.reason()) {
            self.message = Some(report.message().to_owned());
        }
        self.state = report.state();
        self.reason = Some(report.reason());
        self.http_status = report.http_status();
        if report.server().is_some() {
            self.server = report.server().cloned();
        }
        self.tools = report.tools().filter(|_| healthy).map(<[String]>::to_vec);
    }

    /// It failed, and that counts.
    pub(super) fn failed(&mut self, report: &Report) {
        self.close(report.reason(), report.message().to_owned());
        self.http_status = report.http_status();
    }

    /// An attempt ended: its times, where they are shown.
    pub(super) fn attempted(&mut self, now: Time, next: Option<Time>, failures: u32) {
        if self.answers() {
            (self.failures, self.last_attempt, self.next_attempt) = (0, None, None);
        } else {
            self.failures = failures;
            self.last_attempt = Some(Stamp::At(now));
            self.next_attempt = next.map(Stamp::At);
        }
    }

    /// The next attempt is due at another time.
    pub(super) fn planned(&mut self, due: Time) {
        if self.next_attempt.is_some() {
            self.next_attempt = Some(Stamp::At(due));
        }
    }

    /// It offers these tools now.
    pub(super) fn offer(&mut self, tools: Vec<String>) {
        if self.state == ProbeState::Healthy && self.tools.is_some() {
            self.tools = Some(tools);
        }
    }

    /// Whether a status that says `written` need not be written.
    pub(super) fn same(&self, written: &Shown) -> bool {
        self.state == written.state
            && self.reason == written.reason
            && self.server == written.server
            && self.tools == written.tools
            && self.last_connected == written.last_connected
            && self.failures == written.failures
            && self.last_attempt == written.last_attempt
            && self.next_attempt == written.next_attempt
    }

    pub(super) fn status(&self, wall: impl Fn(Time) -> String) -> ProbeStatus {
        let text = |stamp: &Option<Stamp>| stamp.as_ref().map(|stamp| stamp.text(&wall));
        ProbeStatus {
            state: self.state,
            reason: self.reason,
            message: self.message.clone(),
            http_status: self.http_status,
            server: self.server.clone(),
            tools: self.tools.clone(),
            tool_count: self.tools.as_ref().map(|tools| u32::try_from(tools.len()).unwrap_or(u32::MAX)),
            last_connected: text(&self.last_connected),
            consecutive_failures: self.failures,
            last_attempt: text(&self.last_attempt),
            next_attempt: text(&self.next_attempt),
        }
    }
}
