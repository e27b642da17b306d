//! The operator's configuration, `setpoint.yaml`.

use setpoint_runtime::config::Config;

use crate::place::{assert_one_line, assert_within};
use crate::{QUICK, Target, nothing};

/// A mistake is told in one line, with a place in the text; what is read is read alike each time, and
/// its numbers are within their bounds.
pub(crate) const TARGET: Target = Target {
    name: "config",
    run,
    end: nothing,
    longest: 8 * 1024,
    patience: QUICK,
    words: &[
        "apiVersion: config.setpoint.dev/v1alpha1\n",
        "pluginsDir: ",
        "resourcesDir: ",
        "stateDir: ",
        "listen: ",
        "healthListen: ",
        "workers: ",
        "plugins:\n",
        "  '*':\n",
        "    grants: [",
        "    config: {",
        "    digest: ",
        "    tuning: {",
        "timeout: ",
        "concurrency: ",
        "memoryBytes: ",
        "resync: ",
        "firstBackoff: ",
        "5s",
        "500ms",
        "99999999999999999999h",
        "-1",
        "described@local",
        "read:core/Secret@*/a",
        "127.0.0.1:0",
        "[::1]:80",
        "\n",
        ", ",
        "}",
        "]",
        "~",
        "null",
        "*a",
        "&a ",
        "kind: Config\n",
    ],
};

const FILE: &str = "conf/setpoint.yaml";

fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let read = Config::parse(FILE, &text);
    assert_eq!(read, Config::parse(FILE, &text));
    match read {
        Ok(config) => {
            assert!(config.workers.is_none_or(|workers| (1..=4_096).contains(&workers)), "{config:?}");
            for (name, plugin) in &config.plugins {
                assert!(plugin.concurrency.is_none_or(|calls| (1..=4_096).contains(&calls)), "{plugin:?}");
                assert!(plugin.config.as_ref().is_none_or(serde_json::Value::is_object), "{plugin:?}");
                assert_eq!(config.plugin(name), *plugin);
            }
        }
        Err(error) => {
            assert_eq!(error.file, FILE);
            assert_one_line(&error.message);
            assert_within(&text, error.line, error.column, &error.message);
        }
    }
}
