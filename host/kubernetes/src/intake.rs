//! Objects as a server sends them, made into objects as the host holds them (rules A2, B1).

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use setpoint_core::key::{GroupVersionKind, Key, Name};
use setpoint_core::mask::Mask;
use setpoint_core::object::Object;

use crate::managed::{applied, elsewhere};

/// Makes objects of one kind, all alike: what is written to a status, shown by a watch and answered to a write
/// has to be comparable.
#[derive(Clone, Debug)]
pub(crate) struct Intake {
    pub(crate) cluster: Name,
    pub(crate) kind: GroupVersionKind,
    api_version: String,
    /// What anybody sees of it.
    pub(crate) mask: Mask,
    /// The manager of this installation's statuses.
    status_manager: Name,
}

/// An event of a watch. `object` is read when its type is known.
#[derive(Deserialize)]
pub(crate) struct WatchEvent<'a> {
    #[serde(rename = "type")]
    pub(crate) kind: &'a str,
    #[serde(borrow)]
    pub(crate) object: &'a RawValue,
}

/// A page of a list. Items are read one by one.
#[derive(Deserialize)]
pub(crate) struct Page<'a> {
    #[serde(default)]
    pub(crate) metadata: ListMeta,
    #[serde(borrow, default)]
    pub(crate) items: Option<Vec<&'a RawValue>>,
}

/// `metadata` of a list.
#[derive(Deserialize, Default, Debug)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ListMeta {
    pub(crate) resource_version: String,
    #[serde(rename = "continue")]
    pub(crate) next: String,
}

/// What a bookmark says.
#[derive(Deserialize, Default, Debug)]
#[serde(default)]
pub(crate) struct Bookmark {
    metadata: BookmarkMeta,
}

#[derive(Deserialize, Default, Debug)]
#[serde(rename_all = "camelCase", default)]
struct BookmarkMeta {
    resource_version: String,
    annotations: std::collections::BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Identified {
    metadata: Identity,
}

#[derive(Deserialize)]
struct Identity {
    name: String,
    namespace: Option<String>,
}

impl Bookmark {
    pub(crate) fn version(&self) -> &str {
        &self.metadata.resource_version
    }

    /// Whether all that was there when the watch began has been sent.
    pub(crate) fn ends_initial_events(&self) -> bool {
        self.metadata.annotations.get("k8s.io/initial-events-end").is_some_and(|end| end == "true")
    }
}

impl Intake {
    pub(crate) fn new(cluster: Name, kind: GroupVersionKind, mask: Mask, status_manager: Name) -> Self {
        Self { cluster, api_version: kind.api_version(), kind, mask, status_manager }
    }

    /// The key of an object, whatever else is in it.
    pub(crate) fn identify(&self, json: &[u8]) -> Option<Key> {
        let Identified { metadata } = serde_json::from_slice(json).ok()?;
        (!metadata.name.is_empty()).then(|| self.key(metadata.namespace.as_deref(), &metadata.name))
    }

    fn key(&self, namespace: Option<&str>, name: &str) -> Key {
        Key {
            cluster: self.cluster.clone(),
            group: self.kind.group.clone(),
            kind: self.kind.kind.clone(),
            namespace: namespace.map(Into::into),
            name: name.into(),
        }
    }

