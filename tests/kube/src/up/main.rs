//! API servers by hand: `cargo xtask kube up`. They stay until Ctrl-C.

#![forbid(unsafe_code)]

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use setpoint_test_kube::{Etcd, Kube, USERS};
use tokio::signal::unix::{SignalKind, signal};

const USAGE: &str = "usage: cargo xtask kube up [--clusters N]";
/// More of them than a machine of a developer carries.
const MOST: usize = 50;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let clusters = match words.as_slice() {
        [] => 1,
        ["--clusters", number] => match number.parse() {
            Ok(number) if (1..=MOST).contains(&number) => number,
            _ => return usage(&format!("{number:?} is no number of clusters from 1 to {MOST}")),
        },
        other => return usage(&format!("{} is not understood", other.join(" "))),
    };
    let etcd = Etcd::start();
    let kubes: Vec<Kube> = (0..clusters).map(|_| up(&etcd)).collect();
    println!("\nkubectl of the same version: {}", kubes[0].kubectl().get_program().display());
    println!("Ctrl-C stops {} and removes everything.", if clusters == 1 { "it" } else { "them" });
    let ended = stay(&kubes);
    // Dropping stops them and removes their files.
    drop((kubes, etcd));
    match ended {
        None => ExitCode::SUCCESS,
        Some(log) => {
            eprintln!("error: an API server has ended by itself\n{log}");
            ExitCode::FAILURE
        }
    }
}

fn up(etcd: &Etcd) -> Kube {
    let began = Instant::now();
    let kube = Kube::setup().on(etcd).start();
    let version = kube.api().get("/version").ok()["gitVersion"].as_str().unwrap_or_default().to_owned();
    println!("{} is Kubernetes {version}, ready after {:.1} s", kube.server(), began.elapsed().as_secs_f64());
    println!("  export KUBECONFIG={}", kube.kubeconfig().display());
    println!("  users without rights: {}", USERS.map(|user| kube.kubeconfig_of(user).display().to_string()).join(" "));
    // A pipe is to see it now, too.
    if !std::io::stdout().is_terminal() {
        let _ = std::io::stdout().flush();
    }
    kube
}

/// Until somebody stops it; or the log of a server that has ended.
fn stay(kubes: &[Kube]) -> Option<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.unwrap_or_else(|error| panic!("nothing can be waited for: {error}"));
    runtime.block_on(async {
        let told = |kind| signal(kind).unwrap_or_else(|error| panic!("signals cannot be waited for: {error}"));
        let (mut interrupt, mut terminate) = (told(SignalKind::interrupt()), told(SignalKind::terminate()));
        loop {
            tokio::select! {
                _ = interrupt.recv() => return None,
                _ = terminate.recv() => return None,
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
            }
            if let Some(ended) = kubes.iter().find(|kube| kube.ended().is_some()) {
                return Some(ended.log_tail());
            }
        }
    })
}

fn usage(error: &str) -> ExitCode {
    eprintln!("error: {error}\n{USAGE}");
    ExitCode::from(2)
}
