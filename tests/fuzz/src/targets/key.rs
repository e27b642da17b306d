//! Keys as texts.

use setpoint_core::Key;
use setpoint_core::key::split_api_version;

use crate::{QUICK, Target, nothing};

/// A key that parses survives its own text; an `apiVersion` is split without loss.
pub(crate) const TARGET: Target = Target {
    name: "key",
    run,
    end: nothing,
    longest: 1_024,
    patience: QUICK,
    words: &[
        "local",
        "hub",
        "core",
        "/",
        "//",
        "-",
        "examples.setpoint.dev",
        "ConfigMap",
        "default",
        "a",
        "\u{0}",
        "%2f",
    ],
};

fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Some(key) = Key::parse(&text) {
        assert_eq!(Key::parse(&key.to_string()), Some(key.clone()), "{key}");
        assert_eq!(text.matches('/').count(), 4);
        assert!(!key.cluster.is_empty() && !key.kind.is_empty() && !key.name.is_empty(), "{key:?}");
    }
    let (group, version) = split_api_version(&text);
    let joined = if text.contains('/') { format!("{group}/{version}") } else { version.to_owned() };
    assert_eq!(joined, text);
}
