//! Definitions of custom resources that the host brings along (rule D6): made where they are missing, renewed where
//! they are older, and never so that objects that are there would be invalid, unless that is asked for.

use http::Method;
use serde_json::{Value, json};
use setpoint_core::fields::covers;
use setpoint_core::key::Key;
use setpoint_schema::narrowings;

use crate::KubernetesCluster;
use crate::failure::Failure;
use crate::kinds::DEFINITIONS;
use crate::reflect::definitions::Definitions;
use crate::resource::{Resource, segment};
use crate::rights::Asked;
use crate::transport::{Call, JSON, MERGE_PATCH};

/// Narrowings that are named; there may be very many.
const NAMED: usize = 5;

/// What was done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Installed {
    /// There was none.
    Created,
    /// There was another one.
    Changed,
    /// It is there as it is wanted.
    Unchanged,
}

/// Why a definition is not there as it is wanted.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InstallError {
    /// It would let in less than the one that is there. What is there stays.
    #[error("{0}")]
    Narrower(String),
    /// The server does not take it, or may not be asked to.
    #[error("{0}")]
    Refused(String),
    /// The server cannot be reached, or somebody has changed it meanwhile: to be tried again.
    #[error("{0}")]
    Failed(String),
}

/// What has to be written so that a definition is as it is wanted.
#[derive(PartialEq, Debug)]
enum Change {
    None,
    /// Its versions, short names and categories.
    Spec(Value),
}

impl KubernetesCluster {
    /// Brings a definition to the server, as `apiextensions.k8s.io/v1` writes it. `narrow`: even if objects that are
    /// there would be invalid then.
    ///
    /// # Errors
    /// It is not there now as it is wanted.
    pub async fn install(&self, definition: &Value, narrow: bool) -> Result<Installed, InstallError> {
        let name = definition.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        let path = format!("{DEFINITIONS}/{}", segment(name));
        let there: Value = match self.shared.transport.send(Call::get(path.clone())).await {
            Ok(reply) => serde_json::from_slice(&reply.body)
                .map_err(|error| InstallError::Failed(format!("{name}: the answer is not understood: {error}")))?,
            Err(failure) if failure.is_code(404) => {
                let body = definition.to_string().into_bytes();
                let call = Call::write(Method::POST, format!("{DEFINITIONS}?fieldManager=setpoint"), JSON, body);
                return self.written(name, call, "create", Installed::Created).await;
            }
            Err(failure) => return Err(refused(name, &failure, &["get"])),
        };
        let spec = match change(&there, definition, narrow)? {
            Change::None => return Ok(Installed::Unchanged),
            Change::Spec(spec) => spec,
        };
        let version = there.pointer("/metadata/resourceVersion").cloned().unwrap_or_default();
        let patch = json!({"metadata": {"resourceVersion": version}, "spec": spec});
        let body = patch.to_string().into_bytes();
        let call = Call::write(Method::PATCH, format!("{path}?fieldManager=setpoint"), MERGE_PATCH, body);
        self.written(name, call, "patch", Installed::Changed).await
    }

    async fn written(
        &self,
        name: &str,
        call: Call,
        verb: &'static str,
        done: Installed,
    ) -> Result<Installed, InstallError> {
        match self.shared.transport.send(call).await {
            Ok(_) => Ok(done),
            Err(failure) if failure.is_code(409) => {
                Err(InstallError::Failed(format!("the definition {name} was changed meanwhile")))
            }
            Err(failure) => Err(refused(name, &failure, if verb == "create" { &["create"] } else { &["patch"] })),
        }
    }
}

fn refused(name: &str, failure: &Failure, verbs: &'static [&'static str]) -> InstallError {
    let definitions = Resource {
        kind: Definitions::kind(),
        plural: "customresourcedefinitions".into(),
        namespaced: false,
        status: true,
    };
    let key = Key::new("", "apiextensions.k8s.io", "CustomResourceDefinition", None, name);
    match failure.status() {
        Some(status) if status.is_missing_right() => {
            InstallError::Refused(Asked::of(&definitions, &key, verbs).forbidden())
        }
        Some(status) if status.code < 500 && status.code != 429 => {
            InstallError::Refused(format!("the definition {name}: {}", status.text()))
        }
        _ => InstallError::Failed(format!("the definition {name}: {failure}")),
    }
}

