//! Which right was missing, and the rule that would grant it.

use setpoint_cluster::{ServiceAccount, Warrant};
use setpoint_core::key::Key;

use crate::failure::Failure;
use crate::resource::Resource;

/// What was asked of a resource.
#[derive(Clone, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) resource: &'a Resource,
    /// Verbs of RBAC that the request needs.
    pub(crate) verbs: &'static [&'static str],
    /// `status`, if it was asked of that.
    pub(crate) subresource: Option<&'static str>,
    /// None: in all namespaces.
    pub(crate) namespace: Option<&'a str>,
    /// One object.
    pub(crate) name: Option<&'a str>,
    /// As whom; none: as the host itself.
    pub(crate) acts_as: Option<&'a ServiceAccount>,
}

impl<'a> Asked<'a> {
    /// Something was asked of one object.
    pub(crate) fn of(resource: &'a Resource, key: &'a Key, verbs: &'static [&'static str]) -> Self {
        Self::within(resource, (key.namespace.as_deref(), Some(&key.name)), verbs)
    }

    /// Something was asked of a namespace or of all, and of all objects there or of one.
    pub(crate) fn within(
        resource: &'a Resource,
        (namespace, name): (Option<&'a str>, Option<&'a str>),
        verbs: &'static [&'static str],
    ) -> Self {
        Self { resource, verbs, subresource: None, namespace, name, acts_as: None }
    }

    /// It is asked by this right.
    pub(crate) fn by(self, warrant: &'a Warrant) -> Self {
        Self { acts_as: warrant.acts_as.as_deref(), ..self }
    }

    /// The same of its status.
    pub(crate) fn status(self) -> Self {
        Self { subresource: Some("status"), ..self }
    }

    fn plural(&self) -> String {
        match self.subresource {
            Some(subresource) => format!("{}/{subresource}", self.resource.plural),
            None => self.resource.plural.clone(),
        }
    }

    /// Why it failed; where a right is missing, with the rule that would grant it.
    pub(crate) fn refused(&self, failure: &Failure) -> String {
        if failure.is_missing_right() { self.forbidden() } else { failure.to_string() }
    }

    /// What may not be done, and the rule that would allow it.
    pub(crate) fn forbidden(&self) -> String {
        let group = &self.resource.kind.group;
        let of_group = if group.is_empty() { String::new() } else { format!(".{group}") };
        let what = match self.name {
            Some(name) => format!("{}{of_group} {name:?}", self.plural()),
            None => format!("{}{of_group}", self.plural()),
        };
        let (place, role) = match self.namespace.filter(|_| self.resource.namespaced) {
            Some(namespace) => {
                (format!(" in the namespace {namespace}"), format!("a Role in the namespace {namespace}"))
            }
            None if self.resource.namespaced => (" in all namespaces".into(), "a ClusterRole".to_owned()),
            None => (String::new(), "a ClusterRole".to_owned()),
        };
        let verbs = self.verbs.join(" and ");
        let rule = serde_json::json!({"apiGroups": [&**group], "resources": [self.plural()], "verbs": self.verbs});
        let who = self.acts_as.map_or_else(|| "the host".to_owned(), |account| format!("the ServiceAccount {account}"));
        format!("{who} may not {verbs} {what}{place}; grant it with {role} that has the rule {rule}")
    }

    /// As whom the host may not act, and the rule that would allow it.
    pub(crate) fn not_as(&self, account: &ServiceAccount) -> String {
        let ServiceAccount { namespace, name } = account;
        let rule = serde_json::json!({"apiGroups": [""], "resources": ["serviceaccounts"], "verbs": ["impersonate"],
            "resourceNames": [name]});
        format!(
            "the host may not act as the ServiceAccount {account}; grant it with a Role in the namespace {namespace} that \
             has the rule {rule}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use setpoint_core::key::GroupVersionKind;

    fn resource(group: &str, plural: &str, namespaced: bool) -> Resource {
        Resource { kind: GroupVersionKind::new(group, "v1", "K"), plural: plural.into(), namespaced, status: true }
    }

    #[test]
    fn the_rule_that_would_grant_it_is_told() {
        let bundles = resource("examples.setpoint.dev", "configbundles", true);
        let key = Key::new("hub", "examples.setpoint.dev", "ConfigBundle", Some("team"), "a");
        assert_eq!(
            Asked::of(&bundles, &key, &["patch"]).status().forbidden(),
            "the host may not patch configbundles/status.examples.setpoint.dev \"a\" in the namespace team; grant it with a \
             Role in the namespace team that has the rule \
             {\"apiGroups\":[\"examples.setpoint.dev\"],\"resources\":[\"configbundles/status\"],\"verbs\":[\"patch\"]}"
        );
        let secrets = resource("", "secrets", true);
        let list = Asked::within(&secrets, (None, None), &["list", "watch"]);
        assert_eq!(
            list.forbidden(),
            "the host may not list and watch secrets in all namespaces; grant it with a ClusterRole that has the rule \
             {\"apiGroups\":[\"\"],\"resources\":[\"secrets\"],\"verbs\":[\"list\",\"watch\"]}"
        );
    }

    #[test]
    fn who_acts_as_another_one_is_told_what_that_one_lacks() {
        let maps = resource("", "configmaps", true);
        let key = Key::new("hub", "", "ConfigMap", Some("team"), "a");
        let bundler = std::sync::Arc::new(ServiceAccount { namespace: "tools".into(), name: "bundler".into() });
        let warrant = Warrant { acts_as: Some(bundler.clone()), ..Warrant::default() };
        let asked = Asked::of(&maps, &key, &["delete"]).by(&warrant);
        assert_eq!(
            asked.forbidden(),
            "the ServiceAccount tools/bundler may not delete configmaps \"a\" in the namespace team; grant it with a Role \
             in the namespace team that has the rule \
             {\"apiGroups\":[\"\"],\"resources\":[\"configmaps\"],\"verbs\":[\"delete\"]}"
        );
        assert_eq!(
            asked.not_as(&bundler),
            "the host may not act as the ServiceAccount tools/bundler; grant it with a Role in the namespace tools that has \
             the rule {\"apiGroups\":[\"\"],\"resourceNames\":[\"bundler\"],\"resources\":[\"serviceaccounts\"],\
             \"verbs\":[\"impersonate\"]}"
        );
    }
}
