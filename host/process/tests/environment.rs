//! What a process gets of the world: environment, directory, limits, pipes.

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use setpoint_core::process::{Environment, RestartPolicy, State, Stdin};
use setpoint_process::{INHERITED, Permission, Supervised};
use support::*;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

/// What a process that ends by itself wrote to standard output.
async fn said(process: &Supervised) -> Vec<String> {
    until_line(process, |line| line == "(end)").await;
    let lines = process.output().into_iter().map(|line| line.text);
    lines.filter(|line| line != "(end)").collect()
}

#[tokio::test]
async fn a_process_has_what_it_needs_of_the_environment_and_nothing_else() {
    // Something of the host's own that is not handed on.
    assert!(std::env::var("CARGO_MANIFEST_DIR").is_ok());
    let keeper = keeper();
    let mut spec = shell("env; echo '(end)'");
    spec.restart_policy = RestartPolicy::Never;
    spec.env = vec![variable("MINE", "a = b"), variable("HOME", "/nowhere"), variable("EMPTY", "")];
    let process = supervised(&keeper, &spec);
    let lines = said(&process).await;
    let variables: BTreeMap<&str, &str> = lines.iter().filter_map(|line| line.split_once('=')).collect();
    assert_eq!((variables["MINE"], variables["HOME"], variables["EMPTY"]), ("a = b", "/nowhere", ""));
    assert_eq!(variables.get("PATH").copied(), std::env::var("PATH").ok().as_deref());
    // What a shell sets by itself.
    let shells = ["PWD", "OLDPWD", "SHLVL", "_", "SETPOINT_PROCESS", "MINE", "EMPTY"];
    let others: Vec<_> = variables.keys().filter(|name| !INHERITED.contains(name) && !shells.contains(name)).collect();
    assert!(others.is_empty(), "{others:?}");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_process_has_no_file_and_no_signal_setting_of_the_host() {
    let keeper = keeper();
    let script = "ls /proc/$$/fd; grep -E 'SigBlk|SigIgn' /proc/self/status; echo '(end)'";
    let mut spec = shell(script);
    spec.restart_policy = RestartPolicy::Never;
    let lines = said(&supervised(&keeper, &spec)).await;
    // What whoever runs these tests leaves open for everybody is not the host's.
    let plain = std::process::Command::new("sh").args(["-c", script]).output().expect("sh is there");
    let plain = String::from_utf8(plain.stdout).expect("it is text");
    assert_eq!(lines, plain.lines().filter(|line| *line != "(end)").collect::<Vec<_>>());
}

#[tokio::test]
async fn a_secret_reaches_the_process_and_is_not_in_what_it_writes() {
    let keeper = keeper();
    let mut spec = shell("test \"$PASSWORD\" = hunter2 && echo right; echo \"password: $PASSWORD\" >&2; echo '(end)'");
    spec.restart_policy = RestartPolicy::Never;
    spec.env = vec![secret("PASSWORD")];
    let environment = Environment::resolve(&spec.env, |_| Ok(Some(b"hunter2".to_vec()))).expect("it is there");
    let process = Supervised::new(&keeper, "test");
    process.set(Arc::new(spec), 1, Permission::Run(environment));
    until_line(&process, |line| line == "password: [REDACTED]").await;
    until_line(&process, |line| line == "right").await;
    assert!(!format!("{:?} {:?}", process.output(), process.status()).contains("hunter2"));
}

#[tokio::test]
async fn a_process_runs_in_its_directory_and_is_found_from_there() {
    use std::os::unix::fs::PermissionsExt;
    let (keeper, directory) = (keeper(), tempfile::tempdir().expect("a directory"));
    let program = directory.path().join("tool");
    std::fs::write(&program, "#!/bin/sh\npwd; echo $0 \"$@\"; echo '(end)'\n").expect("it is written");
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).expect("it is ours");
    let mut spec = setpoint_core::process::ProcessSpec::new("./tool");
    spec.args = vec!["a b".into(), String::new(), "$HOME".into()];
    spec.working_directory = directory.path().to_str().map(str::to_owned);
    spec.restart_policy = RestartPolicy::Never;
    let lines = said(&supervised(&keeper, &spec)).await;
    let real = directory.path().canonicalize().expect("it is there");
    assert_eq!(lines, [real.to_str().expect("it is text"), "./tool a b  $HOME"]);
}

