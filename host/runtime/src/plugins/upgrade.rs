//! How a new version takes over, and how a person goes back (rule D11).

use std::sync::Arc;

use setpoint_core::engine::PluginInfo;

use super::prepare::{Loaded, Prepared};
use super::{Load, Plugins};
use crate::ring::Recorded;
use crate::shadow::{Candidate, Tried, requests, try_out};

/// A version to be tried in the shadow of the one that runs.
pub(super) struct Trial {
    before: Arc<PluginInfo>,
    candidate: Candidate,
    requests: Vec<Arc<Recorded>>,
}

impl Plugins {
    /// What a component has to pass before it takes over; none if no other version of it runs, or
    /// nothing was asked of that one lately.
    ///
    /// # Errors
    /// As [`Prepared::info`].
    pub(super) fn trial(&self, prepared: &Prepared) -> Result<Option<Trial>, String> {
        let name = prepared.name();
        let before = self.driver.look(|engine| engine.plugins().find(|info| &*info.name == name).cloned());
        let Some(before) = before.filter(|before| &*before.digest != prepared.digest()) else { return Ok(None) };
        let requests = requests(&self.driver, prepared.description());
        if requests.is_empty() {
            return Ok(None);
        }
        Ok(Some(Trial { before, candidate: prepared.candidate(&self.driver)?, requests }))
    }

    /// The version that runs goes on meanwhile.
    pub(super) async fn run_trial(&self, trial: Trial) -> Tried {
        let Trial { before, candidate, requests } = trial;
        let tried = try_out(&self.driver, &*self.kinds, &before, &candidate, requests).await;
        tracing::info!(
            plugin = %before.name,
            calls = tried.row.calls,
            traps = tried.row.traps,
            differences = tried.row.differences.len(),
            deletions = tried.row.deletions,
            left_out = tried.left_out,
            "a new version has answered recent requests in the shadow"
        );
        tried
    }

    /// Shows what came of a trial that was not passed.
    pub(super) fn show_trial(&self, load: &Load, tried: &Tried) {
        if let Some(slot) = self.lock().get_mut(&load.file).filter(|slot| slot.load == load.number) {
            slot.shadow = Some(tried.row.clone());
        }
    }

    /// Goes back to the component of a plugin that ran before, through the checks that every
    /// component passes. The one in the file is not used until the file has another one, after a
    /// restart as well. A second time goes forward again.
    ///
    /// # Errors
    /// There is no such plugin or no previous component, it is refused, or this cannot be recorded:
    /// what runs keeps running.
    pub async fn rollback(self: &Arc<Self>, name: &str) -> Result<(), String> {
        let _one = self.rolling_back.lock().await;
        let (file, in_file) = self.file_of(name).ok_or_else(|| format!("no plugin {name} runs"))?;
        let version = self.versions.of(name);
        let Some((version, turned)) = version.and_then(|version| Some((version.clone(), version.turned(&in_file)?)))
        else {
            return Err(format!("there is no previous component of {name}: one is kept when another takes over"));
        };
        let (this, wanted, of_file) = (self.clone(), turned.running.clone(), in_file);
        let loaded: Loaded = tokio::task::spawn_blocking(move || this.read_kept(&wanted, of_file))
            .await
            .unwrap_or_else(|error| Err(format!("it could not be loaded: {error}")))?;
        let prepared = self.prepare(loaded)?;
        if prepared.name() != name {
            return Err(format!("the previous component calls itself {}, not {name}", prepared.name()));
        }
        self.place(&file, &prepared)?;
        let tried = match self.trial(&prepared)? {
            Some(trial) => Some(self.run_trial(trial).await),
            None => None,
        };
        if let Some(refusal) = tried.as_ref().and_then(Tried::refusal) {
            return Err(refusal);
        }
        if self.versions.of(name).as_ref() != Some(&version) {
            return Err(format!("another version of {name} has taken over meanwhile; look at it, then try again"));
        }
        // Recorded before it is in force: after a kill at any moment the host starts with the one or the other.
        self.versions.set(name, turned).await?;
        if let Err(problem) = self.start(&file, None, prepared, tried) {
            self.versions.set(name, version).await?;
            return Err(problem);
        }
        if let Some(slot) = self.lock().get_mut(&file) {
            slot.problem = None;
        }
        tracing::warn!(plugin = name, file, "rolled back to the previous component; replace the file to leave it");
        Ok(())
    }

    /// Components that ran are kept, those that began to just now among them. Blocks.
    pub(crate) fn keep_components(&self) {
        self.versions.keep_all();
    }

    /// The file of a plugin that runs, and the digest of what is in it.
    fn file_of(&self, name: &str) -> Option<(String, String)> {
        self.lock().iter().find_map(|(file, slot)| {
            slot.running.as_ref().filter(|running| running.name() == name)?;
            Some((file.clone(), slot.in_file.clone()?))
        })
    }
}
