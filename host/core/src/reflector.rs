//! When a reflector lists, watches and waits, and what it makes known of its source (rules A4, C6, D7).
//!
//! It lists once, completely, and then watches from the list's version. A watch that is cut goes on where it
//! was cut; only when the server cannot do that any more is it listed anew, and then nothing is forgotten
//! before the new list is complete. A server that does not answer makes the source unknown after a few
//! seconds; one that says no makes it unknown at once. Neither ever makes it empty.

use crate::Time;
use crate::delay::{Backoff, Rng};
use crate::object::version_reached;

/// A server that has not answered for so long makes its sources unknown.
pub const LOST: u64 = 5_000;
/// A watch on which nothing came for so long is cut and begun anew. Servers send a bookmark every minute, but the
/// first one on a quiet collection after two.
pub const SILENCE: u64 = 180_000;
/// A source without progress for so long makes the host unready (rule C6).
pub const STALLED: u64 = 180_000;
/// A watch that ended sooner than this has not worked.
const BRIEF: u64 = 1_000;
/// Between tries after failures.
const BACKOFF: Backoff = Backoff { first: 500, longest: 30_000, fast_retries: u32::MAX };

/// What a reflector does next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// List everything.
    List {
        /// As the beginning of a watch, if the server can do that.
        streaming: bool,
    },
    /// Ask which version the server has come to, then [`Reflector::server_is_at`]. A store that was set back while
    /// it was away would show nothing until it has come as far as before.
    Ask,
    /// Watch from a version.
    Watch {
        /// `resourceVersion` of the list, or of the last event or bookmark.
        version: String,
    },
    /// Nothing until then.
    Wait {
        /// The time.
        until: Time,
    },
}

/// How a list or a watch ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum End {
    /// A watch ended in order.
    Closed,
    /// Nothing came on a watch for [`SILENCE`].
    Silent,
    /// The version is too old to go on from.
    Expired,
    /// The server cannot list as the beginning of a watch.
    NoStreaming,
    /// The kind is not served.
    NotServed(String),
    /// No right to list or watch.
    Forbidden(String),
    /// The server asks to wait, for so many milliseconds if it says how long.
    Busy(Option<u64>, String),
    /// The server did not answer, or not with what was asked for.
    Lost(String),
}

/// What is made known of the source.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Notice {
    /// Nothing is known, and why.
    Unknown(String),
    /// It is known again, as it was left.
    Known,
}

/// One reflector.
#[derive(Clone, Debug)]
pub struct Reflector {
    rng: Rng,
    /// Where a watch goes on; none: a list comes first.
    version: Option<String>,
    streaming: bool,
    wait: Option<Time>,
    failures: u32,
    /// A complete list has been seen, and nothing has made it unknown since.
    known: bool,
    /// The first complete list has been seen.
    complete: bool,
    /// When the server last answered.
    contact: Time,
    /// The last event, bookmark or complete list.
    progress: Time,
    began: Time,
    /// The server was away, and may have been set back.
    ask: bool,
    /// The last watch ended without anything on it.
    silent: bool,
    trouble: Option<String>,
    /// Why nothing is known, as it was said last.
    said: Option<String>,
    /// The server did not serve it when it was asked last.
    missing: bool,
    relists: u64,
}

impl Reflector {
    /// A reflector that has seen nothing. `streaming`: whether the server may be asked to list as the
    /// beginning of a watch.
    pub fn new(now: Time, streaming: bool, seed: u64) -> Self {
        Self {
            rng: Rng::new(seed),
            version: None,
            streaming,
            wait: None,
            failures: 0,
            known: false,
            complete: false,
            contact: now,
            progress: now,
            began: now,
            ask: false,
            silent: false,
            trouble: None,
            said: None,
            missing: false,
            relists: 0,
        }
    }

    /// What to do now.
    pub fn step(&mut self, now: Time) -> Step {
        if let Some(until) = self.wait {
            if now < until {
                return Step::Wait { until };
            }
            self.wait = None;
        }
        self.began = now;
        match &self.version {
            Some(_) if self.ask => Step::Ask,
            Some(version) => Step::Watch { version: version.clone() },
            None => Step::List { streaming: self.streaming },
        }
    }

    /// The version that the server has come to.
    pub fn server_is_at(&mut self, now: Time, version: &str) {
        self.contact = now;
        self.ask = false;
        if self.version.as_ref().is_some_and(|ours| version_reached(version, ours) == Some(false)) {
            self.version = None;
        }
    }

