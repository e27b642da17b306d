//! The tests that do not care where objects are, once more with a Kubernetes cluster in the place of files: the same
//! tests, the same expectations. How that comes about is in `setpoint_test_support::place`; the name of this program
//! decides it.

mod bad_children;
mod children;
mod hostile;
mod lifecycle;
mod plugins;
mod upgrades;
