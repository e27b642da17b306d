//! Writes: applies, metadata patches and deletions, each with the strongest precondition there is (rule D8).

use http::Method;
use serde_json::{Value, json};
use setpoint_cluster::Warrant;
use setpoint_core::effects::{CHILD_PLACES, places_text};
use setpoint_core::key::{GroupKind, Key, Name};
use setpoint_core::op::{Answer, Precondition, Refusal};
use setpoint_schema::ListType;

use super::identity;
use crate::KubernetesCluster;
use crate::kinds::Kind;
use crate::refusal::{Purpose, refusal};
use crate::resource::Query;
use crate::rights::Asked;
use crate::transport::{APPLY, Call, JSON, MERGE_PATCH, Reply};

impl KubernetesCluster {
    /// Server-side apply (rules B1, B4, B6).
    pub(super) async fn apply(
        &self,
        key: &Key,
        object: &Value,
        manager: &str,
        force: bool,
        precondition: Option<&Precondition>,
        warrant: &Warrant,
    ) -> Result<Answer, Refusal> {
        self.is_seen(key)?;
        let kind = self.kind_of(key).await?;
        let version = object.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
        if version != kind.resource.kind.api_version() {
            let served = kind.resource.kind.api_version();
            return Err(Refusal::Invalid(format!(
                "{key}: {version} is not the version in which it is spoken, {served}"
            )));
        }
        let mut document = object.clone();
        if let Some(precondition) = precondition {
            expect(&mut document, precondition);
        }
        let purpose = if precondition.is_some() { Purpose::Change } else { Purpose::Create };
        let path = self.applied_at(kind.resource.object(key), manager, force);
        let verbs: &[&str] = if precondition.is_some() { &["patch"] } else { &["create", "patch"] };
        let reply = self.write(&kind, Method::PATCH, path, (APPLY, &document), warrant).await;
        match reply {
            Ok(reply) => self.answered(&kind, reply.code, &reply.body),
            Err(failure) => {
                Err(self.judged(&kind, refusal(&failure, &Asked::of(&kind.resource, key, verbs).by(warrant), purpose)))
            }
        }
    }

    /// Apply to the status subresource, forced (rule B15).
    pub(super) async fn apply_status(
        &self,
        key: &Key,
        status: &Value,
        manager: &str,
        precondition: &Precondition,
        warrant: &Warrant,
    ) -> Result<Answer, Refusal> {
        let kind = self.kind_of(key).await?;
        if !kind.resource.status {
            return Err(Refusal::NoStatus);
        }
        let mut document = identity(&kind, key);
        expect(&mut document, precondition);
        document["status"] = status.clone();
        if status.get("conditions").is_some() && replaces_conditions(&kind) {
            self.keep_conditions(key, &mut document["status"], precondition).await?;
        }
        let path = self.applied_at(format!("{}/status", kind.resource.object(key)), manager, true);
        match self.write(&kind, Method::PATCH, path, (APPLY, &document), warrant).await {
            Ok(reply) => self.answered(&kind, reply.code, &reply.body),
            Err(failure) => {
                let asked = Asked::of(&kind.resource, key, &["patch"]).status();
                Err(self.judged(&kind, refusal(&failure, &asked, Purpose::Change)))
            }
        }
    }

    /// Where conditions are replaced as a whole, those of others are sent along (rule B15).
    async fn keep_conditions(&self, key: &Key, status: &mut Value, precondition: &Precondition) -> Result<(), Refusal> {
        let Answer::Found(object) = self.get(key).await? else {
            return Err(Refusal::VersionConflict(format!("{key} does not exist any more")));
        };
        if precondition.resource_version.as_deref().is_some_and(|version| version != object.resource_version()) {
            return Err(Refusal::VersionConflict(format!("{key} has moved on")));
        }
        let there = object.value();
        let there = there.pointer("/status/conditions").and_then(Value::as_array).cloned().unwrap_or_default();
        if let Some(given) = status.get_mut("conditions").and_then(Value::as_array_mut) {
            for condition in there {
                if !given.iter().any(|ours| ours.get("type") == condition.get("type")) {
                    given.push(condition);
                }
            }
        }
        Ok(())
    }

    /// The finalizers of an object (rule B12).
    pub(super) async fn set_finalizers(
        &self,
        key: &Key,
        present: bool,
        finalizers: &[Box<str>],
        precondition: &Precondition,
        warrant: &Warrant,
    ) -> Result<Answer, Refusal> {
        let kind = self.kind_of(key).await?;
        let patch = json!({"metadata": {"finalizers": finalizers}});
        match self.patch(&kind, key, patch, precondition, warrant).await {
            // It goes with its last finalizer.
            Ok(Answer::Applied { object, .. }) if object.terminating() && object.finalizers().is_empty() => {
                Ok(Answer::Absent)
            }
            Err(Refusal::VersionConflict(text)) if !present => match self.get(key).await? {
                Answer::Absent => Ok(Answer::Absent),
                _ => Err(Refusal::VersionConflict(text)),
            },
            answer => answer,
        }
    }

