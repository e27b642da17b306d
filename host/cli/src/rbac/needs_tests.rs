//! Rights and grants of described plugins, and the documents that are made of them.

use serde_json::{Value, json};
use setpoint_core::contract::{Capability, Description, OwnedKind, ReadKind, ReadScope, Tuning};
use setpoint_core::key::GroupVersionKind;
use setpoint_schema::Crd;

use super::manifest::{Place, comments};
use super::needs::{Needs, Plugin, grants};
use crate::yaml::to_yaml;

type Result = std::result::Result<(), Box<dyn std::error::Error>>;

/// A description, and the definitions in it.
struct Described(Description, Vec<Crd>);

impl Described {
    fn new(name: &str) -> Self {
        let description = Description {
            name: name.into(),
            version: "0.1.0".into(),
            kinds: Vec::new(),
            reads: Vec::new(),
            writes: Vec::new(),
            capabilities: Vec::new(),
            config_schema: None,
            tuning: Tuning::default(),
        };
        Self(description, Vec::new())
    }

    fn owns(
        mut self,
        group: &str,
        kind: &str,
        plural: &str,
        scope: &str,
    ) -> std::result::Result<Self, Box<dyn std::error::Error>> {
        let crd = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{plural}.{group}")},
            "spec": {"group": group, "scope": scope, "names": {"kind": kind, "plural": plural},
                     "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                                   "schema": {"openAPIV3Schema": {"type": "object"}}}]},
        });
        self.1.push(Crd::parse(&crd, "v1")?);
        let kind = GroupVersionKind::new(group, "v1", kind);
        self.0.kinds.push(OwnedKind { crd: crd.to_string(), kind, finalizer: false });
        Ok(self)
    }

    fn reads(mut self, group: &str, kind: &str, scope: ReadScope) -> Self {
        let kind = GroupVersionKind::new(group, "v1", kind);
        self.0.reads.push(ReadKind { kind, scope, fields: Vec::new(), indexes: Vec::new() });
        self
    }

    fn writes(mut self, group: &str, kind: &str) -> Self {
        self.0.writes.push(GroupVersionKind::new(group, "v1", kind));
        self
    }

    fn asks(mut self, capability: Capability) -> Self {
        self.0.capabilities.push(capability);
        self
    }

    fn plugin(&self) -> Plugin<'_> {
        Plugin { description: &self.0, definitions: &self.1, acts_as: None }
    }
}

fn bundles() -> std::result::Result<Described, Box<dyn std::error::Error>> {
    let bundles = Described::new("bundles").owns("a.io", "Bundle", "bundles", "Namespaced")?;
    Ok(bundles.reads("", "ConfigMap", ReadScope::All).writes("", "ConfigMap"))
}

fn servers() -> std::result::Result<Described, Box<dyn std::error::Error>> {
    let servers = Described::new("servers").owns("m.io", "Server", "servers", "Namespaced")?;
    Ok(servers
        .reads("host.setpoint.dev", "Process", ReadScope::All)
        .reads("", "Secret", ReadScope::Named)
        .writes("host.setpoint.dev", "Process")
        .writes("host.setpoint.dev", "Probe")
        .asks(Capability::Process)
        .asks(Capability::Http("*".into())))
}

fn rule(group: &str, resources: &[&str], verbs: &str) -> Value {
    json!({"apiGroups": [group], "resources": resources, "verbs": verbs.split(' ').collect::<Vec<_>>()})
}

#[test]
fn what_is_reconciled_is_read_and_patched_and_children_are_made_and_deleted() -> Result {
    let bundles = bundles()?;
    let needs = Needs::of(&[bundles.plugin()], false);
    assert_eq!(
        needs.host.namespaced.to_json(),
        [
            rule("", &["configmaps"], "get list watch create patch delete"),
            rule("a.io", &["bundles"], "get list watch patch"),
            rule("a.io", &["bundles/finalizers"], "update"),
            rule("a.io", &["bundles/status"], "patch"),
            rule("events.k8s.io", &["events"], "create patch"),
        ]
    );
    let mut kube_system = rule("", &["namespaces"], "get");
    kube_system["resourceNames"] = json!(["kube-system"]);
    let definitions = rule("apiextensions.k8s.io", &["customresourcedefinitions"], "get list watch");
    assert_eq!(needs.host.cluster.to_json(), [kube_system, definitions]);
    Ok(())
}

