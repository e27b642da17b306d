//! Rights, given and taken away while the server runs.

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Kube;

const ROLES: &str = "rbac.authorization.k8s.io/v1";
/// The server takes a change of rights from its own watch.
const HEARD: Duration = Duration::from_secs(10);

/// What a user was allowed. Dropped, it stays.
#[derive(Debug)]
pub struct Allowed {
    kube: Kube,
    user: String,
    path: String,
    name: String,
    rule: Value,
    namespace: Option<String>,
}

impl Kube {
    /// Allows a user what a rule of RBAC says, `{"apiGroups": […], "resources": […], "verbs": […]}`: in one
    /// namespace, or everywhere. It holds once this returns.
    ///
    /// # Panics
    /// The server does not take it.
    pub fn allow(&self, user: &str, namespace: Option<&str>, rule: &Value) -> Allowed {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let name = format!("test-{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let (role, path) = match namespace {
            Some(namespace) => ("Role", format!("/apis/{ROLES}/namespaces/{namespace}")),
            None => ("ClusterRole", format!("/apis/{ROLES}")),
        };
        let plural = format!("{}s", role.to_lowercase());
        let metadata = json!({"name": name});
        let made = json!({"apiVersion": ROLES, "kind": role, "metadata": metadata, "rules": [rule]});
        self.api().post(&format!("{path}/{plural}"), &made).ok();
        let allowed = Allowed {
            kube: self.clone(),
            user: user.to_owned(),
            path: format!("{path}/{}bindings", role.to_lowercase()),
            name,
            rule: rule.clone(),
            namespace: namespace.map(str::to_owned),
        };
        allowed.bind(role);
        allowed
    }

    /// A service account, made if it is not there, and a token of it that is good for ten minutes, the shortest there
    /// is. Deleting the account makes the token bad within some seconds. It is the user
    /// `system:serviceaccount:NAMESPACE:NAME`.
    ///
    /// # Panics
    /// The server does not take it.
    pub fn service_account(&self, namespace: &str, name: &str) -> String {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}});
        let made = self.api().post(&path, &account);
        assert!(matches!(made.status, 201 | 409), "{}", made.body);
        let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {
            "expirationSeconds": 600,
        }});
        let token = self.api().post(&format!("{path}/{name}/token"), &request).ok();
        token["status"]["token"].as_str().map_or_else(|| panic!("no token: {token}"), str::to_owned)
    }

    /// Whether the server would let a user do this now.
    ///
    /// # Panics
    /// The server does not say.
    pub fn may(&self, user: &str, verb: &str, group: &str, resource: &str, namespace: Option<&str>) -> bool {
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
            "spec": {"user": user, "groups": ["system:authenticated"], "resourceAttributes": {
                "verb": verb, "group": group, "resource": resource, "namespace": namespace.unwrap_or_default(),
            }},
        });
        let review = self.api().post("/apis/authorization.k8s.io/v1/subjectaccessreviews", &review).ok();
        review["status"]["allowed"] == true
    }
}

impl Allowed {
    /// Takes it away again. It holds once this returns.
    ///
    /// # Panics
    /// The server does not take it.
    pub fn revoke(self) {
        self.kube.api().delete(&format!("{}/{}", self.path, self.name)).ok();
        self.wait_until(false);
    }

    fn bind(&self, role: &str) {
        let binding = json!({
            "apiVersion": ROLES, "kind": format!("{role}Binding"), "metadata": {"name": self.name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": role, "name": self.name},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": self.user}],
        });
        self.kube.api().post(&self.path, &binding).ok();
        self.wait_until(true);
    }

    fn wait_until(&self, allowed: bool) {
        let first = |name: &str| self.rule[name][0].as_str().unwrap_or_default().to_owned();
        let (verb, group, resource) = (first("verbs"), first("apiGroups"), first("resources"));
        let began = Instant::now();
        while self.kube.may(&self.user, &verb, &group, &resource, self.namespace.as_deref()) != allowed {
            assert!(
                began.elapsed() < HEARD,
                "not within {HEARD:?}: {} {} {verb} {resource}",
                self.user,
                if allowed { "may" } else { "may not" },
            );
            thread::sleep(Duration::from_millis(10));
        }
    }
}