fn versions(definition: &Value) -> &[Value] {
    definition.pointer("/spec/versions").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn name_of(version: &Value) -> &str {
    version.get("name").and_then(Value::as_str).unwrap_or_default()
}

/// What has to change of the definition that is there. Versions that are stored, and those that others use, stay.
fn change(there: &Value, wanted: &Value, narrow: bool) -> Result<Change, InstallError> {
    let name = wanted.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    let mut found = Vec::new();
    for version in versions(wanted) {
        let Some(before) = versions(there).iter().find(|known| name_of(known) == name_of(version)) else { continue };
        let schema = |version: &Value| version.pointer("/schema/openAPIV3Schema").cloned().unwrap_or_default();
        let of = narrowings(&schema(before), &schema(version));
        found.extend(of.into_iter().map(|narrowing| format!("{} {narrowing}", name_of(version))));
    }
    if !found.is_empty() && !narrow {
        let more = found.len().saturating_sub(NAMED);
        let more = if more > 0 { format!("; and {more} more") } else { String::new() };
        found.truncate(NAMED);
        return Err(InstallError::Narrower(format!(
            "the definition {name} in the cluster lets in what the plugin's does not, so it stays as it is: {}{more}; \
             look at the objects that there are, then install it with --install-crds=force",
            found.join("; ")
        )));
    }
    let mut all: Vec<Value> = versions(wanted).to_vec();
    let stores = all.iter().any(|version| version.get("storage") == Some(&Value::Bool(true)));
    for kept in versions(there).iter().filter(|kept| !versions(wanted).iter().any(|v| name_of(v) == name_of(kept))) {
        let mut kept = kept.clone();
        if stores {
            kept["storage"] = Value::Bool(false);
        }
        all.push(kept);
    }
    let mut spec = json!({"versions": all});
    for part in ["shortNames", "categories"] {
        if let Some(names) = wanted.pointer(&format!("/spec/names/{part}")) {
            spec["names"][part] = names.clone();
        }
    }
    let same = versions(there).len() == all.len()
        && all.iter().all(|version| {
            let known = versions(there).iter().find(|known| name_of(known) == name_of(version));
            known.is_some_and(|known| is_as_wanted(known, version))
        })
        && spec.get("names").is_none_or(|names| covers(&there["spec"]["names"], names));
    Ok(if same { Change::None } else { Change::Spec(spec) })
}

/// Whether a version is served as it is wanted: the server adds nothing to a schema but what is empty.
fn is_as_wanted(there: &Value, wanted: &Value) -> bool {
    let schema = |version: &Value| version.pointer("/schema/openAPIV3Schema").cloned().unwrap_or_default();
    let mut rest = wanted.clone();
    if let Some(rest) = rest.as_object_mut() {
        rest.remove("schema");
    }
    covers(there, &rest) && covers(&schema(there), &schema(wanted)) && covers(&schema(wanted), &schema(there))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(name: &str, storage: bool, properties: Value) -> Value {
        json!({"name": name, "served": true, "storage": storage,
            "schema": {"openAPIV3Schema": {"type": "object", "properties": properties}}})
    }

    fn definition(versions: Vec<Value>) -> Value {
        json!({"metadata": {"name": "things.g.x", "resourceVersion": "7"},
            "spec": {"group": "g.x", "names": {"kind": "Thing", "plural": "things", "listKind": "ThingList"},
                "conversion": {"strategy": "None"}, "versions": versions}})
    }

    #[test]
    fn what_is_there_as_it_is_wanted_is_not_written() {
        let wanted = definition(vec![version("v1", true, json!({"a": {"type": "string"}}))]);
        assert_eq!(change(&wanted, &wanted, false), Ok(Change::None));
    }

    #[test]
    fn a_version_that_the_plugin_does_not_know_stays_and_stores_no_more() -> Result<(), InstallError> {
        let there = definition(vec![version("v1alpha1", true, json!({}))]);
        let wanted = definition(vec![version("v1", true, json!({}))]);
        let Change::Spec(spec) = change(&there, &wanted, false)? else { panic!("it has to change") };
        let seen: Vec<_> =
            versions(&json!({"spec": spec})).iter().map(|v| (name_of(v).to_owned(), v["storage"].clone())).collect();
        assert_eq!(seen, [("v1".to_owned(), json!(true)), ("v1alpha1".to_owned(), json!(false))]);
        Ok(())
    }

    #[test]
    fn a_schema_in_use_is_narrowed_only_if_that_is_asked_for() {
        let there = definition(vec![version("v1", true, json!({"a": {"type": "string"}, "b": {"type": "string"}}))]);
        let wanted = definition(vec![version("v1", true, json!({"a": {"type": "string"}}))]);
        let refused = change(&there, &wanted, false);
        let Err(InstallError::Narrower(text)) = refused else { panic!("{refused:?}") };
        assert!(text.contains("v1 .b is not there any more") && text.contains("--install-crds=force"), "{text}");
        assert!(matches!(change(&there, &wanted, true), Ok(Change::Spec(_))));
        // The other way round it is wider.
        assert!(matches!(change(&wanted, &there, false), Ok(Change::Spec(_))));
    }
}
