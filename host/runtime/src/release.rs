//! Letting go of objects that no plugin reconciles (rule B12): the one way in which a finalizer of the
//! host is removed without its plugin. What is done, and in which order, is decided by
//! [`ReleaseRun`]; here is who may be released, and who performs it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{StreamExt, iter};
use setpoint_cluster::Warrant;
use setpoint_core::effects::{FINALIZER, ReleaseReport, ReleaseRun};
use setpoint_core::key::{GroupKind, Key, Name};
use setpoint_core::object::Object;
use setpoint_core::selector::SelectorError;

use crate::driver::Driver;
use crate::filter::Wanted;
use crate::handle::{Handle, finished};
use crate::views::{ReleaseRequest, Released};

/// Objects that are released beside each other, so that their writes share commits.
const AT_A_TIME: usize = 16;
/// One operation has so long, as in an attempt (rule C7).
const OPERATION: Duration = Duration::from_secs(10);

/// Why nothing was released, or not all.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReleaseError {
    /// The label selector does not parse.
    #[error(transparent)]
    Selector(#[from] SelectorError),
    /// No kind is given.
    #[error("the kind to release is missing")]
    NoKind,
    /// The kind is not served.
    #[error("the kind {0} is not known")]
    UnknownKind(String),
    /// The word means several kinds.
    #[error("{word:?} may be {}", kinds.join(" or "))]
    Ambiguous {
        /// The word.
        word: String,
        /// What it may mean, as `Kind.group`.
        kinds: Vec<String>,
    },
    /// Its plugin does all of this properly.
    #[error("the plugin {plugin} reconciles {kind}; remove it or disable the kind first")]
    Reconciled {
        /// The kind.
        kind: GroupKind,
        /// The plugin.
        plugin: String,
    },
    /// The plugin has only just been removed, or the kind disabled.
    #[error("an attempt of {0} is still running; ask again in a moment")]
    Running(Key),
    /// There is no object of the name.
    #[error("there is no {kind} {name:?} there")]
    NotFound {
        /// The kind.
        kind: GroupKind,
        /// The name.
        name: String,
    },
    /// Some could not be released.
    #[error("{problem} (released: {released}, not released: {left})")]
    Incomplete {
        /// What is in the way of the first.
        problem: String,
        /// Objects that were released.
        released: usize,
        /// Objects that were not, or not wholly.
        left: usize,
    },
    /// The host is stopping.
    #[error("the host is stopping")]
    Stopping,
}

impl Handle {
    /// Removes the host's finalizer from objects of a kind that no plugin reconciles now, or that is
    /// disabled. Without a name only those are meant that are being deleted; an object that is named
    /// is released in any case. Their children are deleted, or stay as nobody's: without owner mark
    /// and owner reference, otherwise as they are.
    ///
    /// # Errors
    /// Which objects are meant is not clear, they are still reconciled, or something is in the way;
    /// then what was released stays released.
    pub async fn release(&self, request: &ReleaseRequest) -> Result<Released, ReleaseError> {
        // A person who does not wait for the answer has asked all the same.
        let (this, request) = (self.clone(), request.clone());
        finished(tokio::spawn(async move { this.release_now(&request).await }).await, ReleaseError::Stopping)
    }

    async fn release_now(&self, request: &ReleaseRequest) -> Result<Released, ReleaseError> {
        let wanted = Wanted::of(&request.filter, &self.inner.kinds)?;
        let word = request.filter.kind.as_deref().filter(|word| !word.is_empty()).ok_or(ReleaseError::NoKind)?;
        let kind = match wanted.kinds().unwrap_or_default() {
            [kind] => kind.clone(),
            [] => return Err(ReleaseError::UnknownKind(word.to_owned())),
            several => {
                let kinds = several.iter().map(ToString::to_string).collect();
                return Err(ReleaseError::Ambiguous { word: word.to_owned(), kinds });
            }
        };
        // Nobody enables the kind meanwhile, and no plugin that comes begins an attempt.
        let _undisturbed = self.inner.installation.undisturbed().await;
        let _held = self.hold(&kind)?;
        let owners = self.owners(&kind, &wanted);
        if let (true, Some(name)) = (owners.is_empty(), &request.filter.name) {
            return Err(ReleaseError::NotFound { kind, name: name.clone() });
        }
        let running = self.inner.driver.look(|engine| owners.iter().find(|(key, _)| engine.is_running(key)).cloned());
        if let Some((key, _)) = running {
            return Err(ReleaseError::Running(key));
        }
        let clusters = self.inner.files.all();
        let places: Vec<_> = clusters.iter().flat_map(|cluster| cluster.local().read(|model| model.places())).collect();
        let runs = owners.into_iter().map(|(owner, object)| {
            let places = places.iter().find(|(key, _)| *key == owner).map(|(_, places)| places.clone());
            self.release_one(owner, object, places.unwrap_or_default(), request.delete_children)
        });
        let reports: Vec<(Key, ReleaseReport)> = iter(runs).buffered(AT_A_TIME).collect().await;
        joined(reports)
    }

