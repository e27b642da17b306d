//! Who does the job: Setpoint, and two programs that were written for it with the usual frameworks.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use setpoint_test_support::{Host, built};
use tempfile::TempDir;

use crate::start::variant;

/// Reconciles at a time of one controller, the same for each: Setpoint's default.
pub(crate) const CONCURRENCY: usize = 4;

/// Of each process that says something, so many lines are shown.
const LINES: usize = 10;

/// Who is measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Contender {
    /// The plugin in the host.
    Setpoint,
    /// `tests/peers/kube-rs`.
    KubeRs,
    /// `tests/peers/controller-runtime`.
    ControllerRuntime,
}

impl Contender {
    /// In the order of the table's columns.
    pub(crate) const ALL: [Self; 3] = [Self::Setpoint, Self::KubeRs, Self::ControllerRuntime];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Setpoint => "Setpoint",
            Self::KubeRs => "kube-rs",
            Self::ControllerRuntime => "controller-runtime",
        }
    }

    /// Where `cargo xtask bench` says that the program is.
    fn program(self) -> PathBuf {
        let variable = match self {
            Self::Setpoint => "SETPOINT_BIN",
            Self::KubeRs => "SETPOINT_PEER_KUBE_RS",
            Self::ControllerRuntime => "SETPOINT_PEER_CONTROLLER_RUNTIME",
        };
        let path = std::env::var_os(variable).map(PathBuf::from);
        path.filter(|path| path.is_file())
            .unwrap_or_else(|| panic!("{variable} names no program; use cargo xtask bench"))
    }

    /// Everything but the start: Setpoint compiles its plugins once. It is told `more` in its configuration.
    pub(crate) fn prepare(self, groups: &[String], kubeconfig: &Path, more: &str) -> Prepared {
        let kubeconfig = kubeconfig.to_owned();
        if self != Self::Setpoint {
            let log = tempfile::tempdir().unwrap_or_else(|error| panic!("a temporary directory: {error}"));
            return Prepared::Programs { program: self.program(), groups: groups.to_vec(), kubeconfig, log };
        }
        let bytes = std::fs::read(built::guest("config-bundle")).unwrap_or_else(|error| panic!("the plugin: {error}"));
        // As many calls at a time as the processes make together.
        let workers = (groups.len() * CONCURRENCY).max(8);
        let config = format!("apiVersion: config.setpoint.dev/v1alpha1\nworkers: {workers}\n{more}");
        let mut setup = Host::setup()
            .config(&config)
            .arg("--kubeconfig")
            .arg(kubeconfig.display().to_string())
            .args(["--grant", "*=described", "--log-level", "error"].map(str::to_owned));
        for (number, group) in groups.iter().enumerate() {
            let bytes = if groups.len() == 1 { bytes.clone() } else { variant(&bytes, number) };
            assert!(bytes.windows(group.len()).any(|part| part == group.as_bytes()), "{group} is not that plugin's");
            setup = setup.plugin_bytes(&bytes, &format!("p{number:02}"));
        }
        let host = setup.start();
        host.kill();
        Prepared::Host(Box::new(host))
    }
}

/// The API groups of so many kinds `ConfigBundle`.
pub(crate) fn groups(kinds: usize) -> Vec<String> {
    if kinds == 1 {
        return vec!["examples.setpoint.dev".to_owned()];
    }
    (0..kinds).map(|number| format!("exampl{number:02}.setpoint.dev")).collect()
}

/// Whatever it takes to start one.
pub(crate) enum Prepared {
    /// A host that was stopped.
    Host(Box<Host>),
    /// A program that is started once for each group.
    Programs { program: PathBuf, groups: Vec<String>, kubeconfig: PathBuf, log: TempDir },
}

impl Prepared {
    pub(crate) fn start(self) -> Running {
        match self {
            Self::Host(host) => Running::Host(Box::new(host.start_again_without_waiting())),
            Self::Programs { program, groups, kubeconfig, log } => {
                let start = |group: &String| {
                    let log = File::create(log.path().join(group)).unwrap_or_else(|error| panic!("its log: {error}"));
                    let mut command = Command::new(&program);
                    // The server is on this machine, whatever the environment says of others.
                    for name in ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"] {
                        command.env_remove(name);
                    }
                    command
                        .args(["--group", group, "--concurrency", &CONCURRENCY.to_string()])
                        .env("KUBECONFIG", &kubeconfig)
                        .stdin(Stdio::null())
                        .stdout(Stdio::null())
                        .stderr(log)
                        .spawn()
                        .unwrap_or_else(|error| panic!("{}: {error}", program.display()))
                };
                let children = groups.iter().map(start).collect();
                Running::Programs(Programs { children, log })
            }
        }
    }
}

/// One that runs. Dropped, it is killed.
pub(crate) enum Running {
    Host(Box<Host>),
    Programs(Programs),
}

/// One process for each group.
pub(crate) struct Programs {
    children: Vec<Child>,
    log: TempDir,
}

impl Programs {
    /// The end of what each has said that said anything.
    fn said(&self) -> String {
        let files = std::fs::read_dir(self.log.path()).into_iter().flatten().flatten();
        let mut said: Vec<String> = files
            .filter_map(|file| {
                let text = std::fs::read_to_string(file.path()).ok().filter(|text| !text.is_empty())?;
                let lines: Vec<&str> = text.lines().collect();
                let end = lines[lines.len().saturating_sub(LINES)..].join("\n");
                Some(format!("{}:\n{end}", file.file_name().to_string_lossy()))
            })
            .collect();
        said.sort();
        if said.is_empty() { "none of the processes has said anything".to_owned() } else { said.join("\n") }
    }
}

impl Drop for Programs {
    fn drop(&mut self) {
        for child in &mut self.children {
            // Whatever the answer, it is gone or was already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Running {
    /// The processes.
    pub(crate) fn pids(&self) -> Vec<u32> {
        match self {
            Self::Host(host) => vec![host.pid()],
            Self::Programs(programs) => programs.children.iter().map(Child::id).collect(),
        }
    }

    /// Of each process, added up.
    pub(crate) fn sum<T: std::iter::Sum>(&self, of: impl Fn(u32) -> T) -> T {
        self.pids().into_iter().map(of).sum()
    }

    /// What it said last, for people.
    pub(crate) fn log(&self) -> String {
        match self {
            Self::Host(host) => host.log_tail(),
            Self::Programs(programs) => programs.said(),
        }
    }
}
