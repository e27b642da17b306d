//! Clusters of the cluster inventory API (KEP-4322), with credentials as KEP-5339 has them: an entry of the profile's
//! status says where the server is, a command of the operator's own how to get in.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use setpoint_core::key::{GroupVersionKind, Name};
use setpoint_core::object::Object;
use setpoint_kubernetes::{Access, SharedKubeconfig};

use super::watched::{Found, Hub, Watched, labels, want};
use crate::{BoxFuture, Offers, Provider, Reach, cluster_name};

/// Group and version of the API.
const GROUP: &str = "multicluster.x-k8s.io";
const VERSION: &str = "v1alpha1";
/// The condition of a cluster that can be worked with.
const HEALTHY: &str = "ControlPlaneHealthy";
/// Where a profile says how its cluster is reached, under the name of now and of before.
const ACCESS: [&str; 2] = ["/status/accessProviders", "/status/credentialProviders"];

/// The command that gets credentials for the clusters of one access provider, as a kubeconfig's `exec` says it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AccessCommand {
    /// Name of the access provider, as profiles have it.
    pub provider: String,
    /// The command.
    pub command: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its environment, beside the host's own.
    pub env: BTreeMap<String, String>,
    /// The version of the protocol that it speaks. Default: `client.authentication.k8s.io/v1`.
    pub api_version: Option<String>,
}

/// `ClusterProfile` objects that are healthy. A cluster is called `NAMESPACE.NAME`.
pub struct Inventory {
    /// What the provider is called.
    pub name: String,
    /// What stands before the names of its clusters.
    pub prefix: Option<String>,
    /// The cluster that has the profiles.
    pub hub: Hub,
    /// Only this namespace is looked at; none: all.
    pub namespace: Option<Name>,
    /// How credentials are got, by access provider; the first that a profile names counts.
    pub access: Vec<AccessCommand>,
}

impl Provider for Inventory {
    fn name(&self) -> &str {
        &self.name
    }

    fn prefix(&self) -> Option<&str> {
        self.prefix.as_deref()
    }

    fn run(self: Arc<Self>, offers: Offers) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let kind = GroupVersionKind::new(GROUP, VERSION, "ClusterProfile");
            let watched = Watched::connect(&self.hub, &offers).await;
            let fields = ["metadata.labels", "metadata.deletionTimestamp", "status"];
            watched.want(vec![want(&kind, self.namespace.as_ref(), &fields)]);
            let mut made: BTreeMap<String, (String, SharedKubeconfig)> = BTreeMap::new();
            loop {
                let mut found = Vec::new();
                for (key, object) in watched.objects(&kind.group_kind()) {
                    if object.terminating() {
                        continue;
                    }
                    let name = cluster_name(&format!("{}.{}", key.namespace.as_deref().unwrap_or_default(), key.name));
                    let place = format!("the ClusterProfile {}/{}", key.namespace.as_deref().unwrap_or("-"), key.name);
                    // One that is engaged stays so while it is not healthy: what it shows then is for people to see.
                    let known = made.get(&name).filter(|_| !is_healthy(&object));
                    let reach = match known {
                        Some((text, shared)) => reach(text, shared),
                        None => match kubeconfig(&object, &self.access) {
                            Ok((text, server)) => {
                                let shared = match made.get(&name) {
                                    Some((before, shared)) if *before == text => shared.clone(),
                                    _ => SharedKubeconfig::trusted(place, text.clone(), server),
                                };
                                made.insert(name.clone(), (text.clone(), shared.clone()));
                                reach(&text, &shared)
                            }
                            Err(problem) => Reach::unusable(format!("{place}: {problem}")),
                        },
                    };
                    let reach = Reach { labels: labels(&object), ..reach };
                    found.push(Found { name, reach, trouble: None });
                }
                let gone = "its ClusterProfile is gone";
                if let Some(there) = watched.offer(&offers, &kind, "its ClusterProfiles", found, gone) {
                    made.retain(|name, _| there.contains(name));
                }
                watched.changed().await;
            }
        })
    }
}

fn reach(text: &str, shared: &SharedKubeconfig) -> Reach {
    Reach { instance: text.to_owned(), ..Reach::of(Access::Shared(shared.clone())) }
}