#[test]
fn children_in_local_need_no_rights() -> Result {
    let servers = servers()?;
    let needs = Needs::of(&[servers.plugin()], false);
    assert_eq!(
        needs.host.namespaced.to_json(),
        [
            rule("", &["secrets"], "get list watch"),
            rule("events.k8s.io", &["events"], "create patch"),
            rule("m.io", &["servers"], "get list watch patch"),
            rule("m.io", &["servers/status"], "patch"),
        ],
        "and nobody asks for the right to block the deletion of owners that have none elsewhere"
    );
    Ok(())
}

#[test]
fn the_host_needs_a_lease_and_its_state_in_its_own_namespace() {
    let needs = Needs::of(&[], false);
    let mut state = rule("", &["configmaps"], "get patch");
    state["resourceNames"] = json!(["setpoint-state"]);
    assert_eq!(
        needs.own.to_json(),
        [
            rule("", &["configmaps"], "create"),
            state,
            rule("coordination.k8s.io", &["leases"], "get list create patch delete"),
        ]
    );
}

#[test]
fn definitions_are_written_only_if_the_host_installs_them_and_only_those_of_the_plugins() -> Result {
    let (bundles, servers) = (bundles()?, servers()?);
    let needs = Needs::of(&[servers.plugin(), bundles.plugin()], true);
    let group = "apiextensions.k8s.io";
    let mut patch = rule(group, &["customresourcedefinitions"], "patch");
    patch["resourceNames"] = json!(["bundles.a.io", "servers.m.io"]);
    let rules = needs.host.cluster.to_json();
    assert!(rules.contains(&rule(group, &["customresourcedefinitions"], "get list watch create")), "{rules:?}");
    assert!(rules.contains(&patch), "{rules:?}");
    let none = Needs::of(&[], true).host.cluster.to_json();
    assert!(!none.iter().any(|rule| rule["verbs"].to_string().contains("patch")), "{none:?}");
    Ok(())
}

#[test]
fn a_kind_that_one_reconciles_and_another_reads_is_one_rule() -> Result {
    let servers = servers()?;
    let reader = Described::new("reader").reads("m.io", "Server", ReadScope::All);
    let needs = Needs::of(&[reader.plugin(), servers.plugin()], false);
    assert!(needs.host.namespaced.to_json().contains(&rule("m.io", &["servers"], "get list watch patch")));
    assert!(needs.guessed.is_empty(), "its definition is here");
    let alone = Needs::of(&[reader.plugin()], false);
    assert_eq!(alone.guessed.into_iter().collect::<Vec<_>>(), [("Server.m.io".to_owned(), "servers".to_owned())]);
    Ok(())
}

#[test]
fn grants_are_what_is_asked_for_on_the_cluster() -> Result {
    let (bundles, servers) = (bundles()?, servers()?);
    let plugins = [bundles.plugin(), servers.plugin()];
    assert_eq!(
        grants(&plugins, &[]),
        [
            "bundles=read:core/ConfigMap@hub",
            "bundles=write:core/ConfigMap@hub",
            "servers=read:core/Secret@hub",
            "servers=process",
            "servers=http:*",
        ]
    );
    let limited = grants(&plugins, &["a".into(), "b".into()]);
    assert_eq!(limited[..2], ["bundles=read:core/ConfigMap@hub/a", "bundles=read:core/ConfigMap@hub/b"]);
    assert!(limited.contains(&"servers=process".to_owned()));
    let nodes = Described::new("nodes").reads("", "Node", ReadScope::All);
    assert_eq!(grants(&[nodes.plugin()], &["a".into()]), ["nodes=read:core/Node@hub"], "it is in no namespace");
    for line in limited {
        let grant = line.split_once('=').map(|(_, grant)| setpoint_core::grants::Grant::parse(grant));
        assert!(matches!(grant, Some(Ok(_))), "{line}");
    }
    Ok(())
}

fn kinds_and_places(documents: &[Value]) -> Vec<String> {
    let place = |document: &Value| {
        let metadata = &document["metadata"];
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        format!("{} {}/{}", text(&document["kind"]), text(&metadata["namespace"]), text(&metadata["name"]))
    };
    documents.iter().map(place).collect()
}