    /// The server has begun to answer a watch.
    pub fn begun(&mut self, now: Time) -> Option<Notice> {
        self.contact = now;
        if !self.complete || self.known || self.version.is_none() {
            return None;
        }
        self.known = true;
        self.trouble = None;
        Some(Notice::Known)
    }

    /// A list is complete, as of this version.
    pub fn listed(&mut self, now: Time, version: String) {
        self.relists += u64::from(self.complete);
        self.known = true;
        self.complete = true;
        self.missing = false;
        self.ask = false;
        self.version = Some(version);
        self.moved(now);
    }

    /// An event or a bookmark came; with its version, if it has one.
    pub fn progress(&mut self, now: Time, version: Option<&str>) {
        // While a list is on its way there is nothing to go on from.
        if let (Some(at), Some(version)) = (&mut self.version, version) {
            version.clone_into(at);
        }
        self.moved(now);
    }

    fn moved(&mut self, now: Time) {
        self.contact = now;
        self.progress = now;
        self.silent = false;
        self.trouble = None;
        // One event proves that the connection works; a server that closes it right after does not.
        if now.saturating_sub(self.began) >= BRIEF {
            self.failures = 0;
        }
    }

    /// A list or a watch has ended.
    pub fn ended(&mut self, now: Time, end: End) -> Option<Notice> {
        self.missing = matches!(end, End::NotServed(_));
        match end {
            End::Closed => {
                self.contact = now;
                if now.saturating_sub(self.began) < BRIEF {
                    self.back_off(now, 0);
                } else {
                    self.failures = 0;
                }
                None
            }
            End::Silent => {
                if std::mem::replace(&mut self.silent, true) {
                    self.version = None;
                }
                None
            }
            End::Expired => {
                self.contact = now;
                self.version = None;
                self.back_off(now, 0);
                None
            }
            End::NoStreaming => {
                self.contact = now;
                self.streaming = false;
                None
            }
            End::NotServed(why) | End::Forbidden(why) => {
                self.contact = now;
                self.version = None;
                self.back_off(now, 0);
                self.unknown(why)
            }
            End::Busy(after, why) => {
                self.contact = now;
                self.trouble = Some(why);
                self.back_off(now, after.unwrap_or(0));
                None
            }
            End::Lost(why) => {
                self.ask = true;
                self.back_off(now, 0);
                self.trouble = Some(why.clone());
                if now.saturating_sub(self.contact) < LOST { None } else { self.unknown(why) }
            }
        }
    }

    /// When what is lost becomes unknown, if the server does not answer before.
    pub fn doubts_at(&self) -> Option<Time> {
        (self.known && self.trouble.is_some()).then_some(self.contact + LOST)
    }

    /// That time has come.
    pub fn doubt(&mut self, now: Time) -> Option<Notice> {
        if self.doubts_at().is_none_or(|at| now < at) {
            return None;
        }
        self.unknown(self.trouble.clone().unwrap_or_default())
    }

    fn unknown(&mut self, why: String) -> Option<Notice> {
        // Before the first complete list what was lost is told late, when its trouble is known already.
        let told = std::mem::replace(&mut self.known, false)
            || self.trouble.as_ref() != Some(&why)
            || !self.complete && self.said.as_ref() != Some(&why);
        self.trouble = Some(why.clone());
        self.said = Some(why.clone());
        told.then_some(Notice::Unknown(why))
    }

    fn back_off(&mut self, now: Time, at_least: u64) {
        self.failures = self.failures.saturating_add(1);
        let delay = BACKOFF.delay(self.failures, &mut self.rng);
        self.wait = Some(now + delay.max(at_least));
    }

    /// Something has changed that may end what it waits for: it is tried at once, and if it is not there yet, soon
    /// again.
    pub fn hurry(&mut self) {
        self.wait = None;
        self.failures = 0;
    }

    /// Everything has to be listed anew, for more is wanted of each object.
    pub fn relist(&mut self) {
        self.version = None;
        self.wait = None;
    }

    /// Whether what was told last is as good as complete.
    pub fn is_known(&self) -> bool {
        self.known
    }

    /// Whether the server did not serve it when it was asked last: it is waited for.
    pub fn is_missing(&self) -> bool {
        self.missing
    }

    /// Why nothing is known, or what is in the way at present.
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// The last event, bookmark or complete list.
    pub fn last_progress(&self) -> Time {
        self.progress
    }

