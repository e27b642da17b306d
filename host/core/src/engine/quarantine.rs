//! Quarantine (rule C8): a component that traps over and over is not called for a while, and is then
//! tried with one call. One state machine per digest: times and results in, its state out.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::Time;
use crate::key::{Key, Name};

/// So many traps in a row …
pub(super) const TRAPS: usize = 5;
/// … within so many milliseconds, if more than one object had them, begin a quarantine.
pub(super) const WITHIN: u64 = 60_000;
/// The first quarantine in milliseconds; it doubles with each probe that traps …
pub(super) const FIRST: u64 = 10_000;
/// … up to this.
pub(super) const LONGEST: u64 = 300_000;
/// A quarantine so soon after a swap is blamed on the swap (rule D11).
pub(super) const AFTER_SWAP: u64 = 300_000;
/// Digests of one plugin that are remembered.
const KEPT: usize = 8;

/// A component that is not called at present (rule C8).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Quarantined {
    /// The plugin.
    pub plugin: Name,
    /// Digest of the component. Another one of the plugin starts clean.
    pub digest: Name,
    /// When it is tried again; in the past while it waits for something to be tried with, or for the
    /// end of that one call.
    pub until: Time,
    /// Quarantines in a row; 1 for the first.
    pub times: u32,
    /// The last trap, sanitised.
    pub reason: Arc<str>,
    /// It began within 5 min after the component took over from another: going back may help (rule D11).
    pub after_swap: bool,
}

/// Says in which state of its component a call began: results of calls from before a quarantine say
/// nothing about its end.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Ticket(u32);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// It is called as usual.
    Free,
    /// It is not called.
    Closed { until: Time },
    /// It may be called once; `probe`: the attempt that does so.
    Probing { since: Time, probe: Option<u64> },
}

/// What is known of one component.
#[derive(Debug)]
pub(super) struct Record {
    state: State,
    ticket: Ticket,
    times: u32,
    /// The traps since the last answer, at most [`TRAPS`] of them, oldest first.
    traps: VecDeque<(Time, Arc<Key>)>,
    reason: Arc<str>,
    after_swap: bool,
}

impl Default for Record {
    fn default() -> Self {
        Self {
            state: State::Free,
            ticket: Ticket::default(),
            times: 0,
            traps: VecDeque::new(),
            reason: "".into(),
            after_swap: false,
        }
    }
}

impl Record {
    /// What an attempt that begins now carries until its call has ended.
    pub(super) fn ticket(&self) -> Ticket {
        self.ticket
    }

    /// Whether attempts have to wait.
    pub(super) fn is_closed(&self) -> bool {
        self.state != State::Free
    }

    /// Why.
    pub(super) fn reason(&self) -> &Arc<str> {
        &self.reason
    }

    /// Whether one attempt may begin, as the probe.
    pub(super) fn wants_probe(&self) -> bool {
        matches!(self.state, State::Probing { probe: None, .. })
    }

    /// When it is to be tried again, if that is still to come.
    pub(super) fn due(&self) -> Option<Time> {
        match self.state {
            State::Closed { until } => Some(until),
            State::Free | State::Probing { .. } => None,
        }
    }

    /// As it is shown.
    pub(super) fn shown(&self, plugin: &Name, digest: &Name) -> Option<Quarantined> {
        let until = match self.state {
            State::Free => return None,
            State::Closed { until } => until,
            State::Probing { since, .. } => since,
        };
        Some(Quarantined {
            plugin: plugin.clone(),
            digest: digest.clone(),
            until,
            times: self.times,
            reason: self.reason.clone(),
            after_swap: self.after_swap,
        })
    }

    /// Time has passed: a quarantine whose end has come wants its probe.
    pub(super) fn pass_time(&mut self, now: Time) {
        if let State::Closed { until } = self.state
            && until <= now
        {
            self.ticket.0 = self.ticket.0.wrapping_add(1);
            self.state = State::Probing { since: until, probe: None };
        }
    }

    /// An attempt begins; the first after a quarantine is its probe.
    pub(super) fn begins(&mut self, attempt: u64) {
        if let State::Probing { probe: probe @ None, .. } = &mut self.state {
            *probe = Some(attempt);
        }
    }

    /// An attempt has ended, with or without a call. A probe that made none was none.
    pub(super) fn ended(&mut self, attempt: u64) {
        if let State::Probing { probe, .. } = &mut self.state
            && *probe == Some(attempt)
        {
            *probe = None;
        }
    }

    /// A call ended with an answer, be it a failure of the plugin's own. Answers whether that ended a
    /// quarantine.
    pub(super) fn answered(&mut self, ticket: Ticket) -> bool {
        if ticket != self.ticket {
            return false;
        }
        let over = self.is_closed();
        if over {
            self.ticket.0 = self.ticket.0.wrapping_add(1);
        }
        self.state = State::Free;
        self.times = 0;
        self.after_swap = false;
        self.traps.clear();
        over
    }

    /// A call ended in a trap or at a limit. Answers whether that began a quarantine, or its next step.
    pub(super) fn trapped(
        &mut self,
        now: Time,
        ticket: Ticket,
        key: &Arc<Key>,
        reason: &str,
        after_swap: bool,
    ) -> bool {
        if ticket != self.ticket {
            return false;
        }
        let close = match self.state {
            State::Closed { .. } => false,
            State::Probing { .. } => true,
            State::Free => {
                if self.traps.len() == TRAPS {
                    self.traps.pop_front();
                }
                self.traps.push_back((now, key.clone()));
                // Older ones than the last few cannot matter: with a second object among them they would
                // have been enough by themselves.
                let recent: Vec<&Arc<Key>> = self
                    .traps
                    .iter()
                    .filter(|(at, _)| now.saturating_sub(*at) <= WITHIN)
                    .map(|(_, object)| object)
                    .collect();
                recent.len() == TRAPS && recent.iter().any(|other| *other != key)
            }
        };
        if close {
            self.traps.clear();
            self.reason = reason.into();
            self.after_swap |= after_swap;
            self.state = State::Closed { until: now + FIRST.saturating_mul(1 << self.times.min(20)).min(LONGEST) };
            self.times += 1;
            self.ticket.0 = self.ticket.0.wrapping_add(1);
        }
        close
    }
}

/// The components of one plugin, the one that started last at the end. An older one that comes back
/// finds what was known of it.
#[derive(Debug, Default)]
pub(super) struct Records(Vec<(Name, Record)>);

impl Records {
    /// A component starts, or starts again.
    pub(super) fn start(&mut self, digest: &Name) {
        let known = self.0.iter().position(|(known, _)| known == digest);
        let entry = known.map_or_else(|| (digest.clone(), Record::default()), |at| self.0.remove(at));
        self.0.push(entry);
        if self.0.len() > KEPT {
            self.0.remove(0);
        }
    }

    /// What is known of a component.
    pub(super) fn get(&self, digest: &Name) -> Option<&Record> {
        self.0.iter().find(|(known, _)| known == digest).map(|(_, record)| record)
    }

    /// The same, to be changed.
    pub(super) fn get_mut(&mut self, digest: &Name) -> Option<&mut Record> {
        self.0.iter_mut().find(|(known, _)| known == digest).map(|(_, record)| record)
    }
}

#[cfg(test)]
#[path = "quarantine_tests.rs"]
mod tests;
