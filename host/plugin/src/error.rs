//! Why a plugin cannot be loaded.

use std::path::PathBuf;

use crate::imports::{KNOWN_VERSIONS, hints};

/// Why the host cannot be made or a plugin cannot be loaded. Each text says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PluginError {
    /// The file has no bytes.
    #[error("the file is empty")]
    Empty,
    /// It does not begin like WebAssembly.
    #[error(
        "this is not WebAssembly: it begins with {0:02x?}; expected a component, built for the target wasm32-wasip2"
    )]
    NotWasm(Vec<u8>),
    /// It is WebAssembly text.
    #[error("this is WebAssembly text; expected the binary format, built for the target wasm32-wasip2")]
    Text,
    /// It is a core module.
    #[error(
        "this is a core WebAssembly module, not a component; build it for the target wasm32-wasip2 instead of wasm32-wasip1 or wasm32-unknown-unknown"
    )]
    CoreModule,
    /// It is native code, which is never taken from outside.
    #[error("this is compiled code, not WebAssembly; give the .wasm file that it was made of")]
    Precompiled,
    /// The file ends too early (rule D12).
    #[error(
        "the file is cut off: section at byte {offset} has {expected} bytes, {found} are there; is it still being copied?"
    )]
    Truncated {
        /// Where the unfinished section begins.
        offset: usize,
        /// How long it says it is.
        expected: usize,
        /// How much of it is there.
        found: usize,
    },
    /// It is damaged, or uses what this host does not know.
    #[error("the component does not compile: {0}")]
    Compile(String),
    /// It is a component, but no reconciler.
    #[error(
        "this component is not a reconciler: it does not export setpoint:reconciler/guest (it exports {}){}",
        list(.exports),
        if .exports.iter().any(|name| name.starts_with("wasi:cli/run")) { "; it looks like a program: build a library with crate-type cdylib" } else { "" }
    )]
    OtherWorld {
        /// What it exports.
        exports: Vec<String>,
    },
    /// It speaks a version of the contract that this host does not know.
    #[error("this plugin speaks version {} of the contract, this host knows {}; {}", .found, KNOWN_VERSIONS.join(", "), "use a host or a plugin of the other's version")]
    UnknownVersion {
        /// The version that it speaks.
        found: String,
    },
    /// It needs what plugins do not have.
    #[error("this plugin needs what plugins do not have: {}{}", .names.join(", "), hints(.names))]
    Imports {
        /// The imports that are refused.
        names: Vec<String>,
    },
    /// Its functions have other types than its version of the contract says.
    #[error("the plugin does not fit the contract {version}: {reason}")]
    Interface {
        /// The version that it says to speak.
        version: String,
        /// What does not fit.
        reason: String,
    },
    /// `describe` trapped or used too much.
    #[error("the plugin could not be asked what it is: {0}")]
    Describe(String),
    /// What it says of itself makes no sense.
    #[error("the plugin's description is wrong: {0}")]
    Description(String),
    /// The engine cannot be made on this machine.
    #[error("WebAssembly cannot be run here: {0}")]
    Engine(String),
    /// The directory for compiled code cannot be used safely.
    #[error("the code cache {} cannot be used: {reason}", .path.display())]
    Cache {
        /// The directory.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}
