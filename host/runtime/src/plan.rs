//! What reconciling objects now would change. Plugins are called as in an attempt, but nothing is
//! written, their reads are followed by nobody, and nothing of the engine changes.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{StreamExt, iter};
use serde_json::Value;
use setpoint_core::contract::{Outcome, Request};
use setpoint_core::engine::{Engine, PluginInfo};
use setpoint_core::key::{GroupKind, Key, Source};
use setpoint_core::sanitize::sanitize;
use setpoint_core::selector::SelectorError;
use tokio::time::{Instant, timeout_at};

use crate::driver::Driver;
use crate::filter::Wanted;
use crate::handle::Handle;
use crate::logs::Silent;
use crate::objects::{is_secret, redact};
use crate::reads::PeekReads;
use crate::views::{PlanChange, PlanRequest, PlanRow};

/// Objects that one plan is made for at most.
pub const MOST: usize = 1_000;
/// Calls for plans at a time, over all plans.
pub(crate) const AT_A_TIME: usize = 4;
/// A plan has so long; objects whose turn has not come by then have a failure that says so.
const LONGEST: Duration = Duration::from_secs(60);

/// Why there is no plan.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PlanError {
    /// The label selector does not parse.
    #[error(transparent)]
    Selector(#[from] SelectorError),
    /// No kind is given.
    #[error("the kind to plan for is missing")]
    NoKind,
    /// The kind is not served.
    #[error("the kind {0} is not known")]
    UnknownKind(String),
    /// Nobody could be asked.
    #[error("no plugin reconciles {0}")]
    NotReconciled(GroupKind),
    /// More than [`MOST`].
    #[error("{0} objects are selected, and a plan is made for at most {MOST} at a time")]
    TooMany(usize),
}

/// One call that is to be made.
struct Asked {
    key: Arc<Key>,
    info: Arc<PluginInfo>,
    request: Option<Request>,
}

impl Handle {
    /// What reconciling the objects of a filter now would change, in order of their keys. At most
    /// [`MOST`] objects, four calls at a time, a minute in all.
    ///
    /// # Errors
    /// Which objects are meant is not clear, or they are too many.
    pub async fn plan(&self, request: &PlanRequest) -> Result<Vec<PlanRow>, PlanError> {
        let wanted = Wanted::of(&request.filter, &self.inner.kinds)?;
        let word = request.filter.kind.as_deref().filter(|word| !word.is_empty()).ok_or(PlanError::NoKind)?;
        let kinds = wanted.kinds().filter(|kinds| !kinds.is_empty());
        let kinds = kinds.ok_or_else(|| PlanError::UnknownKind(word.to_owned()))?;
        let driver = &self.inner.driver;
        let clusters: Vec<Source> =
            kinds.iter().map(|kind| Source { cluster: self.cluster_of(kind), kind: kind.clone() }).collect();
        let asked = driver.look(|engine| ask(engine, &clusters, &wanted))?;
        let until = Instant::now() + LONGEST;
        let rows = asked.into_iter().map(|asked| self.plan_one(asked, until));
        Ok(iter(rows).buffered(AT_A_TIME).collect().await)
    }

    async fn plan_one(&self, asked: Asked, until: Instant) -> PlanRow {
        let Asked { key, info, request } = asked;
        let row = PlanRow {
            key: key.to_string(),
            plugin: info.name.to_string(),
            failure: None,
            changes: Vec::new(),
            notes: Vec::new(),
        };
        let failed = |failure: &str| PlanRow { failure: Some(sanitize(failure)), ..row.clone() };
        let Some(request) = request else {
            return failed("the plugin would not be called for it now: it is on its way out");
        };
        let driver = &self.inner.driver;
        let Some(component) = driver.component(&info.digest) else {
            return failed("the plugin is being replaced; ask again in a moment");
        };
        let late = || failed(&format!("there was no time left for it: a plan ends after {} s", LONGEST.as_secs()));
        if Instant::now() >= until {
            return late();
        }
        let reads = Arc::new(PeekReads::new(driver.clone(), info.clone()));
        let call = async {
            // Never closed; a plan waits for its turn behind others.
            let _turn = self.plans.acquire().await.ok();
            driver.metrics.record_plan(&info.name);
            component.code.reconcile(&request, reads.clone(), &component.limits, Arc::new(Silent)).await
        };
        match timeout_at(until, call).await {
            Err(_) => late(),
            Ok(call) => match call.result {
                Err(failure) => failed(&failure.to_string()),
                Ok(outcome) => match changes(driver, &key, outcome) {
                    Err(invalid) => failed(&invalid),
                    Ok((changes, notes)) => judged(PlanRow { changes, notes, ..row }, reads.unanswered()),
                },
            },
        }
    }
}

