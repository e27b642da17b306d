//! Rights as documents that `kubectl apply` takes.

use serde_json::{Value, json};

use super::needs::{Needs, Rights};
use super::rights::Rules;

const RBAC: &str = "rbac.authorization.k8s.io";

/// Who has the rights, and where.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    /// Name and namespace of the service account.
    pub(crate) account: (&'a str, &'a str),
    /// None: all of them.
    pub(crate) namespaces: &'a [String],
}

impl Place<'_> {
    /// The service account, its roles and their bindings; and those as which children are written.
    pub(crate) fn documents(&self, needs: &Needs) -> Vec<Value> {
        let (account, own) = self.account;
        let mut documents = self.rights(&needs.host);
        if !self.namespaces.is_empty()
            && !self.namespaces.iter().any(|namespace| namespace == "default")
            && !needs.default.is_empty()
        {
            documents.extend(self.role(Some("default"), &self.shared(), &[&needs.default]));
        }
        documents.extend(self.role(Some(own), &format!("{account}-host"), &[&needs.own]));
        for (other, rights) in &needs.accounts {
            let name = format!("{}:as-{}", self.shared(), other.name);
            documents.extend(self.role(Some(&other.namespace), &name, &[&Needs::to_act_as(other)]));
            let place = Place { account: (&other.name, &other.namespace), namespaces: self.namespaces };
            documents.extend(place.rights(rights));
        }
        documents
    }

    /// Accounts of this name may be in other namespaces.
    fn shared(&self) -> String {
        let (account, own) = self.account;
        format!("{own}:{account}")
    }

    /// The service account, and what it may do in the namespaces and in the cluster.
    fn rights(&self, rights: &Rights) -> Vec<Value> {
        let (account, own) = self.account;
        let mut documents = vec![json!({
            "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account, "namespace": own},
        })];
        let Rights { namespaced, cluster } = rights;
        if self.namespaces.is_empty() {
            documents.extend(self.role(None, &self.shared(), &[cluster, namespaced]));
            return documents;
        }
        if !cluster.is_empty() {
            documents.extend(self.role(None, &self.shared(), &[cluster]));
        }
        for namespace in self.namespaces.iter().filter(|_| !namespaced.is_empty()) {
            documents.extend(self.role(Some(namespace), &self.shared(), &[namespaced]));
        }
        documents
    }

    /// A role, in a namespace or everywhere, and its binding.
    fn role(&self, namespace: Option<&str>, name: &str, rules: &[&Rules]) -> [Value; 2] {
        let kind = if namespace.is_some() { "Role" } else { "ClusterRole" };
        let mut metadata = json!({"name": name});
        if let Some(namespace) = namespace {
            metadata["namespace"] = namespace.into();
        }
        let (account, own) = self.account;
        let api = format!("{RBAC}/v1");
        [
            json!({"apiVersion": api, "kind": kind, "metadata": metadata, "rules": Rules::all(rules).to_json()}),
            json!({
                "apiVersion": api, "kind": format!("{kind}Binding"), "metadata": metadata,
                "roleRef": {"apiGroup": RBAC, "kind": kind, "name": name},
                "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": own}],
            }),
        ]
    }
}

/// What is to be known about the documents, as comments above them.
pub(crate) fn comments(plugins: &[&str], needs: &Needs, grants: &[String], limited: bool) -> String {
    let mut lines = vec![format!("What {} of a Kubernetes cluster, as `setpoint rbac` prints it.", listed(plugins))];
    if !grants.is_empty() {
        lines.push(String::new());
        lines.push("On a cluster plugins have only what they are granted. These ask for:".into());
        lines.extend(grants.iter().map(|grant| format!("  --grant {grant}")));
    }
    if !needs.by_name.is_empty() || !needs.guessed.is_empty() {
        lines.push(String::new());
    }
    for account in needs.accounts.keys() {
        lines.push(String::new());
        lines.push(format!(
            "Children are written as the ServiceAccount {account}; `setpoint release` gives them up as the host,"
        ));
        lines.push("which takes patch on their kinds for as long.".into());
    }
    for (plugin, kind) in &needs.by_name {
        lines.push(format!(
            "{plugin} reads {kind} by name: resourceNames can narrow that rule where the names are known."
        ));
    }
    for (kind, plural) in &needs.guessed {
        let scope = if limited { ", and that it is in namespaces" } else { "" };
        lines.push(format!("No definition of {kind} is here: that its plural is {plural}{scope}, is a guess."));
    }
    lines.iter().map(|line| format!("# {line}").trim_end().to_owned() + "\n").collect()
}

fn listed(plugins: &[&str]) -> String {
    match plugins {
        [] => "the host without plugins needs".into(),
        [one] => format!("the plugin {one} needs"),
        [most @ .., last] => format!("the plugins {} and {last} need", most.join(", ")),
    }
}
