//! What the tests share: objects to read, kept log lines, the hostile plugin and calls of it.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};

use serde_json::{Value, json};
use setpoint_core::Key;
use setpoint_core::contract::{Cause, ListQuery, Outcome, ReadError, Request};
use setpoint_plugin::{
    BoxFuture, Call, CallFailure, HostOptions, LimitKind, Limits, LogLevel, Logs, Plugin, PluginHost, Reads,
};

/// ConfigMaps by name; everything else is unavailable.
#[derive(Default)]
pub(crate) struct Maps(BTreeMap<String, Value>);

impl Maps {
    pub(crate) fn of<const N: usize>(names: [&str; N]) -> Arc<Self> {
        Self::named(names.map(str::to_owned))
    }

    pub(crate) fn named(names: impl IntoIterator<Item = String>) -> Arc<Self> {
        let map = |name: String| {
            let object = json!({
                "apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": name, "namespace": "default"}, "data": {"name": name},
            });
            (name, object)
        };
        Arc::new(Self(names.into_iter().map(map).collect()))
    }
}

impl Reads for Maps {
    fn get(&self, key: Key) -> BoxFuture<'_, Result<Option<Arc<str>>, ReadError>> {
        Box::pin(async move {
            // A source that takes its time.
            tokio::task::yield_now().await;
            match &*key.kind {
                "ConfigMap" => Ok(self.0.get(&*key.name).map(|object| object.to_string().into())),
                other => Err(ReadError::Unavailable(format!("{other} is not there"))),
            }
        })
    }

    fn list(&self, query: ListQuery) -> BoxFuture<'_, Result<Arc<[Arc<str>]>, ReadError>> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            assert_eq!((&*query.cluster, query.kind.to_string().as_str()), ("local", "ConfigMap"));
            Ok(self.0.values().map(|object| Arc::from(object.to_string())).collect())
        })
    }
}

#[derive(Default)]
pub(crate) struct Lines(pub(crate) Mutex<Vec<(LogLevel, String)>>);

impl Logs for Lines {
    fn log(&self, level: LogLevel, message: &str, _: &[(String, String)]) {
        self.0.lock().expect("no panic with the lock").push((level, message.to_owned()));
    }
}

/// A compiled plugin. Says so where there is none, past the capture of test output.
pub(crate) fn guest(name: &str) -> Option<Vec<u8>> {
    let Some(dir) = std::env::var_os("SETPOINT_TEST_GUESTS").map(PathBuf::from) else {
        let _ = writeln!(std::io::stdout(), "\nSKIPPED: SETPOINT_TEST_GUESTS is not set");
        return None;
    };
    let path = dir.join(name);
    Some(std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

/// The hostile plugin, compiled once for all tests.
pub(crate) fn hostile() -> Option<Arc<Plugin>> {
    static HOSTILE: OnceLock<Arc<Plugin>> = OnceLock::new();
    let bytes = guest("hostile.wasm")?;
    Some(HOSTILE.get_or_init(|| load(&HostOptions::default(), &bytes)).clone())
}

pub(crate) fn load(options: &HostOptions, bytes: &[u8]) -> Arc<Plugin> {
    PluginHost::new(options.clone()).and_then(|host| host.load(bytes)).expect("a plugin")
}

pub(crate) fn request(name: &str, spec: &Value) -> Request {
    let object = json!({
        "apiVersion": "examples.setpoint.dev/v1alpha1", "kind": "Hostile",
        "metadata": {"name": name, "namespace": "default", "uid": "u", "generation": 1}, "spec": spec,
    });
    Request {
        key: Arc::new(Key::new("local", "examples.setpoint.dev", "Hostile", Some("default"), name)),
        object: object.to_string().into(),
        deleting: false,
        attempt: 1,
        last_error: None,
        causes: vec![
            Cause::Created,
            Cause::Dependency(Arc::new(Key::new("local", "", "ConfigMap", Some("default"), "a"))),
        ],
        config: "{}".into(),
    }
}

pub(crate) async fn call(plugin: &Plugin, spec: Value, limits: Limits) -> Call {
    plugin.reconcile(&request("h", &spec), Maps::of(["a", "b"]), &limits, Arc::new(Lines::default())).await
}

pub(crate) async fn behave(plugin: &Plugin, behaviour: &str) -> Call {
    call(plugin, json!({"behaviour": behaviour, "value": 7}), Limits::default()).await
}

pub(crate) fn outcome(call: &Call) -> &Outcome {
    match &call.result {
        Ok(outcome) => outcome,
        Err(failure) => panic!("{failure}"),
    }
}

/// The value that the plugin put in its status.
pub(crate) fn value(call: &Call) -> Value {
    let status = outcome(call).status.as_deref().expect("a status");
    serde_json::from_str::<Value>(status).expect("JSON")["value"].clone()
}

pub(crate) fn trap(call: &Call) -> (&str, Option<LimitKind>) {
    match &call.result {
        Err(CallFailure::Trap { message, limit }) => (message, *limit),
        other => panic!("{other:?}"),
    }
}
