//! What is written down of first passes: without it each restart would be a hole in the guard, and each start
//! would have to be as careful as one after an upgrade (rules B3, D11).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::Engine;
use super::pass::{NotHeld, Pass};
use super::plugins::{PluginState, PluginVersion};
use crate::cache::SourceState;
use crate::effects::{OWNER_KEY, OWNER_LABEL};
use crate::key::{GroupKind, Key, KeyId, LOCAL, Name, Source};
use crate::native;
use crate::object::Object;
use crate::queue::PluginId;

/// More undecided keys than this are not written down: then the next first pass is one of all keys.
const WRITTEN: usize = 200;

/// How far a plugin has come: what its next start is measured against.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Passed {
    /// The version whose first pass is over; one that no component has if it is not.
    #[serde(flatten)]
    pub version: PluginVersion,
    /// The kinds that it reconciles, or was the last to reconcile, as `Kind.group`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    kinds: Vec<String>,
    /// Objects of which is not known yet which of their children shall go.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    undecided: Vec<String>,
    /// Children that this version has let go in its first pass.
    #[serde(default, skip_serializing_if = "is_zero")]
    gone: usize,
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// What is left of a first pass that was over but for a few keys.
#[derive(Debug, Default)]
pub(super) struct Unfinished {
    pub(super) undecided: Vec<Key>,
    pub(super) gone: usize,
}

impl Engine {
    /// What [`Engine::passed`] said before the last stop: another version that starts now is an upgrade, and so
    /// is one whose deletions were held, or that takes a kind over from another plugin (rule B3).
    pub fn restore_passed(&mut self, passed: impl IntoIterator<Item = (Name, Passed)>) {
        for (name, passed) in passed {
            let id = PluginId(self.plugins.len() as u32);
            self.owned_before.extend(passed.kinds.iter().map(|kind| (kind_of(kind), id)));
            let mut plugin = PluginState::new(name);
            plugin.last = Some(passed.version);
            let undecided = passed.undecided.iter().filter_map(|key| Key::parse(key)).collect();
            plugin.restored = Some(Unfinished { undecided, gone: passed.gone });
            self.plugins.push(plugin);
        }
    }

    /// How far all plugins have come, for [`Engine::restore_passed`] after the next start; none if nothing has
    /// changed since `seen`, which is then up to date.
    pub fn passed(&self, seen: &mut u64) -> Option<Vec<(Name, Passed)>> {
        if std::mem::replace(seen, self.passes) == self.passes {
            return None;
        }
        let ids = (0..self.plugins.len() as u32).map(PluginId);
        Some(
            ids.filter_map(|id| Some((self.plugins[id.0 as usize].name.clone(), self.passed_of(id, false)?))).collect(),
        )
    }

    /// What will be written down of a plugin once a person has confirmed its deletions, and its version.
    ///
    /// # Errors
    /// None are held, or it is not known yet which.
    pub fn confirmable(&self, plugin: &str) -> Result<(PluginVersion, Passed), NotHeld> {
        let id = self.held_by(plugin)?;
        let version = self.plugins[id.0 as usize].last.clone().ok_or(NotHeld::Nothing)?;
        Ok((version, self.passed_of(id, true).ok_or(NotHeld::Nothing)?))
    }

    fn passed_of(&self, id: PluginId, confirmed: bool) -> Option<Passed> {
        let plugin = &self.plugins[id.0 as usize];
        let version = plugin.last.clone()?;
        let kinds = self.kinds.iter().chain(&self.given_up).map(|(source, plugin)| (&source.kind, *plugin));
        let kinds = kinds.chain(self.owned_before.iter().map(|(kind, plugin)| (kind, *plugin)));
        let kinds: BTreeSet<&GroupKind> = kinds.filter(|(_, plugin)| *plugin == id).map(|(kind, _)| kind).collect();
        let kinds = kinds.into_iter().map(ToString::to_string).collect();
        let (undecided, gone) = match (&plugin.pass, &plugin.restored) {
            (Some(pass), _) => (self.undecided(pass, confirmed), if confirmed { 0 } else { pass.gone() }),
            (None, Some(left)) => (Some(left.undecided.iter().map(ToString::to_string).collect()), left.gone),
            (None, None) => (Some(Vec::new()), 0),
        };
        let undecided = undecided.filter(|_| !plugin.interrupted);
        Some(match undecided {
            Some(undecided) if undecided.is_empty() => Passed { version, kinds, undecided, gone: 0 },
            Some(undecided) => Passed { version, kinds, undecided, gone },
            None => Passed { version: PluginVersion::none(), kinds, undecided: Vec::new(), gone: 0 },
        })
    }

