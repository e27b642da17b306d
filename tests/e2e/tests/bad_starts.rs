//! Starts that cannot be: what is wrong is said exactly, with what to do, and the exit code tells
//! wrong usage (2) from what failed (1).

use std::time::Duration;

use setpoint_e2e::{HOSTILE, configuration, echo, shows};
use setpoint_test_support::host::command;
use setpoint_test_support::{Host, Ran, run};

/// `setpoint run ARGS` beside a host, which is expected to end by itself.
fn beside(host: &Host, args: &[&str]) -> Ran {
    run(command(host.root()).arg("run").args(args), Duration::from_secs(20))
}

#[test]
fn a_mistake_in_the_configuration_is_told_with_its_place_and_the_nearest_word() {
    let host = Host::setup().start();
    let cases = [
        ("listen: 127.0.0.1\n", "wrong.yaml:2:9: ", "127.0.0.1:8474"),
        ("strickt: true\n", "wrong.yaml:2:1: ", "did you mean \"strict\"?"),
        ("strict: maybe\n", "wrong.yaml:2:9: ", "strict"),
        ("plugins:\n  a:\n    grant: []\n", "wrong.yaml:4:5: ", "did you mean \"grants\"?"),
        ("plugins:\n  a:\n    grants: ['reed:core/Secret']\n", "wrong.yaml:4:14: ", "reed"),
        ("plugins:\n  a:\n    tuning: {timeuot: 5s}\n", "wrong.yaml:4:14: ", "did you mean \"timeout\"?"),
        ("plugins:\n  a:\n    tuning: {timeout: soon}\n", "wrong.yaml:4:23: ", "30s"),
        ("plugins:\n  a:\n    limits: {cpus: 1s}\n", "wrong.yaml:4:14: ", "did you mean \"cpu\"?"),
        ("plugins: [\n", "wrong.yaml:", ""),
        ("workers: 4\nworkers: 5\n", "wrong.yaml:3:1: ", "workers"),
    ];
    for (text, place, word) in cases {
        std::fs::write(host.root().join("wrong.yaml"), configuration(text)).unwrap_or_else(|error| panic!("{error}"));
        let error = beside(&host, &["--state", "other", "--config", "wrong.yaml"]).failed(1);
        assert!(error.contains(place) && error.contains(word), "{text}{place}{word}\n{error}");
    }
    let error = beside(&host, &["--state", "other", "--config", "not-there.yaml"]).failed(1);
    assert!(error.contains("not-there.yaml"), "{error}");
}

#[test]
fn a_configuration_that_goes_wrong_under_a_running_host_keeps_the_last_good_one() {
    let host = Host::setup()
        .plugin("hostile")
        .file("a.yaml", &echo("a", 1))
        .config(&configuration("plugins:\n  hostile:\n    grants: []\n"))
        .start();
    host.wait_for("the status", |host| shows(host, "a", 1));
    let put = |text: &str| {
        std::fs::write(host.root().join("setpoint.yaml"), configuration(text)).unwrap_or_else(|error| panic!("{error}"))
    };
    put("plugin: {}\n");
    host.wait_for("the log names the place", |host| {
        let log = host.log();
        log.lines().any(|line| line.contains("setpoint.yaml:2:1") && line.contains("last good")).then_some(())
    });
    let grants = |host: &Host| host.plugin("hostile").map(|row| row["grants"].to_string()).unwrap_or_default();
    assert_eq!(grants(&host), "[]");
    host.write("a.yaml", &echo("a", 2));
    host.wait_for("it runs on", |host| shows(host, "a", 2));
    put("plugins:\n  hostile:\n    grants: [described@local]\n");
    host.wait_for("mended, it is in force", |host| grants(host).contains("described").then_some(()));
}

