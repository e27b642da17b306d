//! What the tests of real processes share.

#![allow(dead_code, unreachable_pub, reason = "each file of tests uses a part of it")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use setpoint_core::native::SecretKeyRef;
use setpoint_core::process::{EnvSource, EnvVar, Environment, ProcessSpec, ProcessStatus, State};
use setpoint_process::{Keeper, Permission, Supervised};

/// The program that is keeper and host for the tests.
pub const HOST: &str = env!("CARGO_BIN_EXE_setpoint-process-host");

/// The longest that anything is waited for. Machines that run tests have other things to do.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub fn keeper() -> Keeper {
    Keeper::start(Path::new(HOST), ["keeper"]).expect("the keeper starts")
}

/// A number of seconds to sleep that no other process sleeps, so that those who do are found.
#[derive(Clone, Debug)]
pub struct Token(pub String);

impl Token {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        Self(format!("86400.{}{:04}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)))
    }

    /// The living processes that have it in their arguments.
    pub fn alive(&self) -> Vec<u32> {
        let processes = std::fs::read_dir("/proc").expect("there is a /proc").flatten();
        let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let has_it = |pid: &u32| {
            std::fs::read(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| line.split(|byte| *byte == 0).any(|arg| arg == self.0.as_bytes()))
        };
        pids.filter(has_it).collect()
    }

    /// Waits until so many processes have it.
    pub async fn wait_for(&self, count: usize) {
        wait(&format!("{count} processes"), || (self.alive().len() == count).then_some(())).await;
    }
}

/// Waits until there is an answer.
pub async fn wait<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < until, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits for a status like this.
pub async fn until(process: &Supervised, what: &str, like: impl Fn(&ProcessStatus) -> bool) -> Arc<ProcessStatus> {
    let mut changes = process.changes();
    let waiting = async {
        while let Some(status) = changes.next().await {
            if like(&status) {
                return Some(status);
            }
        }
        None
    };
    match tokio::time::timeout(PATIENCE, waiting).await {
        Ok(Some(status)) => status,
        _ => panic!("waited in vain for {what}: {:?} {:?}", process.status(), process.output()),
    }
}

pub async fn until_state(process: &Supervised, state: State) -> Arc<ProcessStatus> {
    until(process, &format!("{state:?}"), |status| status.state == state).await
}

/// Waits until a line like this was written.
pub async fn until_line(process: &Supervised, like: impl Fn(&str) -> bool) -> String {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(line) = process.output().into_iter().find(|line| like(&line.text)) {
            return line.text;
        }
        assert!(Instant::now() < until, "it never said it: {:?} {:?}", process.output(), process.status());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A shell that does this.
pub fn shell(script: &str) -> ProcessSpec {
    let mut spec = ProcessSpec::new("sh");
    spec.args = vec!["-c".into(), script.into()];
    spec
}

pub fn sleep(token: &Token) -> ProcessSpec {
    let mut spec = ProcessSpec::new("sleep");
    spec.args = vec![token.0.clone()];
    spec
}

pub fn variable(name: &str, value: &str) -> EnvVar {
    EnvVar { name: name.into(), value: Some(value.into()), value_from: None }
}

pub fn secret(name: &str) -> EnvVar {
    let secret_key_ref = SecretKeyRef { name: "s".into(), key: name.into(), optional: false };
    EnvVar { name: name.into(), value: None, value_from: Some(EnvSource { secret_key_ref }) }
}

/// Sets a spec in which no Secret is needed.
pub fn set(process: &Supervised, spec: &ProcessSpec) {
    let environment = Environment::resolve(&spec.env, |_| Ok(None)).expect("all variables have values");
    process.set(Arc::new(spec.clone()), 1, Permission::Run(environment));
}

pub fn supervised(keeper: &Keeper, spec: &ProcessSpec) -> Supervised {
    let process = Supervised::new(keeper, "test");
    set(&process, spec);
    process
}
