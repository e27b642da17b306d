//! What one call may use.

use std::time::Duration;

/// The most elements that [`Limits::table_elements`] can allow: so much has a place in the pool.
pub(crate) const MAX_TABLE_ELEMENTS: usize = 100_000;
/// The native stack of a plugin, in bytes.
pub(crate) const STACK_BYTES: usize = 512 * 1024;
/// Texts of failures are cut here, in bytes.
pub(crate) const MAX_FAILURE_TEXT: usize = 4 * 1024;
/// Longer waits than a year mean "not by itself", and are cut to it. Milliseconds.
pub(crate) const LONGEST_WAIT: u64 = 365 * 24 * 3600 * 1000;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// What one call may use; configurable per plugin.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Limits {
    /// Wall clock of the call, waiting for reads included, waiting for a free instance not
    /// (rule C7). Default 30 s.
    pub wall: Duration,
    /// Time in which the call keeps a thread busy, checked every 10 ms. Default 5 s.
    pub cpu: Duration,
    /// Linear memory in bytes. Default 64 MiB, at most 4 GiB.
    pub memory: usize,
    /// Elements of all tables together. Default 10 000, at most 100 000.
    pub table_elements: usize,
    /// Calls of `get` and `list`; more are answered with `limit-exceeded`. Default 10 000.
    pub host_calls: u32,
    /// Bytes of objects read; more are answered with `limit-exceeded`. Default 64 MiB.
    pub bytes_read: u64,
    /// Bytes of all texts of an outcome together. Default 8 MiB.
    pub outcome_bytes: usize,
    /// Bytes of a status, and of a child. Default 1.5 MiB.
    pub object_bytes: usize,
    /// Children of an outcome. Default 2 000.
    pub children: usize,
    /// Events of an outcome. Default 50.
    pub events: usize,
    /// Log lines; more are dropped and counted. Default 1 000.
    pub log_lines: u32,
    /// Bytes of log lines; more are dropped and counted. Default 256 KiB.
    pub log_bytes: usize,
    /// Bytes of the end of standard output and error that are kept: the reason of a trap is looked for there.
    /// Default 8 KiB.
    pub stderr_tail: usize,
    /// An instance is reused for at most so many calls, its first included (rule A13); none or 1: each call has a
    /// fresh one. Default none.
    pub warm_calls: Option<u32>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            wall: Duration::from_secs(30),
            cpu: Duration::from_secs(5),
            memory: 64 * MIB,
            table_elements: 10_000,
            host_calls: 10_000,
            bytes_read: 64 * MIB as u64,
            outcome_bytes: 8 * MIB,
            object_bytes: MIB + MIB / 2,
            children: 2_000,
            events: 50,
            log_lines: 1_000,
            log_bytes: 256 * KIB,
            stderr_tail: 8 * KIB,
            warm_calls: None,
        }
    }
}

/// Which limit ended a call.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum LimitKind {
    /// [`Limits::wall`]
    Wall,
    /// [`Limits::cpu`]
    Cpu,
    /// [`Limits::memory`]
    Memory,
    /// [`Limits::table_elements`]
    Table,
    /// 512 KiB of native stack.
    Stack,
    /// [`Limits::outcome_bytes`]
    OutcomeBytes,
    /// [`Limits::object_bytes`]
    ObjectBytes,
    /// [`Limits::children`]
    Children,
    /// [`Limits::events`]
    Events,
}

impl LimitKind {
    /// The word for it in metrics and the API.
    pub fn word(self) -> &'static str {
        match self {
            LimitKind::Wall => "timeout",
            LimitKind::Cpu => "cpu",
            LimitKind::Memory => "memory",
            LimitKind::Table => "table",
            LimitKind::Stack => "stack",
            LimitKind::OutcomeBytes => "outcome-bytes",
            LimitKind::ObjectBytes => "object-bytes",
            LimitKind::Children => "children",
            LimitKind::Events => "events",
        }
    }

    /// What went beyond which limit, in a sentence.
    pub fn sentence(self, limits: &Limits) -> String {
        match self {
            LimitKind::Wall => format!("timeout: the call took longer than {:?}", limits.wall),
            LimitKind::Cpu => {
                format!("the call used more than {:?} of CPU time; is there an endless loop?", limits.cpu)
            }
            LimitKind::Memory => format!("the plugin asked for more than {} of memory", size(limits.memory)),
            LimitKind::Table => {
                format!("the plugin asked for tables of more than {} elements", limits.table_elements)
            }
            LimitKind::Stack => {
                format!("the call stack of {} is used up; is there an endless recursion?", size(STACK_BYTES))
            }
            LimitKind::OutcomeBytes => {
                format!("the plugin handed over more than {} at once", size(limits.outcome_bytes))
            }
            LimitKind::ObjectBytes => format!("an object of the outcome has more than {}", size(limits.object_bytes)),
            LimitKind::Children => {
                format!("the outcome has more than {} children", limits.children)
            }
            LimitKind::Events => format!("the outcome has more than {} events", limits.events),
        }
    }
}

impl std::fmt::Display for LimitKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

/// A number of bytes for people: `512 KiB`, `1.5 MiB`.
pub(crate) fn size(bytes: usize) -> String {
    let (value, unit) = match bytes {
        ..KIB => return format!("{bytes} bytes"),
        KIB..MIB => (bytes as f64 / KIB as f64, "KiB"),
        _ => (bytes as f64 / MIB as f64, "MiB"),
    };
    if value.fract() < 0.05 { format!("{value:.0} {unit}") } else { format!("{value:.1} {unit}") }
}

/// The text, cut at a character boundary so that it has at most `max` bytes and the mark of the cut.
pub(crate) fn cut(mut text: String, max: usize) -> String {
    if text.len() > max {
        text.truncate(text.floor_char_boundary(max));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_has_a_sentence_of_its_own_with_its_number() {
        let limits = Limits::default();
        assert_eq!(LimitKind::Wall.sentence(&limits), "timeout: the call took longer than 30s");
        assert_eq!(LimitKind::Memory.sentence(&limits), "the plugin asked for more than 64 MiB of memory");
        assert_eq!(
            LimitKind::Cpu.sentence(&limits),
            "the call used more than 5s of CPU time; is there an endless loop?"
        );
        assert_eq!(LimitKind::Table.sentence(&limits), "the plugin asked for tables of more than 10000 elements");
        assert_eq!(
            LimitKind::Stack.sentence(&limits),
            "the call stack of 512 KiB is used up; is there an endless recursion?"
        );
        assert_eq!(LimitKind::OutcomeBytes.sentence(&limits), "the plugin handed over more than 8 MiB at once");
        assert_eq!(LimitKind::ObjectBytes.sentence(&limits), "an object of the outcome has more than 1.5 MiB");
        assert_eq!(LimitKind::Children.sentence(&limits), "the outcome has more than 2000 children");
        assert_eq!(LimitKind::Events.sentence(&limits), "the outcome has more than 50 events");
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(cut("abc".into(), 3), "abc");
        assert_eq!(cut("aéé".into(), 2), "a…");
        assert_eq!(cut("aéé".into(), 3), "aé…");
    }
}