#[tokio::test]
async fn limits_are_those_of_the_spec_and_never_above_those_of_the_host() {
    let keeper = keeper();
    let mut spec = shell("ulimit -n; ulimit -v; ulimit -f; ulimit -t; echo '(end)'");
    spec.restart_policy = RestartPolicy::Never;
    spec.limits.open_files = Some(61);
    spec.limits.address_space_bytes = Some(1 << 30);
    spec.limits.file_size_bytes = Some(512 * 100);
    spec.limits.cpu_seconds = Some(7);
    assert_eq!(said(&supervised(&keeper, &spec)).await, ["61", "1048576", "100", "7"]);
    // More than there may be at most is what there may be.
    spec.limits.open_files = Some(1 << 40);
    let lines = said(&supervised(&keeper, &spec)).await;
    let most = lines[0].parse::<u64>().expect("a number");
    assert!(most > 61 && most < 1 << 40, "{most}");
    // Without limits there are those that the host was started with, whatever it raised for itself.
    spec.limits = Default::default();
    let soft = std::process::Command::new("sh").args(["-c", "ulimit -Sn"]).output().expect("sh is there");
    let before = String::from_utf8(soft.stdout).expect("a number");
    let lines = said(&supervised(&keeper, &spec)).await;
    assert!(lines[0].parse::<u64>().expect("a number") <= before.trim().parse().expect("a number"));
}

#[tokio::test]
async fn one_that_takes_more_processor_time_than_it_may_is_ended_by_the_system() {
    let keeper = keeper();
    let mut spec = shell("while :; do :; done");
    spec.limits.cpu_seconds = Some(1);
    let process = supervised(&keeper, &spec);
    let status = until_state(&process, State::Backoff).await;
    assert_eq!(status.message, "was ended by SIGXCPU");
}

#[tokio::test]
async fn each_start_of_one_that_speaks_mcp_hands_out_its_pipes() {
    let keeper = keeper();
    let mut spec = shell("echo started >&2; exec cat");
    spec.stdin = Stdin::Mcp;
    let process = supervised(&keeper, &spec);
    let mut starts = process.mcp();
    for round in 0..2 {
        let mut pipes = starts.next().await.expect("it starts");
        assert_eq!(Some(pipes.pid), until_state(&process, State::Running).await.pid);
        let message = format!("{{\"round\":{round}}}\n");
        pipes.input.write_all(message.as_bytes()).await.expect("it reads");
        let mut line = String::new();
        BufReader::new(&mut pipes.output).read_line(&mut line).await.expect("it writes");
        assert_eq!(line, message);
        // The end of its input is for whoever has it to say.
        drop(pipes.input);
        let mut rest = String::new();
        pipes.output.read_to_string(&mut rest).await.expect("it has an end");
        assert_eq!(rest, "");
    }
    let lines: Vec<String> = process.output().into_iter().map(|line| line.text).collect();
    assert!(lines.iter().all(|line| line == "started"), "what it says in MCP is no log: {lines:?}");
    assert!(process.close(PATIENCE).await);
    assert!(starts.next().await.is_none(), "there are no more starts");
}

#[tokio::test]
async fn pipes_that_nobody_took_are_those_of_the_process_that_runs() {
    let keeper = keeper();
    let mut spec = shell("echo $V; exec cat");
    (spec.stdin, spec.env) = (Stdin::Mcp, vec![variable("V", "1")]);
    let process = supervised(&keeper, &spec);
    until_state(&process, State::Running).await;
    spec.env = vec![variable("V", "2")];
    set(&process, &spec);
    let status = until(&process, "a restart", |status| status.restarts == 1).await;
    let pipes = process.mcp().next().await.expect("it runs");
    assert_eq!(Some(pipes.pid), status.pid);
    let mut line = String::new();
    BufReader::new(pipes.output).read_line(&mut line).await.expect("it writes");
    assert_eq!(line, "2\n");
}