#[test]
fn rights_are_in_all_namespaces_or_in_those_that_are_named() -> Result {
    let (bundles, zones) = (bundles()?, Described::new("zones").owns("a.io", "Zone", "zones", "Cluster")?);
    let needs = Needs::of(&[bundles.plugin(), zones.plugin()], false);
    let all = Place { account: ("setpoint", "system"), namespaces: &[] }.documents(&needs);
    assert_eq!(
        kinds_and_places(&all),
        [
            "ServiceAccount system/setpoint",
            "ClusterRole -/system:setpoint",
            "ClusterRoleBinding -/system:setpoint",
            "Role system/setpoint-host",
            "RoleBinding system/setpoint-host",
        ]
    );
    let namespaces = ["team".to_owned(), "web".to_owned()];
    let some = Place { account: ("setpoint", "system"), namespaces: &namespaces }.documents(&needs);
    assert_eq!(
        kinds_and_places(&some)[1..9],
        [
            "ClusterRole -/system:setpoint",
            "ClusterRoleBinding -/system:setpoint",
            "Role team/system:setpoint",
            "RoleBinding team/system:setpoint",
            "Role web/system:setpoint",
            "RoleBinding web/system:setpoint",
            "Role default/system:setpoint",
            "RoleBinding default/system:setpoint",
        ]
    );
    let zones = rule("a.io", &["zones"], "get list watch patch");
    let has = |document: &Value, rule: &Value| document["rules"].as_array().is_some_and(|rules| rules.contains(rule));
    assert!(has(&some[1], &zones) && !has(&some[3], &zones), "what is in no namespace stays with the cluster");
    assert!(!has(&some[1], &rule("a.io", &["bundles"], "get list watch patch")));
    assert_eq!(some[7]["rules"], json!([rule("events.k8s.io", &["events"], "create patch")]));
    assert_eq!(
        some[4],
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": {"name": "system:setpoint", "namespace": "team"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "system:setpoint"},
            "subjects": [{"kind": "ServiceAccount", "name": "setpoint", "namespace": "system"}],
        })
    );
    Ok(())
}

#[test]
fn children_that_are_written_as_another_account_are_not_the_hosts_to_write() -> Result {
    let (bundles, bundler) = (bundles()?, "tools/bundler".parse()?);
    let needs = Needs::of(&[Plugin { acts_as: Some(&bundler), ..bundles.plugin() }], false);
    let host = needs.host.namespaced.to_json();
    assert_eq!(
        host[..2],
        [rule("", &["configmaps"], "get list watch"), rule("a.io", &["bundles"], "get list watch patch")]
    );
    assert!(!host.iter().any(|rule| rule.to_string().contains("finalizers")), "{host:?}");
    assert_eq!(
        needs.accounts[&bundler].namespaced.to_json(),
        [rule("", &["configmaps"], "create patch delete"), rule("a.io", &["bundles/finalizers"], "update")]
    );
    let namespaces = ["team".to_owned()];
    let documents = Place { account: ("setpoint", "system"), namespaces: &namespaces }.documents(&needs);
    assert_eq!(
        kinds_and_places(&documents)[7..],
        [
            "Role tools/system:setpoint:as-bundler",
            "RoleBinding tools/system:setpoint:as-bundler",
            "ServiceAccount tools/bundler",
            "Role team/tools:bundler",
            "RoleBinding team/tools:bundler",
        ]
    );
    let mut may_act = rule("", &["serviceaccounts"], "impersonate");
    may_act["resourceNames"] = json!(["bundler"]);
    assert_eq!(documents[7]["rules"], json!([may_act]));
    assert_eq!(documents[8]["subjects"][0]["name"], "setpoint");
    Ok(())
}

#[test]
fn comments_say_grants_and_guesses_and_stay_comments() -> Result {
    let servers = servers()?;
    let routes = Described::new("routes").writes("gateway.networking.k8s.io", "Gateway");
    let plugins = [routes.plugin(), servers.plugin()];
    let needs = Needs::of(&plugins, false);
    let text = comments(&["routes", "servers"], &needs, &grants(&plugins, &[]), true);
    assert_eq!(
        text,
        "# What the plugins routes and servers need of a Kubernetes cluster, as `setpoint rbac` prints it.\n\
         #\n\
         # On a cluster plugins have only what they are granted. These ask for:\n\
         #   --grant routes=write:gateway.networking.k8s.io/Gateway@hub\n\
         #   --grant servers=read:core/Secret@hub\n\
         #   --grant servers=process\n\
         #   --grant servers=http:*\n\
         #\n\
         # servers reads Secret by name: resourceNames can narrow that rule where the names are known.\n\
         # No definition of Gateway.gateway.networking.k8s.io is here: that its plural is gateways, and that it is in \
         namespaces, is a guess.\n"
    );
    assert_eq!(comments(&["a"], &Needs::default(), &[], false).lines().count(), 1);
    Ok(())
}

#[test]
fn each_document_reads_back_as_it_is() -> Result {
    let bundles = bundles()?;
    let documents =
        Place { account: ("setpoint", "system"), namespaces: &[] }.documents(&Needs::of(&[bundles.plugin()], true));
    for document in documents {
        assert_eq!(serde_saphyr::from_str::<Value>(&to_yaml(&document))?, document);
    }
    Ok(())
}