fn is_healthy(profile: &Object) -> bool {
    let value = profile.value();
    let conditions = value.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
    conditions.filter(|condition| condition["type"] == HEALTHY).any(|condition| condition["status"] == "True")
}

/// The kubeconfig that a profile amounts to, and the server that it leads to.
fn kubeconfig(profile: &Object, commands: &[AccessCommand]) -> Result<(String, String), String> {
    if !is_healthy(profile) {
        return Err(format!("its condition {HEALTHY} is not True"));
    }
    let value = profile.value();
    let entries = ACCESS.iter().filter_map(|at| value.pointer(at)).filter_map(Value::as_array).flatten();
    let entries: Vec<&Value> = entries.collect();
    let of = |command: &AccessCommand| entries.iter().find(|entry| entry["name"] == *command.provider).copied();
    let Some((command, entry)) = commands.iter().find_map(|command| Some((command, of(command)?))) else {
        let named: Vec<&str> = entries.iter().filter_map(|entry| entry["name"].as_str()).collect();
        return Err(match named.is_empty() {
            true => "its status names no access provider".into(),
            false => format!("no command is configured for its access providers, {}", named.join(", ")),
        });
    };
    let mut cluster = entry.get("cluster").cloned().unwrap_or_default();
    let Some(server) = cluster.get("server").and_then(Value::as_str).map(str::to_owned) else {
        return Err(format!("its access provider {} names no server", command.provider));
    };
    if let Some(cluster) = cluster.as_object_mut() {
        // The name of a file of this host is not a profile's to say.
        cluster.remove("certificate-authority");
    }
    let env: Vec<Value> = command.env.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
    let version = command.api_version.as_deref().unwrap_or("client.authentication.k8s.io/v1");
    let exec = json!({"apiVersion": version, "command": command.command, "args": command.args, "env": env,
        "provideClusterInfo": true, "interactiveMode": "Never"});
    let text = json!({"apiVersion": "v1", "kind": "Config", "current-context": "profile",
        "clusters": [{"name": "profile", "cluster": cluster}],
        "users": [{"name": "profile", "user": {"exec": exec}}],
        "contexts": [{"name": "profile", "context": {"cluster": "profile", "user": "profile"}}]});
    Ok((text.to_string(), server))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(healthy: &str, at: &str, entries: &Value) -> Object {
        let status = json!({"conditions": [{"type": HEALTHY, "status": healthy}], at: entries});
        Object::new(json!({"metadata": {"name": "a", "namespace": "fleet"}, "status": status}), None)
    }

    fn command() -> AccessCommand {
        AccessCommand {
            provider: "ours".into(),
            command: "/plugins/creds".into(),
            args: vec!["--account=x".into()],
            env: BTreeMap::from([("A".into(), "b".into())]),
            api_version: None,
        }
    }

    #[test]
    fn a_profile_says_where_and_the_operator_says_how() {
        let entries = json!([{"name": "other", "cluster": {"server": "https://no"}},
            {"name": "ours", "cluster": {"server": "https://a", "certificate-authority-data": "Y2E=",
                "certificate-authority": "/etc/passwd"}}]);
        for at in ["accessProviders", "credentialProviders"] {
            let (text, server) = kubeconfig(&profile("True", at, &entries), &[command()]).expect("it can be reached");
            assert_eq!(server, "https://a");
            let made: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(made.pointer("/users/0/user/exec/command"), Some(&json!("/plugins/creds")));
            assert_eq!(made.pointer("/clusters/0/cluster/certificate-authority-data"), Some(&json!("Y2E=")));
            assert!(!text.contains("passwd"), "files of this host are not a profile's to name");
        }
    }

    #[test]
    fn a_profile_that_cannot_be_used_says_why() {
        let entries = json!([{"name": "other", "cluster": {"server": "https://no"}}]);
        let error = |object: &Object| kubeconfig(object, &[command()]).expect_err("it cannot be used");
        assert!(error(&profile("False", "accessProviders", &entries)).contains(HEALTHY));
        assert!(error(&profile("True", "accessProviders", &entries)).contains("for its access providers, other"));
        assert!(error(&profile("True", "accessProviders", &json!([]))).contains("names no access provider"));
        let nowhere = json!([{"name": "ours"}]);
        assert!(error(&profile("True", "accessProviders", &nowhere)).contains("names no server"));
    }
}
