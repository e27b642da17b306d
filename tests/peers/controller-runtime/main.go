// The job of the plugin config-bundle as a program of its own, with controller-runtime: what Setpoint is measured
// against by `cargo xtask bench kube`.
package main

import (
	"flag"
	"os"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

func main() {
	// --kubeconfig is controller-runtime's own flag.
	group := flag.String("group", "examples.setpoint.dev", "API group of the kind ConfigBundle")
	concurrency := flag.Int("concurrency", 4, "reconciles at a time")
	flag.Parse()
	ctrl.SetLogger(klog.Background())
	if err := run(*group, *concurrency); err != nil {
		klog.ErrorS(err, "cannot run")
		os.Exit(1)
	}
}

func run(group string, concurrency int) error {
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		return err
	}
	addToScheme(scheme, group)
	config, err := ctrl.GetConfig()
	if err != nil {
		return err
	}
	config.UserAgent = "peer-controller-runtime"
	manager, err := ctrl.NewManager(config, ctrl.Options{
		Scheme: scheme,
		// Nobody looks at managed fields here, and they are half of a small object.
		Cache: cache.Options{DefaultTransform: cache.TransformStripManagedFields()},
		// Twenty of these on one machine cannot share a port.
		Metrics: server.Options{BindAddress: "0"},
	})
	if err != nil {
		return err
	}
	ctx := ctrl.SetupSignalHandler()
	if err := setUp(ctx, manager, group, concurrency); err != nil {
		return err
	}
	return manager.Start(ctx)
}
