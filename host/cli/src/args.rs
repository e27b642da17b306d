//! Commands and flags: name, help, default and environment variable of each in one place. A flag
//! beats the environment beats the configuration file.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use setpoint_core::grants::Grant;

/// A reconciler host whose reconcilers are WebAssembly plugins.
#[derive(Parser, Debug)]
#[command(
    name = "setpoint",
    version,
    propagate_version = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Run the host until it is interrupted
    Run(RunArgs),
    /// Write, build and look at plugins
    #[command(subcommand)]
    Plugin(PluginCommand),
    /// Show the plugins of the running host
    Plugins(PluginsArgs),
    /// Show objects: all that are reconciled, those of a KIND, or one; `get held` shows deletions that wait for you
    Get(GetArgs),
    /// Show all that is known of one object
    Describe(ObjectArgs),
    /// Reconcile one object now
    Trigger(ObjectArgs),
    /// Let a kind be reconciled again
    Enable(KindArgs),
    /// Stop reconciling a kind; changes are kept until it is enabled
    Disable(KindArgs),
    /// Stop reconciling one object
    Pause(ObjectArgs),
    /// Let one object be reconciled again
    Resume(ObjectArgs),
    /// Delete an object that no file defines
    Delete(ObjectArgs),
    /// Let deletions happen that wait for you
    Confirm(ConfirmArgs),
    /// Show what happened
    Events(EventsArgs),
    /// Print the CustomResourceDefinitions of plugin files, without a host
    Crds(CrdsArgs),
}

#[derive(Args, Debug)]
pub(crate) struct RunArgs {
    /// Directory of plugins (*.wasm) [default: ./plugins]
    #[arg(long, value_name = "DIR", env = "SETPOINT_PLUGINS")]
    pub(crate) plugins: Option<PathBuf>,
    /// Directory of resources (*.yaml, *.yml, *.json) [default: ./resources]
    #[arg(long, value_name = "DIR", env = "SETPOINT_RESOURCES")]
    pub(crate) resources: Option<PathBuf>,
    /// Directory of the host's own state [default: ./.setpoint]
    #[arg(long, value_name = "DIR", env = "SETPOINT_STATE")]
    pub(crate) state: Option<PathBuf>,
    /// Configuration file, read again when it changes
    #[arg(long, value_name = "FILE", env = "SETPOINT_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Where objects come from; auto is kubernetes in a pod, else files
    #[arg(long, value_enum, default_value = "auto", env = "SETPOINT_MODE")]
    pub(crate) mode: Mode,
    /// Address of the HTTP API, on loopback [default: 127.0.0.1:8474]
    #[arg(long, value_name = "ADDR", env = "SETPOINT_LISTEN")]
    pub(crate) listen: Option<SocketAddr>,
    /// Address that serves only /healthz, /readyz and /metrics
    #[arg(long, value_name = "ADDR", env = "SETPOINT_HEALTH_LISTEN")]
    pub(crate) health_listen: Option<SocketAddr>,
    /// Give a plugin (or `*`) a capability: described, read:GROUP/KIND, write:GROUP/KIND (each with @CLUSTER[/NAMESPACE]), process, http:HOST
    #[arg(long = "grant", value_name = "PLUGIN=CAPABILITY", value_parser = grant, value_delimiter = ',', env = "SETPOINT_GRANT")]
    pub(crate) grants: Vec<(String, Grant)>,
    /// Plugin calls at a time [default: number of cores × 4]
    #[arg(long, value_name = "N", env = "SETPOINT_WORKERS", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) workers: Option<u32>,
    /// How log lines are written to stderr
    #[arg(long, value_enum, default_value = "text", env = "SETPOINT_LOG_FORMAT")]
    pub(crate) log_format: LogFormat,
    /// error, warn, info, debug or trace; or directives such as info,plugin=debug
    #[arg(long, value_name = "LEVEL", default_value = "info", env = "SETPOINT_LOG_LEVEL")]
    pub(crate) log_level: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Mode {
    Auto,
    Files,
    Kubernetes,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

fn grant(text: &str) -> Result<(String, Grant), String> {
    let (plugin, grant) = text.split_once('=').ok_or("PLUGIN=CAPABILITY expected, such as workflow=described")?;
    if plugin.is_empty() {
        return Err("the name of the plugin is missing; write * for all".into());
    }
    Ok((plugin.to_owned(), Grant::parse(grant).map_err(|error| error.to_string())?))
}

#[derive(Subcommand, Debug)]
pub(crate) enum PluginCommand {
    /// Write the skeleton of a plugin in Rust
    New(NewArgs),
    /// Build the plugin in this directory and put it into the plugins directory
    Build(BuildArgs),
    /// Show what a plugin file is and asks for
    Inspect(InspectArgs),
}

#[derive(Args, Debug)]
pub(crate) struct NewArgs {
    /// Name of the plugin, such as redis-cluster
    pub(crate) name: String,
    /// What it reconciles [default: the name in CamelCase, of examples.setpoint.dev/v1alpha1]
    #[arg(long, value_name = "GROUP/VERSION/KIND")]
    pub(crate) kind: Option<String>,
    /// Directory of the SDK [default: the one that this program brings]
    #[arg(long, value_name = "PATH")]
    pub(crate) sdk: Option<PathBuf>,
    /// Where to write it [default: ./NAME]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct BuildArgs {
    /// Directory of plugins
    #[arg(long, value_name = "DIR", default_value = "plugins", env = "SETPOINT_PLUGINS")]
    pub(crate) plugins: PathBuf,
    /// Install the target wasm32-wasip2 if it is missing
    #[arg(long)]
    pub(crate) setup: bool,
}

#[derive(Args, Debug)]
pub(crate) struct InspectArgs {
    /// The plugin file
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Where the running host is.
#[derive(Args, Debug)]
pub(crate) struct ServerArgs {
    /// Address of the running host [default: what host.json in the state directory says, else http://127.0.0.1:8474]
    #[arg(long, value_name = "URL", env = "SETPOINT_SERVER")]
    pub(crate) server: Option<String>,
    /// Directory of the host's state
    #[arg(long, value_name = "DIR", default_value = ".setpoint", env = "SETPOINT_STATE")]
    pub(crate) state: PathBuf,
}

/// Where objects are.
#[derive(Args, Debug)]
pub(crate) struct PlaceArgs {
    /// Namespace [default: default]
    #[arg(short, long)]
    pub(crate) namespace: Option<String>,
    /// Cluster [default: local]
    #[arg(long)]
    pub(crate) cluster: Option<String>,
}

/// How it is shown.
#[derive(Args, Debug)]
pub(crate) struct OutputArgs {
    /// Format of the output
    #[arg(short, long, value_enum, default_value = "table")]
    pub(crate) output: Output,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Output {
    Table,
    Wide,
    Json,
    Yaml,
}

#[derive(Args, Debug)]
pub(crate) struct PluginsArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Args, Debug)]
pub(crate) struct GetArgs {
    /// Kind, plural, singular or short name, in any case, with or without .GROUP; all reconciled kinds of all namespaces if missing
    pub(crate) kind: Option<String>,
    /// Name of one object
    pub(crate) name: Option<String>,
    /// All namespaces
    #[arg(short = 'A', long, conflicts_with_all = ["namespace", "name"])]
    pub(crate) all_namespaces: bool,
    /// Show changes as they happen, until interrupted
    #[arg(short, long)]
    pub(crate) watch: bool,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Args, Debug)]
pub(crate) struct ObjectArgs {
    /// Kind, plural, singular or short name, in any case, with or without .GROUP
    pub(crate) kind: String,
    /// Name of the object
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Args, Debug)]
pub(crate) struct KindArgs {
    /// Kind, plural, singular or short name, in any case, with or without .GROUP
    pub(crate) kind: String,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Args, Debug)]
