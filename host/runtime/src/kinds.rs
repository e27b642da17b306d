//! Which kinds are served in the embedded cluster, for the rules and for people; of other clusters they are asked.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use serde_json::Value;
use setpoint_core::effects::Shapes;
use setpoint_core::key::{GroupKind, LOCAL, Name};
use setpoint_schema::Crd;

/// The served kinds. A registry of its own, so that the rules never wait for a cluster's locks.
#[derive(Default)]
pub struct Kinds {
    crds: RwLock<BTreeMap<GroupKind, Arc<Crd>>>,
    others: RwLock<BTreeMap<Name, Arc<dyn Shapes>>>,
}

impl Kinds {
    /// Another cluster takes part: what it serves is asked of it, with the engine locked.
    pub fn engage(&self, cluster: &Name, shapes: Arc<dyn Shapes>) {
        self.others.write().unwrap_or_else(PoisonError::into_inner).insert(cluster.clone(), shapes);
    }

    /// A cluster does not take part any more.
    pub fn disengage(&self, cluster: &Name) {
        self.others.write().unwrap_or_else(PoisonError::into_inner).remove(cluster);
    }

    fn of(&self, cluster: &str) -> Option<Arc<dyn Shapes>> {
        self.others.read().unwrap_or_else(PoisonError::into_inner).get(cluster).cloned()
    }

    /// Serves a kind, or serves it with another schema.
    pub fn insert(&self, crd: Arc<Crd>) {
        let kind = GroupKind::new(&crd.group, &crd.kind);
        self.crds.write().unwrap_or_else(PoisonError::into_inner).insert(kind, crd);
    }

    /// A kind, if it is served.
    pub fn get(&self, kind: &GroupKind) -> Option<Arc<Crd>> {
        self.crds.read().unwrap_or_else(PoisonError::into_inner).get(kind).cloned()
    }

    /// All kinds in order.
    pub fn all(&self) -> Vec<Arc<Crd>> {
        self.crds.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// The kinds that a word of a person may mean: kind, plural, singular or short name in any
    /// case, with or without `.group`.
    pub fn named(&self, word: &str) -> Vec<Arc<Crd>> {
        let word = word.to_lowercase();
        self.all().into_iter().filter(|crd| is_called(crd, &word)).collect()
    }
}

fn is_called(crd: &Crd, word: &str) -> bool {
    let names = [crd.kind.to_lowercase(), crd.plural.to_lowercase(), crd.singular.to_lowercase()];
    names.iter().chain(&crd.short_names).any(|name| {
        let name = name.to_lowercase();
        name == word || word.strip_prefix(&name).and_then(|rest| rest.strip_prefix('.')) == Some(&*crd.group)
    })
}

impl Shapes for Kinds {
    fn namespaced(&self, cluster: &str, kind: &GroupKind) -> Option<bool> {
        if cluster == LOCAL { Some(self.get(kind)?.namespaced) } else { self.of(cluster)?.namespaced(cluster, kind) }
    }

    fn prune(&self, cluster: &str, kind: &GroupKind, object: &mut Value) {
        if cluster == LOCAL {
            if let Some(crd) = self.get(kind) {
                crd.prune_partial(object);
            }
        } else if let Some(shapes) = self.of(cluster) {
            shapes.prune(cluster, kind, object);
        }
    }
}
