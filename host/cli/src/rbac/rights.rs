//! What the host has to be allowed on a cluster: for each request that it makes a verb, and no other.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

/// What RBAC allows, in the order in which rules say it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
    Impersonate,
}

impl Verb {
    fn text(self) -> &'static str {
        match self {
            Verb::Get => "get",
            Verb::List => "list",
            Verb::Watch => "watch",
            Verb::Create => "create",
            Verb::Update => "update",
            Verb::Patch => "patch",
            Verb::Delete => "delete",
            Verb::Impersonate => "impersonate",
        }
    }
}

/// Group, names (none: all) and resource.
type Target = (String, BTreeSet<String>, String);

/// What resources have in common that stand in one rule: group, names and verbs.
type Alike<'a> = (&'a str, &'a BTreeSet<String>, &'a BTreeSet<Verb>);

/// What is allowed in one place. What is allowed twice is there once.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Rules(BTreeMap<Target, BTreeSet<Verb>>);

impl Rules {
    /// Allows something of all objects of a resource.
    pub(crate) fn allow(&mut self, group: &str, resource: &str, verbs: &[Verb]) {
        self.allow_of(group, resource, [], verbs);
    }

    /// The same of objects with these names; of all, if there are none.
    pub(crate) fn allow_of<'a>(
        &mut self,
        group: &str,
        resource: &str,
        names: impl IntoIterator<Item = &'a str>,
        verbs: &[Verb],
    ) {
        let names = names.into_iter().map(str::to_owned).collect();
        self.0.entry((group.to_owned(), names, resource.to_owned())).or_default().extend(verbs);
    }

    /// All of these together.
    pub(crate) fn all(parts: &[&Rules]) -> Self {
        let mut all = Self::default();
        for (target, verbs) in parts.iter().flat_map(|part| &part.0) {
            all.0.entry(target.clone()).or_default().extend(verbs);
        }
        all
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As roles have them: in one rule the resources of a group of which the same is allowed, all in order.
    pub(crate) fn to_json(&self) -> Vec<Value> {
        let mut merged: BTreeMap<Alike<'_>, Vec<&str>> = BTreeMap::new();
        for ((group, names, resource), verbs) in &self.0 {
            if names.is_empty() || !self.allows(group, resource, verbs) {
                merged.entry((group, names, verbs)).or_default().push(resource);
            }
        }
        let mut rules: Vec<_> =
            merged.into_iter().map(|((group, names, verbs), all)| (group, all, names, verbs)).collect();
        rules.sort();
        let rule = |(group, resources, names, verbs): (&str, Vec<&str>, &BTreeSet<String>, &BTreeSet<Verb>)| {
            let verbs: Vec<&str> = verbs.iter().map(|verb| verb.text()).collect();
            let mut rule = json!({"apiGroups": [group], "resources": resources, "verbs": verbs});
            if !names.is_empty() {
                rule["resourceNames"] = json!(names);
            }
            rule
        };
        rules.into_iter().map(rule).collect()
    }

    /// Whether this is allowed of all objects.
    fn allows(&self, group: &str, resource: &str, verbs: &BTreeSet<Verb>) -> bool {
        let all = self.0.get(&(group.to_owned(), BTreeSet::new(), resource.to_owned()));
        all.is_some_and(|allowed| allowed.is_superset(verbs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Verb::{Create, Get, List, Patch};

    #[test]
    fn what_is_allowed_twice_is_said_once_and_in_order() {
        let mut rules = Rules::default();
        rules.allow("b.io", "zs", &[Patch, Get]);
        rules.allow("", "secrets", &[Get]);
        rules.allow("b.io", "as", &[Get]);
        rules.allow("b.io", "as", &[Patch, Get]);
        rules.allow("b.io", "as/status", &[Patch]);
        assert_eq!(
            json!(rules.to_json()),
            json!([
                {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]},
                {"apiGroups": ["b.io"], "resources": ["as", "zs"], "verbs": ["get", "patch"]},
                {"apiGroups": ["b.io"], "resources": ["as/status"], "verbs": ["patch"]},
            ])
        );
    }

    #[test]
    fn what_is_allowed_of_all_is_not_said_of_some_again() {
        let mut rules = Rules::default();
        rules.allow_of("", "namespaces", ["kube-system"], &[Get]);
        let some = json!([{"apiGroups": [""], "resources": ["namespaces"], "resourceNames": ["kube-system"], "verbs": ["get"]}]);
        assert_eq!(json!(rules.to_json()), some);
        rules.allow("", "namespaces", &[Create]);
        assert_eq!(rules.to_json().len(), 2);
        rules.allow("", "namespaces", &[Get, List]);
        let all = json!([{"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get", "list", "create"]}]);
        assert_eq!(json!(rules.to_json()), all);
    }
}
