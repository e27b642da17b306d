//! The host's own kinds, all in `local` (design §3): processes and probes, which it reconciles and plugins have as
//! children, and clusters and plugins, which it shows.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Group of the host's kinds.
pub const GROUP: &str = "host.setpoint.dev";
/// A supervised local process.
pub const PROCESS: &str = "Process";
/// Health of an endpoint.
pub const PROBE: &str = "Probe";
/// A cluster that takes part, or is to.
pub const CLUSTER: &str = "Cluster";
/// A plugin that runs, or is to.
pub const PLUGIN: &str = "Plugin";

/// Whether objects of a kind say what the host itself knows: nobody else writes them.
pub fn is_shown(group: &str, kind: &str) -> bool {
    group == GROUP && [CLUSTER, PLUGIN].contains(&kind)
}

/// A key of a Secret in the namespace of the owner, as in a Pod's `secretKeyRef`: where a variable of a process or a
/// header of a probe has its value from.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretKeyRef {
    /// Name of the Secret.
    pub name: String,
    /// The key in its data.
    pub key: String,
    /// Without the Secret or the key, the variable or the header is left out, instead of the whole being held back.
    /// Default: no.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
}

/// What a probe speaks to over the network.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// Name or address, as it was written.
    pub host: String,
    /// The port, the scheme's own if none was written.
    pub port: u16,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// What a `Probe` speaks to; none if it speaks to a process of the host's, or says nothing that makes
/// sense. Who dials asks again, of the address that it really dials.
pub fn target(probe: &Value) -> Option<Target> {
    let spec = probe.get("spec")?;
    if let Some(tcp) = spec.get("tcp") {
        let port = tcp.get("port").and_then(Value::as_u64).and_then(|port| u16::try_from(port).ok())?;
        return Some(Target { host: tcp.get("host").and_then(Value::as_str)?.to_owned(), port });
    }
    let endpoint = spec.get("http").or_else(|| spec.get("mcp"))?;
    target_of_url(endpoint.get("url").and_then(Value::as_str)?)
}

fn target_of_url(url: &str) -> Option<Target> {
    let (scheme, rest) = url.split_once("://")?;
    let usual = match scheme.to_ascii_lowercase().as_str() {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    let authority = rest.split(['/', '?', '#', '\\']).next()?;
    let place = authority.rsplit_once('@').map_or(authority, |(_, place)| place);
    let (host, port) = match place.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            (host, port.strip_prefix(':'))
        }
        None => match place.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (place, None),
        },
    };
    let port = match port {
        None | Some("") => usual,
        Some(digits) => digits.parse().ok()?,
    };
    (!host.is_empty()).then(|| Target { host: host.to_owned(), port })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_target_of_a_url_is_its_host_and_port() {
        for (url, shown) in [
            ("http://a.b/c", Some("a.b:80")),
            ("HTTPS://a.b", Some("a.b:443")),
            ("https://u:p@a.b:8443/x@y:1", Some("a.b:8443")),
            ("http://[::1]:9/x", Some("[::1]:9")),
            ("http://[::1]", Some("[::1]:80")),
            ("http://a.b\\@evil/", Some("a.b:80")),
            ("http://a.b?x@evil", Some("a.b:80")),
            ("ftp://a.b", None),
            ("http:///x", None),
            ("http://a.b:99999", None),
            ("a.b", None),
        ] {
            assert_eq!(target_of_url(url).map(|target| target.to_string()).as_deref(), shown, "{url}");
        }
    }

    #[test]
    fn a_probe_of_a_process_speaks_to_nothing_over_the_network() {
        assert_eq!(target(&json!({"spec": {"mcp": {"transport": "stdio", "process": "a"}}})), None);
        let tcp = json!({"spec": {"tcp": {"host": "localhost", "port": 5432}}});
        assert_eq!(target(&tcp).map(|target| target.to_string()).as_deref(), Some("localhost:5432"));
        assert_eq!(target(&json!({"spec": {"tcp": {"host": "localhost", "port": 70000}}})), None);
    }
}
