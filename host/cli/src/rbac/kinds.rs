//! Kinds as rules name them: by their plural, and in a namespace or not.

use std::collections::BTreeMap;

use setpoint_core::key::{GroupKind, GroupVersionKind};
use setpoint_schema::Crd;

use crate::names::plural;

/// Groups that an API server serves by itself.
const BUILT_IN: [&str; 19] = [
    "",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "apps",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "events.k8s.io",
    "flowcontrol.apiserver.k8s.io",
    "networking.k8s.io",
    "node.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "resource.k8s.io",
    "scheduling.k8s.io",
    "storage.k8s.io",
];

/// Its kinds that are in no namespace.
const CLUSTER_SCOPED: [&str; 30] = [
    "APIService",
    "CSIDriver",
    "CSINode",
    "CertificateSigningRequest",
    "ClusterRole",
    "ClusterRoleBinding",
    "ClusterTrustBundle",
    "ComponentStatus",
    "CustomResourceDefinition",
    "DeviceClass",
    "FlowSchema",
    "IPAddress",
    "IngressClass",
    "MutatingAdmissionPolicy",
    "MutatingAdmissionPolicyBinding",
    "MutatingWebhookConfiguration",
    "Namespace",
    "Node",
    "PersistentVolume",
    "PriorityClass",
    "PriorityLevelConfiguration",
    "ResourceSlice",
    "RuntimeClass",
    "ServiceCIDR",
    "StorageClass",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "ValidatingWebhookConfiguration",
    "VolumeAttachment",
    "VolumeAttributesClass",
];

/// A kind as rules name it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Resource {
    pub(crate) plural: String,
    pub(crate) namespaced: bool,
    /// Nothing here defines it: plural and scope are what they usually are.
    pub(crate) guessed: bool,
}

/// The kinds that are known for certain.
pub(crate) struct Kinds(BTreeMap<GroupKind, Resource>);

impl Kinds {
    /// What definitions say.
    pub(crate) fn of<'a>(definitions: impl IntoIterator<Item = &'a Crd>) -> Self {
        let known = |crd: &Crd| {
            let resource = Resource { plural: crd.plural.clone(), namespaced: crd.namespaced, guessed: false };
            (GroupKind::new(&crd.group, &crd.kind), resource)
        };
        Self(definitions.into_iter().map(known).collect())
    }

    /// A kind, from its definition, as Kubernetes has it, or as it is most likely.
    pub(crate) fn resource(&self, kind: &GroupVersionKind) -> Resource {
        if let Some(known) = self.0.get(&kind.group_kind()) {
            return known.clone();
        }
        let built_in = BUILT_IN.contains(&&*kind.group);
        // The one built-in kind that is a plural already.
        let plural = if built_in && &*kind.kind == "Endpoints" { "endpoints".into() } else { plural(&kind.kind) };
        Resource { plural, namespaced: !(built_in && CLUSTER_SCOPED.contains(&&*kind.kind)), guessed: !built_in }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_kinds_are_known_and_others_are_guessed() {
        let kinds = Kinds::of([]);
        let resource = |group: &str, kind: &str| {
            let Resource { plural, namespaced, guessed } = kinds.resource(&GroupVersionKind::new(group, "v1", kind));
            (plural, namespaced, guessed)
        };
        for (group, kind, plural, namespaced) in [
            ("", "ConfigMap", "configmaps", true),
            ("", "Endpoints", "endpoints", true),
            ("", "Namespace", "namespaces", false),
            ("networking.k8s.io", "NetworkPolicy", "networkpolicies", true),
            ("networking.k8s.io", "Ingress", "ingresses", true),
            ("storage.k8s.io", "StorageClass", "storageclasses", false),
            ("storage.k8s.io", "CSIStorageCapacity", "csistoragecapacities", true),
        ] {
            assert_eq!(resource(group, kind), (plural.to_owned(), namespaced, false), "{kind}");
        }
        assert_eq!(resource("gateway.networking.k8s.io", "Gateway"), ("gateways".to_owned(), true, true));
        // The same word means another kind there.
        assert_eq!(resource("a.io", "Node"), ("nodes".to_owned(), true, true));
    }

    #[test]
    fn what_is_defined_is_as_it_is_defined() -> Result<(), setpoint_schema::CrdError> {
        let crd = serde_json::json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "oxen.a.io"},
            "spec": {"group": "a.io", "scope": "Cluster", "names": {"kind": "Ox", "plural": "oxen"},
                     "versions": [{"name": "v1", "served": true, "storage": true,
                                   "schema": {"openAPIV3Schema": {"type": "object"}}}]},
        });
        let kinds = Kinds::of([&Crd::parse(&crd, "v1")?]);
        let resource = kinds.resource(&GroupVersionKind::new("a.io", "v2", "Ox"));
        assert_eq!(resource, Resource { plural: "oxen".into(), namespaced: false, guessed: false });
        Ok(())
    }
}
