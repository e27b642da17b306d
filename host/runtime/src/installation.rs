//! What is the same for all hosts of an installation: which kinds a person has disabled (rule C9), and which children
//! owners of a kind may have (rule B2).
//!
//! It is in the host's own store. Where hosts have a lease in common it is in a ConfigMap beside the lease as well,
//! which is what counts: whoever takes over may have an empty store.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use setpoint_cluster::local::Local;
use setpoint_core::contract::Description;
use setpoint_core::key::GroupKind;
use setpoint_kubernetes::state::{SharedState, SharedStateError};
use tokio::sync::Mutex;

use crate::driver::Driver;
use crate::kept::Kept;

/// Row of the store, and key in the ConfigMap.
const DISABLED: &str = "disabled-kinds";
/// The same.
const PLACES: &str = "child-places";
/// Between two tries to hear what has to be known.
const AGAIN: Duration = Duration::from_secs(1);
/// What another host was told is heard of within this.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// What the hosts of an installation have in common.
pub(crate) struct Installation {
    local: Arc<Local>,
    driver: Arc<Driver>,
    shared: Option<SharedState>,
    /// Children by kind of owner, as `GROUP/KIND`.
    places: Kept<BTreeSet<String>>,
    /// Held while it is decided which kinds are disabled, until that is kept and in force. When it was last heard of what
    /// hosts share.
    switching: Mutex<Option<Instant>>,
}

impl Installation {
    /// As recorded before the last stop, which the engine is told.
    pub(crate) fn open(local: Arc<Local>, driver: Arc<Driver>, shared: Option<SharedState>) -> Arc<Self> {
        // Files of earlier versions have pairs of group and kind.
        let disabled: Vec<(String, String)> =
            local.bookkeeping_get(DISABLED).and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        let places = Kept::open(local.clone(), PLACES, "owners say themselves which children they may have");
        let this = Self { local, driver, shared, places, switching: Mutex::default() };
        this.driver.with(|engine, _| {
            engine.restore_disabled(disabled.iter().map(|(group, kind)| GroupKind::new(group, kind)));
        });
        if this.shared.is_none() {
            for (owner, children) in this.places.all() {
                this.tell_places(&owner, &children);
            }
        }
        Arc::new(this)
    }

