//! The plan of a plugin file that is not installed. A host of its own runs in this process, on copies
//! in a temporary directory: first with the plugins as they are, then with the file among them. What
//! differs is what the file would change. It writes nothing but that directory, and plugins get
//! neither processes nor the network there.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use setpoint_cluster::local::STORE_FILE;
use setpoint_cluster::source::yaml::parse_documents;
use setpoint_core::grants::Grant;
use setpoint_plugin::PluginHost;
use setpoint_runtime::config::Config;
use setpoint_runtime::views::{Filter, PlanRow};
use setpoint_runtime::{COMPONENTS, Handle, Host, HostOptions};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::compare::{State, compare};
use crate::args::{GivenGrants, PlanFileArgs, ServerArgs};
use crate::client::recorded;
use crate::crds;
use crate::failure::Failure;
use crate::plugin::load;
use crate::signals::{INTERRUPTED, Signals};

/// Between looks at the host.
const POLL: Duration = Duration::from_millis(50);
/// Objects are at rest when nothing has happened for so long.
const QUIET: Duration = Duration::from_millis(750);
/// Threads that still compile or write have so long to end.
const LEFT_OVER: Duration = Duration::from_secs(1);
/// A host that runs accepts a connection within this time.
const CONNECT: Duration = Duration::from_secs(1);

/// The rows of the plan.
pub(super) fn rows(file: &Path, args: &PlanFileArgs, server: &ServerArgs) -> Result<Vec<PlanRow>, Failure> {
    if !args.resources.is_dir() {
        return Err(Failure::new(format!("{}: there is no such directory", args.resources.display()))
            .hint("name the directory of resources with --resources DIR"));
    }
    let bench = Bench::new(file, args, server)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("threads cannot be started: {error}")))?;
    let rows = runtime.block_on(bench.run(args.wait));
    runtime.shutdown_timeout(LEFT_OVER);
    rows
}

/// Everything that the host is started on.
struct Bench {
    dir: TempDir,
    options: HostOptions,
    plugin: NewPlugin,
}

/// The plugin that is tried.
struct NewPlugin {
    name: String,
    digest: String,
    bytes: Vec<u8>,
    /// Where it is put in the plugins directory: in the place of the one that it replaces.
    file: String,
}

impl Bench {
    fn new(file: &Path, args: &PlanFileArgs, server: &ServerArgs) -> Result<Self, Failure> {
        let dir = tempfile::Builder::new()
            .prefix("setpoint-plan-")
            .tempdir()
            .map_err(|error| Failure::io(&std::env::temp_dir(), &error))?;
        let (plugins, state) = (dir.path().join("plugins"), dir.path().join("state"));
        for made in [&plugins, &state] {
            fs::create_dir(made).map_err(|error| Failure::io(made, &error))?;
        }
        let plugin = copy_plugins(file, &args.plugins, &plugins, &state)?;
        copy_store(server.state_dir(), &state)?;
        let config = match &args.config {
            Some(config) => Some(copy_config(config, dir.path())?),
            None => None,
        };
        let options = HostOptions {
            plugins: Some(plugins),
            resources: Some(args.resources.clone()),
            state: Some(state),
            config,
            // Whatever this machine is: a plan is made of files.
            mode: Some(setpoint_runtime::Mode::Files),
            listen: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
            grants: GivenGrants::all(&args.grants).into_iter().filter(|(_, grant)| is_harmless(grant)).collect(),
            ..HostOptions::default()
        };
        Ok(Self { dir, options, plugin })
    }

    async fn run(self, wait: Duration) -> Result<Vec<PlanRow>, Failure> {
        let mut signals = Signals::new()?;
        let host = Host::start(self.options.clone()).await.map_err(|error| Failure::new(error.to_string()))?;
        let handle = host.handle();
        let rows = tokio::select! {
            rows = self.compared(&handle, wait) => rows,
            () = signals.next() => Err(Failure { exit: INTERRUPTED, ..Failure::silent() }),
        };
        // In either case: nobody writes to the directory any more when it is removed.
        host.shutdown().await;
        drop(self.dir);
        rows
    }

    async fn compared(&self, host: &Handle, wait: Duration) -> Result<Vec<PlanRow>, Failure> {
        settle(host, wait, "before the change").await;
        let before = state(host);
        self.install(host, wait).await?;
        settle(host, wait, "after the change").await;
        let held = host
            .held()
            .into_iter()
            .flat_map(|held| {
                let plugin = held.plugin.to_string();
                held.children
                    .into_iter()
                    .map(move |(owner, child)| (plugin.clone(), owner.to_string(), child.to_string()))
            })
            .collect::<Vec<_>>();
        Ok(compare(&before, &state(host), &held))
    }

