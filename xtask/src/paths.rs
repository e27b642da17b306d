//! Where things are.

use std::path::{Path, PathBuf};

/// The clone.
pub(crate) fn root() -> PathBuf {
    // At run time, so that a clone can be moved after it was built.
    let here =
        std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    here.parent().map(Path::to_owned).unwrap_or(here)
}

/// Where cargo builds the host.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// Where the built plugins are collected.
pub(crate) fn guests() -> PathBuf {
    target().join("guests")
}

/// The workspace of the plugins.
pub(crate) fn plugins() -> PathBuf {
    root().join("plugins")
}

/// The programs that Setpoint is measured against.
pub(crate) fn peers() -> PathBuf {
    root().join("tests/peers")
}

/// A binary of the workspace, by the directory of its profile.
pub(crate) fn binary(profile: &str, name: &str) -> PathBuf {
    target().join(profile).join(name)
}
