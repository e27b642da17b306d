package main

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

const version = "v1alpha1"

// ConfigBundleSpec says which ConfigMaps to merge, and into which.
type ConfigBundleSpec struct {
	Selector Selector `json:"selector"`
	// Name of the merged ConfigMap; by default that of the bundle.
	Target *string `json:"target,omitempty"`
	// Names of ConfigMaps that come first, in this order.
	Order []string `json:"order,omitempty"`
	// last (the default), first or error.
	OnConflict string `json:"onConflict,omitempty"`
}

// Selector picks the ConfigMaps that have all of these labels.
type Selector struct {
	MatchLabels map[string]string `json:"matchLabels"`
}

// ConfigBundleStatus says what came of it.
type ConfigBundleStatus struct {
	Sources            []string           `json:"sources"`
	Keys               int                `json:"keys"`
	Conflicts          []string           `json:"conflicts"`
	Hash               string             `json:"hash"`
	ObservedGeneration int64              `json:"observedGeneration,omitempty"`
	Conditions         []metav1.Condition `json:"conditions,omitempty"`
}

// ConfigBundle merges the ConfigMaps that a label selector picks into one.
type ConfigBundle struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   ConfigBundleSpec   `json:"spec,omitempty"`
	Status ConfigBundleStatus `json:"status,omitempty"`
}

// ConfigBundleList is a list of them.
type ConfigBundleList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []ConfigBundle `json:"items"`
}

func (in *ConfigBundleStatus) deepCopy() ConfigBundleStatus {
	out := *in
	out.Sources = slices.Clone(in.Sources)
	out.Conflicts = slices.Clone(in.Conflicts)
	out.Conditions = slices.Clone(in.Conditions)
	return out
}

func (in *ConfigBundle) deepCopy() ConfigBundle {
	out := *in
	in.ObjectMeta.DeepCopyInto(&out.ObjectMeta)
	if in.Spec.Selector.MatchLabels != nil {
		labels := make(map[string]string, len(in.Spec.Selector.MatchLabels))
		for name, value := range in.Spec.Selector.MatchLabels {
			labels[name] = value
		}
		out.Spec.Selector.MatchLabels = labels
	}
	if in.Spec.Target != nil {
		target := *in.Spec.Target
		out.Spec.Target = &target
	}
	out.Spec.Order = slices.Clone(in.Spec.Order)
	out.Status = in.Status.deepCopy()
	return out
}

// DeepCopyObject makes it a runtime.Object.
func (in *ConfigBundle) DeepCopyObject() runtime.Object {
	out := in.deepCopy()
	return &out
}

// DeepCopyObject makes it a runtime.Object.
func (in *ConfigBundleList) DeepCopyObject() runtime.Object {
	out := *in
	in.ListMeta.DeepCopyInto(&out.ListMeta)
	if in.Items != nil {
		out.Items = make([]ConfigBundle, len(in.Items))
		for at := range in.Items {
			out.Items[at] = in.Items[at].deepCopy()
		}
	}
	return &out
}

func addToScheme(scheme *runtime.Scheme, group string) {
	kinds := schema.GroupVersion{Group: group, Version: version}
	scheme.AddKnownTypes(kinds, &ConfigBundle{}, &ConfigBundleList{})
	metav1.AddToGroupVersion(scheme, kinds)
}
