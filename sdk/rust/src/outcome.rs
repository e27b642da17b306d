//! What a successful call wants.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::bindings::setpoint::reconciler::types;
use crate::error::millis;
use crate::{ConditionStatus, Error, EventType, Key, Resource};

/// What a successful call wants. Built by chaining: `Outcome::ready(status).child(..).requeue_after(..)`.
#[must_use]
#[derive(Clone, PartialEq, Debug)]
pub struct Outcome<S> {
    status: Option<S>,
    readiness: types::Readiness,
    conditions: Vec<Condition>,
    children: Option<Vec<Child>>,
    events: Vec<Event>,
    requeue_after: Option<Duration>,
    finalized: bool,
}

/// A condition of the plugin's own. The host adds `lastTransitionTime` and `observedGeneration`; the types
/// `Ready`, `Reconciling` and `Stalled` are the host's, see [`Outcome::stalled`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Condition {
    name: String,
    status: ConditionStatus,
    reason: types::Reason,
}

/// Something worth telling: delivered at least once, folded with equal ones, not durable (rule B16).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event(types::Event);

/// An object that shall exist because of the reconciled one.
///
/// It carries only the fields that the plugin cares for, and always a name: `generateName` is
/// refused, see [`crate::stable_name`] (rule B10). Namespace and cluster default to the owner's.
#[derive(Clone, PartialEq, Debug)]
pub struct Child {
    object: Result<Value, String>,
    cluster: Option<String>,
    recreate: bool,
}

impl<S> Outcome<S> {
    /// Everything is as asked for, and this is the whole status.
    pub fn ready(status: S) -> Self {
        Self { status: Some(status), ..Self::without_status() }
    }

    /// Everything is as asked for; the status stays as it is.
    pub fn without_status() -> Self {
        Self {
            status: None,
            readiness: types::Readiness::Ready,
            conditions: Vec::new(),
            children: None,
            events: Vec::new(),
            requeue_after: None,
            finalized: false,
        }
    }

    /// Not ready yet: something outside has to happen first. `code` is CamelCase without data in it;
    /// the message is one sentence without times or counters, as each new text is a status write.
    pub fn progressing(mut self, code: impl Into<String>, message: impl Into<String>) -> Self {
        self.readiness = types::Readiness::Progressing(reason(code, message));
        self
    }

    /// Will not get better by itself: somebody has to act.
    pub fn stalled(mut self, code: impl Into<String>, message: impl Into<String>) -> Self {
        self.readiness = types::Readiness::Stalled(reason(code, message));
        self
    }

    /// Adds a child. From the first child on the set is complete: children that are not in the
    /// outcome are deleted.
    pub fn child(mut self, child: impl Into<Child>) -> Self {
        self.children.get_or_insert_default().push(child.into());
        self
    }

    /// Adds children. The set is complete, as with [`Outcome::child`]; nothing in it means that all
    /// children are deleted.
    pub fn children<C: Into<Child>>(mut self, children: impl IntoIterator<Item = C>) -> Self {
        self.children.get_or_insert_default().extend(children.into_iter().map(Into::into));
        self
    }

    /// There shall be no children: those that are there are deleted. Without this, and without any
    /// child, they are left as they are.
    pub fn no_children(mut self) -> Self {
        self.children = Some(Vec::new());
        self
    }

    /// Sets a condition of the plugin's own; the last one of a type counts. One that is no longer
    /// returned is removed.
    pub fn condition(
        mut self,
        name: impl Into<String>,
        holds: impl Into<ConditionStatus>,
        code: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        let name = name.into();
        self.conditions.retain(|condition| condition.name != name);
        self.conditions.push(Condition { name, status: holds.into(), reason: reason(code, message) });
        self
    }

    /// Adds an event.
    pub fn event(mut self, event: Event) -> Self {
        self.events.push(event);
        self
    }

    /// Call again after this time even if nothing changes. Milliseconds count, less does not.
    pub fn requeue_after(mut self, after: Duration) -> Self {
        self.requeue_after = Some(after);
        self
    }

    /// The clean-up is complete: the host deletes the remaining children, waits until they are gone,
    /// and lets the object go. Only when [`crate::Context::deleting`] (rule B12).
    pub fn finalized(mut self) -> Self {
        self.finalized = true;
        self
    }
}

impl<S: Serialize> Outcome<S> {
    /// The outcome as the contract has it.
    ///
    /// # Errors
    /// Permanent ones, as the same call would give the same outcome: a status or child that cannot be
    /// written as JSON. All else is checked by the host, and by the test kit.
    pub fn into_contract(self) -> Result<types::Outcome, Error> {
        let status = match self.status {
            None => None,
            Some(status) => Some(
                serde_json::to_string(&status)
                    .map_err(|error| Error::permanent(format_args!("the status is no JSON: {error}")))?,
            ),
        };
        let children = match self.children {
            None => None,
            Some(children) => Some(children.into_iter().map(Child::into_contract).collect::<Result<Vec<_>, _>>()?),
        };
        let conditions = self
            .conditions
            .into_iter()
            .map(|Condition { name, status, reason }| types::Condition { type_: name, status, reason })
            .collect();
        Ok(types::Outcome {
            status,
            readiness: self.readiness,
            conditions,
            children,
            events: self.events.into_iter().map(|Event(event)| event).collect(),
            requeue_after: self.requeue_after.map(millis),
            finalized: self.finalized,
            extra: Vec::new(),
        })
    }
}

