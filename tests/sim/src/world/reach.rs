//! What of the clusters can be seen: watches that break, and the other cluster that comes and goes.

use setpoint_core::Time;
use setpoint_core::engine::ClusterFacts;
use setpoint_core::key::Source;

use super::World;
use super::types::Event;
use crate::kinds::FAR;

impl World {
    /// The watch of a source breaks; it comes back at a time.
    pub fn cut(&mut self, source: &Source, until: Time) {
        if self.is_away(&source.cluster) {
            return;
        }
        self.say(|| format!("{source} is unknown"));
        self.server.disconnect(source);
        if self.up {
            self.engine.source_unknown(self.now, source, "it is cut off");
        }
        self.later(until, Event::Heal(source.clone()));
    }

    /// A source's watch connects again if it is broken.
    pub fn heal(&mut self, source: &Source) {
        if self.up && !self.server.is_live(source) && !self.is_away(&source.cluster) {
            let host = self.host;
            self.later(self.now, Event::Connect { host, source: source.clone() });
        }
    }

    pub(super) fn is_away(&self, cluster: &str) -> bool {
        self.away && cluster == FAR
    }

    pub(super) fn sources_of_far(&self) -> Vec<Source> {
        self.server.sources().into_iter().filter(|source| &*source.cluster == FAR).collect()
    }

    /// The other cluster does not take part any more; it comes back at a time.
    pub fn far_leaves(&mut self, until: Time) {
        if std::mem::replace(&mut self.away, true) {
            return;
        }
        self.say(|| "the other cluster leaves".into());
        self.server.cut.insert(FAR.into());
        for source in self.sources_of_far() {
            self.server.disconnect(&source);
        }
        if self.up {
            self.engine.remove_cluster(self.now, &FAR.into(), "it was taken away");
        }
        self.later(until, Event::FarReturns);
    }

    /// The other cluster takes part again, if it did not.
    pub fn far_returns(&mut self) {
        if !std::mem::take(&mut self.away) {
            return;
        }
        self.say(|| "the other cluster comes back".into());
        self.server.cut.remove(FAR);
        if self.up {
            self.engine.add_cluster(self.now, &FAR.into(), ClusterFacts::of(FAR));
            let served = self.sources_of_far();
            for want in self.engine.wants(&FAR.into()) {
                let source = Source { cluster: FAR.into(), kind: want.kind.group_kind() };
                if !served.contains(&source) {
                    self.engine.source_unknown(self.now, &source, "it is not served");
                }
            }
        }
        for source in self.sources_of_far() {
            self.heal(&source);
        }
    }
}
