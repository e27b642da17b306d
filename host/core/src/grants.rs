//! What a plugin may read, write and use (design §6, rule D15): deny by default.

use std::fmt;

use serde_json::Value;

use crate::contract::{Capability, Description};
use crate::key::{GroupKind, Key, LOCAL, Name, group_of_word};
use crate::native;
use crate::selector::Selector;

/// One grant as an operator writes it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Grant {
    /// `described`: all kinds that the plugin describes, in clusters that match. No processes and no network.
    Described(Scope),
    /// `read:GROUP/KIND[@CLUSTERS[/NAMESPACE]]`
    Read(GroupKind, Scope),
    /// `write:GROUP/KIND[@CLUSTERS[/NAMESPACE]]`
    Write(GroupKind, Scope),
    /// `process[:COMMAND]`: processes, of commands that match; `*` stands for any run of characters.
    Process(Option<String>),
    /// `http:HOST[:PORT]`: `*.` as first label stands for one label, `*` alone for every host.
    Http(String),
}

impl From<&Capability> for Grant {
    fn from(capability: &Capability) -> Self {
        match capability {
            Capability::Process => Grant::Process(None),
            Capability::Http(host) => Grant::Http(host.clone()),
        }
    }
}

/// Clusters and namespaces of a grant; `*` stands for any run of characters.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Scope {
    /// A pattern, or a selector in braces, which is no cluster's name: see [`Grants::in_fleet`].
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

    /// The labels that its clusters have, if it says so.
    fn selector(&self) -> Option<&str> {
        self.cluster.strip_prefix('{')?.strip_suffix('}')
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
    "grant {text:?}: {problem}; known are described, read:GROUP/KIND, write:GROUP/KIND (each with @CLUSTER[/NAMESPACE] or @{{LABELS}}[/NAMESPACE]), process[:COMMAND] and http:HOST[:PORT]"
)]
pub struct GrantError {
    text: String,
    problem: String,
}

/// Whether a text is as a pattern says, in which `*` stands for any run of characters. Each part is taken where it
/// comes first: nothing is tried twice, however many `*` there are.
pub fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// Whether a grant of the network covers a host. Without a port it covers all of them.
fn covers_host(granted: &str, host: &str, port: u16) -> bool {
    let (name, only) = match granted.rsplit_once(':') {
        // The last colon of an IPv6 address is none before a port.
        Some((name, digits)) if !name.contains(':') || name.ends_with(']') => match digits.parse() {
            Ok(only) => (name, Some(only)),
            Err(_) => return false,
        },
        _ => (granted, None),
    };
    let plain = |text: &str| text.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.').to_lowercase();
    let (name, host) = (plain(name), plain(host));
    let named = match name.strip_prefix("*.") {
        _ if name == "*" => true,
        Some(rest) => host.split_once('.').is_some_and(|(label, of)| !label.is_empty() && of == rest),
        None => name == host,
    };
    named && only.is_none_or(|only: u16| only == port)
}

