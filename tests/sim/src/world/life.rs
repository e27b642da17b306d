//! The host's life, and that of its plugins: starts, kills, versions that come and go.

use std::collections::BTreeSet;
use std::sync::Arc;

use setpoint_core::Time;
use setpoint_core::effects::PAUSED;
use setpoint_core::engine::{ClusterFacts, Engine, Options, PluginInfo, Trial};
use setpoint_core::key::{Key, LOCAL};
use setpoint_core::object::Object;

use super::World;
use super::types::Event;
use crate::faults::within;
use crate::kinds::{FAR, GROUP, Served};
use crate::plugin::Plugin;

impl World {
    /// The host starts: it knows what was recorded, and nothing else.
    pub fn boot(&mut self) {
        self.host += 1;
        self.up = true;
        let seed = self.rng.next_u64();
        let served = Arc::new(Served::of(&self.server.models));
        let rebuilt = std::mem::take(&mut self.rebuilt);
        self.engine = Engine::new(Options { seed, rebuilt, ..self.options.clone() }, served);
        let due = if rebuilt { self.due() } else { BTreeSet::new() };
        self.guard.host_starts(due);
        for cluster in [LOCAL, FAR] {
            if !self.is_away(cluster) {
                let facts = ClusterFacts { division: self.division(cluster), ..ClusterFacts::of(cluster) };
                self.engine.add_cluster(0, &cluster.into(), facts);
            }
        }
        self.boot_beside();
        let places: Vec<_> = self.server.models.values().flat_map(|model| model.places()).collect();
        self.engine.restore_places(places);
        self.engine.restore_disabled(self.disabled.iter().cloned());
        self.engine.restore_passed(self.passed.clone());
        self.say(|| "the host starts".into());
        self.natives_boot();
        let host = self.host;
        for plugin in self.loaded.clone() {
            let at = self.now + within(&mut self.rng, self.faults.call);
            self.later(at, Event::Start { host, plugin });
        }
        for source in self.server.sources() {
            if self.is_away(&source.cluster) {
                continue;
            }
            self.engine.source_syncing(&source);
            let at = self.now + within(&mut self.rng, self.faults.request);
            self.later(at, Event::Connect { host, source });
        }
    }

    /// The host dies where it stands, and starts again after a while. Writes that are on their way are
    /// done now, or never.
    pub fn crash(&mut self) {
        self.say(|| "the host dies".into());
        self.passed.extend(self.engine.passed(&mut 0).into_iter().flatten());
        let agenda = std::mem::take(&mut self.agenda);
        for (at, event) in agenda {
            match event {
                Event::Do { op, .. } if self.rng.between(0, 1) == 0 => {
                    let (_, effects) = self.server.perform(self.now, &op);
                    self.publish(&effects);
                }
                Event::Meddle(_)
                | Event::Boot
                | Event::Mend(_)
                | Event::Flap { .. }
                | Event::HandOver { .. }
                | Event::Elsewhere
                | Event::UpgradeElsewhere { .. }
                | Event::ShardsReturn => {
                    self.agenda.insert(at, event);
                }
                _ => {}
            }
        }
        self.up = false;
        self.host += 1;
        self.natives_die();
        self.runs.clear();
        self.guard.host_died();
        self.told.clear();
        for source in self.server.sources() {
            self.server.disconnect(&source);
        }
        let at = self.now + within(&mut self.rng, self.faults.down);
        self.later(at, Event::Boot);
    }

    /// The host dies, and starts again on a store that was rebuilt (rule D10).
    pub fn lose_store(&mut self) {
        self.say(|| "the store is lost".into());
        self.rebuilt = true;
        self.crash();
        self.passed.clear();
    }

    /// Objects that nothing keeps from being attempted.
    pub(super) fn due(&self) -> BTreeSet<Key> {
        let all = self.server.all().into_iter().filter(|(key, object)| self.is_due(key, object));
        all.map(|(key, _)| (*key).clone()).collect()
    }

    pub(super) fn is_due(&self, key: &Key, object: &Object) -> bool {
        &*key.group == GROUP
            && !object.terminating()
            && object.mark(PAUSED) != Some("true")
            && !self.disabled.contains(&key.group_kind())
    }

    /// Of the objects that an attempt has to look at before anything is deleted: one of a plugin that is
    /// still to come (rule D10).
    pub(super) fn still_due(&self, plugin: &Plugin) -> Option<Key> {
        self.guard.due_first().iter().find(|key| plugin.owns(&key.group_kind())).cloned()
    }

    /// Whether the host is up.
    pub fn is_up(&self) -> bool {
        self.up
    }

    /// Loads a plugin, or another version or configuration of it.
    pub fn load(&mut self, plugin: Plugin) {
        self.load_after(plugin, Trial::default());
    }

    /// The same after a trial in the shadow of the version before (rule D11).
    pub fn load_after(&mut self, plugin: Plugin, trial: Trial) {
        let name = plugin.description.name.to_string();
        self.plugins.insert(name.clone(), plugin);
        self.loaded.insert(name.clone());
        if self.up {
            self.start(&name, trial);
        }
        self.upgrade_elsewhere(&name);
    }

    /// Every call of a component traps until a time.
    pub fn break_until(&mut self, digest: &str, until: Time) {
        self.say(|| format!("{digest} traps"));
        self.broken.insert(digest.to_owned());
        self.later(until, Event::Mend(digest.to_owned()));
    }

    /// Takes a plugin away.
    pub fn unload(&mut self, name: &str) {
        self.say(|| format!("the plugin {name} is removed"));
        self.loaded.remove(name);
        if self.up {
            self.engine.plugin_stopped(name);
            self.mark_natives();
        }
        self.stop_elsewhere(name);
    }

    /// Whether a plugin is loaded.
    pub fn is_loaded(&self, name: &str) -> bool {
        self.loaded.contains(name)
    }

    pub(super) fn start(&mut self, name: &str, trial: Trial) {
        let Some(plugin) = self.plugins.get(name) else { return };
        self.say(|| format!("the plugin {} starts", plugin.digest));
        self.started.insert(name.to_owned(), self.numbers);
        let config = plugin.config.as_str().into();
        match PluginInfo::new(&plugin.digest, plugin.description.clone(), config, plugin.grants.clone()) {
            Ok(info) => self.engine.plugin_started_after(self.now, info, trial),
            Err(error) => self.guard.violated("driver", error.to_string()),
        }
        self.mark_natives();
    }
}
