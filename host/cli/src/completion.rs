//! `setpoint completion`: scripts that complete commands and flags.

use clap::CommandFactory;

use crate::args::{Cli, CompletionArgs};
use crate::failure::Failure;
use crate::output::print;

/// Prints the script of a shell.
pub(crate) fn completion(args: &CompletionArgs) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "setpoint", &mut script);
    print(&String::from_utf8_lossy(&script))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;
    use clap_complete::Shell;

    #[test]
    fn the_script_of_every_shell_knows_the_commands() {
        for shell in Shell::value_variants() {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "setpoint", &mut script);
            let script = String::from_utf8_lossy(&script);
            for word in ["describe", "rollback", "namespace"] {
                assert!(script.contains(word), "{shell}: {word} is missing");
            }
        }
    }
}
