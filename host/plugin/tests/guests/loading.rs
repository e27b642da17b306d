//! Loading, and the cache of compiled code.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;
use setpoint_plugin::{HostOptions, Plugin, PluginError, PluginHost};

use crate::support::*;

#[tokio::test]
async fn every_plugin_beside_it_loads_and_the_same_bytes_are_the_same_plugin() {
    let Some(bytes) = guest("hostile.wasm") else {
        return;
    };
    let host = PluginHost::new(HostOptions::default()).expect("a host");
    let one = host.load(&bytes).expect("a plugin");
    assert!(Arc::ptr_eq(&one, &host.clone().load(&bytes).expect("a plugin")));
    assert_eq!(one.size(), bytes.len());
    let again = Arc::downgrade(&one);
    drop(one);
    assert!(again.upgrade().is_none(), "a plugin that nobody uses is gone");
    let dir = PathBuf::from(std::env::var_os("SETPOINT_TEST_GUESTS").expect("set"));
    let mut loaded = 0;
    for entry in std::fs::read_dir(dir).expect("the directory") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "wasm") {
            let bytes = std::fs::read(&path).expect("a file");
            host.load(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            loaded += 1;
        }
    }
    assert!(loaded > 0);
}

#[tokio::test]
async fn code_comes_from_the_cache_and_damage_there_only_costs_time() {
    let Some(bytes) = guest("hostile.wasm") else {
        return;
    };
    let dir = tempfile::tempdir().expect("a directory");
    let options = HostOptions { cache_dir: Some(dir.path().join("code")), ..HostOptions::default() };
    let check = async |plugin: Arc<Plugin>| assert_eq!(value(&behave(&plugin, "ok").await), json!(7));
    check(load(&options, &bytes)).await;
    let code = || {
        let mut files = std::fs::read_dir(dir.path().join("code")).expect("the cache");
        files.find_map(|entry| {
            let path = entry.expect("an entry").path();
            path.extension().is_some_and(|extension| extension == "cwasm").then_some(path)
        })
    };
    let whole = std::fs::read(code().expect("it was kept")).expect("code");
    check(load(&options, &bytes)).await;
    std::fs::write(code().expect("still there"), &whole[..whole.len() / 2]).expect("damaged");
    check(load(&options, &bytes)).await;
    let repaired = std::fs::read(code().expect("it was made again")).expect("code");
    assert_eq!(repaired.len(), whole.len());
}

#[tokio::test]
async fn no_beginning_of_a_plugin_is_taken_for_it() {
    let Some(bytes) = guest("hostile.wasm") else {
        return;
    };
    let host = PluginHost::new(HostOptions::default()).expect("a host");
    for part in 0..40 {
        let error = host.load(&bytes[..bytes.len() * part / 40]).expect_err("refused");
        assert!(matches!(error, PluginError::Truncated { .. } | PluginError::Empty), "{part}: {error}");
    }
}
