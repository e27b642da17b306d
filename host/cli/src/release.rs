//! `setpoint release`: lets go of objects that no plugin reconciles any more (rule B12).

use std::io::{BufRead, IsTerminal, Write};

use setpoint_runtime::views::{ReleaseRequest, Released};

use crate::args::{Globals, ReleaseArgs};
use crate::client::Client;
use crate::failure::Failure;
use crate::get::of_kind_in;
use crate::kind::{display, resolve, split};
use crate::output::{one_line, print};

/// Removes the host's finalizer from the objects, so that they can go.
pub(crate) fn release(args: &ReleaseArgs, globals: &Globals) -> Result<(), Failure> {
    let (word, name) = split(&args.kind, args.name.as_deref())?;
    let client = Client::find(&globals.server)?;
    let kinds = client.kinds()?;
    let kind = resolve(&kinds, word)?;
    let filter = of_kind_in(kind, name, &globals.place, args.all_namespaces);
    let what = match (name, &filter.namespace) {
        (Some(name), _) => format!("{} {name:?}", display(kind)),
        (None, Some(namespace)) => {
            format!("all objects of {} in namespace {namespace} that are being deleted", display(kind))
        }
        (None, None) => format!("all objects of {} that are being deleted", display(kind)),
    };
    if !args.yes && !agreed(&question(&what, args.delete_children))? {
        return Err(Failure::new("nothing was released"));
    }
    let request = ReleaseRequest { filter, delete_children: args.delete_children };
    let released: Released = client.ask("/v1/release", &request)?;
    print(&text(&released))
}

fn question(what: &str, delete_children: bool) -> String {
    let children = if delete_children { "their children are deleted" } else { "their children stay, without an owner" };
    format!("This lets go of {what}: no plugin cleans up after them, and {children}.")
}

/// Asks on the terminal. Who cannot be asked has to say so beforehand.
fn agreed(question: &str) -> Result<bool, Failure> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(Failure::usage(format!("{question} Nobody is here to agree")).hint("say --yes if that is meant"));
    }
    let failed = |error: std::io::Error| Failure::new(format!("the terminal: {error}"));
    let mut stderr = std::io::stderr().lock();
    write!(stderr, "{}\nGo on? [y/N] ", one_line(question)).and_then(|()| stderr.flush()).map_err(failed)?;
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer).map_err(failed)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

fn text(released: &Released) -> String {
    let parts = [("released", &released.released), ("deleted", &released.deleted), ("orphaned", &released.orphaned)];
    let lines: String = parts
        .iter()
        .flat_map(|(word, keys)| keys.iter().map(move |key| format!("{} {word}\n", one_line(key))))
        .collect();
    if lines.is_empty() { "nothing is there to release\n".to_owned() } else { lines }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_let_go_and_what_became_of_the_children_is_said() {
        let released = Released {
            released: vec!["local/a.io/K/default/x".into()],
            deleted: Vec::new(),
            orphaned: vec!["local/core/ConfigMap/default/c".into()],
        };
        assert_eq!(text(&released), "local/a.io/K/default/x released\nlocal/core/ConfigMap/default/c orphaned\n");
        assert_eq!(text(&Released::default()), "nothing is there to release\n");
    }

    #[test]
    fn the_question_says_what_becomes_of_the_children() {
        assert_eq!(
            question("K.a.io \"x\"", false),
            "This lets go of K.a.io \"x\": no plugin cleans up after them, and their children stay, without an owner."
        );
        assert!(question("K.a.io \"x\"", true).ends_with("and their children are deleted."));
    }
}
