//! The operations that rules ask for, as requests to an API server (rules B1 to B16).
//!
//! | question | module |
//! |---|---|
//! | how is an object applied, marked and deleted | [`write`] |
//! | how is it read live | here |

mod write;

use http::StatusCode;
use serde_json::Value;
use setpoint_cluster::Warrant;
use setpoint_core::key::{GroupKind, Key, Name};
use setpoint_core::op::{Answer, Op, Refusal};

use crate::KubernetesCluster;
use crate::intake::Intake;
use crate::kinds::Kind;
use crate::reflect::stream::{Selection, Shown, Stream};
use crate::refusal::{Purpose, refusal};
use crate::rights::Asked;
use crate::transport::Call;

use std::sync::Arc;

impl KubernetesCluster {
    /// Performs an operation; what could not be done is a refusal.
    pub(crate) async fn carry_out(&self, op: Op, warrant: Warrant) -> Answer {
        // What is written of the owner itself is the host's word.
        let own = Warrant { acts_as: None, ..warrant.clone() };
        if *op.cluster() != self.shared.name {
            let text = format!("{} is not the cluster {}", self.shared.name, op.cluster());
            return Answer::Refused(Refusal::Unknown(text));
        }
        let answer = match op {
            Op::Get(key) => self.get(&key).await,
            Op::ListOwned { kind, owner, .. } => self.list_owned(&kind, &owner).await,
            Op::Apply { key, object, manager, force, precondition } => {
                self.apply(&key, &object, &manager, force, precondition.as_ref(), &warrant).await
            }
            Op::ApplyStatus { key, status, manager, precondition } => {
                self.apply_status(&key, &status, &manager, &precondition, &own).await
            }
            Op::SetFinalizer { key, present, finalizers, precondition } => {
                self.set_finalizers(&key, present, &finalizers, &precondition, &own).await
            }
            Op::Delete { key, precondition } => self.delete(&key, &precondition, &warrant).await,
            Op::SavePlaces { owner, places, finalizers, precondition } => {
                self.save_places(&owner, &places, finalizers.as_deref(), precondition.as_ref(), &own).await
            }
            Op::RecordEvents { about, events } => {
                self.recorder.record(&about, &events);
                Ok(Answer::Done)
            }
        };
        answer.unwrap_or_else(Answer::Refused)
    }

    /// Where the objects of a kind are.
    async fn kind(&self, kind: &GroupKind) -> Result<Arc<Kind>, Refusal> {
        self.shared.kinds.find(kind).await.map_err(|missing| missing.refusal(kind))
    }

    /// The same for a key, which has to fit it.
    async fn kind_of(&self, key: &Key) -> Result<Arc<Kind>, Refusal> {
        let kind = self.kind(&key.group_kind()).await?;
        match (kind.resource.namespaced, &key.namespace) {
            (true, None) => Err(Refusal::Invalid(format!("{key}: the kind is namespaced"))),
            // The key was made before the kind was known to be cluster-scoped: it is made anew.
            (false, Some(_)) => Err(Refusal::Transient(format!("{key}: the kind is cluster-scoped"))),
            _ => Ok(kind),
        }
    }

    fn intake(&self, kind: &Kind) -> Intake {
        let mask = self.wanted.mask(&kind.resource.kind.group_kind());
        self.shared.intake(kind.resource.kind.clone(), mask)
    }

    /// The object in an answer.
    fn answered(&self, kind: &Kind, code: StatusCode, body: &[u8]) -> Result<Answer, Refusal> {
        let (key, object) = self
            .intake(kind)
            .read(body)
            .map_err(|error| Refusal::Transient(format!("the answer cannot be read: {error}")))?;
        self.recorder.seen(&key, &object);
        Ok(Answer::Applied { object, created: code == StatusCode::CREATED })
    }

    async fn get(&self, key: &Key) -> Result<Answer, Refusal> {
        let kind = self.kind_of(key).await?;
        match self.shared.transport.send(Call::get(kind.resource.object(key))).await {
            Ok(reply) => match self.answered(&kind, reply.code, &reply.body)? {
                Answer::Applied { object, .. } => Ok(Answer::Found(object)),
                other => Ok(other),
            },
            Err(failure) => {
                let asked = Asked::of(&kind.resource, key, &["get"]);
                // Read to change: what is not there is told from what cannot be known.
                match refusal(&failure, &asked, Purpose::Change) {
                    Refusal::VersionConflict(_) if failure.is_code(404) => Ok(Answer::Absent),
                    refusal => Err(self.judged(&kind, refusal)),
                }
            }
        }
    }

    async fn list_owned(&self, kind: &GroupKind, owner: &str) -> Result<Answer, Refusal> {
        let kind = self.kind(kind).await?;
        let places: Vec<Option<Name>> = match self.shared.namespaces.as_slice() {
            only if kind.resource.namespaced && !only.is_empty() => only.iter().cloned().map(Some).collect(),
            _ => vec![None],
        };
        let intake = self.intake(&kind);
        let (transport, resource) = (&*self.shared.transport, &kind.resource);
        let mut found = Vec::new();
        let mut unreadable = None;
        for namespace in places {
            let selection = Selection::owned_by(owner, namespace);
            let stream = Stream { transport, resource, selection: &selection, intake: &intake };
            let listed = stream
                .list(&mut |shown| match shown {
                    Shown::Object(key, Some(object)) => found.push((key, object)),
                    Shown::Unreadable(key) => unreadable = Some(key),
                    Shown::Object(_, None) | Shown::Bookmark(_) | Shown::Listed(_) => {}
                })
                .await;
            if let Err(failure) = listed {
                let asked = selection.asked(&kind.resource, &["list"]);
                return Err(self.judged(&kind, refusal(&failure, &asked, Purpose::Read)));
            }
        }
        match unreadable {
            Some(key) => Err(Refusal::Transient(format!("{key} cannot be read"))),
            None => Ok(Answer::Listed(found)),
        }
    }

    /// What is made has to be seen: nothing is, in a namespace that is not looked at.
    fn is_seen(&self, key: &Key) -> Result<(), Refusal> {
        let only = &self.shared.namespaces;
        match &key.namespace {
            Some(namespace) if !only.is_empty() && !only.contains(namespace) => Err(Refusal::Forbidden(format!(
                "{key}: this host looks only at the namespaces {}; name this one as well with --watch-namespace",
                only.join(", ")
            ))),
            _ => Ok(()),
        }
    }

    /// A kind that turns out not to be served is looked up anew.
    fn judged(&self, kind: &Kind, refusal: Refusal) -> Refusal {
        if let Refusal::UnknownKind(_) = refusal {
            self.shared.kinds.forget(&kind.resource.kind.group_kind());
        }
        refusal
    }
}

/// A document in the version that the kind is spoken in.
fn identity(kind: &Kind, key: &Key) -> Value {
    let mut metadata = serde_json::json!({ "name": &*key.name });
    if let Some(namespace) = &key.namespace {
        metadata["namespace"] = (&**namespace).into();
    }
    serde_json::json!({
        "apiVersion": kind.resource.kind.api_version(), "kind": &*kind.resource.kind.kind, "metadata": metadata,
    })
}
