//! The inputs that are kept: examples to begin with, and what once broke a promise.

use std::fs;
use std::path::{Path, PathBuf};

/// An input that is kept.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Where, below this crate: `corpus/yaml/list.yaml`.
    pub path: String,
    /// The input.
    pub data: Vec<u8>,
}

/// The directory of examples of a target.
pub fn examples(target: &str) -> PathBuf {
    crate_dir().join("corpus").join(target)
}

/// What once broke a promise, then examples; each sorted by name.
///
/// # Errors
/// A directory that is there, or a file in it, cannot be read.
pub fn of(target: &str) -> std::io::Result<Vec<Kept>> {
    let mut kept = Vec::new();
    for part in ["regressions", "corpus"] {
        let dir = crate_dir().join(part).join(target);
        if !dir.is_dir() {
            continue;
        }
        let mut files = fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
        files.sort();
        for file in files {
            let path = file.strip_prefix(crate_dir()).unwrap_or(&file).display().to_string();
            kept.push(Kept { path, data: fs::read(&file)? });
        }
    }
    Ok(kept)
}

fn crate_dir() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
