//! Components: a file of the plugins directory. An input that begins as WebAssembly does is loaded as it
//! is; any other is a list of changes to a component that works, six bytes each.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use setpoint_plugin::{Digest, HostOptions, PluginHost};

use crate::Target;

/// Whatever the bytes are, they are refused with a reason or are a plugin with a name, within bounded time
/// (rule D12). The same bytes loaded again are the same plugin.
pub(crate) const TARGET: Target = Target {
    name: "component",
    run,
    end,
    longest: 256,
    // Compiling takes most of it.
    patience: Duration::from_secs(60),
    words: &["\0asm", "\0asm\r\0\u{1}\0", "\0asm\u{1}\0\0\0", "(component)", "\u{7f}ELF"],
};

struct Bench {
    host: PluginHost,
    component: Vec<u8>,
}

static BENCH: Mutex<Option<Arc<Bench>>> = Mutex::new(None);

/// Where a component that works is: in the directory of built plugins.
fn component() -> PathBuf {
    let guests = std::env::var_os("SETPOINT_TEST_GUESTS").map_or_else(|| PathBuf::from("target/guests"), PathBuf::from);
    guests.join("workflow.wasm")
}

fn bench() -> Arc<Bench> {
    let mut bench = BENCH.lock().unwrap_or_else(PoisonError::into_inner);
    let made = bench.take().unwrap_or_else(|| {
        let path = component();
        let component = std::fs::read(&path)
            .unwrap_or_else(|error| panic!("{}: {error}; build the plugins: cargo xtask guests", path.display()));
        let options = HostOptions { max_instances: 2, ..HostOptions::default() };
        let host = PluginHost::new(options).unwrap_or_else(|error| panic!("no host: {error}"));
        Arc::new(Bench { host, component })
    });
    *bench = Some(made.clone());
    made
}

fn end() {
    *BENCH.lock().unwrap_or_else(PoisonError::into_inner) = None;
}

fn run(data: &[u8]) {
    let bench = bench();
    let bytes = if data.starts_with(b"\0asm") { data.to_vec() } else { changed(&bench.component, data) };
    match bench.host.load(&bytes) {
        Ok(plugin) => {
            assert_eq!(*plugin.digest(), Digest::of(&bytes));
            assert!(!plugin.description().name.is_empty());
            let again = bench.host.load(&bytes).unwrap_or_else(|error| panic!("loaded once, and then: {error}"));
            assert!(Arc::ptr_eq(&plugin, &again), "the same bytes are two plugins");
        }
        Err(error) => assert!(!error.to_string().trim().is_empty()),
    }
}

/// Each change: what is done, where (of 2³² parts of the whole), and with which byte.
fn changed(component: &[u8], changes: &[u8]) -> Vec<u8> {
    let mut bytes = component.to_vec();
    for change in changes.chunks_exact(6).take(16) {
        let [what, a, b, c, d, value] = *change else { continue };
        let part = u64::from(u32::from_be_bytes([a, b, c, d]));
        let at = ((part * bytes.len() as u64) >> 32) as usize;
        if at >= bytes.len() {
            continue;
        }
        match what % 5 {
            0 => bytes.truncate(at),
            1 => bytes[at] ^= 1 << (value % 8),
            2 => bytes[at] = value,
            3 => drop(bytes.drain(at..bytes.len().min(at + usize::from(value)))),
            _ => bytes.insert(at, value),
        }
    }
    bytes
}
