//! What an attempt would ask and do now, for `plan`: nothing is written and no state changes.

use super::Engine;
use crate::contract::{Cause, Outcome, Request};
use crate::effects::{FINALIZER, InvalidOutcome, Plan, plan_of};
use crate::key::Key;

/// Stands where a transition time would be written.
const WHEN: &str = "(now)";

impl Engine {
    /// The request that an attempt would make now, with cause `manual`; none if no plugin that is loaded
    /// reconciles this object, it is not there, or its deletion needs no call.
    pub fn request_for(&self, key: &Key) -> Option<Request> {
        let id = self.cache.keys().find(key)?;
        let plugin = self.state(id)?.plugin;
        let object = self.cache.view(id)?;
        if object.terminating() {
            let info = self.plugins.get(plugin.0 as usize)?.info.as_ref()?;
            let called = info.owns(&key.group_kind()).is_some_and(|kind| kind.finalizer);
            if !called || !object.has_finalizer(FINALIZER) {
                return None;
            }
        }
        self.request_of(id, plugin, vec![Cause::Manual])
    }

    /// What would be done about an outcome of the plugin that reconciles this object, found by the very
    /// rules that do it, with what is known of the world as the world. Empty if nothing reconciles it.
    ///
    /// # Errors
    /// The outcome makes no sense: an attempt with it would fail.
    pub fn plan(&self, key: &Key, outcome: Outcome) -> Result<Plan, InvalidOutcome> {
        let found = self.cache.keys().find(key);
        let known = found.and_then(|id| Some((id, self.state(id)?.plugin, self.cache.view(id)?)));
        let Some((id, plugin, object)) = known else { return Ok(Plan::default()) };
        let (work, _) = self.work_of(id, plugin, object.terminating(), outcome, false)?;
        let run = self.run_for(key, object.clone(), work);
        let mut planned = plan_of(run, &self.world(WHEN));
        let finalizer = self
            .plugins
            .get(plugin.0 as usize)
            .and_then(|plugin| plugin.info.as_ref()?.owns(&key.group_kind()))
            .is_some_and(|kind| kind.finalizer);
        if finalizer && !object.terminating() && !object.has_finalizer(FINALIZER) {
            planned.notes.push(format!("{key} gets the finalizer {FINALIZER} before the call"));
        }
        if self.is_stopped(id) {
            planned.notes.push(format!("{key} is paused or its kind is disabled: nothing is done until that ends"));
        }
        planned.notes.extend(self.quarantine_of(plugin));
        Ok(planned)
    }
}
