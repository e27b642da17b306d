//! Calls as they are made, as data: what `setpoint record` writes to a file (rule B17).

use std::sync::Arc;

use futures_util::stream::{Stream, unfold};
use setpoint_core::key::Key;
use setpoint_core::recording::{Hider, RecordedCall};
use setpoint_core::selector::SelectorError;
use tokio::sync::broadcast;

use crate::filter::Wanted;
use crate::handle::Handle;
use crate::live::{Heard, hear};
use crate::ring::Recorded;
use crate::views::Filter;

/// Which calls are recorded, and what is shown of them.
struct Recording {
    wanted: Wanted,
    plugin: Option<String>,
    /// None: values of Secrets are shown as they are.
    hider: Option<Hider>,
}

impl Recording {
    fn wants(&self, plugin: &str, key: &Key) -> bool {
        self.wanted.key(key) && self.plugin.as_deref().is_none_or(|wanted| wanted == plugin)
    }

    fn shown(&self, mut call: RecordedCall) -> Box<RecordedCall> {
        if let Some(hider) = &self.hider {
            hider.hide(&mut call);
        }
        Box::new(call)
    }
}

impl Handle {
    /// Every call of a plugin that ends from now on, of the objects and the plugin of a filter. Values
    /// of Secrets are replaced by hashes that depend on a random key of this recording alone, unless
    /// they are asked for (rule B17).
    ///
    /// # Errors
    /// The label selector does not parse.
    pub fn record(
        &self,
        filter: &Filter,
        with_secrets: bool,
    ) -> Result<impl Stream<Item = Heard<Box<RecordedCall>>> + Send + use<>, SelectorError> {
        let recording = Recording {
            wanted: Wanted::of(filter, &self.inner.kinds)?,
            plugin: filter.plugin.clone(),
            hider: (!with_secrets).then(|| Hider::new(random_key())),
        };
        let receiver: broadcast::Receiver<Arc<Recorded>> = self.inner.driver.recorded();
        Ok(unfold((receiver, recording), |(mut receiver, recording)| async move {
            loop {
                let heard = match hear(&mut receiver).await? {
                    Heard::Item(call) if recording.wants(call.plugin(), call.key()) => {
                        Heard::Item(recording.shown(call.call()))
                    }
                    Heard::Item(_) => continue,
                    Heard::Missed(calls) => Heard::Missed(calls),
                };
                return Some((heard, (receiver, recording)));
            }
        }))
    }
}

/// 244 random bits.
fn random_key() -> [u8; 32] {
    let mut key = [0; 32];
    key[..16].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
    key[16..].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
    key
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use setpoint_core::recording::{RecordedRequest, RecordedResult};

    use super::*;
    use crate::kinds::Kinds;

    fn call() -> RecordedCall {
        RecordedCall {
            plugin: "p".into(),
            digest: "d".into(),
            at: "2026-01-01T00:00:00Z".into(),
            request: RecordedRequest {
                key: "local/core/Secret/default/a".into(),
                object: json!({"apiVersion": "v1", "kind": "Secret", "data": {"p": "aHVudGVy"}}),
                deleting: false,
                attempt: 1,
                last_error: None,
                causes: Vec::new(),
                config: json!({}),
            },
            reads: Vec::new(),
            impure: false,
            result: RecordedResult::Trap("no".into()),
        }
    }

    fn recording(filter: &Filter, hider: Option<Hider>) -> Result<Recording, SelectorError> {
        Ok(Recording { wanted: Wanted::of(filter, &Kinds::default())?, plugin: filter.plugin.clone(), hider })
    }

    #[test]
    fn only_calls_of_the_filter_are_recorded() -> Result<(), SelectorError> {
        let filter = Filter { name: Some("a".into()), plugin: Some("p".into()), ..Filter::default() };
        let recording = recording(&filter, None)?;
        let key = |name: &str| Key::new("local", "", "Secret", Some("default"), name);
        assert!(recording.wants("p", &key("a")));
        assert!(!recording.wants("p", &key("b")) && !recording.wants("q", &key("a")));
        assert_eq!(*recording.shown(call()), call(), "without a hider it is shown as it was");
        Ok(())
    }

    #[test]
    fn two_recordings_hide_the_same_secret_differently() -> Result<(), SelectorError> {
        let hidden = || -> Result<String, SelectorError> {
            let recording = recording(&Filter::default(), Some(Hider::new(random_key())))?;
            Ok(recording.shown(call()).request.object.to_string())
        };
        let (one, other) = (hidden()?, hidden()?);
        assert!(one.contains("hidden:") && !one.contains("aHVudGVy"), "{one}");
        assert_ne!(one, other);
        Ok(())
    }
}
