//! What a recording does not show (rule B17).

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::shapes::{RecordedAnswer, RecordedCall, RecordedResult};

/// What hides the values of Secrets: a hash that depends on a key which is nowhere written, so that
/// equal values are seen to be equal and nothing can be guessed (rule B17).
#[derive(Clone, Debug)]
pub struct Hider {
    key: [u8; 32],
}

impl Hider {
    /// With a random key, which the caller brings and forgets.
    pub fn new(key: [u8; 32]) -> Self {
        Self { key }
    }

    /// Replaces the values of Secrets in everything that was asked and answered, and in children.
    pub fn hide(&self, call: &mut RecordedCall) {
        self.object(&mut call.request.object);
        for read in &mut call.reads {
            match &mut read.answer {
                RecordedAnswer::Object(object) => self.object(object),
                RecordedAnswer::Items(items) => items.iter_mut().for_each(|item| self.object(item)),
                RecordedAnswer::Absent | RecordedAnswer::Error(_) => {}
            }
        }
        if let RecordedResult::Outcome(outcome) = &mut call.result {
            for child in outcome.children.iter_mut().flatten() {
                self.object(&mut child.object);
            }
        }
    }

    /// Replaces the values of one object, if it is a Secret.
    pub fn object(&self, object: &mut Value) {
        let secret = object.get("kind").and_then(Value::as_str) == Some("Secret")
            && object.get("apiVersion").and_then(Value::as_str) == Some("v1");
        if !secret {
            return;
        }
        for part in ["data", "stringData"] {
            if let Some(values) = object.get_mut(part).and_then(Value::as_object_mut) {
                for value in values.values_mut() {
                    *value = Value::String(self.hash(&value.to_string()));
                }
            }
        }
    }

    /// Keyed, from both sides: SHA-256 alone can be extended.
    fn hash(&self, value: &str) -> String {
        let inner = Sha256::new().chain_update(self.key).chain_update(value.as_bytes()).finalize();
        let outer = Sha256::new().chain_update(self.key).chain_update(inner).finalize();
        let hex: String = outer.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        format!("hidden:{hex}")
    }
}
