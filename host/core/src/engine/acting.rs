//! On whose objects this host acts (rules D8, A11).

use super::Engine;
use super::attempt::{Attempt, Stage};
use super::finish::Ending;
use crate::Time;
use crate::key::Name;

impl Engine {
    /// Whether this host acts on the objects of a cluster. While it does not, their keys wait with what they wait
    /// for, and what is seen of them is kept up to date. Attempts that run are the driver's to give up.
    pub fn set_acting(&mut self, cluster: &Name, acting: bool) {
        let Some(facts) = self.clusters.get(cluster) else { return };
        let limit = if acting {
            self.standing_by.remove(cluster);
            facts.at_a_time
        } else {
            self.standing_by.insert(cluster.clone());
            Some(0)
        };
        self.queue.limit_cluster(self.cluster_id(cluster), limit);
    }

    /// Whether this host acts on the objects of a cluster.
    pub fn is_acting(&self, cluster: &Name) -> bool {
        !self.standing_by.contains(cluster)
    }

    /// An attempt may not go on, because this host does not act on its key any more, or has stopped to for a while:
    /// what it has decided may be out of date. Nothing comes of it but what was written already; the key is
    /// called again when its turn comes. What was asked of a cluster was answered before.
    pub fn abandon(&mut self, now: Time, attempt: &mut Attempt) {
        match std::mem::replace(&mut attempt.stage, Stage::Done) {
            Stage::Done => {}
            Stage::Before(left) => {
                self.still_unread(attempt.id, left);
                self.finish(now, attempt, Ending::Dropped, None);
            }
            Stage::Calling => self.finish(now, attempt, Ending::Dropped, None),
            Stage::Effects(run, _) => {
                let places = run.places().to_vec();
                self.finish(now, attempt, Ending::Dropped, Some((run.into_report(), places)));
            }
        }
    }
}

#[cfg(test)]
#[path = "acting_tests.rs"]
mod tests;