    /// Keeps attempts of a kind from beginning, if no plugin reconciles it or a person disabled it.
    fn hold(&self, kind: &GroupKind) -> Result<Held, ReleaseError> {
        let plugin = self.plugin_of(kind);
        self.inner.driver.with(|engine, _| {
            let disabled = engine.disabled().any(|disabled| disabled == kind);
            match plugin {
                Some(plugin) if !disabled => Err(ReleaseError::Reconciled { kind: kind.clone(), plugin }),
                _ => {
                    if !disabled {
                        engine.disable(kind);
                    }
                    Ok(Held { driver: self.inner.driver.clone(), kind: (!disabled).then(|| kind.clone()) })
                }
            }
        })
    }

    fn owners(&self, kind: &GroupKind, wanted: &Wanted) -> Vec<(Key, Arc<Object>)> {
        let meant = |object: &Object| wanted.is_named() || object.terminating() && object.has_finalizer(FINALIZER);
        let objects = self.inner.files.objects(kind).into_iter();
        let meant = objects.filter(|(key, object)| wanted.key(key) && wanted.labels(Some(object)) && meant(object));
        meant.map(|(key, object)| ((*key).clone(), object)).collect()
    }

    async fn release_one(
        &self,
        owner: Key,
        object: Arc<Object>,
        places: Vec<(Name, GroupKind)>,
        delete_children: bool,
    ) -> (Key, ReleaseReport) {
        let driver = &self.inner.driver;
        let identity = driver.look(|engine| engine.identity_of(&owner));
        let mut run = ReleaseRun::new(owner.clone(), &object, identity, places, delete_children);
        while let Some(op) = run.step() {
            let forgets = matches!(&op, setpoint_core::op::Op::SavePlaces { .. });
            let until = tokio::time::Instant::now() + OPERATION;
            // A person's, not a plugin's: as the host.
            run.answered(driver.perform(op, until, Warrant::default()).await);
            if forgets {
                // Also without an answer: what may be forgotten is recorded anew when it is needed.
                driver.with(|engine, _| engine.places_forgotten(&owner));
            }
        }
        let report = run.into_report();
        match &report.failed {
            Some(problem) => tracing::warn!(key = %owner, "it could not be released: {problem}"),
            None => tracing::info!(
                key = %owner,
                deleted = report.deleted.len(),
                orphaned = report.orphaned.len(),
                "released by a person"
            ),
        }
        (owner, report)
    }
}

/// While it lives, no attempt of the kind begins.
struct Held {
    driver: Arc<Driver>,
    /// None: a person has disabled it, and it stays so.
    kind: Option<GroupKind>,
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(kind) = &self.kind {
            self.driver.with(|engine, now| engine.enable(now, kind));
        }
    }
}

