//! Commands that change something in the running host.

use setpoint_core::key::{Key, LOCAL};
use setpoint_runtime::http::Done;

use crate::args::{ConfirmArgs, Globals, KindArgs, ObjectArgs, RollbackArgs};
use crate::client::{Client, group, key_path, segment};
use crate::failure::Failure;
use crate::kind::{resolve, split_object};
use crate::output::{one_line, print};

/// `trigger`, `pause` or `resume` of one object.
pub(crate) fn on_object(args: &ObjectArgs, globals: &Globals, verb: &str) -> Result<(), Failure> {
    let (client, key) = object(args, globals)?;
    say(&client.post(&format!("/v1/reconciles/{key}/{verb}"))?)
}

/// Deletes an object that no file defines.
pub(crate) fn delete(args: &ObjectArgs, globals: &Globals) -> Result<(), Failure> {
    let (client, key) = object(args, globals)?;
    say(&client.delete(&format!("/v1/objects/{key}"))?)
}

fn object(args: &ObjectArgs, globals: &Globals) -> Result<(Client, String), Failure> {
    let (word, name) = split_object(&args.kind, args.name.as_deref())?;
    let client = Client::find(&globals.server)?;
    let kinds = client.kinds()?;
    let key = key_path(resolve(&kinds, word)?, &globals.place, name);
    Ok((client, key))
}

/// `enable` or `disable` of a kind.
pub(crate) fn on_kind(args: &KindArgs, globals: &Globals, verb: &str) -> Result<(), Failure> {
    let client = Client::find(&globals.server)?;
    let kinds = client.kinds()?;
    let kind = resolve(&kinds, &args.kind)?;
    say(&client.post(&format!("/v1/kinds/{}/{}/{verb}", segment(group(kind)), segment(&kind.kind)))?)
}

/// Lets deletions happen that wait for a person (rules B3, D1).
pub(crate) fn confirm(args: &ConfirmArgs, globals: &Globals) -> Result<(), Failure> {
    let client = Client::find(&globals.server)?;
    match &args.plugin {
        Some(plugin) => say(&client.post(&format!("/v1/held/{}/confirm", segment(plugin)))?),
        // Clap lets nobody through who gives neither.
        None => {
            let cluster = args.cluster.as_deref().unwrap_or(LOCAL);
            say(&client.post(&format!("/v1/clusters/{}/confirm-resources", segment(cluster)))?)
        }
    }
}

/// Lets a plugin go back to the component that it had before (design §7).
pub(crate) fn rollback(args: &RollbackArgs, globals: &Globals) -> Result<(), Failure> {
    let client = Client::find(&globals.server)?;
    say(&client.post(&format!("/v1/plugins/{}/rollback", segment(&args.name)))?)
}

/// Gives a cluster up (rule B13).
pub(crate) fn forget_cluster(name: &str, globals: &Globals) -> Result<(), Failure> {
    let client = Client::find(&globals.server)?;
    say(&client.post(&format!("/v1/clusters/{}/forget", segment(name)))?)
}

fn say(done: &Done) -> Result<(), Failure> {
    print(&line(done))
}

/// As kubectl says it: `configbundle.examples.setpoint.dev/web triggered`.
fn line(done: &Done) -> String {
    let subject = match Key::parse(&done.subject) {
        Some(key) => format!("{}/{}", key.group_kind().to_string().to_lowercase(), key.name),
        None => done.subject.clone(),
    };
    format!("{} {}\n", one_line(&subject), one_line(&done.done))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(done: &str, subject: &str) -> String {
        line(&Done { done: done.into(), subject: subject.into() })
    }

    #[test]
    fn what_was_done_is_said_as_kubectl_says_it() {
        assert_eq!(
            said("triggered", "local/examples.setpoint.dev/ConfigBundle/default/web"),
            "configbundle.examples.setpoint.dev/web triggered\n"
        );
        assert_eq!(
            said("disabled", "ConfigBundle.examples.setpoint.dev"),
            "ConfigBundle.examples.setpoint.dev disabled\n"
        );
        assert_eq!(said("confirmed", "resources"), "resources confirmed\n");
    }
}
