//! Setpoint at work, step by step: what `cargo xtask demo` shows.
//!
//! Everything is the real thing: the binary `SETPOINT_BIN`, the components in
//! `SETPOINT_TEST_GUESTS`, a temporary directory, a free port. Each step checks what it shows, and the
//! demonstration fails loudly if it is not so. On a terminal the host then stays up.

#![forbid(unsafe_code)]

mod stage;
mod steps;

use std::io::{IsTerminal, stdin, stdout};
use std::time::Duration;

use setpoint_test_support::Host;
use stage::Stage;

/// A host that was told to stop has 10 s.
const GRACE: Duration = Duration::from_secs(11);

fn main() {
    let mut stage = Stage::default();
    let host = steps::all(&mut stage);
    println!("\nAll {} steps did what they should.", stage.steps());
    let mut ended = None;
    if stdin().is_terminal() && stdout().is_terminal() {
        stay(&host);
        // Ctrl-C has told it as well, and to be told twice means to stop at once.
        ended = host.wait_for_its_end(GRACE);
    }
    let status = ended.unwrap_or_else(|| host.terminate().0);
    assert!(status.success(), "the host ended with {status}\n{}", host.log_tail());
    println!("The host has stopped.");
}

/// Leaves it to the person who looks, until Ctrl-C.
fn stay(host: &Host) {
    let server = host.client().server();
    let binary = setpoint_test_support::built::binary();
    println!(
        "\nThe host stays up until Ctrl-C. In another terminal:\n\n  cd {}\n  alias setpoint={}\n  setpoint get\n  setpoint describe configbundle shop\n  $EDITOR resources/settings.yaml      # and setpoint get again\n  rm plugins/workflow.wasm             # and setpoint plugins\n  setpoint plugin new redis-cluster    # a plugin of your own\n  curl {server}/v1/overview\n",
        host.root().display(),
        binary.display(),
    );
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let waited = runtime.map(|runtime| runtime.block_on(tokio::signal::ctrl_c()));
    if let Ok(Err(error)) | Err(error) = waited {
        eprintln!("Ctrl-C cannot be waited for: {error}");
    }
    println!();
}
