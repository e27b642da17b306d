//! From nothing to a running plugin of one's own. Slow: it compiles the new crate and its dependencies.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use setpoint_e2e::CONFIG_MAP;
use setpoint_test_support::host::command;

use setpoint_test_support::command::start;
use setpoint_test_support::{Host, Ran, Running, get_json, run};

const BUILD: Duration = Duration::from_secs(540);

/// `HOME` is a temporary one; cargo's own things stay where they are.
fn with_cargo(command: &mut Command) -> &mut Command {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    for (variable, usual) in [("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup")] {
        let dir = std::env::var_os(variable).map_or_else(|| home.join(usual), PathBuf::from);
        if dir.is_dir() {
            command.env(variable, dir);
        }
    }
    // What this test was built with is nothing to the new crate.
    command.env_remove("CARGO_TARGET_DIR").env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS")
}

/// First with the crates that are on this machine, else with those of the registry.
fn build(crate_dir: &Path, make: impl Fn() -> Command) -> Ran {
    let offline = run(with_cargo(make().env("CARGO_NET_OFFLINE", "true")), BUILD);
    if offline.code == Some(0) {
        return offline;
    }
    // The versions that were picked offline may be what is missing.
    let _ = std::fs::remove_file(crate_dir.join("Cargo.lock"));
    run(with_cargo(&mut make()), BUILD)
}

#[test]
fn a_new_plugin_is_scaffolded_tested_built_and_running() {
    let host = Host::setup().start();
    let made = host.cli(&["plugin", "new", "redis-cluster"]).ok();
    assert!(made.contains("redis-cluster"), "{made}");
    let dir = host.root().join("redis-cluster");
    let source = std::fs::read_to_string(dir.join("src/lib.rs")).unwrap_or_default();
    assert!(source.contains("struct RedisCluster;") && !source.contains("{{"), "{source}");

    let example = std::fs::read_to_string(dir.join("example.yaml")).unwrap_or_default();
    host.write("example.yaml", &example);
    build(&dir, || {
        let mut build = command(&dir);
        build.args(["plugin", "build", "--plugins", "../plugins"]).env("HOME", host.root().join("home"));
        build
    })
    .ok();
    host.wait_for("it is running, and its example is reconciled", |host| {
        let row = host.list("/v1/reconciles").into_iter().find(|row| row["kind"] == "RedisCluster")?;
        (row["state"] == "Synced" && row["name"] == "example").then_some(())
    });
    let child = host.object(CONFIG_MAP, "example").unwrap_or_default();
    assert_eq!(child["data"]["greeting"], "1: hello from example\n2: hello from example\n3: hello from example\n");

    // One function is edited, built, and is what runs.
    std::fs::write(dir.join("src/lib.rs"), source.replace("hello from", "moin from"))
        .unwrap_or_else(|error| panic!("{error}"));
    build(&dir, || {
        let mut build = command(&dir);
        build.args(["plugin", "build", "--plugins", "../plugins"]).env("HOME", host.root().join("home"));
        build
    })
    .ok();
    host.wait_for("the edited one runs", |host| {
        let greeting = host.object(CONFIG_MAP, "example")?["data"]["greeting"].clone();
        greeting.as_str().is_some_and(|text| text.starts_with("1: moin from example")).then_some(())
    });
    let plugins = host.list("/v1/plugins");
    assert_eq!((&plugins[0]["name"], &plugins[0]["state"]), (&json!("redis-cluster"), &json!("Running")));

    // The same with one command that looks at the sources: what is broken leaves running what runs.
    assert!(host.terminate().0.success());
    let edit = |text: &str| std::fs::write(dir.join("src/lib.rs"), text).unwrap_or_else(|error| panic!("{error}"));
    let mut dev = command(host.root());
    dev.args(["dev", "redis-cluster", "--listen", "127.0.0.1:0"]).env("HOME", host.root().join("home"));
    let mut running = start(with_cargo(dev.env("CARGO_NET_OFFLINE", "true")));
    let greets = |running: &mut Running, word: &str| {
        let began = Instant::now();
        let found = || -> Option<bool> {
            let file = std::fs::read(host.root().join(".setpoint/host.json")).ok()?;
            let server = serde_json::from_slice::<Value>(&file).ok()?["server"].as_str()?.to_owned();
            let answer = get_json(&format!("{server}/v1/objects/{}", Host::path(CONFIG_MAP, "example")))?;
            Some(answer["object"]["data"]["greeting"].as_str()?.starts_with(&format!("1: {word} example")))
        };
        while found() != Some(true) {
            let said = format!("{}{}", running.stdout(), running.stderr());
            assert!(!running.ended() && began.elapsed() < BUILD, "it does not greet with {word}\n{said}");
            std::thread::sleep(Duration::from_millis(200));
        }
    };
    greets(&mut running, "moin from");
    edit("no Rust");
    let began = Instant::now();
    while !running.stderr().contains("what runs keeps running") {
        assert!(began.elapsed() < BUILD, "{}", running.stderr());
        std::thread::sleep(Duration::from_millis(200));
    }
    greets(&mut running, "moin from");
    edit(&source.replace("hello from", "servus from"));
    greets(&mut running, "servus from");
    running.interrupt();
    running.end(Duration::from_secs(20)).ok();

    // Its own tests pass as they are.
    edit(&source);
    let tested = build(&dir, || {
        let mut test = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        test.arg("test").current_dir(&dir);
        test
    });
    assert!(tested.ok().contains("3 passed"));
}