#[group(id = "what", required = true, multiple = false, args = ["plugin", "resources"])]
pub(crate) struct ConfirmArgs {
    /// Plugin whose deletions shall happen, as `get held` shows it
    pub(crate) plugin: Option<String>,
    /// The resources directory has really become what it is: delete what is no longer in it
    #[arg(long)]
    pub(crate) resources: bool,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Args, Debug)]
pub(crate) struct EventsArgs {
    /// Show further events as they happen, until interrupted
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Only of this namespace [default: all]
    #[arg(short, long)]
    pub(crate) namespace: Option<String>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Args, Debug)]
pub(crate) struct CrdsArgs {
    /// Only this kind
    pub(crate) kind: Option<String>,
    /// Directory of plugins
    #[arg(long, value_name = "DIR", default_value = "plugins", env = "SETPOINT_PLUGINS")]
    pub(crate) plugins: PathBuf,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn usage(args: &[&str]) -> Option<i32> {
        Cli::try_parse_from(std::iter::once(&"setpoint").chain(args)).err().map(|error| error.exit_code())
    }

    #[test]
    fn the_definition_of_the_flags_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn wrong_usage_exits_with_two() {
        for args in [
            &["run", "--mode", "both"][..],
            &["run", "--grant", "workflow"],
            &["run", "--grant", "=described"],
            &["run", "--grant", "workflow=reed:core/Secret"],
            &["run", "--listen", "localhost"],
            &["describe", "cb"],
            &["get", "cb", "a", "-A"],
            &["confirm"],
            &["confirm", "workflow", "--resources"],
            &["nothing"],
        ] {
            assert_eq!(usage(args), Some(2), "{args:?}");
        }
    }

    #[test]
    fn grants_may_be_given_many_times_or_with_commas() {
        let cli =
            Cli::try_parse_from(["setpoint", "run", "--grant", "a=process,b=described@hub", "--grant", "*=http:*"]);
        let Ok(Cli { command: Command::Run(args) }) = cli else { panic!("{cli:?}") };
        let grants: Vec<String> = args.grants.iter().map(|(plugin, grant)| format!("{plugin}={grant}")).collect();
        assert_eq!(grants, ["a=process", "b=described@hub", "*=http:*"]);
    }
}
