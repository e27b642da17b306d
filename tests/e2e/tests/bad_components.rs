//! Files in the plugins directory that are no plugins, or none that can be used: refused with the
//! reason and what would mend it, and what runs keeps running.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use setpoint_e2e::{echo, says, shows};
use setpoint_test_support::component::{bytes, patched, variant};
use setpoint_test_support::{Host, run};

/// A core module of nothing.
const MODULE: &[u8] = b"\0asm\x01\0\0\0";
/// A component of nothing.
const EMPTY_COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

/// A host with one plugin at work.
fn running() -> Host {
    let host = Host::setup().plugin("hostile").file("a.yaml", &echo("a", 1)).start();
    host.all_synced(1, Duration::from_secs(20));
    host
}

fn refused(host: &Host, file: &str) -> Value {
    host.wait_for(&format!("{file}.wasm is refused"), |host| host.plugin(file).filter(|row| row["state"] == "Refused"))
}

/// It is refused with all of these texts, in the API, on the command line and in the log.
fn refused_with(host: &Host, file: &str, texts: &[&str]) {
    let row = refused(host, file);
    for text in texts {
        assert!(says(&row["problem"], text), "{file}: {text:?} is missing: {row}");
    }
    let shown = host.cli(&["plugins"]).ok();
    assert!(shown.lines().any(|line| line.contains(file) && line.contains("Refused")), "{file}:\n{shown}");
    let told = |line: &str| line.contains(&format!("{file}.wasm")) && texts.iter().all(|text| line.contains(text));
    host.wait_for(&format!("the log says why {file}.wasm is refused"), |host| {
        host.log().lines().any(told).then_some(())
    });
}

/// What runs is at work: an edit goes through.
fn still_at_work(host: &Host, value: u64) {
    host.write("a.yaml", &echo("a", value));
    host.wait_for("what ran keeps running", |host| shows(host, "a", value));
}

#[test]
fn what_is_no_reconciler_is_refused_with_what_would_mend_it() {
    let host = running();
    let hostile = bytes("hostile");
    host.install_bytes(&hostile[..hostile.len() / 2], "truncated");
    host.install_bytes(MODULE, "module");
    host.install_bytes(EMPTY_COMPONENT, "other-world");
    let newer = patched(hostile.clone(), "setpoint:reconciler/guest@0.1.0", "setpoint:reconciler/guest@9.1.0");
    host.install_bytes(&newer, "newer");
    host.install_bytes(&patched(hostile, "wasi:cli/stderr@", "acme:vault/keys@"), "greedy");
    refused_with(&host, "truncated", &["cut off", "still being copied"]);
    refused_with(&host, "module", &["core WebAssembly module", "wasm32-wasip2"]);
    refused_with(&host, "other-world", &["does not export setpoint:reconciler/guest"]);
    refused_with(&host, "newer", &["9.1.0", "0.1.0", "use a host or a plugin of the other's version"]);
    refused_with(&host, "greedy", &["acme:vault/keys", "plugins can only import"]);
    still_at_work(&host, 2);
    assert_eq!(host.plugin("hostile").map(|row| row["state"].clone()), Some("Running".into()));
}

#[test]
fn a_plugin_that_cannot_say_what_it_is_is_refused() {
    let host = running();
    host.install_bytes(&variant("describe-traps"), "silent");
    host.install_bytes(&variant("describe-differs"), "fickle");
    refused_with(&host, "silent", &["could not be asked what it is", "hostile does not say what it is"]);
    refused_with(&host, "fickle", &["not the same each time", "must not depend on time or randomness"]);
    // The same in the place of what runs: the version before goes on.
    host.install_bytes(&variant("describe-traps"), "hostile");
    let row = refused(&host, "hostile");
    assert!(says(&row["problem"], "hostile does not say what it is"), "{row}");
    still_at_work(&host, 2);
}

#[test]
fn a_kind_that_is_taken_is_refused_until_it_is_free() {
    let host = running();
    host.install_bytes(&variant("impostor"), "impostor");
    refused_with(&host, "impostor", &["Hostile", "hostile", "hostile.wasm", "remove one of them"]);
    still_at_work(&host, 2);
    host.uninstall("hostile");
    host.wait_for("when the first is gone, the other has its kind", |host| {
        let row = host.row("Hostile", "a")?;
        (row["plugin"] == "impostor" && row["state"] == "Synced").then_some(())
    });
    still_at_work(&host, 3);
}

#[test]
fn what_is_no_file_of_bytes_is_never_opened_and_says_what_it_is() {
    let host = running();
    let at = |name: &str| host.plugins().join(format!("{name}.wasm"));
    run(Command::new("mkfifo").arg(at("pipe")), Duration::from_secs(10)).ok();
    fs::create_dir(at("directory")).unwrap_or_else(|error| panic!("{error}"));
    let huge = File::create(host.plugins().join(".huge.new")).and_then(|file| file.set_len(1 << 30));
    huge.and_then(|()| fs::rename(host.plugins().join(".huge.new"), at("huge")))
        .unwrap_or_else(|error| panic!("{error}"));
    for (file, word) in [("pipe", "pipe"), ("directory", "directory"), ("huge", "64 MiB")] {
        let row = refused(&host, file);
        assert!(says(&row["problem"], word), "{file}: {word:?} is missing: {row}");
    }
    still_at_work(&host, 2);
    // The host could not be stopped if it waited for somebody to write into the pipe.
    assert!(host.terminate().0.success());
}

#[test]
fn a_file_that_cannot_be_read_is_refused_and_loaded_when_it_can_be() {
    let host = Host::setup().plugin("workflow").file("a.yaml", &echo("a", 1)).start();
    // Root may read everything, whatever the mode says: for root a link leads to what cannot be read.
    let file = host.plugins().join("hostile.wasm");
    let new = host.plugins().join(".hostile.new");
    fs::write(&new, bytes("hostile"))
        .and_then(|()| fs::set_permissions(&new, fs::Permissions::from_mode(0o000)))
        .unwrap_or_else(|error| panic!("{error}"));
    if File::open(&new).is_ok() {
        fs::remove_file(&new)
            .and_then(|()| std::os::unix::fs::symlink("hostile.wasm", &new))
            .unwrap_or_else(|error| panic!("{error}"));
    }
    fs::rename(&new, &file).unwrap_or_else(|error| panic!("{error}"));
    let row = refused(&host, "hostile");
    assert!(says(&row["problem"], "cannot be read") || says(&row["problem"], "leads to no file"), "{row}");
    host.install("hostile", "hostile");
    host.wait_for("it runs", |host| shows(host, "a", 1));
}

#[test]
fn a_file_that_goes_while_it_is_read_leaves_nothing() {
    let host = running();
    let hostile = bytes("hostile");
    for round in 0..20 {
        let name = format!("passing-{}", round % 3);
        host.install_bytes(&hostile[..hostile.len() - 1 - round * 1_000], &name);
        if round % 2 == 0 {
            // Somewhere between being seen and being read, or before, or after.
            std::thread::sleep(Duration::from_millis(round as u64 * 3));
        }
        host.uninstall(&name);
    }
    host.wait_for("nothing is left of them", |host| {
        (host.list("/v1/plugins").len() == 1 && host.plugin("hostile")?["state"] == "Running").then_some(())
    });
    still_at_work(&host, 2);
}