impl Grant {
    /// Reads a grant.
    ///
    /// # Errors
    /// Says what is wrong and what is known.
    pub fn parse(text: &str) -> Result<Self, GrantError> {
        let error = |problem: &str| GrantError { text: text.to_owned(), problem: problem.to_owned() };
        if let Some(command) = text.strip_prefix("process:") {
            // A command may have any character in it.
            return match command {
                "" => Err(error("the command after `process:` is missing")),
                command => Ok(Grant::Process(Some(command.to_owned()))),
            };
        }
        let (what, scope) = match text.split_once('@') {
            None => (text, Scope::everywhere()),
            Some((what, scope)) => {
                // The key of a label may have a slash.
                let (labels, rest) = match scope.split_once('}').filter(|_| scope.starts_with('{')) {
                    Some((labels, rest)) => (labels.len() + 1, rest),
                    None if scope.starts_with('{') => return Err(error("the `}` after the labels is missing")),
                    None => (0, scope),
                };
                let (name, namespace) = match rest.split_once('/') {
                    Some((name, namespace)) => (name, Some(namespace.to_owned())),
                    None => (rest, None),
                };
                let cluster = &scope[..labels + name.len()];
                if cluster.is_empty() || namespace.as_deref() == Some("") {
                    return Err(error("the pattern after `@` is empty"));
                }
                if labels > 0 && !name.is_empty() {
                    return Err(error("after the labels comes nothing, or `/NAMESPACE`"));
                }
                if let Some(selector) = cluster.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
                    match Selector::parse(selector) {
                        Err(problem) => return Err(error(&problem.to_string())),
                        Ok(_) if selector.trim().is_empty() => return Err(error("the labels are missing")),
                        Ok(_) => {}
                    }
                }
                (what, Scope { cluster: cluster.to_owned(), namespace })
            }
        };
        let kind = |text: &str| {
            let (group, kind) = text.rsplit_once('/').ok_or_else(|| error("GROUP/KIND expected"))?;
            if kind.is_empty() {
                Err(error("the kind is missing"))
            } else {
                Ok(GroupKind::new(group_of_word(group), kind))
            }
        };
        let scoped = text.contains('@');
        match what.split_once(':') {
            None if what == "described" => Ok(Grant::Described(scope)),
            None if what == "process" && !scoped => Ok(Grant::Process(None)),
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

impl Grant {
    fn scope(&self) -> Option<&Scope> {
        match self {
            Grant::Described(scope) | Grant::Read(_, scope) | Grant::Write(_, scope) => Some(scope),
            Grant::Process(_) | Grant::Http(_) => None,
        }
    }

    /// The same for one cluster.
    fn in_cluster(&self, name: &str) -> Self {
        let mut grant = self.clone();
        if let Grant::Described(scope) | Grant::Read(_, scope) | Grant::Write(_, scope) = &mut grant {
            scope.cluster = name.to_owned();
        }
        grant
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scope = |scope: &Scope| match (scope.cluster.as_str(), &scope.namespace) {
            ("*", None) => String::new(),
            (cluster, None) => format!("@{cluster}"),
            (cluster, Some(namespace)) => format!("@{cluster}/{namespace}"),
        };
        match self {
            Grant::Described(s) => write!(f, "described{}", scope(s)),
            Grant::Read(k, s) => write!(f, "read:{}{}", k.path(), scope(s)),
            Grant::Write(k, s) => write!(f, "write:{}{}", k.path(), scope(s)),
            Grant::Process(None) => f.write_str("process"),
            Grant::Process(Some(command)) => write!(f, "process:{command}"),
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

    /// Whether one of them is for clusters with labels.
    pub fn is_by_label(&self) -> bool {
        self.grants.iter().filter_map(Grant::scope).any(|scope| scope.selector().is_some())
    }

    /// The same in a fleet of these clusters: what is granted by labels is granted for the clusters that have them, by their names.
    #[must_use]
    pub fn in_fleet<'f>(&self, clusters: impl Iterator<Item = (&'f Name, &'f [(Box<str>, Box<str>)])> + Clone) -> Self {
        let named = |grant: &Grant| -> Vec<Grant> {
            let Some(selector) = grant.scope().and_then(Scope::selector) else { return vec![grant.clone()] };
            let Ok(selector) = Selector::parse(selector) else { return Vec::new() };
            let matching = clusters.clone().filter(|(_, labels)| selector.matches(labels));
            matching.map(|(name, _)| grant.in_cluster(name)).collect()
        };
        Self { grants: self.grants.iter().flat_map(named).collect() }
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
    ///
    /// # Errors
    /// What it takes, as a grant to add.
    pub fn may_write(&self, key: &Key, child: &Value) -> Result<(), Grant> {
        let kind = key.group_kind();
        if kind.is(native::GROUP, native::PROCESS) {
            let command = child.pointer("/spec/command").and_then(Value::as_str).unwrap_or_default();
            return if self.may_run(command) { Ok(()) } else { Err(Grant::Process(None)) };
        }
        let scoped = self.grants.iter().any(|grant| match grant {
            Grant::Described(scope) => scope.covers(&key.cluster, key.namespace.as_deref()),
            Grant::Write(granted, scope) => *granted == kind && scope.covers(&key.cluster, key.namespace.as_deref()),
            Grant::Process(_) | Grant::Read(..) | Grant::Http(_) => false,
        });
        if !scoped {
            return Err(Grant::Write(kind, Scope::cluster(&key.cluster)));
        }
        match native::target(child).filter(|_| kind.is(native::GROUP, native::PROBE)) {
            Some(target) if !self.may_dial(&target.host, target.port) => Err(Grant::Http(target.to_string())),
            _ => Ok(()),
        }
    }

    /// Whether a process of this command may run.
    pub fn may_run(&self, command: &str) -> bool {
        self.grants.iter().any(|grant| match grant {
            Grant::Process(None) => true,
            Grant::Process(Some(pattern)) => glob(pattern, command),
            _ => false,
        })
    }

    /// Whether this host may be spoken to at this port.
    pub fn may_dial(&self, host: &str, port: u16) -> bool {
        self.grants.iter().any(|grant| matches!(grant, Grant::Http(granted) if covers_host(granted, host, port)))
    }

    /// What a plugin asks for in a cluster and does not have, as grants to add.
    pub fn missing(&self, description: &Description, cluster: &str, namespace: Option<&str>) -> Vec<Grant> {
        let place = |kind: &GroupKind| if description.is_local(kind) { LOCAL } else { cluster };
        let lacks = |cluster: &str| Scope {
            cluster: cluster.into(),
            namespace: namespace.filter(|_| cluster != LOCAL).map(str::to_owned),
        };
        let namespace = Some(namespace.unwrap_or("default"));
        let mut missing = Vec::new();
        for read in &description.reads {
            let kind = read.kind.group_kind();
            let cluster = place(&kind);
            if !self.may_read(&kind, cluster, namespace) {
                missing.push(Grant::Read(kind, lacks(cluster)));
            }
        }
        for write in &description.writes {
            let cluster = place(&write.group_kind());
            let key = Key::new(cluster, &write.group, &write.kind, namespace, "x");
            // Processes and targets of probes are asked for as capabilities.
            if let Err(Grant::Write(kind, _)) = self.may_write(&key, &Value::Null) {
                missing.push(Grant::Write(kind, lacks(cluster)));
            }
        }
        for capability in &description.capabilities {
            let has = self.grants.iter().any(|grant| match (grant, capability) {
                (Grant::Process(_), Capability::Process) => true,
                // What is granted of all hosts is the operator's to say.
                (Grant::Http(granted), Capability::Http(asked)) => granted == "*" || granted == asked || asked == "*",
                _ => false,
            });
            if !has {
                missing.push(capability.into());
            }
        }
        missing
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn grants(texts: &[&str]) -> Result<Grants, GrantError> {
        Ok(Grants::new(texts.iter().map(|t| Grant::parse(t)).collect::<Result<_, _>>()?))
    }

    #[test]
    fn nothing_is_granted_by_default() {
        let key = Key::new("local", "", "ConfigMap", Some("default"), "a");
        assert!(Grants::default().may_write(&key, &Value::Null).is_err());
        assert!(!Grants::default().may_read(&key.group_kind(), "local", None));
    }

    #[test]
    fn who_asks_for_all_hosts_has_what_it_is_granted() -> Result<(), GrantError> {
        let description = |asked: &str| Description {
            name: "p".into(),
            version: "1".into(),
            kinds: Vec::new(),
            reads: Vec::new(),
            writes: Vec::new(),
            capabilities: vec![Capability::Process, Capability::Http(asked.into())],
            config_schema: None,
            tuning: crate::contract::Tuning::default(),
        };
        let missing = |granted: &[&str], asked: &str| -> Result<Vec<String>, GrantError> {
            let missing = grants(granted)?.missing(&description(asked), "local", None);
            Ok(missing.iter().map(ToString::to_string).collect())
        };
        assert_eq!(missing(&[], "*")?, ["process", "http:*"]);
        assert!(missing(&["process:npx", "http:127.0.0.1:3001"], "*")?.is_empty());
        assert_eq!(missing(&["process", "http:a.example"], "b.example")?, ["http:b.example"]);
        Ok(())
    }

    #[test]
    fn clusters_are_chosen_by_labels() -> Result<(), GrantError> {
        let text = ["read:core/Secret@{env=prod,topology.kubernetes.io/region in (eu,us)}/team-*", "described@local"];
        let granted = grants(&text)?;
        assert_eq!(granted.iter().map(ToString::to_string).collect::<Vec<_>>(), text);
        assert!(granted.is_by_label() && !grants(&text[1..])?.is_by_label());
        let labels = |env: &str, region: &str| -> Vec<(Box<str>, Box<str>)> {
            vec![("env".into(), env.into()), ("topology.kubernetes.io/region".into(), region.into())]
        };
        let (west, east, test): (Name, Name, Name) = ("west".into(), "east".into(), "test".into());
        let fleet = [(west, labels("prod", "us")), (east, labels("prod", "asia")), (test, labels("test", "eu"))];
        let in_fleet = granted.in_fleet(fleet.iter().map(|(name, labels)| (name, labels.as_slice())));
        let texts: Vec<String> = in_fleet.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["read:core/Secret@west/team-*", "described@local"]);
        let secret = GroupKind::new("", "Secret");
        assert!(in_fleet.may_read(&secret, "west", Some("team-a")) && !in_fleet.may_read(&secret, "west", Some("web")));
        assert!(!granted.may_read(&secret, "west", Some("team-a")), "not before it is known which clusters there are");
        assert!(!granted.may_read(&secret, "{env=prod}", Some("team-a")));
        for (text, problem) in [
            ("described@{env=prod", "the `}` after the labels is missing"),
            ("described@{}", "the labels are missing"),
            ("described@{env=prod}x", "after the labels comes nothing"),
            ("described@{env=prod}/", "the pattern after `@` is empty"),
            ("described@{env in prod}", "env in prod"),
        ] {
            let error = Grant::parse(text).map_err(|error| error.to_string());
            assert!(error.as_ref().is_err_and(|error| error.contains(problem)), "{text}: {error:?}");
        }
        Ok(())
    }

    #[test]
    fn a_grant_holds_in_its_clusters_and_namespaces() -> Result<(), GrantError> {
        let grants = grants(&["read:core/Secret@prod-*/team-*", "write:apps/Deployment@local"])?;
        let secret = GroupKind::new("", "Secret");
        assert!(grants.may_read(&secret, "prod-1", Some("team-a")));
        assert!(!grants.may_read(&secret, "prod-1", Some("kube-system")));
        assert!(!grants.may_read(&secret, "prod-1", None), "all namespaces are more than was granted");
        assert!(!grants.may_read(&secret, "dev", Some("team-a")));
        let deployment = |cluster| Key::new(cluster, "apps", "Deployment", Some("x"), "a");
        assert_eq!(grants.may_write(&deployment("local"), &Value::Null), Ok(()));
        let lacks = grants.may_write(&deployment("hub"), &Value::Null).map_err(|grant| grant.to_string());
        assert_eq!(lacks, Err("write:apps/Deployment@hub".to_owned()));
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
        let child = json!({"spec": {"command": "npx"}});
        assert_eq!(Grants::described_in_local().may_write(&process, &child), Err(Grant::Process(None)));
        assert!(grants(&["write:host.setpoint.dev/Process"]).is_ok_and(|g| g.may_write(&process, &child).is_err()));
        assert!(grants(&["process"]).is_ok_and(|g| g.may_write(&process, &child).is_ok()));
    }

    #[test]
    fn processes_can_be_granted_by_their_command() -> Result<(), GrantError> {
        let grants = grants(&["process:npx", "process:/opt/tools/*"])?;
        for (command, may) in
            [("npx", true), ("npx2", false), ("/opt/tools/a", true), ("/opt/other", false), ("", false)]
        {
            assert_eq!(grants.may_run(command), may, "{command}");
        }
        Ok(())
    }

    #[test]
    fn the_target_of_a_probe_takes_a_grant_of_the_network() -> Result<(), GrantError> {
        let probe = Key::new("local", "host.setpoint.dev", "Probe", Some("default"), "a");
        let http = json!({"spec": {"http": {"url": "https://api.example.com/mcp"}}});
        let local = Grants::described_in_local();
        assert_eq!(local.may_write(&probe, &http), Err(Grant::Http("api.example.com:443".into())));
        let own = json!({"spec": {"mcp": {"transport": "stdio", "process": "a"}}});
        assert_eq!(local.may_write(&probe, &own), Ok(()));
        assert_eq!(grants(&["described", "http:*.example.com"])?.may_write(&probe, &http), Ok(()));
        assert!(grants(&["http:*"])?.may_write(&probe, &http).is_err(), "the kind itself is to be granted, too");
        Ok(())
    }

    #[test]
    fn a_host_is_covered_by_its_name_one_label_or_everything() {
        for (granted, host, port, covers) in [
            ("*", "a.b", 1, true),
            ("a.b", "a.b", 1, true),
            ("a.b", "A.B.", 1, true),
            ("a.b", "x.a.b", 1, false),
            ("a.b:80", "a.b", 80, true),
            ("a.b:80", "a.b", 81, false),
            ("*.b", "a.b", 1, true),
            ("*.b", "x.a.b", 1, false),
            ("*.b", "b", 1, false),
            ("*.b", ".b", 1, false),
            ("*:80", "a.b", 80, true),
            ("*:80", "a.b", 81, false),
            ("[::1]:80", "::1", 80, true),
            ("[::1]", "::1", 81, true),
            ("::1", "[::1]", 80, true),
            ("a.b:x", "a.b", 80, false),
        ] {
            assert_eq!(covers_host(granted, host, port), covers, "{granted} {host}:{port}");
        }
    }

    #[test]
    fn a_grant_survives_its_own_text() -> Result<(), GrantError> {
        for text in [
            "described",
            "described@local",
            "read:core/Secret@a/b",
            "write:g.io/K",
            "process",
            "process:/opt/@x/*",
            "http:*.x.io:80",
        ] {
            assert_eq!(Grant::parse(text)?.to_string(), text);
        }
        for bad in [
            "",
            "reed:core/Secret",
            "read:Secret",
            "read:core/",
            "described@",
            "http:",
            "read:core/Secret@a/",
            "process:",
        ] {
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
