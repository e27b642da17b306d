package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

const (
	kind  = "ConfigBundle"
	owner = client.FieldOwner("peer-controller-runtime")
	// Index of bundles by each label that they select, as `name=value`.
	byLabel = "spec.selector.matchLabels"
)

type reconciler struct {
	client.Client
	group string
}

func setUp(ctx context.Context, manager ctrl.Manager, group string, concurrency int) error {
	err := manager.GetFieldIndexer().IndexField(ctx, &ConfigBundle{}, byLabel, func(object client.Object) []string {
		bundle, ok := object.(*ConfigBundle)
		if !ok {
			return nil
		}
		values := make([]string, 0, len(bundle.Spec.Selector.MatchLabels))
		for name, value := range bundle.Spec.Selector.MatchLabels {
			values = append(values, name+"="+value)
		}
		return values
	})
	if err != nil {
		return err
	}
	r := &reconciler{Client: manager.GetClient(), group: group}
	// What bundles make is no source, and its labels select nothing.
	source := predicate.NewPredicateFuncs(func(object client.Object) bool { return len(object.GetLabels()) > 0 && !made(object) })
	return ctrl.NewControllerManagedBy(manager).
		For(&ConfigBundle{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Owns(&corev1.ConfigMap{}).
		Watches(&corev1.ConfigMap{}, handler.EnqueueRequestsFromMapFunc(r.selecting), builder.WithPredicates(source)).
		WithOptions(controller.Options{MaxConcurrentReconciles: concurrency}).
		Complete(r)
}

func made(object client.Object) bool {
	return slices.ContainsFunc(object.GetOwnerReferences(), func(reference metav1.OwnerReference) bool {
		return reference.Kind == kind
	})
}

// selecting names the bundles that select a ConfigMap.
func (r *reconciler) selecting(ctx context.Context, object client.Object) []reconcile.Request {
	var requests []reconcile.Request
	for name, value := range object.GetLabels() {
		var bundles ConfigBundleList
		// Of the cache, by its index, and not to be changed.
		err := r.List(ctx, &bundles, client.InNamespace(object.GetNamespace()),
			client.MatchingFields{byLabel: name + "=" + value}, client.UnsafeDisableDeepCopy)
		if err != nil {
			ctrl.LoggerFrom(ctx).Error(err, "bundles cannot be listed")
			return nil
		}
		for at := range bundles.Items {
			request := reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&bundles.Items[at])}
			if !slices.Contains(requests, request) {
				requests = append(requests, request)
			}
		}
	}
	return requests
}

func (r *reconciler) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	var bundle ConfigBundle
	if err := r.Get(ctx, request.NamespacedName, &bundle); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	if bundle.DeletionTimestamp != nil {
		// Its child is the garbage collector's.
		return reconcile.Result{}, nil
	}
	if len(bundle.Spec.Selector.MatchLabels) == 0 {
		return reconcile.Result{}, r.tell(ctx, &bundle, bundle.Status.deepCopy(), "Stalled", "EmptySelector",
			"spec.selector.matchLabels needs a label")
	}
	sources, err := r.sources(ctx, &bundle)
	if err != nil {
		return reconcile.Result{}, err
	}
	merged, conflicts := merge(sources, bundle.Spec.OnConflict)
	status := ConfigBundleStatus{Sources: []string{}, Keys: len(merged), Conflicts: conflicts}
	for at := range sources {
		status.Sources = append(status.Sources, sources[at].Name)
	}
	if status.Hash, err = hash(merged); err != nil {
		return reconcile.Result{}, err
	}
	if bundle.Spec.OnConflict == "error" && len(conflicts) > 0 {
		return reconcile.Result{}, r.tell(ctx, &bundle, status, "Stalled", "Conflict",
			"Sources differ in "+strings.Join(conflicts, ", "))
	}
	if err := r.child(ctx, &bundle, merged); err != nil {
		return reconcile.Result{}, err
	}
	if len(sources) == 0 {
		return reconcile.Result{}, r.tell(ctx, &bundle, status, "Reconciling", "NoSources",
			"No ConfigMap has the labels of spec.selector")
	}
	return reconcile.Result{}, r.tell(ctx, &bundle, status, "Ready", "Ready", "")
}

