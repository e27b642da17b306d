//! Who acts: a lease as Kubernetes keeps it, held by one of several hosts (rule D8).
//!
//! The holder acts only while its last successful renewal, counted from when it was *sent*, is younger than
//! the renew deadline. A taker waits until it has seen no renewal for the whole duration of the lease, counted
//! from when it *saw* the last one. Times are of a clock that goes on while the machine sleeps; clocks of
//! different machines are never compared.

use crate::Time;
use crate::delay::Rng;

/// How a lease is held. Times in milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Terms {
    duration: u64,
    renew_deadline: u64,
    retry: u64,
}

/// Why terms make no sense.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("lease of {duration} ms, renew deadline {renew_deadline} ms, retry {retry} ms: {problem}")]
pub struct TermsError {
    duration: u64,
    renew_deadline: u64,
    retry: u64,
    problem: &'static str,
}

impl Default for Terms {
    fn default() -> Self {
        Self { duration: 15_000, renew_deadline: 10_000, retry: 2_000 }
    }
}

impl Terms {
    /// Terms of a lease of `duration`, which its holder gives up after `renew_deadline` without a renewal, and
    /// which is renewed or looked at every `retry`.
    ///
    /// # Errors
    /// Writes of the holder could outlive the lease, it would be given up before it is renewed, or the duration
    /// is no whole number of seconds.
    pub fn new(duration: u64, renew_deadline: u64, retry: u64) -> Result<Self, TermsError> {
        let error = |problem| Err(TermsError { duration, renew_deadline, retry, problem });
        if duration == 0 || !duration.is_multiple_of(1_000) {
            return error("the lease has to last a whole number of seconds");
        }
        if retry == 0 || renew_deadline <= retry + retry / 5 {
            return error("the renew deadline has to be longer than 1.2 times the retry period");
        }
        if duration < renew_deadline + MARGIN + SHORTEST_WRITE {
            return error(
                "the lease has to last at least 1.5 s longer than the renew deadline: writes under way need it",
            );
        }
        Ok(Self { duration, renew_deadline, retry })
    }

    /// How long a lease is not taken over after its last renewal.
    pub fn duration(&self) -> u64 {
        self.duration
    }

    /// How long its holder acts after its last renewal.
    pub fn renew_deadline(&self) -> u64 {
        self.renew_deadline
    }

    /// How often it is renewed, or looked at.
    pub fn retry(&self) -> u64 {
        self.retry
    }

    /// How long a write of the holder may take in the server, so that none ends after the lease may have been
    /// taken over: it was begun before the renew deadline.
    pub fn write_timeout(&self) -> u64 {
        self.duration - self.renew_deadline - MARGIN
    }
}

/// Between the last moment at which a write may end and the first at which the lease may be taken over.
const MARGIN: u64 = 1_000;
/// A write needs at least so long.
const SHORTEST_WRITE: u64 = 500;

/// A lease as it is on the server.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Record {
    /// `spec.holderIdentity`; empty: nobody.
    pub holder: String,
    /// `spec.leaseDurationSeconds`, in milliseconds.
    pub duration: u64,
    /// `spec.acquireTime`.
    pub acquired: String,
    /// `spec.renewTime`.
    pub renewed: String,
    /// `spec.leaseTransitions`.
    pub transitions: u64,
    /// `metadata.resourceVersion`.
    pub version: String,
}

/// What to do next about a lease.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Read it, then [`Lease::read`].
    Read,
    /// Make it, then [`Lease::wrote`]. It must not be there.
    Create(Record),
    /// Replace it if it is still at [`Record::version`], then [`Lease::wrote`].
    Update(Record),
    /// Nothing until then.
    Wait(Time),
}

/// What came of a write.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Wrote {
    /// Done; the record is at this version now.
    Done(String),
    /// It is not as it was thought to be: another host was faster, or it came or went.
    Conflict,
    /// It was not done, or nobody knows.
    Failed,
}

/// A lease from the view of one host.
#[derive(Clone, Debug)]
pub struct Lease {
    me: String,
    terms: Terms,
    rng: Rng,
    /// The last record that was read, and when it was first seen like this.
    seen: Option<(Record, Time)>,
    /// It has been read, or written, since something was in doubt.
    certain: bool,
    /// When the last successful renewal was sent.
    renewed: Option<Time>,
    /// When the write that is under way was sent.
    sent: Option<Time>,
    /// What it writes; none: it gives the lease back.
    writing: Option<Record>,
    next: Time,
    releasing: bool,
}

impl Lease {
    /// A lease that this host wants, under an identity that no other process has.
    pub fn new(me: impl Into<String>, terms: Terms, seed: u64) -> Self {
        Self {
            me: me.into(),
            terms,
            rng: Rng::new(seed),
            seen: None,
            certain: false,
            renewed: None,
            sent: None,
            writing: None,
            next: 0,
            releasing: false,
        }
    }

    /// It has been seen like this since then, by somebody who lists leases before one is wanted: what is left of it need
    /// not be waited for once more.
    #[must_use]
    pub fn seen_since(mut self, record: Record, since: Time) -> Self {
        self.seen = Some((record, since));
        self
    }

