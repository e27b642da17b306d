//! Which kinds are served in the clusters of files, for the rules and for people; of other clusters they are asked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, RwLock};

use serde_json::Value;
use setpoint_core::contract;
use setpoint_core::effects::Shapes;
use setpoint_core::key::{GroupKind, LOCAL, Name};
use setpoint_core::native;
use setpoint_schema::Crd;

use crate::lock::{read, write};

/// The served kinds. A registry of its own, so that the rules never wait for a cluster's locks.
#[derive(Default)]
pub struct Kinds {
    crds: RwLock<BTreeMap<GroupKind, Served>>,
    /// The clusters of files beside `local`.
    directories: RwLock<BTreeSet<Name>>,
    others: RwLock<BTreeMap<Name, Arc<dyn Shapes>>>,
}

struct Served {
    crd: Arc<Crd>,
    only_local: bool,
}

/// Whether objects of a kind are in `local` alone.
fn is_only_local(crd: &Crd) -> bool {
    crd.group == native::GROUP || contract::is_only_local(&crd.manifest())
}

impl Kinds {
    /// Another cluster takes part: what it serves is asked of it, with the engine locked.
    pub fn engage(&self, cluster: &Name, shapes: Arc<dyn Shapes>) {
        write(&self.others).insert(cluster.clone(), shapes);
    }

    /// A directory of files takes part: what is served in `local` is served in it, too.
    pub(crate) fn engage_directory(&self, cluster: &Name) {
        write(&self.directories).insert(cluster.clone());
    }

    /// A cluster does not take part any more.
    pub fn disengage(&self, cluster: &Name) {
        write(&self.others).remove(cluster);
        write(&self.directories).remove(cluster);
    }

    fn of(&self, cluster: &str) -> Option<Arc<dyn Shapes>> {
        read(&self.others).get(cluster).cloned()
    }

    /// Serves a kind, or serves it with another schema.
    pub fn insert(&self, crd: Arc<Crd>) {
        let kind = GroupKind::new(&crd.group, &crd.kind);
        let only_local = is_only_local(&crd);
        write(&self.crds).insert(kind, Served { crd, only_local });
    }

    /// A kind, if it is served.
    pub fn get(&self, kind: &GroupKind) -> Option<Arc<Crd>> {
        read(&self.crds).get(kind).map(|served| served.crd.clone())
    }

    /// A kind, if it is served in this cluster of files.
    pub(crate) fn get_in(&self, cluster: &str, kind: &GroupKind) -> Option<Arc<Crd>> {
        let crds = read(&self.crds);
        let served = crds.get(kind).filter(|served| cluster == LOCAL || !served.only_local);
        served.map(|served| served.crd.clone())
    }

    /// Of these kinds those that are served in this cluster of files.
    pub(crate) fn served_in<'a>(
        &'a self,
        cluster: &'a str,
        crds: impl Iterator<Item = Arc<Crd>> + 'a,
    ) -> impl Iterator<Item = Arc<Crd>> + 'a {
        crds.filter(move |crd| cluster == LOCAL || !self.is_in_local_alone(crd))
    }

    fn is_in_local_alone(&self, crd: &Arc<Crd>) -> bool {
        let kind = GroupKind::new(&crd.group, &crd.kind);
        let known = read(&self.crds).get(&kind).filter(|served| Arc::ptr_eq(&served.crd, crd)).map(|s| s.only_local);
        known.unwrap_or_else(|| is_only_local(crd))
    }

    fn is_of_files(&self, cluster: &str) -> bool {
        cluster == LOCAL || read(&self.directories).contains(cluster)
    }

    /// All kinds in order.
    pub fn all(&self) -> Vec<Arc<Crd>> {
        read(&self.crds).values().map(|served| served.crd.clone()).collect()
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
        match self.is_of_files(cluster) {
            true => Some(self.get_in(cluster, kind)?.namespaced),
            false => self.of(cluster)?.namespaced(cluster, kind),
        }
    }

    fn prune(&self, cluster: &str, kind: &GroupKind, object: &mut Value) {
        if self.is_of_files(cluster) {
            if let Some(crd) = self.get_in(cluster, kind) {
                crd.prune_partial(object);
            }
        } else if let Some(shapes) = self.of(cluster) {
            shapes.prune(cluster, kind, object);
        }
    }
}
