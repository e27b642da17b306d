//! Which right was missing, and the rule that would grant it.

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
}

impl<'a> Asked<'a> {
    /// Something was asked of one object.
    pub(crate) fn of(resource: &'a Resource, key: &'a Key, verbs: &'static [&'static str]) -> Self {
        Self { resource, verbs, subresource: None, namespace: key.namespace.as_deref(), name: Some(&key.name) }
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
        format!("the host may not {verbs} {what}{place}; grant it with {role} that has the rule {rule}")
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
        let list = Asked {
            resource: &resource("", "secrets", true),
            verbs: &["list", "watch"],
            subresource: None,
            namespace: None,
            name: None,
        };
        assert_eq!(
            list.forbidden(),
            "the host may not list and watch secrets in all namespaces; grant it with a ClusterRole that has the rule \
             {\"apiGroups\":[\"\"],\"resources\":[\"secrets\"],\"verbs\":[\"list\",\"watch\"]}"
        );
    }
}