    /// Hears what other hosts were told, before this one acts. Without the right to read it this host goes by what it
    /// knows itself; else nothing else is done before it is known.
    pub(crate) async fn learn(&self) {
        let Some(shared) = &self.shared else { return };
        let asked = Instant::now();
        loop {
            match self.look(shared, Some(asked)).await {
                Ok(()) => return,
                Err(error) if error.is_forbidden() => {
                    tracing::error!(%error, "this host goes by what it knows itself of disabled kinds");
                    return;
                }
                Err(error) => tracing::warn!(%error, "this host does not act before it is known"),
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Hears what other hosts are told, until the task is dropped.
    pub(crate) async fn follow(self: Arc<Self>) {
        let Some(shared) = &self.shared else { return };
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            // What is in the way is said by whatever else needs the server.
            if let Err(error) = self.look(shared, None).await {
                tracing::debug!(%error, "what hosts share");
            }
        }
    }

    /// Hears what hosts share, unless it was asked for since then: many clusters are taken over at once.
    async fn look(&self, shared: &SharedState, since: Option<Instant>) -> Result<(), SharedStateError> {
        let mut heard = self.switching.lock().await;
        if since.is_some_and(|since| heard.is_some_and(|heard| heard >= since)) {
            return Ok(());
        }
        let now = Instant::now();
        let said = shared.read().await?;
        let own = self.disabled();
        match said.get(DISABLED) {
            Some(text) => match kinds_of(text) {
                Some(disabled) => self.in_force(&disabled).await,
                None => tracing::error!(
                    "{DISABLED} of what hosts share is no list such as [\"GROUP/KIND\"]: {text:?}; what was disabled stays so"
                ),
            },
            None if own.is_empty() => {}
            None => shared.change(DISABLED, |said| Some(said.map_or_else(|| text_of(&own), str::to_owned))).await?,
        }
        *heard = Some(now);
        Ok(())
    }

    /// As long as this is held no kind is enabled or disabled.
    pub(crate) async fn undisturbed(&self) -> impl Drop + '_ {
        self.switching.lock().await
    }

    fn disabled(&self) -> BTreeSet<GroupKind> {
        self.driver.look(|engine| engine.disabled().cloned().collect())
    }

    /// These kinds are disabled, and no others.
    async fn in_force(&self, disabled: &BTreeSet<GroupKind>) {
        let before = self.disabled();
        if before == *disabled {
            return;
        }
        if let Err(error) = self.keep(disabled).await {
            tracing::warn!(%error, "which kinds are disabled could not be kept in the store");
        }
        self.driver.with(|engine, now| {
            for kind in before.difference(disabled) {
                engine.enable(now, kind);
            }
            for kind in disabled.difference(&before) {
                engine.disable(kind);
            }
        });
    }

    async fn keep(&self, disabled: &BTreeSet<GroupKind>) -> Result<(), String> {
        let rows: Vec<(&str, &str)> = disabled.iter().map(|kind| (&*kind.group, &*kind.kind)).collect();
        let text = serde_json::to_vec(&rows).map_err(|error| error.to_string())?;
        self.local.bookkeeping_put(DISABLED, Some(&text)).await.map_err(|error| error.to_string())
    }

    /// A person enables or disables a kind; durable, and told to all hosts, when it returns.
    ///
    /// # Errors
    /// It could not be written: then all is as before.
    pub(crate) async fn switch(&self, kind: &GroupKind, enabled: bool) -> Result<(), String> {
        let _switching = self.switching.lock().await;
        let switched = |mut kinds: BTreeSet<GroupKind>| {
            if enabled {
                kinds.remove(kind)
            } else {
                kinds.insert(kind.clone())
            };
            kinds
        };
        let mut disabled = switched(self.disabled());
        if let Some(shared) = &self.shared {
            let own = disabled.clone();
            let said = shared.change(DISABLED, |said| {
                disabled = said.and_then(kinds_of).map_or_else(|| own.clone(), switched);
                Some(text_of(&disabled))
            });
            said.await.map_err(|error| error.to_string())?;
        }
        if self.disabled() == disabled {
            return Ok(());
        }
        self.keep(&disabled).await?;
        self.driver.with(|engine, now| if enabled { engine.enable(now, kind) } else { engine.disable(kind) });
        Ok(())
    }

    /// A plugin may write these children for owners of its kinds: as soon as that is recorded, owners need not say it.
    pub(crate) fn has_plugin(self: &Arc<Self>, description: &Description) {
        let remote = |kind: &GroupKind| !description.is_local(kind);
        let children: BTreeSet<String> =
            description.writes.iter().map(|kind| kind.group_kind()).filter(remote).map(|kind| kind.path()).collect();
        let owners: Vec<String> = description
            .kinds
            .iter()
            .map(|owned| owned.kind.group_kind())
            .filter(remote)
            .map(|kind| kind.path())
            .collect();
        if children.is_empty() || owners.is_empty() {
            return;
        }
        let this = self.clone();
        tokio::spawn(async move {
            for owner in owners {
                if let Err(error) = this.record(&owner, &children).await {
                    tracing::warn!("which children {owner} may have is recorded at each of them: {error}");
                }
            }
        });
    }

    async fn record(&self, owner: &str, children: &BTreeSet<String>) -> Result<(), String> {
        let union = |known: Option<BTreeSet<String>>| known.unwrap_or_default().union(children).cloned().collect();
        let mut all: BTreeSet<String> = union(self.places.of(owner));
        if let Some(shared) = &self.shared {
            let own = all.clone();
            let said = shared.change(PLACES, |said| {
                let mut said: BTreeMap<String, BTreeSet<String>> =
                    said.and_then(|said| serde_json::from_str(said).ok()).unwrap_or_default();
                let known = said.entry(owner.to_owned()).or_default();
                known.extend(own.iter().cloned());
                all = known.clone();
                serde_json::to_string(&said).ok()
            });
            said.await.map_err(|error| error.to_string())?;
        }
        if self.places.of(owner).as_ref() != Some(&all) {
            self.places.set(owner, all.clone()).await?;
        }
        self.tell_places(owner, &all);
        Ok(())
    }

    fn tell_places(&self, owner: &str, children: &BTreeSet<String>) {
        let Some(owner) = GroupKind::parse_path(owner) else { return };
        let children = children.iter().filter_map(|kind| GroupKind::parse_path(kind)).collect();
        self.driver.with(|engine, _| engine.kind_places(&owner, children));
    }
}

/// None: it is no list of kinds.
fn kinds_of(text: &str) -> Option<BTreeSet<GroupKind>> {
    let texts: Vec<String> = serde_json::from_str(text).ok()?;
    texts.iter().map(|text| GroupKind::parse_path(text)).collect()
}

fn text_of(kinds: &BTreeSet<GroupKind>) -> String {
    // Texts: it cannot fail.
    serde_json::to_string(&kinds.iter().map(GroupKind::path).collect::<Vec<_>>()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_survive_their_own_text_and_what_is_no_list_of_kinds_is_none() {
        let kinds = BTreeSet::from([GroupKind::new("", "ConfigMap"), GroupKind::new("a.io", "Bundle")]);
        assert_eq!(text_of(&kinds), r#"["core/ConfigMap","a.io/Bundle"]"#);
        assert_eq!(kinds_of(&text_of(&kinds)), Some(kinds));
        assert_eq!(kinds_of("[]"), Some(BTreeSet::new()));
        for text in ["", "Bundle", r#"["Bundle"]"#, r#"{"a.io/Bundle": true}"#] {
            assert_eq!(kinds_of(text), None, "{text}");
        }
    }
}
