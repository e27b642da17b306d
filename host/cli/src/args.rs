//! Commands and flags: name, help, default and environment variable of each in one place. A flag
//! beats the environment beats the configuration file.

mod look;
mod work;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use setpoint_core::grants::Grant;
use setpoint_runtime::{InstallCrds, Mode};

pub(crate) use look::{EventsArgs, GetArgs, LogsArgs, PluginsArgs, TopArgs, WhyArgs};
pub(crate) use work::{
    CompletionArgs, DocsArgs, ExplainArgs, PlanArgs, PlanFileArgs, RbacArgs, RecordArgs, ReleaseArgs, RollbackArgs,
};

use crate::failure::Failure;
use crate::{plugin, replay, validate};

/// Where the host keeps its state unless it is told otherwise.
const STATE: &str = ".setpoint";
/// Above the flags that stand before or after every command.
const EVERYWHERE: &str = "Options of all commands";

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
    /// Format of the output, as after the command
    #[arg(short, long, value_enum)]
    output: Option<Output>,
    #[command(flatten)]
    pub(crate) globals: Globals,
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Cli {
    /// The command with the format that was written before it. Unlike the other flags that may stand
    /// there, not every command has one, and `record -o` is a file.
    ///
    /// # Errors
    /// The command has no format.
    pub(crate) fn resolved(mut self) -> Result<(Command, Globals), Failure> {
        if let Some(output) = self.output {
            match self.command.output() {
                Some(args) => args.output = output,
                None => {
                    return Err(Failure::usage("this command has no format that -o before it could choose")
                        .hint("write -o after the command if it has one; `setpoint help COMMAND` shows it"));
                }
            }
        }
        Ok((self.command, self.globals))
    }
}

/// What every command takes, before or after its name.
#[derive(Args, Clone, Debug)]
pub(crate) struct Globals {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Run the host until it is interrupted
    Run(RunArgs),
    /// Run the host, and build plugins from their sources as they change
    Dev(DevArgs),
    /// Write, build and look at plugins
    #[command(subcommand)]
    Plugin(PluginCommand),
    /// Show the plugins of the running host
    Plugins(PluginsArgs),
    /// Show objects: all that are reconciled, those of a KIND, or one; `get held` shows deletions that wait for you, `get clusters` the clusters
    Get(GetArgs),
    /// Show all that is known of one object
    Describe(ObjectArgs),
    /// Show why an object was reconciled: its last runs, and what led to each
    Why(WhyArgs),
    /// Show what a plugin logged
    Logs(LogsArgs),
    /// Show what happened
    Events(EventsArgs),
    /// Show what the plugins are busy with
    Top(TopArgs),
    /// Show what reconciling would change, or what a plugin file would that is not installed; nothing is written
    Plan(PlanArgs),
    /// Record calls of plugins, to replay them or to test with them
    Record(RecordArgs),
    /// Answer the calls of a recording anew and show what differs, without a host
    Replay(replay::ReplayArgs),
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
    /// Let go of objects that no plugin reconciles any more, so that they can be deleted
    Release(ReleaseArgs),
    /// Look after the clusters of the fleet
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Check a directory of resources as the host would, without a host
    Validate(validate::ValidateArgs),
    /// Print the CustomResourceDefinitions of plugin files, without a host
    Crds(CrdsArgs),
    /// Print the rights that the host needs on a Kubernetes cluster for plugin files, without a host
    Rbac(RbacArgs),
    /// Rebuild a state that could not be read, without a host
    Repair,
    /// Print the script that completes commands in a shell
    Completion(CompletionArgs),
    /// Explain an error by its code
    Explain(ExplainArgs),
    /// Write the reference pages that are made from the code
    #[command(hide = true)]
    Docs(DocsArgs),
}

impl Command {
    fn output(&mut self) -> Option<&mut OutputArgs> {
        match self {
            Command::Plugins(PluginsArgs { output })
            | Command::Get(GetArgs { output, .. })
            | Command::Why(WhyArgs { output, .. })
            | Command::Logs(LogsArgs { output, .. })
            | Command::Events(EventsArgs { output, .. })
            | Command::Top(TopArgs { output, .. })
            | Command::Plan(PlanArgs { output, .. })
            | Command::Replay(replay::ReplayArgs { output, .. })
            | Command::Validate(validate::ValidateArgs { output, .. })
            | Command::Plugin(PluginCommand::Inspect(InspectArgs { output, .. })) => Some(output),
            _ => None,
        }
    }
}

