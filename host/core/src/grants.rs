//! What a plugin may read, write and use (design §6, rule D15): deny by default.

use std::fmt;

use crate::contract::Description;
use crate::key::{GroupKind, Key};

/// One grant as an operator writes it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Grant {
    /// `described`: all kinds that the plugin describes, in clusters that match. No processes and no network.
    Described(Scope),
    /// `read:GROUP/KIND[@CLUSTER[/NAMESPACE]]`
    Read(GroupKind, Scope),
    /// `write:GROUP/KIND[@CLUSTER[/NAMESPACE]]`
    Write(GroupKind, Scope),
    /// `process`
    Process,
    /// `http:HOST`
    Http(String),
}

/// Clusters and namespaces of a grant; `*` stands for any run of characters.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Scope {
    cluster: String,
    namespace: Option<String>,
}

impl Scope {
    /// Every cluster and namespace.
    pub fn everywhere() -> Self {
        Self { cluster: "*".into(), namespace: None }
    }

    /// One cluster, all namespaces.
    pub fn cluster(cluster: &str) -> Self {
        Self { cluster: cluster.into(), namespace: None }
    }

    fn covers(&self, cluster: &str, namespace: Option<&str>) -> bool {
        glob(&self.cluster, cluster)
            && match (&self.namespace, namespace) {
                (None, _) => true,
                (Some(pattern), Some(namespace)) => glob(pattern, namespace),
                (Some(_), None) => false,
            }
    }
}

/// Why a grant does not parse.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "grant {text:?}: {problem}; known are described, read:GROUP/KIND, write:GROUP/KIND (each with @CLUSTER[/NAMESPACE]), process and http:HOST"
)]
pub struct GrantError {
    text: String,
    problem: String,
}

/// Each part is taken where it comes first: nothing is tried twice, however many `*` there are.
fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

impl Grant {
    /// Reads a grant.
    ///
    /// # Errors
    /// Says what is wrong and what is known.
    pub fn parse(text: &str) -> Result<Self, GrantError> {
        let error = |problem: &str| GrantError { text: text.to_owned(), problem: problem.to_owned() };
        let (what, scope) = match text.split_once('@') {
            None => (text, Scope::everywhere()),
            Some((what, scope)) => {
                let (cluster, namespace) = match scope.split_once('/') {
                    Some((cluster, namespace)) => (cluster, Some(namespace.to_owned())),
                    None => (scope, None),
                };
                if cluster.is_empty() || namespace.as_deref() == Some("") {
                    return Err(error("the pattern after `@` is empty"));
                }
                (what, Scope { cluster: cluster.to_owned(), namespace })
            }
        };
        let kind = |text: &str| {
            let (group, kind) = text.rsplit_once('/').ok_or_else(|| error("GROUP/KIND expected"))?;
            let group = if group == "core" { "" } else { group };
            if kind.is_empty() { Err(error("the kind is missing")) } else { Ok(GroupKind::new(group, kind)) }
        };
        let scoped = text.contains('@');
        match what.split_once(':') {
            None if what == "described" => Ok(Grant::Described(scope)),
            None if what == "process" && !scoped => Ok(Grant::Process),
            Some(("read", rest)) => Ok(Grant::Read(kind(rest)?, scope)),
            Some(("write", rest)) => Ok(Grant::Write(kind(rest)?, scope)),
            Some(("http", host)) if !host.is_empty() && !scoped => Ok(Grant::Http(host.to_owned())),
            _ if scoped && (what == "process" || what.starts_with("http:")) => {
                Err(error("it holds everywhere, and takes no pattern after `@`"))
            }
            _ => Err(error("it is not known")),
        }
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind =
            |kind: &GroupKind| format!("{}/{}", if kind.group.is_empty() { "core" } else { &kind.group }, kind.kind);
        let scope = |scope: &Scope| match (scope.cluster.as_str(), &scope.namespace) {
            ("*", None) => String::new(),
            (cluster, None) => format!("@{cluster}"),
            (cluster, Some(namespace)) => format!("@{cluster}/{namespace}"),
        };
        match self {
            Grant::Described(s) => write!(f, "described{}", scope(s)),
            Grant::Read(k, s) => write!(f, "read:{}{}", kind(k), scope(s)),
            Grant::Write(k, s) => write!(f, "write:{}{}", kind(k), scope(s)),
            Grant::Process => f.write_str("process"),
            Grant::Http(host) => write!(f, "http:{host}"),
        }
    }
}