fn reason(code: impl Into<String>, message: impl Into<String>) -> types::Reason {
    types::Reason { code: code.into(), message: message.into() }
}

impl Event {
    /// An ordinary event. `code` is CamelCase without data in it.
    pub fn normal(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self(types::Event { type_: EventType::Normal, reason: reason(code, message), regarding: None })
    }

    /// An event about something that is wrong.
    pub fn warning(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self(types::Event { type_: EventType::Warning, reason: reason(code, message), regarding: None })
    }

    /// About another object than the reconciled one.
    #[must_use]
    pub fn regarding(mut self, key: Key) -> Self {
        self.0.regarding = Some(key);
        self
    }
}

impl From<bool> for ConditionStatus {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

impl Child {
    /// A child of a known kind. `body` is all besides apiVersion, kind and metadata, such as a [`crate::ConfigMap`].
    pub fn of<T: Resource + Serialize>(name: impl Into<String>, body: &T) -> Self {
        let object = match serde_json::to_value(body) {
            Ok(Value::Object(mut object)) => {
                let version =
                    if T::GROUP.is_empty() { T::VERSION.to_owned() } else { format!("{}/{}", T::GROUP, T::VERSION) };
                object.insert("apiVersion".into(), version.into());
                object.insert("kind".into(), T::KIND.into());
                object.insert("metadata".into(), json!({ "name": name.into() }));
                Ok(Value::Object(object))
            }
            Ok(_) => Err(format!("a child of kind {} is no JSON object", T::KIND)),
            Err(error) => Err(format!("a child of kind {} is no JSON: {error}", T::KIND)),
        };
        Self { object, cluster: None, recreate: false }
    }

    /// A child of any kind: apiVersion, kind, metadata.name and the fields that the plugin cares for.
    pub fn json(object: Value) -> Self {
        Self { object: Ok(object), cluster: None, recreate: false }
    }

    /// With this label.
    #[must_use]
    pub fn label(self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata("labels", key.into(), value.into())
    }

    /// With this annotation.
    #[must_use]
    pub fn annotation(self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata("annotations", key.into(), value.into())
    }

    fn metadata(mut self, map: &str, key: String, value: String) -> Self {
        if let Some(metadata) = self.metadata_mut()
            && let Some(map) = metadata.entry(map).or_insert_with(|| json!({})).as_object_mut()
        {
            map.insert(key, value.into());
        }
        self
    }

    fn metadata_mut(&mut self) -> Option<&mut Map<String, Value>> {
        self.object.as_mut().ok()?.as_object_mut()?.entry("metadata").or_insert_with(|| json!({})).as_object_mut()
    }

    /// In this namespace instead of the owner's.
    #[must_use]
    pub fn in_namespace(mut self, namespace: impl Into<String>) -> Self {
        if let Some(metadata) = self.metadata_mut() {
            metadata.insert("namespace".into(), Value::String(namespace.into()));
        }
        self
    }

    /// In this cluster instead of the owner's. Kinds of `host.setpoint.dev` are in `local` in any case.
    #[must_use]
    pub fn in_cluster(mut self, cluster: impl Into<String>) -> Self {
        self.cluster = Some(cluster.into());
        self
    }

    /// When the server refuses a change of an immutable field: delete the child and create it again.
    /// Without this the owner is stalled (rule B10).
    #[must_use]
    pub fn recreate(mut self) -> Self {
        self.recreate = true;
        self
    }

    fn into_contract(self) -> Result<types::Child, Error> {
        Ok(types::Child {
            cluster: self.cluster,
            object: self.object.map_err(Error::permanent)?.to_string(),
            update: if self.recreate { types::Update::Recreate } else { types::Update::InPlace },
        })
    }
}

impl From<Value> for Child {
    fn from(object: Value) -> Self {
        Self::json(object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ConfigMap;

    #[test]
    fn an_outcome_that_says_nothing_about_children_leaves_them() -> Result<(), Error> {
        assert_eq!(Outcome::ready(json!({})).into_contract()?.children, None);
        assert_eq!(Outcome::ready(json!({})).no_children().into_contract()?.children, Some(vec![]));
        assert_eq!(Outcome::ready(json!({})).children(Vec::<Child>::new()).into_contract()?.children, Some(vec![]));
        Ok(())
    }

    #[test]
    fn a_child_carries_only_what_the_plugin_gave() -> Result<(), Error> {
        let child = Child::of("a", &ConfigMap::new().entry("k", "v")).label("l", "1").in_namespace("n").recreate();
        let child = child.into_contract()?;
        assert_eq!(
            child.object.parse::<Value>()?,
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "n", "labels": {"l": "1"}},
                   "data": {"k": "v"}})
        );
        assert_eq!(child.update, types::Update::Recreate);
        Ok(())
    }

    #[test]
    fn the_last_condition_of_a_type_counts() -> Result<(), Error> {
        let outcome = Outcome::ready(json!({})).condition("A", true, "Yes", "").condition("A", false, "No", "");
        let conditions = outcome.requeue_after(Duration::from_nanos(5)).into_contract()?;
        assert_eq!(conditions.conditions.len(), 1);
        assert_eq!(conditions.conditions[0].status, ConditionStatus::False);
        assert_eq!(conditions.requeue_after, Some(1));
        Ok(())
    }
}
