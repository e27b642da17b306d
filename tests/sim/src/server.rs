//! The clusters, and what their watches show: order per object is kept, between objects it is not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use setpoint_cluster::local::{Effects, Model};
use setpoint_core::Time;
use setpoint_core::delay::Rng;
use setpoint_core::key::{Key, Name, Source};
use setpoint_core::object::{Object, version_reached};
use setpoint_core::op::{Answer, Op, Refusal};

use crate::faults::{Span, within};
use crate::kinds::{clusters, clusters_with_servers, sources};

/// One reflector.
#[derive(Clone, Debug, Default)]
struct Watch {
    /// Grows with every new connection: what an older one had under way is lost.
    connection: u32,
    live: bool,
    /// Nothing is shown before the list that the connection began with.
    not_before: Time,
    last: BTreeMap<Key, Time>,
    under_way: usize,
    shown: String,
}

/// Something that a reflector will show.
#[derive(Clone, Debug)]
pub struct Shown {
    /// When.
    pub at: Time,
    /// Of which source.
    pub source: Source,
    /// Over which connection.
    pub connection: u32,
    /// The object.
    pub key: Key,
    /// As it is then; none: gone.
    pub object: Option<Arc<Object>>,
}

/// All clusters.
#[derive(Clone)]
pub struct Server {
    /// The truth, by cluster.
    pub models: BTreeMap<Name, Model>,
    /// Clusters that cannot be reached: operations are answered as unknown.
    pub cut: BTreeSet<Name>,
    watches: BTreeMap<Source, Watch>,
}

impl Default for Server {
    fn default() -> Self {
        Self::of(clusters(), false)
    }
}

impl Server {
    /// With the host's own kinds, and one whose objects have them as children.
    pub fn with_natives() -> Self {
        Self::of(clusters_with_servers(), true)
    }

    fn of(models: BTreeMap<Name, Model>, natives: bool) -> Self {
        let watches = sources(&models, natives).into_iter().map(|source| (source, Watch::default())).collect();
        Self { models, cut: BTreeSet::new(), watches }
    }

    /// What is there.
    pub fn get(&self, key: &Key) -> Option<Arc<Object>> {
        self.models.get(&key.cluster)?.get(key)
    }

    /// Everything that is there.
    pub fn all(&self) -> Vec<(Arc<Key>, Arc<Object>)> {
        self.models.values().flat_map(Model::all).collect()
    }

    /// Every source.
    pub fn sources(&self) -> Vec<Source> {
        self.watches.keys().cloned().collect()
    }

    /// Performs an operation of the host.
    pub fn perform(&mut self, now: Time, op: &Op) -> (Answer, Effects) {
        let cluster = op.cluster();
        if self.cut.contains(cluster) {
            return (Answer::Refused(Refusal::Unknown(format!("{cluster} cannot be reached"))), Effects::default());
        }
        match self.models.get_mut(cluster) {
            Some(model) => model.perform(now, op),
            None => (Answer::Refused(Refusal::Unknown(format!("there is no {cluster}"))), Effects::default()),
        }
    }

    /// When the watches will show these events. A source without a live watch shows nothing: the
    /// list of its next connection does.
    pub fn publish(&mut self, now: Time, rng: &mut Rng, delay: Span, effects: &Effects) -> Vec<Shown> {
        let mut under_way = Vec::new();
        for (key, object) in &effects.events {
            let Some(watch) = self.watches.get_mut(&key.source()).filter(|watch| watch.live) else { continue };
            let last = watch.last.get(&**key).copied().unwrap_or(0);
            let at = (now + within(rng, delay)).max(last).max(watch.not_before);
            watch.last.insert((**key).clone(), at);
            watch.under_way += 1;
            under_way.push(Shown {
                at,
                source: key.source(),
                connection: watch.connection,
                key: (**key).clone(),
                object: object.clone(),
            });
        }
        under_way
    }

    /// Whether what is shown now comes over the connection that there is. Counts it as shown.
    pub fn arrives(&mut self, shown: &Shown) -> bool {
        let Some(watch) = self.watches.get_mut(&shown.source) else { return false };
        if !watch.live || watch.connection != shown.connection {
            return false;
        }
        watch.under_way -= 1;
        if let Some(object) = &shown.object {
            let version = object.resource_version();
            if version_reached(version, &watch.shown) != Some(false) {
                watch.shown = version.to_owned();
            }
        }
        true
    }

    /// A version up to which a watch has shown everything, if there is such a version now.
    pub fn bookmark(&self, source: &Source) -> Option<String> {
        let watch = self.watches.get(source)?;
        (watch.live && watch.under_way == 0 && !watch.shown.is_empty()).then(|| watch.shown.clone())
    }

    /// A new connection: the objects as they are now, to be shown by `list_at` at the earliest.
    pub fn connect(&mut self, source: &Source, list_at: Time) -> (u32, Vec<(Key, Arc<Object>)>) {
        let objects = match self.models.get(&source.cluster) {
            Some(model) => model.objects(&source.kind),
            None => Vec::new(),
        };
        let connection = match self.watches.get_mut(source) {
            Some(watch) => {
                let connection = watch.connection + 1;
                *watch = Watch { connection, live: true, not_before: list_at, ..Watch::default() };
                connection
            }
            None => 0,
        };
        (connection, objects.into_iter().map(|object| (object.key(&source.cluster), object)).collect())
    }

    /// Whether this is the connection that there is.
    pub fn is_connected(&self, source: &Source, connection: u32) -> bool {
        self.watches.get(source).is_some_and(|watch| watch.live && watch.connection == connection)
    }

    /// Whether a source has a connection.
    pub fn is_live(&self, source: &Source) -> bool {
        self.watches.get(source).is_some_and(|watch| watch.live)
    }

    /// A watch breaks: what it had under way is lost.
    pub fn disconnect(&mut self, source: &Source) {
        if let Some(watch) = self.watches.get_mut(source) {
            watch.live = false;
            watch.connection += 1;
        }
    }
}
