//! A proxy as an admission webhook: what becomes of a review is said by its rules.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;

use super::Proxy;
use crate::Kube;

const WEBHOOKS: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";

/// A webhook that is registered. Dropped, it is no more.
#[derive(Debug)]
pub struct Webhook {
    kube: Kube,
    name: String,
}

impl Webhook {
    /// As it is named in refusals.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Proxy {
    /// Has the server ask here, at this path, before it creates or updates an object of this group and plural; if
    /// nobody answers, the write fails. The server hears of it a moment later.
    ///
    /// # Panics
    /// The server does not take it.
    pub fn webhook(&self, path: &str, group: &str, plural: &str) -> Webhook {
        let ca = self.kube.ca_file();
        let ca = std::fs::read(&ca).unwrap_or_else(|error| panic!("{} cannot be read: {error}", ca.display()));
        let name = format!("webhook.{plural}.{group}");
        let configuration = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": name},
            "webhooks": [{
                "name": name, "admissionReviewVersions": ["v1"], "sideEffects": "None", "failurePolicy": "Fail",
                "timeoutSeconds": 30,
                "clientConfig": {"url": format!("{}{path}", self.server), "caBundle": BASE64_STANDARD.encode(ca)},
                "rules": [{
                    "apiGroups": [group], "apiVersions": ["*"], "resources": [plural], "operations": ["CREATE", "UPDATE"],
                }],
            }],
        });
        self.kube.api().post(WEBHOOKS, &configuration).ok();
        Webhook { kube: self.kube.clone(), name }
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        // The server may be gone by now, and the webhook with it.
        let _ = self.kube.api().send(crate::Call::new(hyper::Method::DELETE, format!("{WEBHOOKS}/{}", self.name)));
    }
}