    /// The object of some JSON, with its key.
    ///
    /// # Errors
    /// It is no object, or has no name.
    pub(crate) fn read(&self, json: &[u8]) -> Result<(Key, Arc<Object>), String> {
        let mut value: Value = serde_json::from_slice(json).map_err(|error| format!("it is not JSON: {error}"))?;
        let Some(map) = value.as_object_mut() else { return Err("it is no JSON object".into()) };
        // Items of lists leave these out, and where only metadata was asked for they are others.
        map.insert("apiVersion".into(), self.api_version.as_str().into());
        map.insert("kind".into(), self.kind.kind.to_string().into());
        let managed = map.get_mut("metadata").and_then(|metadata| metadata.as_object_mut()?.remove("managedFields"));
        let elsewhere = elsewhere(managed.as_ref(), &self.status_manager);
        let object = Object::new(value, applied(managed.as_ref())).written_elsewhere(elsewhere);
        if object.name().is_empty() {
            return Err("it has no metadata.name".into());
        }
        let key = self.key(object.namespace(), object.name());
        let object = if self.mask.is_all() { object } else { object.masked(&self.mask) };
        Ok((key, Arc::new(object)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn intake(mask: &[&str]) -> Result<Intake, setpoint_core::mask::PathError> {
        let kind = GroupVersionKind::new("apps", "v1", "Deployment");
        Ok(Intake::new("hub".into(), kind, Mask::parse(mask)?, "setpoint/own/status".into()))
    }

    #[test]
    fn an_object_of_a_list_is_the_same_as_that_of_a_watch() -> Result<(), Box<dyn std::error::Error>> {
        let intake = intake(&[])?;
        let item = json!({"metadata": {"name": "a", "namespace": "d", "uid": "u", "resourceVersion": "7",
            "managedFields": [{"manager": "kubectl", "operation": "Update"}],
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}"}}, "spec": {"replicas": 1}});
        let mut event = item.clone();
        event["apiVersion"] = json!("apps/v1");
        event["kind"] = json!("Deployment");
        let (key, a) = intake.read(item.to_string().as_bytes())?;
        let (_, b) = intake.read(event.to_string().as_bytes())?;
        assert_eq!(key, Key::new("hub", "apps", "Deployment", Some("d"), "a"));
        assert!(a.same_content(&b));
        assert_eq!(a.resource_version(), "7");
        assert_eq!(
            &**a.json(),
            r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"a","namespace":"d","uid":"u"},"spec":{"replicas":1}}"#
        );
        Ok(())
    }

    #[test]
    fn what_nobody_sees_is_not_kept_and_the_host_knows_its_marks_all_the_same() -> Result<(), Box<dyn std::error::Error>>
    {
        let intake = intake(&[".spec.replicas"])?;
        let json = json!({"metadata": {"name": "a", "generation": 3, "finalizers": ["x"],
            "annotations": {"setpoint.dev/paused": "true", "big": "…"}},
            "spec": {"replicas": 1, "template": {"big": true}}});
        let (_, object) = intake.read(json.to_string().as_bytes())?;
        assert_eq!(
            &**object.json(),
            r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"a"},"spec":{"replicas":1}}"#
        );
        assert_eq!((object.mark("setpoint.dev/paused"), object.generation()), (Some("true"), 3));
        assert!(object.has_finalizer("x"));
        Ok(())
    }

    #[test]
    fn what_is_no_object_is_refused() -> Result<(), Box<dyn std::error::Error>> {
        let intake = intake(&[])?;
        for bad in ["", "[]", "{}", r#"{"metadata":{}}"#, r#"{"metadata":{"name":"a"}"#] {
            assert!(intake.read(bad.as_bytes()).is_err(), "{bad}");
            assert_eq!(intake.identify(bad.as_bytes()), None, "{bad}");
        }
        let deep =
            format!(r#"{{"metadata":{{"name":"a","namespace":"d"}},"spec":{}{}}}"#, "[".repeat(500), "]".repeat(500));
        assert!(intake.read(deep.as_bytes()).is_err());
        assert_eq!(intake.identify(deep.as_bytes()), Some(Key::new("hub", "apps", "Deployment", Some("d"), "a")));
        Ok(())
    }

    #[test]
    fn events_and_pages_are_read_in_whatever_order_their_fields_come() -> Result<(), serde_json::Error> {
        let event: WatchEvent<'_> = serde_json::from_str(r#"{"object":{"a":1},"type":"ADDED"}"#)?;
        assert_eq!((event.kind, event.object.get()), ("ADDED", r#"{"a":1}"#));
        let page: Page<'_> =
            serde_json::from_str(r#"{"items":[{"a":1}],"metadata":{"resourceVersion":"5","continue":"x"}}"#)?;
        assert_eq!((page.metadata.resource_version.as_str(), page.metadata.next.as_str()), ("5", "x"));
        assert_eq!(page.items.map(|items| items.len()), Some(1));
        let empty: Page<'_> = serde_json::from_str(r#"{"items":null,"metadata":{}}"#)?;
        assert!(empty.items.is_none());
        let end: Bookmark = serde_json::from_str(
            r#"{"metadata":{"resourceVersion":"9","annotations":{"k8s.io/initial-events-end":"true"}}}"#,
        )?;
        assert!(end.ends_initial_events() && end.version() == "9");
        Ok(())
    }
}