    /// Puts the file among the plugins and waits until the host runs it.
    async fn install(&self, host: &Handle, wait: Duration) -> Result<(), Failure> {
        let NewPlugin { name, digest, bytes, file } = &self.plugin;
        let row = || host.plugins().into_iter().find(|row| row.file == *file);
        let problem_before = row().and_then(|row| row.problem);
        let plugins = self.dir.path().join("plugins");
        let (hidden, place) = (plugins.join(format!(".{file}.new")), plugins.join(file));
        fs::write(&hidden, bytes).map_err(|error| Failure::io(&hidden, &error))?;
        fs::rename(&hidden, &place).map_err(|error| Failure::io(&place, &error))?;
        let until = Instant::now() + wait;
        loop {
            let row = row();
            let runs = row.as_ref().and_then(|row| row.digest.as_deref());
            if runs.is_some_and(|runs| runs.trim_start_matches("sha256:") == digest) {
                return Ok(());
            }
            let problem = row.and_then(|row| row.problem);
            let late = Instant::now() >= until;
            match problem {
                Some(problem) if late || Some(&problem) != problem_before.as_ref() => {
                    return Err(Failure::new(format!("the plugin {name} would be refused: {problem}")));
                }
                _ if late => {
                    return Err(Failure::new(format!("the plugin {name} did not start within {}s", wait.as_secs()))
                        .hint("give it longer with --wait TIME"));
                }
                _ => sleep(POLL).await,
            }
        }
    }
}

fn state(host: &Handle) -> State {
    // Without a selector there is none that could be wrong.
    let all = Filter::default();
    State::new(host.objects(&all).unwrap_or_default(), host.reconciles(&all).unwrap_or_default())
}

/// Waits until nothing happens any more. Who does not come to rest is compared as it is, and named.
async fn settle(host: &Handle, wait: Duration, when: &str) {
    let until = Instant::now() + wait;
    let mut writes = None;
    let mut quiet_since = Instant::now();
    loop {
        let overview = host.overview();
        let now = Instant::now();
        let busy = overview.queue_length > 0 || overview.status_summary.reconciling > 0 || !overview.ready.ready;
        let written = Some(host.metrics().store_writes);
        if busy || written != writes {
            writes = written;
            quiet_since = now;
        } else if now - quiet_since >= QUIET {
            return;
        }
        if now >= until {
            let reasons = overview.ready.reasons.join("; ");
            let reasons = if reasons.is_empty() { reasons } else { format!(": {reasons}") };
            anstream::eprintln!("note: the objects did not come to rest within {}s {when}{reasons}", wait.as_secs());
            return;
        }
        sleep(POLL).await;
    }
}

/// Copies the plugins that are installed, as far as they can be loaded, and finds the place of the new one.
fn copy_plugins(file: &Path, from: &Path, to: &Path, state: &Path) -> Result<NewPlugin, Failure> {
    let options = setpoint_plugin::HostOptions { cache_dir: Some(state.join("code-cache")), ..Default::default() };
    let host = PluginHost::new(options).map_err(|error| Failure::new(error.to_string()))?;
    let new = load(&host, file)?;
    let name = new.description().name.to_string();
    let mut replaced = None;
    let installed = if from.is_dir() { crds::files(from)? } else { Vec::new() };
    let mut taken = Vec::new();
    for path in installed {
        let Some(file_name) = path.file_name().map(|name| name.to_string_lossy().into_owned()) else { continue };
        match load(&host, &path) {
            Ok(plugin) => {
                if *plugin.description().name == *name {
                    replaced = Some(file_name.clone());
                }
                let place = to.join(&file_name);
                fs::copy(&path, &place).map_err(|error| Failure::io(&place, &error))?;
                taken.push(file_name);
            }
            Err(failure) => anstream::eprintln!("note: left out: {}", failure.message),
        }
    }
    let own = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    // Another plugin may have its file's name.
    let free = if taken.contains(&own) { format!("{name}-planned.wasm") } else { own };
    Ok(NewPlugin {
        name,
        digest: new.digest().as_str().trim_start_matches("sha256:").to_owned(),
        bytes: fs::read(file).map_err(|error| Failure::io(file, &error))?,
        file: replaced.unwrap_or(free),
    })
}

/// Copies the store, unless a host writes to it at this moment.
fn copy_store(from: &Path, to: &Path) -> Result<(), Failure> {
    let store = from.join(STORE_FILE);
    if !store.is_file() {
        anstream::eprintln!("note: {} has no state: all objects begin anew from the files", from.display());
        return Ok(());
    }
    if is_in_use(from)? {
        anstream::eprintln!(
            "note: a host runs on {}, whose state cannot be copied: statuses and children begin anew from the files",
            from.display()
        );
        return Ok(());
    }
    fs::copy(&store, to.join(STORE_FILE)).map_err(|error| Failure::io(&store, &error))?;
    copy_components(&from.join(COMPONENTS), &to.join(COMPONENTS))
}

