//! Where the objects come from that are reconciled: files, or a Kubernetes cluster. Decided once, at the start.

use std::path::PathBuf;

use setpoint_core::key::{HUB, LOCAL};
use setpoint_kubernetes::Access;

/// What the operator asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mode {
    /// Kubernetes in a pod, or where a kubeconfig or a context is named; else files.
    #[default]
    Auto,
    /// A directory of files.
    Files,
    /// A Kubernetes cluster.
    Kubernetes,
}

impl Mode {
    /// The words for it, in flags and configuration.
    pub const WORDS: [(&'static str, Self); 3] =
        [("auto", Self::Auto), ("files", Self::Files), ("kubernetes", Self::Kubernetes)];
}

/// What was decided, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Decided {
    /// How the hub is reached; none: there is none, and files are reconciled.
    pub(crate) hub: Option<Access>,
    pub(crate) why: &'static str,
}

impl Decided {
    /// The cluster whose objects people mean if they say nothing else.
    pub(crate) fn home(&self) -> &'static str {
        if self.hub.is_some() { HUB } else { LOCAL }
    }
}

/// Decides. A mode that was asked for is never another one.
///
/// # Errors
/// What is asked for contradicts itself.
pub(crate) fn decide(
    mode: Mode,
    kubeconfig: Option<PathBuf>,
    context: Option<String>,
    in_pod: bool,
) -> Result<Decided, String> {
    let named = kubeconfig.is_some() || context.is_some();
    let by_name = Access::Kubeconfig { path: kubeconfig, context };
    let decided = |hub, why| Ok(Decided { hub, why });
    match mode {
        Mode::Files if named => {
            Err("the mode files has no use for a kubeconfig or a context; leave them away, or take the mode kubernetes"
                .into())
        }
        Mode::Files => decided(None, "the mode files was asked for"),
        Mode::Kubernetes | Mode::Auto if named => decided(Some(by_name), "a kubeconfig or a context is named"),
        Mode::Kubernetes if in_pod => decided(Some(Access::InCluster), "the mode kubernetes was asked for, in a pod"),
        Mode::Kubernetes => decided(Some(by_name), "the mode kubernetes was asked for"),
        Mode::Auto if in_pod => decided(Some(Access::InCluster), "this is a pod"),
        Mode::Auto => decided(None, "this is no pod, and neither a kubeconfig nor a context is named"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_takes_a_cluster_only_in_a_pod_or_where_one_is_named() {
        let hub = |mode, path: Option<&str>, context: Option<&str>, in_pod| {
            decide(mode, path.map(PathBuf::from), context.map(str::to_owned), in_pod).map(|decided| decided.hub)
        };
        let kubeconfig = |path: Option<&str>, context: Option<&str>| {
            Ok(Some(Access::Kubeconfig { path: path.map(PathBuf::from), context: context.map(str::to_owned) }))
        };
        assert_eq!(hub(Mode::Auto, None, None, false), Ok(None), "~/.kube/config is not picked up by itself");
        assert_eq!(hub(Mode::Auto, None, None, true), Ok(Some(Access::InCluster)));
        assert_eq!(hub(Mode::Auto, Some("k"), None, true), kubeconfig(Some("k"), None));
        assert_eq!(hub(Mode::Auto, None, Some("c"), false), kubeconfig(None, Some("c")));
        assert_eq!(hub(Mode::Files, None, None, true), Ok(None));
        assert!(hub(Mode::Files, Some("k"), None, false).is_err());
        assert_eq!(hub(Mode::Kubernetes, None, None, true), Ok(Some(Access::InCluster)));
        assert_eq!(hub(Mode::Kubernetes, None, None, false), kubeconfig(None, None));
    }
}