/// Where in a cluster something was granted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reach {
    /// Not at all.
    Nowhere,
    /// In namespaces that are not known one by one: all of them have to be looked at.
    Everywhere,
    /// In these namespaces, in order.
    Namespaces(Vec<String>),
}

/// All grants of one plugin.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Grants {
    grants: Vec<Grant>,
}

impl Grants {
    /// These grants.
    pub fn new(grants: Vec<Grant>) -> Self {
        Self { grants }
    }

    /// The default: all that a plugin describes, in the embedded cluster only.
    pub fn described_in_local() -> Self {
        Self { grants: vec![Grant::Described(Scope::cluster(crate::key::LOCAL))] }
    }

    /// The grants.
    pub fn iter(&self) -> impl Iterator<Item = &Grant> {
        self.grants.iter()
    }

    /// Whether objects of a kind may be read there. The plugin describes the kind.
    pub fn may_read(&self, kind: &GroupKind, cluster: &str, namespace: Option<&str>) -> bool {
        self.grants.iter().any(|grant| match grant {
            Grant::Described(scope) => scope.covers(cluster, namespace),
            Grant::Read(granted, scope) => granted == kind && scope.covers(cluster, namespace),
            _ => false,
        })
    }

    /// Where objects of a kind may be read in a cluster. The plugin describes the kind.
    pub fn reads(&self, kind: &GroupKind, cluster: &str) -> Reach {
        self.reach(cluster, |grant| match grant {
            Grant::Described(scope) => Some(scope),
            Grant::Read(granted, scope) if granted == kind => Some(scope),
            _ => None,
        })
    }

    /// Where children of a kind may be written in a cluster. The plugin describes the kind.
    pub fn writes(&self, kind: &GroupKind, cluster: &str) -> Reach {
        self.reach(cluster, |grant| match grant {
            Grant::Described(scope) => Some(scope),
            Grant::Write(granted, scope) if granted == kind => Some(scope),
            _ => None,
        })
    }

    fn reach<'a>(&'a self, cluster: &str, scope: impl Fn(&'a Grant) -> Option<&'a Scope>) -> Reach {
        let mut namespaces = std::collections::BTreeSet::new();
        for scope in self.grants.iter().filter_map(scope).filter(|scope| glob(&scope.cluster, cluster)) {
            match &scope.namespace {
                // Which namespaces a pattern stands for is not known beforehand.
                None => return Reach::Everywhere,
                Some(pattern) if pattern.contains('*') => return Reach::Everywhere,
                Some(namespace) => {
                    namespaces.insert(namespace.clone());
                }
            }
        }
        if namespaces.is_empty() { Reach::Nowhere } else { Reach::Namespaces(namespaces.into_iter().collect()) }
    }

    /// Whether this child may be written. The plugin describes the kind.
    pub fn may_write(&self, key: &Key) -> bool {
        let is_process = &*key.group == "host.setpoint.dev" && &*key.kind == "Process";
        self.grants.iter().any(|grant| match grant {
            Grant::Described(scope) => !is_process && scope.covers(&key.cluster, key.namespace.as_deref()),
            Grant::Write(granted, scope) => {
                !is_process && *granted == key.group_kind() && scope.covers(&key.cluster, key.namespace.as_deref())
            }
            Grant::Process => is_process,
            Grant::Read(..) | Grant::Http(_) => false,
        })
    }

