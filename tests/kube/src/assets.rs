//! Where the real API server, etcd and kubectl are, and what is said where they are not.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::OnceLock;

/// The directory with them, as Kubernetes' own test tools name it.
const DIRECTORY: &str = "KUBEBUILDER_ASSETS";
/// Why `cargo xtask` could not build them; it tells the tests.
const MISSING: &str = "SETPOINT_KUBE_MISSING";

/// The programs.
#[derive(Clone, Debug)]
pub(crate) struct Assets {
    pub(crate) kube_apiserver: PathBuf,
    pub(crate) etcd: PathBuf,
    pub(crate) kubectl: PathBuf,
}

/// All of them, or why they are not there and what to do.
///
/// # Panics
/// `KUBEBUILDER_ASSETS` is set, and they are not in it: a mistake that must not look like a machine without them.
pub(crate) fn find() -> Result<Assets, String> {
    let Some(dir) = std::env::var_os(DIRECTORY).filter(|dir| !dir.is_empty()).map(PathBuf::from) else {
        return Err(std::env::var(MISSING).unwrap_or_else(|_| {
            format!(
                "{DIRECTORY} is not set; run the tests by `cargo xtask test`, or before them: \
                 export {DIRECTORY}=$(cargo xtask kube assets)"
            )
        }));
    };
    let program = |name: &str| {
        let path = dir.join(name);
        assert!(path.is_file(), "{DIRECTORY} is {}, but there is no {name} in it", dir.display());
        path
    };
    Ok(Assets { kube_apiserver: program("kube-apiserver"), etcd: program("etcd"), kubectl: program("kubectl") })
}

/// Whether tests with a real API server can run here. Where they cannot, that is said once for each test program:
/// `SKIPPED: <why>`.
///
/// # Panics
/// See the module.
pub fn available() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(|| match find() {
        Ok(_) => true,
        Err(why) => {
            // Past the capture of test output, and on a line of its own.
            let _ = writeln!(std::io::stdout(), "\nSKIPPED: tests with a real API server: {why}");
            false
        }
    })
}
