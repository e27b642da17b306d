//! Where the objects of a kind are in the API of a server.

use std::fmt::Write;

use setpoint_core::key::{GroupVersionKind, Key};

/// A kind as a server serves it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Resource {
    /// Group, version and kind.
    pub kind: GroupVersionKind,
    /// The name of the resource in paths and in RBAC rules, such as `configmaps`.
    pub plural: String,
    /// Whether its objects are in namespaces.
    pub namespaced: bool,
    /// Whether there is a status subresource.
    pub status: bool,
}

impl Resource {
    fn root(&self) -> String {
        if self.kind.group.is_empty() {
            format!("/api/{}", segment(&self.kind.version))
        } else {
            format!("/apis/{}/{}", segment(&self.kind.group), segment(&self.kind.version))
        }
    }

    /// The collection, of one namespace or of all.
    pub(crate) fn collection(&self, namespace: Option<&str>) -> String {
        match namespace.filter(|_| self.namespaced) {
            Some(namespace) => format!("{}/namespaces/{}/{}", self.root(), segment(namespace), self.plural),
            None => format!("{}/{}", self.root(), self.plural),
        }
    }

    /// One object.
    pub(crate) fn object(&self, key: &Key) -> String {
        format!("{}/{}", self.collection(key.namespace.as_deref()), segment(&key.name))
    }

    /// `plural.group`, as its CustomResourceDefinition is called.
    pub(crate) fn definition(&self) -> String {
        format!("{}.{}", self.plural, self.kind.group)
    }
}

/// A path with a query.
#[derive(Clone, Debug)]
pub(crate) struct Query(String, char);

impl Query {
    pub(crate) fn new(path: String) -> Self {
        Self(path, '?')
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        // Writing to a string does not fail.
        let _ = write!(self.0, "{}{name}={}", self.1, segment(value));
        self.1 = '&';
        self
    }

    pub(crate) fn done(self) -> String {
        self.0
    }
}

/// A text as it may stand between two slashes, or as a value in a query.
pub(crate) fn segment(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if plain(byte) {
            escaped.push(char::from(byte));
        } else {
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(group: &str, plural: &str, namespaced: bool) -> Resource {
        let kind = GroupVersionKind::new(group, "v1", "K");
        Resource { kind, plural: plural.into(), namespaced, status: true }
    }

    #[test]
    fn objects_are_where_the_api_has_them() {
        let pods = resource("", "pods", true);
        assert_eq!(pods.object(&Key::new("hub", "", "Pod", Some("a"), "b")), "/api/v1/namespaces/a/pods/b");
        assert_eq!(pods.collection(None), "/api/v1/pods");
        let roles = resource("rbac.authorization.k8s.io", "clusterroles", false);
        let key = Key::new("hub", "rbac.authorization.k8s.io", "ClusterRole", None, "system:node/x y");
        assert_eq!(
            roles.object(&key),
            "/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Anode%2Fx%20y",
            "no name leaves its place"
        );
        assert_eq!(roles.definition(), "clusterroles.rbac.authorization.k8s.io");
    }

    #[test]
    fn values_of_a_query_are_escaped() {
        let query = Query::new("/x".into()).with("labelSelector", "a=b,c").with("limit", "5").done();
        assert_eq!(query, "/x?labelSelector=a%3Db%2Cc&limit=5");
    }
}