#[test]
fn flags_that_make_no_sense_are_wrong_usage() {
    let host = Host::setup().start();
    let cases: [(&[&str], &str); 7] = [
        (&["--resource", "x"], "--resources"),
        (&["--mode", "both"], "kubernetes"),
        (&["--listen", "localhost"], "--listen"),
        (&["--grant", "workflow"], "PLUGIN=CAPABILITY"),
        (&["--grant", "workflow=reed:core/Secret"], "reed"),
        (&["--workers", "0"], "--workers"),
        (&["--log-level", "info,=x=y"], "--log-level"),
    ];
    for (args, word) in cases {
        let error = beside(&host, args).failed(2);
        assert!(error.contains(word), "{args:?}: {word} is missing: {error}");
    }
    let error = host.cli(&["plugns"]).failed(2);
    assert!(error.contains("plugins"), "the nearest command: {error}");
}

#[test]
fn a_second_address_that_is_taken_is_named_with_its_own_flag() {
    let host = Host::setup().start();
    let address = host.client().server().trim_start_matches("http://").to_owned();
    let args = ["--state", "other", "--listen", "127.0.0.1:0", "--health-listen", &address];
    let error = beside(&host, &args).failed(1);
    assert!(error.contains(&address) && error.contains("--health-listen"), "{error}");
}

#[test]
fn a_file_in_the_place_of_a_directory_is_named() {
    let host = Host::setup().start();
    std::fs::write(host.root().join("file"), "").unwrap_or_else(|error| panic!("{error}"));
    for flag in ["--state", "--plugins", "--resources"] {
        // Later flags beat earlier ones of the same name: only one directory is wrong each time.
        let mut args = vec!["--listen", "127.0.0.1:0", flag, "file"];
        if flag != "--state" {
            args.extend(["--state", "other"]);
        }
        let error = beside(&host, &args).failed(1);
        assert!(error.contains("file"), "{flag}: {error}");
    }
}

#[test]
fn a_state_directory_that_cannot_be_written_is_named() {
    let host = Host::setup().start();
    // Nobody makes directories in there, not even root.
    let error = beside(&host, &["--listen", "127.0.0.1:0", "--state", "/proc/setpoint-state"]).failed(1);
    assert!(error.contains("/proc/setpoint-state"), "{error}");
}

#[test]
fn two_hosts_never_share_a_state_directory() {
    let host = Host::setup().plugin("hostile").file("a.yaml", &echo("a", 1)).start();
    let error = beside(&host, &["--listen", "127.0.0.1:0"]).failed(1);
    assert!(error.contains("in use by another host") && error.contains("--state"), "{error}");
    host.write("a.yaml", &echo("a", 2));
    host.wait_for("the first one is at work", |host| {
        (host.object(HOSTILE, "a")?["status"]["value"] == 2).then_some(())
    });
    assert!(host.cli(&["get", "hostile"]).ok().contains('a'), "and is found");
}

#[test]
fn an_address_that_is_taken_is_named_with_the_flag_that_sets_it() {
    let host = Host::setup().start();
    let address = host.client().server().trim_start_matches("http://").to_owned();
    let error = beside(&host, &["--state", "other", "--listen", &address]).failed(1);
    assert!(error.contains(&address) && error.contains("--listen"), "{error}");
}

#[test]
fn an_address_that_others_can_reach_is_refused() {
    let host = Host::setup().start();
    let error = beside(&host, &["--state", "other", "--listen", "0.0.0.0:0"]).failed(1);
    assert!(error.contains("0.0.0.0"), "{error}");
}

#[test]
fn wrong_usage_ends_with_2_and_says_what_is_right() {
    let host = Host::setup().start();
    assert!(beside(&host, &["--resource", "x"]).failed(2).contains("--resources"));
    assert!(beside(&host, &["--mode", "files", "--context", "x"]).failed(2).contains("the mode files has no use"));
    assert!(host.cli(&["frobnicate"]).failed(2).contains("frobnicate"));
}

#[test]
fn a_mistake_in_the_configuration_is_named_with_its_place() {
    let host = Host::setup().start();
    let config = "apiVersion: config.setpoint.dev/v1alpha1\nplugin: {}\n";
    std::fs::write(host.root().join("wrong.yaml"), config).unwrap_or_else(|error| panic!("{error}"));
    let error = beside(&host, &["--state", "other", "--config", "wrong.yaml"]).failed(1);
    assert!(error.contains("wrong.yaml:2:1") && error.contains("plugins"), "{error}");
}