/// The calls to make for the objects that are wanted.
fn ask(engine: &Engine, sources: &[Source], wanted: &Wanted) -> Result<Vec<Asked>, PlanError> {
    let mut asked = Vec::new();
    let mut found = 0;
    let mut unreconciled = None;
    let mut reconciled = false;
    for source in sources {
        let Some(info) = engine.plugin_for(source) else {
            unreconciled.get_or_insert(&source.kind);
            continue;
        };
        reconciled = true;
        for (id, object) in engine.cache().list(source) {
            let key = engine.cache().keys().key(id);
            if !wanted.key(key) || !wanted.labels(Some(object)) {
                continue;
            }
            found += 1;
            if found <= MOST {
                let request = engine.request_for(key);
                asked.push(Asked { key: key.clone(), info: info.clone(), request });
            }
        }
    }
    match unreconciled {
        Some(kind) if !reconciled => Err(PlanError::NotReconciled(kind.clone())),
        _ if found > MOST => Err(PlanError::TooMany(found)),
        _ => Ok(asked),
    }
}

/// What an outcome would change, and what that does not show.
fn changes(driver: &Driver, key: &Key, outcome: Outcome) -> Result<(Vec<PlanChange>, Vec<String>), String> {
    let plan = driver.look(|engine| engine.plan(key, outcome)).map_err(|invalid| invalid.to_string())?;
    let mut notes: Vec<String> = plan.notes.iter().map(|note| sanitize(note)).collect();
    let changes = plan.changes.into_iter().map(|change| {
        let (mut before, mut after) = (change.before.unwrap_or_default(), change.after.unwrap_or_default());
        if is_secret(&change.key.group_kind()) {
            let values = |object: &Value| ["data", "stringData"].map(|part| object.get(part).cloned());
            if values(&before) != values(&after) {
                notes.push(format!("{}: its values would change; they are not shown", change.key));
            }
            redact(&mut before);
            redact(&mut after);
        }
        PlanChange {
            verb: change.verb.word().to_owned(),
            key: change.key.to_string(),
            before,
            after,
            reason: change.reason.as_deref().map(sanitize),
        }
    });
    let changes = changes.collect();
    Ok((changes, notes))
}

/// An outcome that was made without knowing everything deletes nothing (rule A4).
fn judged(mut row: PlanRow, unanswered: bool) -> PlanRow {
    if unanswered {
        row.changes.retain(|change| change.verb != "delete");
        row.notes.push("something that it reads is not known at present: nothing would be deleted".to_owned());
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::Kinds;
    use crate::views::Filter;
    use setpoint_core::engine::Options;
    use setpoint_core::key::LOCAL;

    #[test]
    fn an_outcome_that_was_made_without_an_answer_shows_no_deletion() {
        let change = |verb: &str| PlanChange {
            verb: verb.into(),
            key: "local/core/ConfigMap/default/a".into(),
            before: Value::Null,
            after: Value::Null,
            reason: None,
        };
        let row = PlanRow {
            key: "local/g/K/default/o".into(),
            plugin: "p".into(),
            failure: None,
            changes: vec![change("create"), change("delete")],
            notes: Vec::new(),
        };
        assert_eq!(judged(row.clone(), false), row);
        let judged = judged(row, true);
        assert_eq!(judged.changes, [change("create")]);
        assert_eq!(judged.notes.len(), 1);
    }

    #[test]
    fn a_kind_that_nobody_reconciles_has_no_plan() -> Result<(), SelectorError> {
        let engine = Engine::new(Options::default(), Arc::new(Kinds::default()));
        let wanted = Wanted::of(&Filter::default(), &Kinds::default())?;
        let kind = GroupKind::new("", "ConfigMap");
        let refused =
            ask(&engine, &[Source { cluster: LOCAL.into(), kind: kind.clone() }], &wanted).map(|asked| asked.len());
        assert_eq!(refused, Err(PlanError::NotReconciled(kind)));
        Ok(())
    }
}
