//! Flags of the commands that try, record, repair and explain.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap_complete::Shell;
use setpoint_cluster::{NoServiceAccount, ServiceAccount};
use setpoint_runtime::config::parse_duration;

use super::{GivenGrants, OutputArgs};
use crate::names::is_dns_label;

#[derive(Args, Debug)]
pub(crate) struct PlanArgs {
    /// Kind or KIND/NAME: what the running host would change; or FILE.wasm: what this plugin would change
    #[arg(value_name = "KIND|FILE.wasm")]
    pub(crate) what: String,
    /// Name of one object [default: all of the kind, in the namespace]
    pub(crate) name: Option<String>,
    /// All namespaces
    #[arg(short = 'A', long, conflicts_with_all = ["namespace", "name"])]
    pub(crate) all_namespaces: bool,
    /// Exit with 1 if something would change
    #[arg(long)]
    pub(crate) exit_code: bool,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    // The last one: its heading stands above what follows.
    #[command(flatten)]
    pub(crate) file: PlanFileArgs,
}

/// What only the plan of a file needs.
#[derive(Args, Debug)]
#[command(next_help_heading = "Options for FILE.wasm")]
pub(crate) struct PlanFileArgs {
    /// Directory of the plugins that are installed
    #[arg(long, value_name = "DIR", default_value = "plugins", env = "SETPOINT_PLUGINS")]
    pub(crate) plugins: PathBuf,
    /// Directory of resources
    #[arg(long, value_name = "DIR", default_value = "resources", env = "SETPOINT_RESOURCES")]
    pub(crate) resources: PathBuf,
    /// Configuration file of the host
    #[arg(long, value_name = "FILE", env = "SETPOINT_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Give a plugin (or `*`) a capability, as `setpoint run` does; processes and the network are never given
    #[arg(long = "grant", value_name = "PLUGIN=CAPABILITY", value_parser = GivenGrants::parse, env = "SETPOINT_GRANT")]
    pub(crate) grants: Vec<GivenGrants>,
    /// How long to wait for the objects to come to rest, before and after
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    pub(crate) wait: Duration,
}

#[derive(Args, Debug)]
pub(crate) struct RecordArgs {
    /// Only calls for this kind; or KIND/NAME
    pub(crate) kind: Option<String>,
    /// Only calls for this object
    pub(crate) name: Option<String>,
    /// File to write, readable only by you [default: standard output]
    #[arg(short = 'o', long = "output", value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Only calls of this plugin
    #[arg(long)]
    pub(crate) plugin: Option<String>,
    /// Record the values of Secrets as they are, not as hashes
    #[arg(long)]
    pub(crate) with_secrets: bool,
    /// End after so many calls [default: when interrupted]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) calls: Option<u64>,
    /// End after this time, such as 30s or 5m [default: when interrupted]
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    pub(crate) time: Option<Duration>,
    /// Replace the file if it is there
    #[arg(long, requires = "file")]
    pub(crate) force: bool,
}

#[derive(Args, Debug)]
pub(crate) struct ReleaseArgs {
    /// Kind, plural, singular or short name, in any case, with or without .GROUP; or KIND/NAME
    pub(crate) kind: String,
    /// Name of one object [default: all of the kind that are being deleted, in the namespace]
    pub(crate) name: Option<String>,
    /// All namespaces
    #[arg(short = 'A', long, conflicts_with_all = ["namespace", "name"])]
    pub(crate) all_namespaces: bool,
    /// Leave their children where they are, without an owner; this is the default
    #[arg(long)]
    pub(crate) orphan: bool,
    /// Delete their children as well
    #[arg(long, conflicts_with = "orphan")]
    pub(crate) delete_children: bool,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
}

#[derive(Args, Debug)]
pub(crate) struct RollbackArgs {
    /// Name of the plugin, as `setpoint plugins` shows it
    pub(crate) name: String,
}

#[derive(Args, Debug)]
pub(crate) struct RbacArgs {
    /// Directory of plugins
    #[arg(long, value_name = "DIR", default_value = "plugins", env = "SETPOINT_PLUGINS")]
    pub(crate) plugins: PathBuf,
    /// Rights in this namespace, and in others that are named, instead of in all
    // In the place of the one that all commands have, which can be given once.
    #[arg(id = "namespace", short, long = "namespace", value_name = "NAMESPACE", value_parser = label, value_delimiter = ',')]
    pub(crate) namespaces: Vec<String>,
    /// ServiceAccount that the host runs as
    #[arg(long, value_name = "NAME", default_value = "setpoint", value_parser = label)]
    pub(crate) service_account: String,
    /// Its namespace, where the host runs
    #[arg(long, value_name = "NAMESPACE", default_value = "setpoint-system", value_parser = label)]
    pub(crate) service_account_namespace: String,
    /// The host installs the CustomResourceDefinitions of the plugins
    #[arg(long)]
    pub(crate) install_crds: bool,
    /// Children of a plugin are written as this ServiceAccount, as `plugins.PLUGIN.impersonate` of the configuration
    /// says; may be given once for each plugin
    #[arg(long, value_name = "PLUGIN=NAMESPACE/NAME", value_parser = impersonated)]
    pub(crate) impersonate: Vec<(String, ServiceAccount)>,
}

#[derive(Args, Debug)]
pub(crate) struct CompletionArgs {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: Shell,
}

#[derive(Args, Debug)]
pub(crate) struct ExplainArgs {
    /// The code, as an error shows it; all of them if missing
    pub(crate) code: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct DocsArgs {
    /// Directory to write to, made if it is missing
    pub(crate) dir: PathBuf,
}

fn duration(text: &str) -> Result<Duration, String> {
    match parse_duration(text) {
        Some(0) => Err("it is no time at all".into()),
        Some(milliseconds) => Ok(Duration::from_millis(milliseconds)),
        None => Err("write it as 500ms, 30s, 5m or 1h".into()),
    }
}

fn impersonated(text: &str) -> Result<(String, ServiceAccount), String> {
    let (plugin, account) =
        text.split_once('=').ok_or_else(|| format!("{text:?} names no plugin; write PLUGIN=NAMESPACE/NAME"))?;
    Ok((plugin.to_owned(), account.parse().map_err(|error: NoServiceAccount| error.to_string())?))
}

fn label(text: &str) -> Result<String, String> {
    match is_dns_label(text) {
        true => Ok(text.to_owned()),
        false => Err("small letters, digits and dashes expected, at most 63".into()),
    }
}