    /// Where an owner's children may be, at the owner itself (rules B2, B11). Of an owner that is gone nothing
    /// is left to be forgotten.
    pub(super) async fn save_places(
        &self,
        owner: &Key,
        places: &[(Name, GroupKind)],
        finalizers: Option<&[Box<str>]>,
        precondition: Option<&Precondition>,
        warrant: &Warrant,
    ) -> Result<Answer, Refusal> {
        let Some(precondition) = precondition else { return Ok(Answer::Done) };
        let kind = self.kind_of(owner).await?;
        let text = (!places.is_empty()).then(|| places_text(owner, places));
        let mut patch = json!({"metadata": {"annotations": {CHILD_PLACES: text}}});
        if let Some(finalizers) = finalizers {
            patch["metadata"]["finalizers"] = json!(finalizers);
        }
        self.patch(&kind, owner, patch, precondition, warrant).await
    }

    /// Deletes what was decided upon (rules B3, B9).
    pub(super) async fn delete(
        &self,
        key: &Key,
        precondition: &Precondition,
        warrant: &Warrant,
    ) -> Result<Answer, Refusal> {
        let kind = self.kind_of(key).await?;
        let mut conditions = json!({"uid": precondition.uid});
        if let Some(version) = &precondition.resource_version {
            conditions["resourceVersion"] = json!(version);
        }
        let options = json!({
            "apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background", "preconditions": conditions,
        });
        let path = self.timed(Query::new(kind.resource.object(key)));
        match self.write(&kind, Method::DELETE, path, (JSON, &options), warrant).await {
            Ok(reply) => self.deleted(&kind, &reply),
            Err(failure) => {
                let asked = Asked::of(&kind.resource, key, &["delete"]).by(warrant);
                match refusal(&failure, &asked, Purpose::Change) {
                    Refusal::VersionConflict(_) if failure.is_code(404) => Ok(Answer::Absent),
                    refusal => Err(self.judged(&kind, refusal)),
                }
            }
        }
    }

    /// What a deletion has come to: a server answers with the object as it terminates, or as it was last, or
    /// with a status.
    fn deleted(&self, kind: &Kind, reply: &Reply) -> Result<Answer, Refusal> {
        let body: Value = serde_json::from_slice(&reply.body).unwrap_or(Value::Null);
        if body.get("kind").and_then(Value::as_str) == Some("Status") {
            return Ok(Answer::Absent);
        }
        let grace = body.pointer("/metadata/deletionGracePeriodSeconds").and_then(Value::as_i64).unwrap_or(0);
        match self.answered(kind, reply.code, &reply.body)? {
            Answer::Applied { object, .. }
                if object.terminating() && (!object.finalizers().is_empty() || grace > 0) =>
            {
                Ok(Answer::Applied { object, created: false })
            }
            _ => Ok(Answer::Absent),
        }
    }

    async fn patch(
        &self,
        kind: &Kind,
        key: &Key,
        mut patch: Value,
        precondition: &Precondition,
        warrant: &Warrant,
    ) -> Result<Answer, Refusal> {
        expect(&mut patch, precondition);
        let query = Query::new(kind.resource.object(key)).with("fieldManager", "setpoint");
        match self.write(kind, Method::PATCH, self.timed(query), (MERGE_PATCH, &patch), warrant).await {
            Ok(reply) => self.answered(kind, reply.code, &reply.body),
            Err(failure) => {
                let asked = Asked::of(&kind.resource, key, &["patch"]).by(warrant);
                Err(self.judged(kind, refusal(&failure, &asked, Purpose::Change)))
            }
        }
    }

    async fn write(
        &self,
        kind: &Kind,
        method: Method,
        path: String,
        (content, body): (&'static str, &Value),
        warrant: &Warrant,
    ) -> Result<Reply, crate::failure::Failure> {
        let call = Call::write(method, path, content, body.to_string().into_bytes()).warranted(warrant);
        let result = self.shared.transport.send(call).await;
        if let Err(failure) = &result {
            tracing::debug!(kind = %kind.resource.kind.kind, "a write was not answered with a success: {failure}");
        }
        result
    }

    fn applied_at(&self, path: String, manager: &str, force: bool) -> String {
        let query = Query::new(path).with("fieldManager", manager).with("force", if force { "true" } else { "false" });
        self.timed(query)
    }

    /// The server gives up in time (rule D8).
    fn timed(&self, query: Query) -> String {
        query.with("timeout", &format!("{}ms", self.shared.transport.write_timeout().as_millis())).done()
    }
}

/// Whether conditions are one list that a write replaces, as far as is known.
fn replaces_conditions(kind: &Kind) -> bool {
    kind.schema.as_ref().is_some_and(|schema| !matches!(schema.list_type(&["status", "conditions"]), ListType::Map(_)))
}

/// The write is refused if the object is another, or has moved on.
fn expect(document: &mut Value, precondition: &Precondition) {
    document["metadata"]["uid"] = json!(precondition.uid);
    if let Some(version) = &precondition.resource_version {
        document["metadata"]["resourceVersion"] = json!(version);
    }
}
