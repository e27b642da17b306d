//! `setpoint repair`: rebuilds a state that could not be read (rule D10).

use setpoint_cluster::local::Local;

use crate::args::ServerArgs;
use crate::failure::Failure;
use crate::output::print;

/// Rebuilds the store of the state directory and says what was kept. No host may run on it.
pub(crate) fn repair(server: &ServerArgs) -> Result<(), Failure> {
    let state = server.state_dir();
    if !state.is_dir() {
        return Err(Failure::new(format!("{}: there is no state directory", state.display()))
            .hint("name the one of the host with --state DIR"));
    }
    let report = Local::repair(state).map_err(|error| Failure::new(error.to_string()))?;
    print(&format!("{}\n", report.to_string().trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_that_is_not_there_is_not_made() -> std::io::Result<()> {
        let dir = tempfile::tempdir()?;
        let state = dir.path().join("state");
        let server = ServerArgs { state: Some(state.clone()), ..ServerArgs::default() };
        let failure = repair(&server).map_err(|failure| failure.to_string());
        assert!(failure.is_err_and(|text| text.contains("--state DIR")));
        assert!(!state.exists());
        Ok(())
    }
}