    /// The keys that a pass has left; none if it is not over, or they are too many.
    fn undecided(&self, pass: &Pass, confirmed: bool) -> Option<Vec<String>> {
        if pass.undecided(confirmed).count() + pass.awaited().len() > 2 * WRITTEN {
            return None;
        }
        let key = |id: KeyId| self.cache.keys().key(id).to_string();
        let ids = pass.undecided(confirmed);
        let keys: BTreeSet<String> = ids.map(key).chain(pass.awaited().iter().map(ToString::to_string)).collect();
        ((pass.is_over() || confirmed) && keys.len() <= WRITTEN).then(|| keys.into_iter().collect())
    }

    /// Whether the first pass on a rebuilt store is over (rule D10): of each kind that has objects, or whose
    /// objects had children, a plugin has looked at all of them. Those without a plugin are still to be looked at.
    pub fn rebuilt_is_over(&self) -> bool {
        let passed = |plugin: &PluginState| plugin.passed_rebuilt;
        let is_passed = |source: &Source| {
            self.plugin_of(source).and_then(|plugin| self.plugins.get(plugin.0 as usize)).is_some_and(passed)
        };
        let built_in = |group: &str| group.is_empty() || group == native::GROUP;
        let of_plugins = |source: &Source| &*source.cluster == LOCAL && !built_in(&source.kind.group);
        let objects =
            || self.cache.sources().flat_map(|(source, ..)| self.cache.list(source)).map(|(_, object)| object);
        self.plugins.iter().filter(|plugin| plugin.info.is_some()).all(passed)
            && self.cache.sources().all(|(source, _, objects)| objects == 0 || !of_plugins(source) || is_passed(source))
            && self.places.keys().all(|owner| is_passed(&owner.source()))
            && objects().filter_map(|object| self.marked_owner(object)).all(|owner| is_passed(&owner.source()))
    }

    /// The same for a cluster that has come with a rebuilt store: nothing is frozen because of it, and each of its kinds
    /// that has objects has a plugin.
    pub fn rebuilt_is_over_in(&self, cluster: &str) -> bool {
        let frozen = (0..self.plugins.len() as u32).map(PluginId).any(|plugin| self.is_frozen(plugin));
        let built_in = |group: &str| group.is_empty() || group == native::GROUP;
        let mut there = self.cache.sources().filter(|(source, ..)| *source.cluster == *cluster);
        !frozen
            && there.all(|(source, state, objects)| {
                let passed = objects == 0 || built_in(&source.kind.group) || self.plugin_of(source).is_some();
                *state == SourceState::Synced && passed
            })
    }

    /// The owner whose mark, made by this host, an object carries.
    fn marked_owner(&self, object: &Object) -> Option<Key> {
        let label = object.label(OWNER_LABEL)?;
        Key::parse(object.mark(OWNER_KEY)?).filter(|owner| self.identity(owner).mark() == label)
    }
}

fn kind_of(text: &str) -> GroupKind {
    let (kind, group) = text.split_once('.').unwrap_or((text, ""));
    GroupKind::new(group, kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_from_before_there_were_kinds_in_it_is_read() {
        let passed: Passed =
            serde_json::from_str(r#"{"digest":"d","config":18446744073709551615,"grants":2}"#).expect("it is read");
        assert_eq!((&*passed.version.digest, passed.kinds.len(), passed.undecided.len(), passed.gone), ("d", 0, 0, 0));
        let text = serde_json::to_string(&passed).expect("it is written");
        assert_eq!(text, r#"{"digest":"d","config":18446744073709551615,"grants":2}"#);
    }

    #[test]
    fn kinds_are_read_as_they_are_written() {
        for kind in [GroupKind::new("", "ConfigMap"), GroupKind::new("a.example.com", "Box")] {
            assert_eq!(kind_of(&kind.to_string()), kind);
        }
    }
}
