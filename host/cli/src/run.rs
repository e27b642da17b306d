//! `setpoint run`: the host, from its start to the signal that stops it.

use std::io::IsTerminal;
use std::time::Duration;

use setpoint_core::engine::FIRST_PASS;
use setpoint_runtime::http::TlsFiles;
use setpoint_runtime::{Handle, Host, HostOptions, KeeperProgram, StartError};
use tracing_subscriber::EnvFilter;

use crate::args::{GivenGrants, LogFormat, RunArgs, ServerArgs};
use crate::failure::Failure;
use crate::memory;
use crate::output::print;
use crate::signals::{INTERRUPTED, Signals};

/// Threads that compile or write when the host could not start have so long to end.
const LEFT_OVER: Duration = Duration::from_secs(1);
/// Between looks at whether the first pass has ended.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Runs a host until SIGINT or SIGTERM. A second signal ends the process at once.
pub(crate) fn run(args: RunArgs, server: ServerArgs) -> Result<(), Failure> {
    memory::keep_small();
    start_logging(args.log_format, &args.log_level)?;
    let options = options(args, server);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("threads cannot be started: {error}")))?;
    let result = runtime.block_on(until_signal(options));
    runtime.shutdown_timeout(LEFT_OVER);
    result
}

fn options(args: RunArgs, server: ServerArgs) -> HostOptions {
    HostOptions {
        plugins: args.plugins,
        resources: args.resources,
        state: server.state,
        config: args.config,
        listen: args.listen,
        token_file: server.token_file,
        tls: args.tls_cert_file.zip(args.tls_key_file).map(|(certificate, key)| TlsFiles { certificate, key }),
        health_listen: args.health_listen,
        grants: GivenGrants::all(&args.grants),
        workers: args.workers,
        mode: args.mode,
        kubeconfig: args.kubeconfig,
        context: args.context,
        watch_namespaces: args.watch_namespaces,
        leader_elect: args.leader_elect,
        take_over: args.take_over,
        install_crds: args.install_crds,
        clusters: args.clusters,
        keeper: keeper(),
        ..HostOptions::default()
    }
}

/// This program keeps watch over the processes as well.
fn keeper() -> Option<KeeperProgram> {
    match std::env::current_exe() {
        Ok(program) => Some(KeeperProgram { program, args: vec!["__keeper".into()] }),
        Err(error) => {
            anstream::eprintln!("no processes can be run: the path of this program is not known: {error}");
            None
        }
    }
}

/// What `--log-level` means. The library for MCP tells of each look at an endpoint, and of those that fail as an error; the
/// host says the same where it belongs. Who looks for more asks for it.
fn directives(level: &str) -> String {
    let more = ["rmcp", "debug", "trace"].iter().any(|word| level.contains(word));
    if more { level.to_owned() } else { format!("{level},rmcp=off") }
}

fn start_logging(format: LogFormat, level: &str) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(directives(level)).map_err(|error| {
        Failure::usage(format!("--log-level {level:?}: {error}"))
            .hint("write error, warn, info, debug or trace, or directives such as info,plugin=debug")
    })?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let started = match format {
        LogFormat::Text => builder.with_ansi(colour).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).with_ansi(false).try_init(),
    };
    started.map_err(|error| Failure::new(format!("logging cannot be started: {error}")))
}

async fn until_signal(options: HostOptions) -> Result<(), Failure> {
    // From before the start on: a signal then is no different from one later.
    let mut signals = Signals::new()?;
    let host = tokio::select! {
        host = Host::start(options) => host.map_err(|error| match error {
            StartError::Mode(text) => Failure::usage(text),
            error => Failure::new(error.to_string()),
        })?,
        () = signals.next() => return Ok(()),
    };
    memory::give_back();
    tokio::spawn(give_back_after_the_first_pass(host.handle()));
    let on = match host.handle().overview().api_server {
        Some(server) => format!("the cluster at {server}"),
        None => "files".to_owned(),
    };
    let line = format!(
        "setpoint {} runs on {on}; its API is at {}\n",
        env!("CARGO_PKG_VERSION"),
        host.server().unwrap_or_default()
    );
    // That nobody reads stdout is no reason to stop.
    let _ = print(&line);
    signals.next().await;
    anstream::eprintln!("stopping; interrupt again to stop at once");
    tokio::select! {
        () = host.shutdown() => Ok(()),
        () = signals.next() => std::process::exit(i32::from(INTERRUPTED)),
    }
}

/// The first pass takes more memory than what comes after it.
async fn give_back_after_the_first_pass(handle: Handle) {
    let until = tokio::time::Instant::now() + Duration::from_millis(FIRST_PASS);
    while !handle.readiness().ready && tokio::time::Instant::now() < until {
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    memory::give_back();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_log_level_is_wrong_usage() {
        let failure = start_logging(LogFormat::Text, "info,=x=y").map_err(|failure| failure.exit);
        assert_eq!(failure, Err(2));
    }

    #[test]
    fn a_library_that_tells_too_much_is_heard_by_those_who_ask() {
        assert_eq!(directives("info"), "info,rmcp=off");
        assert_eq!(directives("warn,setpoint_mcp=info"), "warn,setpoint_mcp=info,rmcp=off");
        for asked in ["debug", "info,rmcp=warn"] {
            assert_eq!(directives(asked), asked);
        }
    }
}