    /// What a plugin asks for in a cluster and does not have, as grants to add.
    pub fn missing(&self, description: &Description, cluster: &str) -> Vec<Grant> {
        let mut missing = Vec::new();
        for read in &description.reads {
            let kind = read.kind.group_kind();
            if !self.may_read(&kind, cluster, Some("default")) {
                missing.push(Grant::Read(kind, Scope::cluster(cluster)));
            }
        }
        for write in &description.writes {
            let key = Key::new(cluster, &write.group, &write.kind, Some("default"), "x");
            let process = &*write.group == "host.setpoint.dev" && &*write.kind == "Process";
            if !self.may_write(&key) && !process {
                missing.push(Grant::Write(write.group_kind(), Scope::cluster(cluster)));
            }
        }
        for capability in &description.capabilities {
            let wanted = match capability {
                crate::contract::Capability::Process => Grant::Process,
                crate::contract::Capability::Http(host) => Grant::Http(host.clone()),
            };
            if !self.grants.contains(&wanted) {
                missing.push(wanted);
            }
        }
        missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants(texts: &[&str]) -> Result<Grants, GrantError> {
        Ok(Grants::new(texts.iter().map(|t| Grant::parse(t)).collect::<Result<_, _>>()?))
    }

    #[test]
    fn nothing_is_granted_by_default() {
        let key = Key::new("local", "", "ConfigMap", Some("default"), "a");
        assert!(!Grants::default().may_write(&key));
        assert!(!Grants::default().may_read(&key.group_kind(), "local", None));
    }

    #[test]
    fn a_grant_holds_in_its_clusters_and_namespaces() -> Result<(), GrantError> {
        let grants = grants(&["read:core/Secret@prod-*/team-*", "write:apps/Deployment@local"])?;
        let secret = GroupKind::new("", "Secret");
        assert!(grants.may_read(&secret, "prod-1", Some("team-a")));
        assert!(!grants.may_read(&secret, "prod-1", Some("kube-system")));
        assert!(!grants.may_read(&secret, "prod-1", None), "all namespaces are more than was granted");
        assert!(!grants.may_read(&secret, "dev", Some("team-a")));
        assert!(grants.may_write(&Key::new("local", "apps", "Deployment", Some("x"), "a")));
        assert!(!grants.may_write(&Key::new("hub", "apps", "Deployment", Some("x"), "a")));
        Ok(())
    }

    #[test]
    fn it_is_known_where_a_kind_has_to_be_watched() -> Result<(), GrantError> {
        let secret = GroupKind::new("", "Secret");
        let some = grants(&["read:core/Secret@hub/b", "read:core/Secret@hub/a", "read:core/Secret@prod-*"])?;
        assert_eq!(some.reads(&secret, "hub"), Reach::Namespaces(vec!["a".into(), "b".into()]));
        assert_eq!(some.reads(&secret, "prod-1"), Reach::Everywhere);
        assert_eq!(some.reads(&secret, "dev"), Reach::Nowhere);
        assert_eq!(some.writes(&secret, "hub"), Reach::Nowhere);
        assert_eq!(grants(&["read:core/Secret@hub/team-*"])?.reads(&secret, "hub"), Reach::Everywhere);
        Ok(())
    }

    #[test]
    fn processes_are_never_in_described() {
        let process = Key::new("local", "host.setpoint.dev", "Process", Some("default"), "a");
        assert!(!Grants::described_in_local().may_write(&process));
        assert!(grants(&["process"]).is_ok_and(|g| g.may_write(&process)));
    }

    #[test]
    fn a_grant_survives_its_own_text() -> Result<(), GrantError> {
        for text in
            ["described", "described@local", "read:core/Secret@a/b", "write:g.io/K", "process", "http:*.x.io:80"]
        {
            assert_eq!(Grant::parse(text)?.to_string(), text);
        }
        for bad in ["", "reed:core/Secret", "read:Secret", "read:core/", "described@", "http:", "read:core/Secret@a/"] {
            assert!(Grant::parse(bad).is_err(), "{bad}");
        }
        Ok(())
    }

    #[test]
    fn a_pattern_that_would_mean_nothing_is_refused() {
        for bad in ["process@prod", "http:x.io@prod"] {
            let error = Grant::parse(bad).map_err(|error| error.to_string());
            assert!(error.is_err_and(|error| error.contains("takes no pattern")), "{bad}");
        }
    }

    #[test]
    fn a_pattern_is_matched_in_one_pass() {
        for (pattern, text, matches) in [
            ("a*b*c", "aXbYc", true),
            ("a*a", "a", false),
            ("*", "", true),
            ("*b*", "abc", true),
            ("a*bc", "abcbc", true),
            ("ab", "abc", false),
        ] {
            assert_eq!(glob(pattern, text), matches, "{pattern} {text}");
        }
        assert!(!glob(&"*a".repeat(40), &"a".repeat(39)));
    }
}
