//! Children that are no longer wanted (rules B3, B9, B12).

use std::collections::VecDeque;
use std::sync::Arc;

use super::World;
use super::child::TRIES;
use super::marks::{Identity, OWNER_LABEL};
use crate::cache::Seen;
use crate::key::{Key, Source};
use crate::object::Object;
use crate::op::{Answer, Op, Precondition, Refusal};

/// Deletes children one by one, each with the version that was decided upon. A child that is
/// terminating is waited for, never deleted again.
#[derive(Debug, Default)]
pub(super) struct Prune {
    queue: VecDeque<Key>,
    current: Option<(Key, u32)>,
    live: Option<Seen>,
    /// Children that are still there.
    pub(super) remaining: Vec<Key>,
    /// Places of children of which nothing is known.
    pub(super) unknown: Vec<Source>,
    /// Children that this run has deleted.
    pub(super) deleted: Vec<Key>,
    pub(super) failed: Option<String>,
}

/// The children of an owner that are not in `keep`, and whether all of them are known.
pub(super) fn unwanted(world: &World<'_>, identity: &Identity, keep: &[Key]) -> Vec<Key> {
    world
        .inventory
        .of(identity.mark())
        .map(|id| (**world.cache.keys().key(id)).clone())
        .filter(|key| !keep.contains(key))
        .collect()
}

impl Prune {
    pub(super) fn new(children: Vec<Key>) -> Self {
        Self { queue: children.into(), ..Self::default() }
    }

    /// The next operation; none when all was done.
    pub(super) fn step(&mut self, world: &World<'_>, identity: &Identity) -> Option<Op> {
        loop {
            let (key, tries) = match self.current.take() {
                Some(current) => current,
                None => (self.queue.pop_front()?, 0),
            };
            match self.live.take().unwrap_or_else(|| world.seen(&key)) {
                Seen::Absent => {}
                // Unknown is not absent: it stays and is judged anew once it is known.
                Seen::Unknown(_) => {
                    self.unknown.push(key.source());
                    self.remaining.push(key);
                }
                Seen::Present(object) if !is_ours(&object, identity) => {}
                Seen::Present(object) if object.terminating() => self.remaining.push(key),
                Seen::Present(object) => {
                    self.current = Some((key.clone(), tries));
                    return Some(Op::Delete { key, precondition: Precondition::version_of(&object) });
                }
            }
        }
    }

    pub(super) fn answered(&mut self, answer: Answer) -> Option<Op> {
        let (key, tries) = self.current.take()?;
        match answer {
            Answer::Absent => self.deleted.push(key),
            Answer::Applied { .. } => {
                self.deleted.push(key.clone());
                self.remaining.push(key);
            }
            Answer::Found(object) => {
                self.live = Some(Seen::Present(object));
                self.current = Some((key, tries));
            }
            Answer::Refused(Refusal::VersionConflict(_)) if tries < TRIES => {
                self.current = Some((key.clone(), tries + 1));
                return Some(Op::Get(key));
            }
            Answer::Refused(Refusal::Unknown(_)) => {
                self.unknown.push(key.source());
                self.remaining.push(key);
            }
            Answer::Refused(refusal) => {
                self.failed = Some(format!("{key}: {refusal}"));
                self.remaining.push(key);
            }
            Answer::Listed(_) | Answer::Done => self.failed = Some(format!("{key}: unexpected answer to a delete")),
        }
        None
    }
}

fn is_ours(object: &Arc<Object>, identity: &Identity) -> bool {
    object.label(OWNER_LABEL) == Some(identity.mark())
}