    /// Whether it has made no progress for too long (rule C6).
    pub fn is_stalled(&self, now: Time) -> bool {
        now.saturating_sub(self.progress) > STALLED
    }

    /// Whether the server may be asked to list as the beginning of a watch.
    pub fn streams(&self) -> bool {
        self.streaming
    }

    /// Complete lists after the first one.
    pub fn relists(&self) -> u64 {
        self.relists
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watching(version: &str) -> Reflector {
        let mut reflector = Reflector::new(0, true, 1);
        assert_eq!(reflector.step(0), Step::List { streaming: true });
        reflector.listed(10, version.into());
        assert_eq!(reflector.step(10), Step::Watch { version: version.into() });
        assert_eq!(reflector.begun(10), None, "the complete list has made it known");
        reflector
    }

    fn wait(reflector: &mut Reflector, now: Time) -> Time {
        match reflector.step(now) {
            Step::Wait { until } => until,
            step => panic!("a wait, not {step:?}"),
        }
    }

    #[test]
    fn a_watch_that_is_cut_goes_on_where_it_was_cut() {
        let mut reflector = watching("5");
        reflector.progress(5_000, Some("9"));
        assert_eq!(reflector.ended(6_000, End::Lost("cut".into())), None, "for a moment nothing is doubted");
        let again = wait(&mut reflector, 6_000);
        assert!(again <= 6_500);
        assert_eq!(reflector.step(again), Step::Ask);
        reflector.server_is_at(again, "12");
        assert_eq!(reflector.step(again), Step::Watch { version: "9".into() });
        assert_eq!(reflector.begun(again), None);
        assert!(reflector.is_known());
    }

    #[test]
    fn a_server_that_is_away_makes_its_source_unknown_and_is_believed_again_when_it_is_back() {
        let mut reflector = watching("5");
        let mut now = 20;
        let mut notice = None;
        while notice.is_none() {
            notice = reflector.ended(now, End::Lost("no route".into()));
            now = wait(&mut reflector, now);
            assert_eq!(reflector.step(now), Step::Ask, "nothing is listed for that");
            assert!(now < 20_000);
        }
        assert_eq!(notice, Some(Notice::Unknown("no route".into())));
        assert!(now >= LOST);
        assert_eq!(reflector.ended(now, End::Lost("no route".into())), None, "said once");
        now = wait(&mut reflector, now);
        assert_eq!(reflector.step(now), Step::Ask);
        reflector.server_is_at(now, "5");
        assert!(matches!(reflector.step(now), Step::Watch { .. }));
        assert_eq!(reflector.begun(now), Some(Notice::Known));
    }

    #[test]
    fn a_server_that_was_set_back_is_listed_anew() {
        let mut reflector = watching("50");
        reflector.ended(500, End::Lost("cut".into()));
        let again = wait(&mut reflector, 500);
        assert_eq!(reflector.step(again), Step::Ask);
        reflector.server_is_at(again, "20");
        assert_eq!(reflector.step(again), Step::List { streaming: true });
        reflector.listed(again, "20".into());
        assert!(matches!(reflector.step(again), Step::Watch { .. }));
    }

    #[test]
    fn what_was_lost_is_doubted_in_time_even_while_a_try_hangs() {
        let mut reflector = watching("5");
        reflector.progress(1_000, None);
        assert_eq!(reflector.doubts_at(), None);
        reflector.ended(2_000, End::Lost("cut".into()));
        assert_eq!(reflector.doubts_at(), Some(6_000));
        assert_eq!(reflector.doubt(5_999), None);
        assert_eq!(reflector.doubt(6_000), Some(Notice::Unknown("cut".into())));
        assert_eq!(reflector.doubt(7_000), None);
    }

    #[test]
    fn a_version_that_is_too_old_is_listed_anew_without_doubt() {
        let mut reflector = watching("5");
        assert_eq!(reflector.ended(500, End::Expired), None);
        let again = wait(&mut reflector, 500);
        assert_eq!(reflector.step(again), Step::List { streaming: true });
        assert!(reflector.is_known(), "what was told stays until the new list is complete");
        reflector.listed(again + 5, "80".into());
        assert_eq!(reflector.relists(), 1);
    }

    #[test]
    fn a_refusal_makes_it_unknown_at_once_and_a_complete_list_decides_afterwards() {
        for end in [End::Forbidden("no".into()), End::NotServed("no".into())] {
            let mut reflector = watching("5");
            assert_eq!(reflector.ended(60_000, end.clone()), Some(Notice::Unknown("no".into())));
            let again = wait(&mut reflector, 60_000);
            assert_eq!(reflector.step(again), Step::List { streaming: true });
            assert_eq!(reflector.ended(again, end), None, "said once");
            reflector.hurry();
            assert!(matches!(reflector.step(again), Step::List { .. }));
        }
    }

    #[test]
    fn what_is_about_to_be_served_is_looked_for_often() {
        let mut reflector = Reflector::new(0, true, 1);
        let mut now = 0;
        let mut missing = |reflector: &mut Reflector| {
            assert!(matches!(reflector.step(now), Step::List { .. }));
            reflector.ended(now, End::NotServed("a".into()));
            let Step::Wait { until } = reflector.step(now) else { panic!("it waits") };
            let waits = until - now;
            now = until;
            waits
        };
        for _ in 0..10 {
            missing(&mut reflector);
        }
        assert!(missing(&mut reflector) >= 15_000, "after a while it is looked for from time to time");
        // Its definition is there, and is served a moment later.
        reflector.hurry();
        assert!(missing(&mut reflector) + missing(&mut reflector) <= 1_500);
    }

    #[test]
    fn a_source_that_was_never_there_says_why() {
        let mut reflector = Reflector::new(0, true, 1);
        reflector.step(0);
        assert_eq!(reflector.ended(1, End::NotServed("a".into())), Some(Notice::Unknown("a".into())));
        reflector.hurry();
        reflector.step(2);
        assert!(reflector.is_missing());
        assert_eq!(reflector.ended(3, End::Forbidden("b".into())), Some(Notice::Unknown("b".into())));
        assert!(!reflector.is_missing());
        reflector.hurry();
        reflector.step(4);
        assert_eq!(reflector.ended(5, End::Forbidden("b".into())), None, "said once");
        // What is lost is told when it has been lost for long enough, though its trouble was the same before.
        let mut reflector = Reflector::new(0, true, 1);
        reflector.step(0);
        assert_eq!(reflector.ended(1, End::Lost("cut".into())), None);
        reflector.step(LOST);
        assert_eq!(reflector.ended(LOST, End::Lost("cut".into())), Some(Notice::Unknown("cut".into())));
        reflector.step(2 * LOST);
        assert_eq!(reflector.ended(2 * LOST, End::Lost("cut".into())), None, "said once");
    }

    #[test]
    fn without_streaming_it_lists_in_pages_from_then_on() {
        let mut reflector = Reflector::new(0, true, 1);
        assert_eq!(reflector.step(0), Step::List { streaming: true });
        assert_eq!(reflector.ended(1, End::NoStreaming), None);
        assert_eq!(reflector.step(1), Step::List { streaming: false });
        assert!(!reflector.streams());
    }

    #[test]
    fn a_silent_watch_is_begun_anew_and_listed_if_it_stays_silent() {
        let mut reflector = watching("5");
        assert!(!reflector.is_stalled(STALLED));
        reflector.ended(SILENCE + 10, End::Silent);
        assert!(reflector.is_stalled(SILENCE + 11));
        assert_eq!(reflector.step(SILENCE + 10), Step::Watch { version: "5".into() });
        reflector.ended(2 * SILENCE, End::Silent);
        assert!(matches!(reflector.step(2 * SILENCE), Step::List { .. }));
    }

    #[test]
    fn a_server_that_says_how_long_to_wait_is_obeyed() {
        let mut reflector = watching("5");
        reflector.ended(100, End::Busy(Some(7_000), "too many requests".into()));
        assert_eq!(wait(&mut reflector, 100), 7_100);
        assert!(reflector.is_known(), "a server that answers is there");
    }

    #[test]
    fn watches_that_end_at_once_are_not_begun_in_a_loop() {
        let mut reflector = watching("5");
        let mut now = 10;
        for _ in 0..6 {
            reflector.ended(now + 5, End::Closed);
            now = wait(&mut reflector, now + 5);
            assert!(matches!(reflector.step(now), Step::Watch { .. }));
            reflector.begun(now);
        }
        assert!(now > 7_000, "{now}");
        reflector.ended(now + 300_000, End::Closed);
        assert!(matches!(reflector.step(now + 300_000), Step::Watch { .. }), "one that has worked is begun at once");
    }
}
