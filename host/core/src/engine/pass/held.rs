//! Deletions that wait for a person: what is shown, and what may be confirmed (rule B3).

use std::sync::Arc;

use super::Verdict;
use crate::Time;
use crate::engine::Engine;
use crate::key::{Key, KeyId, Name};
use crate::queue::PluginId;

/// Deletions that wait for a person (rule B3).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Held {
    /// The plugin that would delete.
    pub plugin: Name,
    /// The children, with their owners in front: those that outcomes no longer have, and, of owners whose
    /// turn has not come yet, those that a trial has foreseen.
    pub children: Vec<(Arc<Key>, Key)>,
    /// Objects that are to be looked at before this can be confirmed.
    pub left: usize,
    /// Whether the plugin deletes nothing at all meanwhile; else only these children wait.
    pub whole: bool,
}

/// Why deletions are not confirmed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotHeld {
    /// None wait for a person.
    #[error("no deletions are held")]
    Nothing,
    /// What a person sees now is not all that would go: so many objects are to be looked at before.
    #[error("{}", text_of_left(.0))]
    Counting(usize),
}

fn text_of_left(left: &usize) -> String {
    let objects = if *left == 1 { "object is" } else { "objects are" };
    format!("{left} {objects} still to be looked at: only then is it known what would be deleted")
}

impl Engine {
    /// Deletions that wait for a person, or will unless what a trial has foreseen proves wrong.
    pub fn held(&self) -> Vec<Held> {
        let mut held = Vec::new();
        for plugin in &self.plugins {
            let Some(pass) = plugin.pass.as_ref().filter(|pass| pass.verdict != Verdict::Counting) else { continue };
            let mut owners: Vec<KeyId> = pass.owners.keys().chain(pass.foreseen.keys()).copied().collect();
            owners.sort_unstable();
            let mut children = Vec::with_capacity(pass.expected);
            for id in owners {
                let owner = self.cache.keys().key(id);
                let deferred = match pass.foreseen.get(&id) {
                    Some(foreseen) => foreseen.as_slice(),
                    None => self.state(id).map(|state| state.deferred.as_slice()).unwrap_or_default(),
                };
                children.extend(deferred.iter().map(|child| (owner.clone(), child.clone())));
            }
            held.push(Held { plugin: plugin.name.clone(), children, left: pass.left(), whole: !pass.over });
        }
        held
    }

    /// A person confirms the deletions of a plugin: those that [`Engine::held`] shows.
    ///
    /// # Errors
    /// None are held, or it is not known yet which.
    pub fn confirm(&mut self, now: Time, plugin: &str) -> Result<(), NotHeld> {
        let plugin = self.held_by(plugin)?;
        self.let_go(now, plugin, true);
        Ok(())
    }

    /// The plugin of this name, if a person may confirm its deletions.
    pub(in crate::engine) fn held_by(&self, plugin: &str) -> Result<PluginId, NotHeld> {
        let at = self.plugins.iter().position(|known| &*known.name == plugin).ok_or(NotHeld::Nothing)?;
        let id = PluginId(at as u32);
        let pass = self.pass_of(id).ok_or(NotHeld::Nothing)?;
        match pass.verdict {
            Verdict::Held => Ok(id),
            Verdict::TooMany => Err(NotHeld::Counting(pass.left())),
            Verdict::Counting => Err(NotHeld::Nothing),
        }
    }
}
