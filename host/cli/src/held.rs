//! `setpoint get held`: deletions that wait for a person (rule B3).

use setpoint_runtime::http::HeldRow;

use crate::args::Output;
use crate::client::Client;
use crate::failure::Failure;
use crate::get::document;
use crate::output::print;
use crate::table::Table;

/// Shows them, and how to let them happen.
pub(crate) fn held(client: &Client, output: Output) -> Result<(), Failure> {
    let rows: Vec<HeldRow> = client.get("/v1/held")?;
    if matches!(output, Output::Json | Output::Yaml) {
        return print(&document(&rows, output)?);
    }
    if rows.is_empty() {
        anstream::eprintln!("Nothing is held.");
        return Ok(());
    }
    print(&held_text(&rows))
}

fn held_text(rows: &[HeldRow]) -> String {
    let mut table = Table::new(&["PLUGIN", "OWNER", "WOULD DELETE"]);
    for row in rows {
        for deletion in &row.deletions {
            table.row(vec![row.plugin.clone(), deletion.owner.clone(), deletion.child.clone()]);
        }
    }
    let confirm: Vec<String> =
        rows.iter().map(|row| format!("to delete them: setpoint confirm {}\n", row.id)).collect();
    format!("{}\n{}", table.render(), confirm.concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use setpoint_runtime::http::HeldDeletion;

    #[test]
    fn held_deletions_are_shown_with_the_command_that_confirms_them() {
        let deletion =
            HeldDeletion { owner: "local/a.io/K/default/o".into(), child: "local/core/ConfigMap/default/c".into() };
        let rows = [HeldRow { id: "k".into(), plugin: "k".into(), deletions: vec![deletion] }];
        assert_eq!(
            held_text(&rows),
            "PLUGIN   OWNER                    WOULD DELETE\n\
             k        local/a.io/K/default/o   local/core/ConfigMap/default/c\n\
             \nto delete them: setpoint confirm k\n"
        );
    }
}
