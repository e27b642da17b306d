//! Nothing that was started outlives the host, whatever the host, or the keeper, dies of (rule D13).

#![cfg(target_os = "linux")]

mod support;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use setpoint_core::process::{ProcessSpec, State};
use support::*;

/// A host in a process of its own, which can be killed.
struct Host {
    child: Child,
    input: Option<ChildStdin>,
    keeper: u32,
    lines: Receiver<String>,
}

impl Host {
    fn start(specs: &[ProcessSpec]) -> Self {
        use std::os::unix::process::CommandExt;
        let mut command = Command::new(HOST);
        command.arg("host").args(specs.iter().map(|spec| serde_json::to_string(spec).expect("it is JSON")));
        // A group of its own, as a shell makes one for each command.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the host starts");
        let output = child.stdout.take().expect("it is a pipe");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _nobody_listens = sender.send(line);
            }
        });
        let input = child.stdin.take();
        let mut host = Self { child, input, keeper: 0, lines };
        let line = host.line(|line| line.starts_with("keeper "));
        host.keeper = line.trim_start_matches("keeper ").parse().expect("a number");
        host
    }

    fn line(&self, like: impl Fn(&str) -> bool) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left).expect("the host says it");
            if like(&line) {
                return line;
            }
        }
    }

    fn signal(&self, what: &str, target: &str) {
        let sent = Command::new("kill").args([what, "--", target]).status().expect("kill is there");
        assert!(sent.success());
    }

    /// Waits for its end, and for that of its keeper.
    async fn end(mut self) {
        self.child.wait().expect("it is a child");
        wait("the end of the keeper", || (!exists(self.keeper)).then_some(())).await;
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

fn exists(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// One of everything that escapes what kills just a child or a group; `token` sleeps in each.
fn escapes(token: &Token) -> Vec<ProcessSpec> {
    let scripts = [
        "sleep TIME",
        // Grandchildren, as those of npx and uvx.
        "sh -c 'sleep TIME & wait' & wait",
        "trap '' TERM HUP INT; (trap '' TERM HUP INT; sleep TIME) & while :; do sleep 0.05; done",
        // Sessions of their own, with and without their parents.
        "setsid sleep TIME & wait",
        "(setsid sleep TIME &); sleep 1000",
        "setsid sh -c 'setsid sleep TIME & wait' & wait",
        // Nothing in their environment says where they come from.
        "env -i setsid sleep TIME & wait",
        "(env -i setsid sleep TIME &); sleep 1000",
    ];
    scripts.map(|script| shell(&script.replace("TIME", &token.0))).into()
}

#[tokio::test]
async fn a_host_that_is_killed_leaves_no_orphan() {
    let token = Token::new();
    let specs = escapes(&token);
    let host = Host::start(&specs);
    token.wait_for(specs.len()).await;
    host.signal("-KILL", &host.child.id().to_string());
    host.end().await;
    assert_eq!(token.alive(), [0u32; 0], "the keeper ends after everything else");
}

#[tokio::test]
async fn a_host_that_just_ends_leaves_no_orphan() {
    let token = Token::new();
    let mut host = Host::start(&[shell(&format!("(env -i setsid sleep {} &); sleep {0}", token.0))]);
    token.wait_for(2).await;
    drop(host.input.take());
    host.end().await;
    assert!(token.alive().is_empty());
}

#[tokio::test]
async fn a_host_that_closes_asks_everything_to_end_and_ends_with_its_keeper() {
    let token = Token::new();
    let script = format!("trap 'exit 0' TERM; sleep {} & wait", token.0);
    let mut host = Host::start(&[shell(&script), sleep(&token)]);
    token.wait_for(2).await;
    let mut input = host.input.take().expect("it is open");
    writeln!(input, "close").expect("it reads");
    drop(input);
    assert_eq!(host.line(|line| line.starts_with("closed") || line == "left"), "closed");
    assert_eq!(host.line(|line| line.starts_with("closed") || line == "left"), "closed");
    assert_eq!(host.line(|line| line.starts_with("keeper ")), "keeper closed");
    host.end().await;
    assert!(token.alive().is_empty());
}

#[tokio::test]
async fn what_a_terminal_or_a_service_manager_sends_to_all_is_for_the_host() {
    let token = Token::new();
    for signal in ["-INT", "-TERM", "-HUP", "-QUIT"] {
        let host = Host::start(&[sleep(&token)]);
        token.wait_for(1).await;
        // To the keeper itself, as a service manager does: it goes on.
        host.signal(signal, &host.keeper.to_string());
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(exists(host.keeper) && token.alive().len() == 1, "{signal}");
        // To the group of the host, as a terminal does: the host ends, and the keeper does its work.
        host.signal(signal, &format!("-{}", host.child.id()));
        host.end().await;
        assert!(token.alive().is_empty(), "{signal}");
    }
}

#[tokio::test]
async fn kills_at_random_instants_of_a_start_leave_nothing() {
    let seed = std::time::UNIX_EPOCH.elapsed().map_or(1, |since| u64::from(since.subsec_nanos()));
    let mut random = setpoint_core::delay::Rng::new(seed);
    for round in 0..15 {
        let token = Token::new();
        let script = format!("setsid sleep {0} & sleep {0} & wait", token.0);
        let specs: Vec<ProcessSpec> = (0..10).map(|_| shell(&script)).collect();
        let host = Host::start(&specs);
        tokio::time::sleep(Duration::from_millis(random.between(0, 80))).await;
        host.signal("-KILL", &host.child.id().to_string());
        host.end().await;
        assert!(token.alive().is_empty(), "round {round} of seed {seed}");
    }
}

#[tokio::test]
async fn a_keeper_that_is_killed_takes_everything_with_it_and_is_replaced() {
    let (keeper, token) = (keeper(), Token::new());
    let plain = supervised(&keeper, &sleep(&token));
    let mut spec = shell(&format!("(setsid sleep {0} &); sleep {0} & wait", token.0));
    spec.backoff.max_seconds = 1;
    let escaping = supervised(&keeper, &spec);
    token.wait_for(3).await;
    let (first, old) = (keeper.pid().expect("there is one"), token.alive());
    let kill = Command::new("kill").args(["-9", &first.to_string()]).status().expect("kill is there");
    assert!(kill.success());
    let status = until_state(&escaping, State::Backoff).await;
    assert_eq!(status.reason, "KeeperLost");
    assert!(old.iter().all(|pid| !exists(*pid)), "they are gone before anything is started again");
    for process in [&plain, &escaping] {
        until(process, "another start", |status| status.restarts == 1 && status.state == State::Running).await;
    }
    token.wait_for(3).await;
    assert!(keeper.pid().is_some_and(|pid| pid != first));
    assert!(plain.close(PATIENCE).await && escaping.close(PATIENCE).await);
    assert!(token.alive().is_empty());
}

#[tokio::test]
async fn with_host_and_keeper_killed_together_what_they_started_ends() {
    let token = Token::new();
    let host = Host::start(&[sleep(&token), sleep(&token)]);
    token.wait_for(2).await;
    host.signal("-STOP", &host.keeper.to_string());
    host.signal("-KILL", &host.child.id().to_string());
    host.signal("-KILL", &host.keeper.to_string());
    host.end().await;
    token.wait_for(0).await;
}

#[tokio::test]
async fn a_program_that_is_no_keeper_is_said_to_be_none() {
    let started = Instant::now();
    let error = setpoint_process::Keeper::start("true".as_ref(), [""; 0]).expect_err("it keeps nothing");
    assert!(error.to_string().contains("keeper_main"), "{error}");
    assert!(setpoint_process::Keeper::start("/nowhere/keeper".as_ref(), [""; 0]).is_err());
    assert!(started.elapsed() < Duration::from_secs(9), "it is not waited for in vain");
}

/// Processes that were started with this in their environment, living ones.
fn with_variable(text: &str) -> usize {
    let processes = std::fs::read_dir("/proc").expect("there is a /proc").flatten();
    let environments = processes.filter_map(|entry| std::fs::read(entry.path().join("environ")).ok());
    environments.filter(|environment| String::from_utf8_lossy(environment).contains(text)).count()
}

#[tokio::test]
async fn what_keeps_starting_others_in_sessions_of_their_own_is_caught() {
    let (keeper, token) = (keeper(), Token::new());
    // Each starts the next in a session of its own, and ends at once: whoever is seen is gone already. So
    // that a failure ends as well, the chain does some day.
    let chain = "export N=$((${N:-0} + 1)); [ $N -lt 30000 ] && setsid sh -c \"$CHAIN\" & exit";
    let mut spec = shell("setsid sh -c \"$CHAIN\" & sleep 1000");
    spec.env = vec![variable("CHAIN", chain), variable("TOKEN", &token.0)];
    spec.stop.grace_seconds = 0;
    let mut process = supervised(&keeper, &spec);
    until_state(&process, State::Running).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(with_variable(&token.0) >= 1);
    let asked = Instant::now();
    process.delete();
    process.gone().await;
    println!("caught after {:?}", asked.elapsed());
    assert_eq!(with_variable(&token.0), 0);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(with_variable(&token.0), 0, "it was still going on");
}
