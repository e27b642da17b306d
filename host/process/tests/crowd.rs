//! More at once than the ways between host and keeper hold.

mod support;

use setpoint_core::process::{ProcessSpec, RestartPolicy, State};
use support::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_starts_at_once_than_the_keeper_can_be_told_of_are_all_made() {
    let keeper = keeper();
    let mut spec = ProcessSpec::new("true");
    spec.restart_policy = RestartPolicy::Never;
    let processes: Vec<_> = (0..600).map(|_| supervised(&keeper, &spec)).collect();
    let first = keeper.pid();
    for process in &processes {
        let status = until_state(process, State::Exited).await;
        assert_eq!(status.restarts, 0);
    }
    assert_eq!(keeper.pid(), first, "the keeper was busy, not gone");
}
