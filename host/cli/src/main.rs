//! `setpoint`: the host, and what talks to it.
//!
//! | question | module |
//! |---|---|
//! | which commands and flags are there | [`args`] |
//! | how is a host run, and kept small | [`run`], [`memory`] |
//! | where is the running host, and what does it answer | [`client`] |
//! | which kind is meant by a word | [`kind`] |
//! | what is there | [`get`], [`held`], [`watch`], [`describe`], [`plugins`] |
//! | what happens, and why | [`why`], [`events`], [`logs`], [`top`] |
//! | what would happen | [`plan`] |
//! | what is kept of calls, and what became of it | [`record`], [`replay`] |
//! | what is changed | [`act`], [`release`] |
//! | what works without a host | [`crds`], [`rbac`], [`plugin`], [`validate`], [`replay`], [`repair`], [`completion`] |
//! | what does it mean | [`explain`], [`docs`] |
//! | how does it look, and how is it called | [`table`], [`diff`], [`age`], [`yaml`], [`output`], [`names`] |
//! | what is said when it fails or is interrupted | [`failure`], [`signals`] |

mod act;
mod age;
mod args;
mod client;
mod clusters;
mod completion;
mod crds;
mod describe;
mod diff;
mod docs;
mod events;
mod explain;
mod failure;
mod get;
mod held;
mod kind;
mod logs;
mod memory;
mod names;
mod output;
mod plan;
mod plugin;
mod plugins;
mod rbac;
mod record;
mod release;
mod repair;
mod replay;
mod run;
mod signals;
mod table;
mod top;
mod validate;
mod watch;
mod why;
mod yaml;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, ClusterCommand, Command, Globals};
use failure::Failure;

fn main() -> ExitCode {
    // This program is also the keeper of the processes that a host runs, and what each of them is before it is itself.
    if let Some(ended) = setpoint_process::keeper_main() {
        return ended;
    }
    // Ends the process itself after --help and on wrong usage, the latter with 2.
    let cli = Cli::parse();
    let result = cli.resolved().and_then(|(command, globals)| run(command, globals));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.tell();
            ExitCode::from(failure.exit)
        }
    }
}

fn run(command: Command, globals: Globals) -> Result<(), Failure> {
    match command {
        Command::Run(args) => run::run(args, globals.server),
        Command::Dev(args) => plugin::dev::dev(args, globals.server),
        Command::Plugin(command) => plugin::run(command, &globals),
        Command::Plugins(args) => plugins::plugins(&args, &globals),
        Command::Get(args) => get::get(&args, &globals),
        Command::Describe(args) => describe::describe(&args, &globals),
        Command::Why(args) => why::why(&args, &globals),
        Command::Logs(args) => logs::logs(&args, &globals),
        Command::Events(args) => events::events(&args, &globals),
        Command::Top(args) => top::top(&args, &globals),
        Command::Plan(args) => plan::plan(&args, &globals),
        Command::Record(args) => record::record(&args, &globals),
        Command::Replay(args) => replay::replay(&args),
        Command::Trigger(args) => act::on_object(&args, &globals, "trigger"),
        Command::Pause(args) => act::on_object(&args, &globals, "pause"),
        Command::Resume(args) => act::on_object(&args, &globals, "resume"),
        Command::Delete(args) => act::delete(&args, &globals),
        Command::Enable(args) => act::on_kind(&args, &globals, "enable"),
        Command::Disable(args) => act::on_kind(&args, &globals, "disable"),
        Command::Confirm(args) => act::confirm(&args, &globals),
        Command::Release(args) => release::release(&args, &globals),
        Command::Cluster(ClusterCommand::Forget { name }) => act::forget_cluster(&name, &globals),
        Command::Validate(args) => validate::validate(&args),
        Command::Crds(args) => crds::crds(&args),
        Command::Rbac(args) => rbac::rbac(&args),
        Command::Repair => repair::repair(&globals.server),
        Command::Completion(args) => completion::completion(&args),
        Command::Explain(args) => explain::explain(&args),
        Command::Docs(args) => docs::docs(&args),
    }
}