#[derive(Args, Debug)]
pub(crate) struct RunArgs {
    /// Directory of plugins (*.wasm) [default: ./plugins]
    #[arg(long, value_name = "DIR", env = "SETPOINT_PLUGINS")]
    pub(crate) plugins: Option<PathBuf>,
    /// Directory of resources (*.yaml, *.yml, *.json) [default: ./resources; none beside a cluster]
    #[arg(long, value_name = "DIR", env = "SETPOINT_RESOURCES")]
    pub(crate) resources: Option<PathBuf>,
    /// Configuration file, read again when it changes
    #[arg(long, value_name = "FILE", env = "SETPOINT_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Where objects come from; auto is kubernetes in a pod, or where a kubeconfig or context is named, else files [default: auto]
    #[arg(long, value_parser = words(Mode::WORDS), env = "SETPOINT_MODE")]
    pub(crate) mode: Option<Mode>,
    /// Kubeconfig of the cluster whose objects are reconciled
    #[arg(long, value_name = "FILE", env = "SETPOINT_KUBECONFIG")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig [default: its current one]
    #[arg(long, value_name = "NAME", env = "SETPOINT_CONTEXT")]
    pub(crate) context: Option<String>,
    /// Look only at this namespace of the cluster; may be given several times [default: all]
    #[arg(long = "watch-namespace", value_name = "NAMESPACE", value_delimiter = ',', env = "SETPOINT_WATCH_NAMESPACE")]
    pub(crate) watch_namespaces: Vec<String>,
    /// Of several hosts one acts at a time, by a Lease in the cluster [default: in a pod]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", env = "SETPOINT_LEADER_ELECT")]
    pub(crate) leader_elect: Option<bool>,
    /// Reconcile objects of which another installation has written the status in the last 10 min; else they are left alone
    #[arg(long, env = "SETPOINT_TAKE_OVER")]
    pub(crate) take_over: bool,
    /// Bring the definitions of the plugins' kinds to the cluster; safe keeps one there that lets in more [default: off; safe without a value]
    #[arg(long, value_parser = words(InstallCrds::WORDS), num_args = 0..=1, require_equals = true, default_missing_value = "safe", env = "SETPOINT_INSTALL_CRDS")]
    pub(crate) install_crds: Option<InstallCrds>,
    /// Kubeconfig files, directories of them, or patterns: each context is a cluster that takes part; may be given several times
    #[arg(long = "clusters", value_name = "PATH", value_delimiter = ',', env = "SETPOINT_CLUSTERS")]
    pub(crate) clusters: Vec<PathBuf>,
    /// Address of the HTTP API; elsewhere than on loopback it takes a token and TLS [default: 127.0.0.1:8474]
    #[arg(long, value_name = "ADDR", env = "SETPOINT_LISTEN")]
    pub(crate) listen: Option<SocketAddr>,
    /// Certificate of the HTTP API as PEM, with those between it and its authority; read again when it changes
    #[arg(long, value_name = "FILE", requires = "tls_key_file", env = "SETPOINT_TLS_CERT_FILE")]
    pub(crate) tls_cert_file: Option<PathBuf>,
    /// Key of the certificate, as PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert_file", env = "SETPOINT_TLS_KEY_FILE")]
    pub(crate) tls_key_file: Option<PathBuf>,
    /// Address that serves only /healthz, /readyz and /metrics
    #[arg(long, value_name = "ADDR", env = "SETPOINT_HEALTH_LISTEN")]
    pub(crate) health_listen: Option<SocketAddr>,
    /// Give a plugin (or `*`) a capability: described, read:GROUP/KIND, write:GROUP/KIND (each with @CLUSTER[/NAMESPACE] or @{LABELS}[/NAMESPACE]), process, http:HOST; several with commas
    #[arg(long = "grant", value_name = "PLUGIN=CAPABILITY", value_parser = GivenGrants::parse, env = "SETPOINT_GRANT")]
    pub(crate) grants: Vec<GivenGrants>,
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
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// One of some words.
fn words<T: Copy + Send + Sync + 'static, const N: usize>(
    words: [(&'static str, T); N],
) -> impl TypedValueParser<Value = T> {
    let known = PossibleValuesParser::new(words.map(|(word, _)| word));
    known.try_map(move |given| {
        let found = words.iter().find(|(word, _)| *word == given);
        found.map(|(_, value)| *value).ok_or("another word is expected")
    })
}

/// The grants of one flag.
#[derive(Clone, Debug)]
pub(crate) struct GivenGrants(Vec<(String, Grant)>);

impl GivenGrants {
    /// Reads `PLUGIN=CAPABILITY,…`; commas between braces are those of labels.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut depth = 0_u32;
        let parts = text.split(|c: char| {
            match c {
                '{' => depth += 1,
                '}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            c == ',' && depth == 0
        });
        parts.map(grant).collect::<Result<_, _>>().map(Self)
    }

    /// All of them.
    pub(crate) fn all(given: &[Self]) -> Vec<(String, Grant)> {
        given.iter().flat_map(|Self(grants)| grants).cloned().collect()
    }
}

/// Reads `PLUGIN=CAPABILITY`.
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
    /// Run the scenarios of a plugin file, without a host
    Test(plugin::test::TestArgs),
    /// Let the running host go back to the component that a plugin had before
    Rollback(RollbackArgs),
}

#[derive(Args, Debug)]
pub(crate) struct DevArgs {
    /// Directories of plugins' sources [default: this one]
    #[arg(value_name = "CRATE")]
    pub(crate) crates: Vec<PathBuf>,
    /// Install the target wasm32-wasip2 if it is missing
    #[arg(long)]
    pub(crate) setup: bool,
    #[command(flatten)]
    pub(crate) run: RunArgs,
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
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ServerArgs {
    /// Address of the running host [default: what host.json in the state directory says, else http://127.0.0.1:8474]
    #[arg(long, value_name = "URL", env = "SETPOINT_SERVER", global = true, help_heading = EVERYWHERE)]
    pub(crate) server: Option<String>,
    /// Directory of the host's state [default: ./.setpoint]
    #[arg(long, value_name = "DIR", env = "SETPOINT_STATE", global = true, help_heading = EVERYWHERE)]
    pub(crate) state: Option<PathBuf>,
    /// File of the bearer token: of requests to the host, and for `run` the one that they have to carry
    #[arg(long, value_name = "FILE", env = "SETPOINT_TOKEN_FILE", global = true, help_heading = EVERYWHERE)]
    pub(crate) token_file: Option<PathBuf>,
    /// Certificates as PEM that the host's has to come from [default: those of the system]
    #[arg(long, value_name = "FILE", env = "SETPOINT_CA_FILE", global = true, help_heading = EVERYWHERE)]
    pub(crate) ca_file: Option<PathBuf>,
}

impl ServerArgs {
    /// The state directory that was named, else the default.
    pub(crate) fn state_dir(&self) -> &Path {
        self.state.as_deref().unwrap_or(Path::new(STATE))
    }
}

/// What can be done with a cluster.
#[derive(Subcommand, Debug)]
pub(crate) enum ClusterCommand {
    /// Give a cluster up that will never come back: objects do not wait for their children there any more
    Forget {
        /// The cluster
        name: String,
    },
}

/// Where objects are.
#[derive(Args, Clone, Debug)]
pub(crate) struct PlaceArgs {
    /// Namespace [default: default, where one is needed]
    #[arg(short, long, global = true, help_heading = EVERYWHERE)]
    pub(crate) namespace: Option<String>,
    /// Cluster [default: hub where a Kubernetes cluster is reconciled, else local]
    #[arg(long, global = true, help_heading = EVERYWHERE)]
    pub(crate) cluster: Option<String>,
}

/// How it is shown.
#[derive(Args, Clone, Debug)]
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
pub(crate) struct ObjectArgs {
    /// Kind, plural, singular or short name, in any case, with or without .GROUP; or KIND/NAME
    pub(crate) kind: String,
    /// Name of the object
    pub(crate) name: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct KindArgs {
    /// Kind, plural, singular or short name, in any case, with or without .GROUP
    pub(crate) kind: String,
}

#[derive(Args, Debug)]
#[command(group(clap::ArgGroup::new("what").required(true).multiple(false)))]
pub(crate) struct ConfirmArgs {
    /// Plugin whose deletions shall happen, as `get held` shows it
    #[arg(group = "what")]
    pub(crate) plugin: Option<String>,
    /// The resources directory has really become what it is: delete what is no longer in it
    #[arg(long, group = "what")]
    pub(crate) resources: bool,
    /// The directory of this cluster is meant; without it that of `local`
    #[arg(long, value_name = "NAME", conflicts_with = "plugin")]
    pub(crate) cluster: Option<String>,
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
            &["describe"],
            &["get", "cb", "a", "-A"],
            &["get", "cb", "-A", "-n", "a"],
            &["record", "--calls", "0"],
            &["record", "--for", "soon"],
            &["release", "cb", "--orphan", "--delete-children"],
            &["completion", "sh"],
            &["confirm"],
            &["confirm", "workflow", "--resources"],
            &["confirm", "workflow", "--cluster", "team"],
            &["confirm", "--cluster", "team"],
            &["rbac", "-n", "A"],
            &["rbac", "--service-account", "a.b"],
            &["nothing"],
        ] {
            assert_eq!(usage(args), Some(2), "{args:?}");
        }
    }

