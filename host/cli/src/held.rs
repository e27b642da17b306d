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
    let next: Vec<String> = rows.iter().map(next).collect();
    format!("{}\n{}", table.render(), next.concat())
}

/// What can be done about a row.
fn next(row: &HeldRow) -> String {
    match row.left {
        0 => format!("to delete them: setpoint confirm {}\n", row.id),
        1 => format!("there may be more: 1 object of {} is still to be looked at\n", row.plugin),
        left => format!("there may be more: {left} objects of {} are still to be looked at\n", row.plugin),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use setpoint_runtime::http::HeldDeletion;

    #[test]
    fn held_deletions_are_shown_with_the_command_that_confirms_them() {
        let deletion =
            HeldDeletion { owner: "local/a.io/K/default/o".into(), child: "local/core/ConfigMap/default/c".into() };
        let row = HeldRow { id: "k".into(), plugin: "k".into(), deletions: vec![deletion], left: 0 };
        assert_eq!(
            held_text(std::slice::from_ref(&row)),
            "PLUGIN   OWNER                    WOULD DELETE\n\
             k        local/a.io/K/default/o   local/core/ConfigMap/default/c\n\
             \nto delete them: setpoint confirm k\n"
        );
        assert_eq!(
            next(&HeldRow { left: 1, ..row.clone() }),
            "there may be more: 1 object of k is still to be looked at\n"
        );
        let many = next(&HeldRow { left: 4_000, ..row });
        assert_eq!(many, "there may be more: 4000 objects of k are still to be looked at\n");
    }
}
