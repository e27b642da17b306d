//! `setpoint`: the host, and what talks to it.
//!
//! | question | module |
//! |---|---|
//! | which commands and flags are there | [`args`] |
//! | how is a host run | [`run`] |
//! | where is the running host, and what does it answer | [`client`] |
//! | which kind is meant by a word | [`kind`] |
//! | what is shown | [`get`], [`watch`], [`describe`], [`events`], [`plugins`] |
//! | what is changed | [`act`] |
//! | what works without a host | [`crds`], [`plugin`] |
//! | how does it look | [`table`], [`age`], [`yaml`], [`output`] |
//! | what is said when it fails | [`failure`] |

#![forbid(unsafe_code)]

mod act;
mod age;
mod args;
mod client;
mod crds;
mod describe;
mod events;
mod failure;
mod get;
mod kind;
mod output;
mod plugin;
mod plugins;
mod run;
mod table;
mod watch;
mod yaml;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command};

/// Objects are made on one thread and dropped on another, thousands of small pieces each: the
/// system's allocator spends a quarter of a start of 10 000 files on it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Ends the process itself after --help and on wrong usage, the latter with 2.
    let cli = Cli::parse();
    let result = match cli.command {
        Command::Run(args) => run::run(args),
        Command::Plugin(command) => plugin::run(command),
        Command::Plugins(args) => plugins::plugins(&args),
        Command::Get(args) => get::get(&args),
        Command::Describe(args) => describe::describe(&args),
        Command::Trigger(args) => act::on_object(&args, "trigger"),
        Command::Pause(args) => act::on_object(&args, "pause"),
        Command::Resume(args) => act::on_object(&args, "resume"),
        Command::Delete(args) => act::delete(&args),
        Command::Enable(args) => act::on_kind(&args, "enable"),
        Command::Disable(args) => act::on_kind(&args, "disable"),
        Command::Confirm(args) => act::confirm(&args),
        Command::Events(args) => events::events(&args),
        Command::Crds(args) => crds::crds(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.tell();
            ExitCode::from(failure.exit)
        }
    }
}