    /// The terms.
    pub fn terms(&self) -> Terms {
        self.terms
    }

    /// Whether this host may act now.
    pub fn holds(&self, now: Time) -> bool {
        !self.releasing && self.until().is_some_and(|until| now < until)
    }

    /// Until when it may act, if it is not renewed any more.
    pub fn until(&self) -> Option<Time> {
        self.renewed.map(|sent| sent + self.terms.renew_deadline)
    }

    /// Who has it, as far as is known.
    pub fn holder(&self) -> Option<&str> {
        self.seen.as_ref().map(|(record, _)| record.holder.as_str()).filter(|holder| !holder.is_empty())
    }

    /// How often it has changed hands, as far as is known.
    pub fn transitions(&self) -> u64 {
        self.seen.as_ref().map_or(0, |(record, _)| record.transitions)
    }

    /// What to do now; `wall` is the time for people, as Kubernetes writes it (with microseconds).
    pub fn step(&mut self, now: Time, wall: &str) -> Step {
        if now < self.next {
            return Step::Wait(self.next);
        }
        if !self.certain {
            return Step::Read;
        }
        if self.releasing {
            return self.give_back(now, wall);
        }
        let Some((record, seen)) = self.seen.clone() else {
            return self.write(now, self.mine(wall, None));
        };
        let free = record.holder.is_empty() || now >= seen + record.duration;
        if record.holder == self.me {
            return self.write(now, self.mine(wall, Some(&record)));
        }
        if free {
            return self.write(now, self.mine(wall, Some(&record)));
        }
        // Looked at regularly, and once it may be free.
        let expires = seen + record.duration;
        self.next = (now + self.pause()).min(expires.max(now + 1));
        self.certain = false;
        Step::Wait(self.next)
    }

    fn mine(&self, wall: &str, before: Option<&Record>) -> Record {
        let holds = before.filter(|record| record.holder == self.me);
        Record {
            holder: self.me.clone(),
            duration: self.terms.duration,
            acquired: holds.map_or_else(|| wall.to_owned(), |record| record.acquired.clone()),
            renewed: wall.to_owned(),
            transitions: match before {
                None => 0,
                Some(record) if record.holder == self.me => record.transitions,
                Some(record) => record.transitions + 1,
            },
            version: before.map(|record| record.version.clone()).unwrap_or_default(),
        }
    }

    fn write(&mut self, now: Time, record: Record) -> Step {
        self.sent = Some(now);
        self.writing = Some(record.clone());
        // What is under way is in doubt until it is answered.
        self.certain = false;
        if self.seen.is_some() { Step::Update(record) } else { Step::Create(record) }
    }

    /// The lease was read; none: there is none.
    pub fn read(&mut self, now: Time, record: Option<Record>) {
        self.certain = true;
        self.next = now;
        match record {
            None => self.seen = None,
            Some(record) => {
                let same = self.seen.as_ref().is_some_and(|(seen, _)| *seen == record);
                if !same {
                    self.seen = Some((record, now));
                }
            }
        }
        if self.holder() != Some(&self.me) {
            self.renewed = None;
        }
    }

    /// It could not be read.
    pub fn unread(&mut self, now: Time) {
        self.next = now + self.pause();
    }

    /// A write was answered.
    pub fn wrote(&mut self, now: Time, wrote: Wrote) {
        let (sent, writing) = (self.sent.take(), self.writing.take());
        match (wrote, sent, writing) {
            (Wrote::Done(version), Some(sent), Some(record)) => {
                self.certain = true;
                let mine = record.holder == self.me;
                self.seen = Some((Record { version, ..record }, now));
                self.renewed = mine.then_some(sent);
                self.next = sent + self.terms.retry;
            }
            // Somebody has it, or had it: looked at at once.
            (Wrote::Conflict, ..) => self.next = now,
            _ => self.next = now + self.pause(),
        }
    }

    /// A bit more than the retry period, so that hosts do not try in step.
    fn pause(&mut self) -> u64 {
        let retry = self.terms.retry;
        self.rng.between(retry, retry + retry / 5)
    }

    /// From now on this host does not act any more. What [`Lease::step`] asks for next gives the lease back, so
    /// that another host need not wait; to be called once everything that was under way has ended.
    pub fn release(&mut self, now: Time) {
        self.releasing = true;
        self.next = now;
    }

    /// Whether a lease that was to be given back is given back, or not this host's to give.
    pub fn is_released(&self) -> bool {
        self.releasing && self.certain && self.holder() != Some(&self.me)
    }

    fn give_back(&mut self, now: Time, wall: &str) -> Step {
        match self.seen.clone() {
            Some((record, _)) if record.holder == self.me => {
                let empty = Record { holder: String::new(), duration: 1_000, renewed: wall.to_owned(), ..record };
                self.write(now, empty)
            }
            _ => {
                self.next = now + self.terms.retry;
                Step::Wait(self.next)
            }
        }
    }
}

#[cfg(test)]
#[path = "lease_tests.rs"]
mod tests;