/// A plugin that a person went back from runs the component that the state keeps.
fn copy_components(from: &Path, to: &Path) -> Result<(), Failure> {
    if !from.is_dir() {
        return Ok(());
    }
    fs::create_dir(to).map_err(|error| Failure::io(to, &error))?;
    for entry in fs::read_dir(from).map_err(|error| Failure::io(from, &error))? {
        let file = entry.map_err(|error| Failure::io(from, &error))?;
        fs::copy(file.path(), to.join(file.file_name())).map_err(|error| Failure::io(&file.path(), &error))?;
    }
    Ok(())
}

fn is_in_use(state: &Path) -> Result<bool, Failure> {
    let address = recorded(state)?.and_then(|server| server.strip_prefix("http://")?.parse::<SocketAddr>().ok());
    Ok(address.is_some_and(|address| TcpStream::connect_timeout(&address, CONNECT).is_ok()))
}

fn is_harmless(grant: &Grant) -> bool {
    !matches!(grant, Grant::Process(_) | Grant::Http(_))
}

/// The configuration without what reaches out of the temporary directory.
fn copy_config(path: &Path, dir: &Path) -> Result<PathBuf, Failure> {
    // For its errors, which name the place.
    Config::load(path).map_err(|error| Failure::new(error.to_string()))?;
    let text = fs::read_to_string(path).map_err(|error| Failure::io(path, &error))?;
    let mut value = match parse_documents(&text).pop() {
        Some(Ok(document)) => document.value,
        Some(Err(_)) | None => Value::Null,
    };
    withdraw(&mut value);
    let copy = dir.join("setpoint.yaml");
    let text = if value.is_null() { String::new() } else { value.to_string() };
    fs::write(&copy, text).map_err(|error| Failure::io(&copy, &error))?;
    Ok(copy)
}

fn withdraw(config: &mut Value) {
    let Some(top) = config.as_object_mut() else { return };
    const OUTSIDE: [&str; 10] = [
        "pluginsDir",
        "resourcesDir",
        "stateDir",
        "listen",
        "healthListen",
        "tls",
        "tokenFile",
        "mode",
        "kubernetes",
        "clusters",
    ];
    for outside in OUTSIDE {
        top.remove(outside);
    }
    for plugin in top.get_mut("plugins").and_then(Value::as_object_mut).into_iter().flat_map(|map| map.values_mut()) {
        if let Some(grants) = plugin.get_mut("grants").and_then(Value::as_array_mut) {
            grants.retain(|grant| {
                grant.as_str().and_then(|grant| Grant::parse(grant).ok()).is_some_and(|grant| is_harmless(&grant))
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_configuration_of_a_trial_reaches_nothing_outside() {
        let mut config = json!({
            "apiVersion": "config.setpoint.dev/v1alpha1",
            "listen": "127.0.0.1:8474", "healthListen": "0.0.0.0:8080", "stateDir": "s", "workers": 2,
            "mode": "kubernetes", "kubernetes": {"kubeconfig": "k"}, "clusters": {"a": {"kubeconfigs": ["c"]}},
            "tls": {"certFile": "c", "keyFile": "k"}, "tokenFile": "t",
            "plugins": {"a": {"grants": ["described@local", "process", "http:*"], "config": {"x": 1}}, "b": {}},
        });
        withdraw(&mut config);
        assert_eq!(
            config,
            json!({
                "apiVersion": "config.setpoint.dev/v1alpha1", "workers": 2,
                "plugins": {"a": {"grants": ["described@local"], "config": {"x": 1}}, "b": {}},
            })
        );
    }

    #[test]
    fn a_copied_configuration_is_one_that_the_host_reads() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("mine.yaml");
        fs::write(&file, "apiVersion: config.setpoint.dev/v1alpha1\nlisten: 127.0.0.1:1\nworkers: 3\n")?;
        let copy = copy_config(&file, dir.path())?;
        let config = Config::load(&copy)?;
        assert_eq!((config.workers, config.listen), (Some(3), None));
        fs::write(&file, "apiVersion: config.setpoint.dev/v1alpha1\nworker: 3\n")?;
        let failure = copy_config(&file, dir.path()).map_err(|failure| failure.to_string());
        assert!(failure.is_err_and(|text| text.contains("mine.yaml:2:1: ")));
        Ok(())
    }

    #[test]
    fn a_state_is_copied_unless_a_host_runs_on_it() -> Result<(), Box<dyn std::error::Error>> {
        let (from, to) = (tempfile::tempdir()?, tempfile::tempdir()?);
        let copied = to.path().join(STORE_FILE);
        copy_store(from.path(), to.path())?;
        assert!(!copied.exists());
        fs::write(from.path().join(STORE_FILE), "rows")?;
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        let host = json!({"server": format!("http://{}", listener.local_addr()?), "pid": 1});
        fs::write(from.path().join("host.json"), host.to_string())?;
        copy_store(from.path(), to.path())?;
        assert!(!copied.exists(), "a host runs");
        // It was killed, and its note is still there.
        drop(listener);
        copy_store(from.path(), to.path())?;
        assert_eq!(fs::read_to_string(copied)?, "rows");
        Ok(())
    }
}
