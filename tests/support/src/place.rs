//! Where the objects of a test are: in files, or, in a test program whose name begins with `in_cluster`, in a namespace
//! of a Kubernetes cluster. Tests that do not care say `file`, `write` and `remove` in both.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use setpoint_test_kube::{Kube, shared};

use crate::built;

/// The namespace of objects in files.
const DEFAULT: &str = "default";
/// How the names of test programs begin whose objects are in a cluster.
const PROGRAM: &str = "in_cluster";
/// Plugins whose kinds the server serves.
const PLUGINS: [&str; 3] = ["hostile", "config-bundle", "workflow"];

thread_local! {
    static NAMESPACE: RefCell<String> = RefCell::new(DEFAULT.to_owned());
}

/// Whether objects are in a cluster.
pub fn in_cluster() -> bool {
    static IN_CLUSTER: OnceLock<bool> = OnceLock::new();
    *IN_CLUSTER.get_or_init(|| {
        let program = std::env::current_exe().unwrap_or_default();
        program.file_stem().is_some_and(|name| name.to_string_lossy().starts_with(PROGRAM))
    })
}

/// The cluster in which a host's objects are.
pub fn cluster() -> &'static str {
    if in_cluster() { "hub" } else { "local" }
}

/// The namespace of the objects of this test.
pub fn namespace() -> String {
    NAMESPACE.with_borrow(Clone::clone)
}

/// A namespace of a server, and what was written into it, by file.
#[derive(Debug)]
pub(crate) struct Place {
    kube: &'static Kube,
    namespace: String,
    files: Mutex<BTreeMap<String, String>>,
}

impl std::fmt::Debug for Served {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Served")
    }
}

/// The server with the kinds of the plugins.
struct Served(&'static Kube);

fn served() -> &'static Served {
    static SERVED: OnceLock<Served> = OnceLock::new();
    SERVED.get_or_init(|| {
        // Said already, and nothing else is in such a program.
        let Some(kube) = shared() else { std::process::exit(0) };
        let plugins = tempfile::tempdir().unwrap_or_else(|error| panic!("a temporary directory: {error}"));
        for plugin in PLUGINS {
            let file = plugins.path().join(format!("{plugin}.wasm"));
            std::fs::copy(built::guest(plugin), &file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        }
        let output = Command::new(built::binary()).args(["crds", "--plugins"]).arg(plugins.path()).output();
        let output = output.unwrap_or_else(|error| panic!("setpoint crds: {error}"));
        assert!(output.status.success(), "setpoint crds: {}", String::from_utf8_lossy(&output.stderr));
        let crds = String::from_utf8_lossy(&output.stdout).into_owned();
        kubectl(kube, &["apply", "-f", "-"], &crds);
        kubectl(kube, &["wait", "--for=condition=Established", "--timeout=30s", "crd", "--all"], "");
        Served(kube)
    })
}

/// What `kubectl ARGS` prints, with a text as its input.
///
/// # Panics
/// It fails.
pub fn kubectl(kube: &Kube, args: &[&str], stdin: &str) -> String {
    let mut child = kube
        .kubectl()
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("kubectl cannot be started: {error}"));
    if let Some(mut pipe) = child.stdin.take() {
        // What it does not read it says itself.
        let _ = pipe.write_all(stdin.as_bytes());
    }
    let output = child.wait_with_output().unwrap_or_else(|error| panic!("kubectl {args:?}: {error}"));
    assert!(output.status.success(), "kubectl {args:?}: {}\n{stdin}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Arguments of a host that looks at one namespace and nothing else.
pub fn looks_at(kubeconfig: &Path, namespace: &str) -> [String; 4] {
    ["--kubeconfig".into(), kubeconfig.display().to_string(), "--watch-namespace".into(), namespace.into()]
}

/// Arguments that give plugins all that they ask for there, and in the host.
pub fn granted(namespace: &str) -> [String; 4] {
    ["--grant".into(), format!("*=described@hub/{namespace}"), "--grant".into(), "*=described@local".into()]
}

impl Place {
    /// A namespace for this test.
    pub(crate) fn new() -> Arc<Self> {
        let Served(kube) = served();
        let namespace = kube.namespace();
        NAMESPACE.set(namespace.clone());
        Arc::new(Self { kube, namespace, files: Mutex::default() })
    }

    /// What a host is told, so that it looks at the namespace and nothing else.
    pub(crate) fn args(&self) -> Vec<String> {
        [looks_at(&self.kube.kubeconfig(), &self.namespace), granted(&self.namespace)].concat()
    }

    fn files(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, String>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kubectl(&self, args: &[&str], stdin: &str) {
        kubectl(self.kube, &[&["-n", &self.namespace], args].concat(), stdin);
    }

    /// Writes what files say, each by its name.
    pub(crate) fn write(&self, files: &[(String, String)]) {
        if files.is_empty() {
            return;
        }
        let texts: Vec<&str> = files.iter().map(|(_, text)| text.as_str()).collect();
        self.kubectl(&["apply", "-f", "-"], &texts.join("\n---\n"));
        self.files().extend(files.iter().cloned());
    }

    /// Deletes what a file said.
    pub(crate) fn remove(&self, file: &str) {
        let text = self.files().remove(file).unwrap_or_else(|| panic!("{file} was not written"));
        self.kubectl(&["delete", "--wait=false", "-f", "-"], &text);
    }

    /// Deletes an object, if it is there.
    pub(crate) fn delete(&self, kind: &str, name: &str) {
        self.kubectl(&["delete", "--wait=false", "--ignore-not-found", kind, name], "");
    }
}
