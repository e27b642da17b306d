//! Flags of the commands that show what is there and what happens.

use clap::Args;

use super::OutputArgs;

#[derive(Args, Debug)]
pub(crate) struct PluginsArgs {
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Args, Debug)]
pub(crate) struct GetArgs {
    /// Kind, plural, singular or short name, in any case, with or without .GROUP; several with commas; or KIND/NAME
    ///
    /// Without it: all reconciled kinds of all namespaces.
    pub(crate) kind: Option<String>,
    /// Name of one object
    pub(crate) name: Option<String>,
    /// Only objects with such labels, such as app=web,tier!=db
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    pub(crate) selector: Option<String>,
    /// All namespaces
    #[arg(short = 'A', long, conflicts_with_all = ["namespace", "name"])]
    pub(crate) all_namespaces: bool,
    /// Show changes as they happen, until interrupted
    #[arg(short, long)]
    pub(crate) watch: bool,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Args, Debug)]
pub(crate) struct WhyArgs {
    /// Kind, plural, singular or short name, in any case, with or without .GROUP; or KIND/NAME
    pub(crate) kind: String,
    /// Name of the object
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Args, Debug)]
pub(crate) struct LogsArgs {
    /// Name of the plugin, as `setpoint plugins` shows it; or, as KIND/NAME, a process, or an object that has some
    pub(crate) plugin: String,
    /// Show further lines as they come, until interrupted
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Only what was logged for objects of this kind
    #[arg(long)]
    pub(crate) kind: Option<String>,
    /// Only what was logged for objects of this name
    #[arg(long)]
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Args, Debug)]
pub(crate) struct EventsArgs {
    /// Show further events as they happen, until interrupted
    #[arg(short, long)]
    pub(crate) follow: bool,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Args, Debug)]
pub(crate) struct TopArgs {
    /// Show it anew every two seconds, until interrupted
    #[arg(short, long)]
    pub(crate) watch: bool,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}