    fn resolved(args: &[&str]) -> Result<(Command, Globals), String> {
        let cli = Cli::try_parse_from(std::iter::once(&"setpoint").chain(args)).map_err(|error| error.to_string())?;
        cli.resolved().map_err(|failure| failure.to_string())
    }

    #[test]
    fn where_and_how_may_be_said_before_or_after_the_command() -> Result<(), String> {
        for args in [
            &["-n", "a", "--cluster", "hub", "--server", "http://h:1", "--state", "s", "-o", "json", "get", "cb"][..],
            &["get", "cb", "-n", "a", "--cluster", "hub", "--server", "http://h:1", "--state", "s", "-o", "json"],
            &["-o", "json", "-n", "a", "--state", "s", "get", "--server", "http://h:1", "cb", "--cluster", "hub"],
        ] {
            let (command, Globals { server, place }) = resolved(args)?;
            let Command::Get(get) = command else { return Err(format!("{command:?}")) };
            assert_eq!((get.kind.as_deref(), get.output.output), (Some("cb"), Output::Json), "{args:?}");
            assert_eq!(
                (server.server.as_deref(), server.state_dir(), place.namespace.as_deref(), place.cluster.as_deref()),
                (Some("http://h:1"), Path::new("s"), Some("a"), Some("hub")),
                "{args:?}"
            );
        }
        Ok(())
    }