fn joined(reports: Vec<(Key, ReleaseReport)>) -> Result<Released, ReleaseError> {
    let texts = |keys: &[Key]| keys.iter().map(ToString::to_string).collect::<Vec<_>>();
    let mut all = Released::default();
    let mut problems = Vec::new();
    for (owner, report) in reports {
        all.deleted.extend(texts(&report.deleted));
        all.orphaned.extend(texts(&report.orphaned));
        if report.released {
            all.released.push(owner.to_string());
        }
        problems.extend(report.failed.map(|problem| format!("{owner}: {problem}")));
    }
    let (released, left) = (all.released.len(), problems.len());
    match problems.into_iter().next() {
        Some(problem) => Err(ReleaseError::Incomplete { problem, released, left }),
        None => Ok(all),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use setpoint_cluster::Cluster;
    use setpoint_cluster::local::Local;
    use setpoint_core::effects::{Identity, OWNER_KEY, OWNER_LABEL};
    use setpoint_core::key::LOCAL;
    use setpoint_core::op::{Answer, Op, Precondition};

    use super::*;

    fn key(name: &str) -> Key {
        Key::new(LOCAL, "", "ConfigMap", Some("default"), name)
    }

    async fn apply(local: &Local, key: &Key, object: serde_json::Value, manager: &str) -> Option<Arc<Object>> {
        let op = Op::Apply {
            key: key.clone(),
            object: Arc::new(object),
            manager: manager.into(),
            force: false,
            precondition: None,
        };
        match local.perform(op).await {
            Answer::Applied { object, .. } => Some(object),
            _ => None,
        }
    }

    /// An owner with the host's finalizer and a child that somebody else gave a field.
    async fn family(local: &Local) -> Option<(Arc<Object>, Identity)> {
        let document = |name: &str| {
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"},
                   "data": {"x": "1"}})
        };
        let identity = Identity::new("here", "store", &key("owner"));
        let owner = apply(local, &key("owner"), document("owner"), "somebody").await?;
        let precondition = Precondition::version_of(&owner);
        let finalizer = Op::SetFinalizer { key: key("owner"), present: true, finalizers: Vec::new(), precondition };
        let Answer::Applied { object: owner, .. } = local.perform(finalizer).await else { return None };
        let mut child = document("child");
        identity.put_on(&mut child, &key("child"), &owner);
        apply(local, &key("child"), child, &identity.manager()).await?;
        let mut theirs = document("child");
        theirs["data"] = json!({"theirs": "2"});
        apply(local, &key("child"), theirs, "somebody").await?;
        Some((owner, identity))
    }

    async fn release(local: &Local, delete_children: bool) -> Option<ReleaseReport> {
        let (owner, identity) = family(local).await?;
        let places = vec![(Name::from(LOCAL), GroupKind::new("", "ConfigMap"))];
        let mut run = ReleaseRun::new(key("owner"), &owner, identity, places, delete_children);
        while let Some(op) = run.step() {
            run.answered(local.perform(op).await);
        }
        Some(run.into_report())
    }

    #[tokio::test]
    async fn an_orphan_is_nobodys_and_keeps_its_content_in_the_embedded_cluster() -> Result<(), String> {
        let local = Local::in_memory(Arc::new(()));
        let report = release(&local, false).await.ok_or("the family could not be made")?;
        assert_eq!((report.failed, report.orphaned, report.released), (None, vec![key("child")], true));
        let child = local.read(|model| model.get(&key("child"))).ok_or("the child is gone")?;
        assert_eq!((child.label(OWNER_LABEL), child.mark(OWNER_KEY), child.owners().len()), (None, None, 0));
        assert_eq!(child.value()["data"], json!({"x": "1", "theirs": "2"}));
        let owner = local.read(|model| model.get(&key("owner"))).ok_or("the owner is gone")?;
        assert!(!owner.has_finalizer(FINALIZER));
        Ok(())
    }

    #[tokio::test]
    async fn children_go_if_that_is_asked_for() -> Result<(), String> {
        let local = Local::in_memory(Arc::new(()));
        let report = release(&local, true).await.ok_or("the family could not be made")?;
        assert_eq!((report.failed, report.deleted, report.released), (None, vec![key("child")], true));
        assert!(local.read(|model| model.get(&key("child"))).is_none());
        Ok(())
    }

    #[test]
    fn what_was_released_before_a_problem_is_told_with_it() {
        let done = ReleaseReport { released: true, ..ReleaseReport::default() };
        let failed = ReleaseReport { failed: Some("in the way".into()), ..ReleaseReport::default() };
        let error = joined(vec![(key("a"), done.clone()), (key("b"), failed)]).map_err(|error| error.to_string());
        assert_eq!(error, Err("local/core/ConfigMap/default/b: in the way (released: 1, not released: 1)".to_owned()));
        let all = joined(vec![(key("a"), done)]).map(|released| released.released);
        assert_eq!(all, Ok(vec!["local/core/ConfigMap/default/a".to_owned()]));
    }
}