// sources are the ConfigMaps to merge, in their order. They are the cache's own: not to be changed.
func (r *reconciler) sources(ctx context.Context, bundle *ConfigBundle) ([]corev1.ConfigMap, error) {
	var list corev1.ConfigMapList
	selector := labels.SelectorFromSet(bundle.Spec.Selector.MatchLabels)
	err := r.List(ctx, &list, client.InNamespace(bundle.Namespace), client.MatchingLabelsSelector{Selector: selector},
		client.UnsafeDisableDeepCopy)
	if err != nil {
		return nil, err
	}
	target := target(bundle)
	sources := slices.DeleteFunc(list.Items, func(item corev1.ConfigMap) bool { return made(&item) || item.Name == target })
	first := func(name string) int {
		if at := slices.Index(bundle.Spec.Order, name); at >= 0 {
			return at
		}
		return len(bundle.Spec.Order)
	}
	slices.SortFunc(sources, func(a, b corev1.ConfigMap) int {
		if x, y := first(a.Name), first(b.Name); x != y {
			return x - y
		}
		return strings.Compare(a.Name, b.Name)
	})
	return sources, nil
}

func target(bundle *ConfigBundle) string {
	return ptr.Deref(bundle.Spec.Target, bundle.Name)
}

func merge(sources []corev1.ConfigMap, onConflict string) (map[string]string, []string) {
	merged, conflicts := map[string]string{}, []string{}
	for at := range sources {
		for _, key := range slices.Sorted(maps.Keys(sources[at].Data)) {
			value := sources[at].Data[key]
			there, found := merged[key]
			if found && there != value && !slices.Contains(conflicts, key) {
				conflicts = append(conflicts, key)
			}
			if !found || onConflict == "" || onConflict == "last" {
				merged[key] = value
			}
		}
	}
	return merged, conflicts
}

func hash(merged map[string]string) (string, error) {
	// Keys of maps are sorted in it.
	text, err := json.Marshal(merged)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8]), nil
}

// child makes the merged ConfigMap what it shall be; if it is, nothing is asked of the server.
func (r *reconciler) child(ctx context.Context, bundle *ConfigBundle, merged map[string]string) error {
	var there corev1.ConfigMap
	name := types.NamespacedName{Namespace: bundle.Namespace, Name: target(bundle)}
	err := r.Get(ctx, name, &there)
	if client.IgnoreNotFound(err) != nil {
		return err
	}
	if err == nil {
		if !metav1.IsControlledBy(&there, bundle) {
			return fmt.Errorf("%s is not of this bundle", name)
		}
		if maps.Equal(there.Data, merged) {
			return nil
		}
	}
	reference := metav1ac.OwnerReference().
		WithAPIVersion(r.group + "/" + version).WithKind(kind).WithName(bundle.Name).WithUID(bundle.UID).
		WithController(true).WithBlockOwnerDeletion(true)
	child := corev1ac.ConfigMap(name.Name, name.Namespace).WithOwnerReferences(reference).WithData(merged)
	return r.Apply(ctx, child, owner, client.ForceOwnership)
}

// tell applies the status; if it is there already, nothing is asked of the server.
func (r *reconciler) tell(
	ctx context.Context, bundle *ConfigBundle, status ConfigBundleStatus, what, reason, message string,
) error {
	status.ObservedGeneration = bundle.Generation
	status.Conditions = slices.Clone(bundle.Status.Conditions)
	for _, condition := range []string{"Ready", "Reconciling", "Stalled"} {
		value := metav1.ConditionFalse
		if condition == what {
			value = metav1.ConditionTrue
		}
		meta.SetStatusCondition(&status.Conditions, metav1.Condition{
			Type: condition, Status: value, Reason: reason, Message: message, ObservedGeneration: bundle.Generation,
		})
	}
	if equality.Semantic.DeepEqual(status, bundle.Status) {
		return nil
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&status)
	if err != nil {
		return err
	}
	applied := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": r.group + "/" + version,
		"kind":       kind,
		"metadata":   map[string]any{"name": bundle.Name, "namespace": bundle.Namespace},
		"status":     content,
	}}
	return r.Status().Apply(ctx, client.ApplyConfigurationFromUnstructured(applied), owner, client.ForceOwnership)
}