    #[test]
    fn rights_may_be_asked_for_in_several_namespaces() -> Result<(), String> {
        for args in [&["rbac", "-n", "a", "--namespace", "b"][..], &["rbac", "-n", "a,b"]] {
            let (command, _) = resolved(args)?;
            let Command::Rbac(rbac) = command else { return Err(format!("{command:?}")) };
            assert_eq!(rbac.namespaces, ["a", "b"], "{args:?}");
        }
        let (Command::Rbac(rbac), _) = resolved(&["-n", "a", "rbac"])? else { return Err("another command".into()) };
        assert_eq!(rbac.namespaces, ["a"], "where every command has it");
        Ok(())
    }

    #[test]
    fn a_format_before_a_command_that_has_none_is_refused() {
        let failure = resolved(&["-o", "json", "enable", "cb"]).map(|_| ());
        assert!(failure.is_err_and(|text| text.contains("no format")));
        // There it is a file.
        assert!(resolved(&["-o", "json", "record"]).is_err());
        assert!(resolved(&["record", "-o", "calls.jsonl"]).is_ok());
    }

    #[test]
    fn grants_may_be_given_many_times_or_with_commas() {
        let given = ["a=process,b=described@hub", "c=described@{env=prod,tier in (a,b)}/web,d=process", "*=http:*"];
        let flags = given.iter().flat_map(|given| ["--grant", given]);
        let cli = Cli::try_parse_from(["setpoint", "run"].into_iter().chain(flags));
        let Ok(Cli { command: Command::Run(args), .. }) = cli else { panic!("{cli:?}") };
        let grants = GivenGrants::all(&args.grants).into_iter().map(|(plugin, grant)| format!("{plugin}={grant}"));
        let expected =
            ["a=process", "b=described@hub", "c=described@{env=prod,tier in (a,b)}/web", "d=process", "*=http:*"];
        assert_eq!(grants.collect::<Vec<_>>(), expected);
    }
}
