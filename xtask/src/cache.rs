//! What is installed or built once for all clones: outside the work tree, named by what it was made of.

use std::fs;
use std::path::{Path, PathBuf};

use crate::step::Failure;

/// Written last: without it, what is there is not all of it.
const COMPLETE: &str = ".complete";

/// `$SETPOINT_CACHE_DIR`, else the user's own cache.
fn root() -> Result<PathBuf, Failure> {
    let of = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    of("SETPOINT_CACHE_DIR")
        .or_else(|| of("XDG_CACHE_HOME").map(|dir| dir.join("setpoint")))
        .or_else(|| of("HOME").map(|home| home.join(".cache/setpoint")))
        .ok_or_else(|| "there is no place for what tests need: set SETPOINT_CACHE_DIR or HOME".into())
}

/// The directory of `what`, made by `make` unless it is there. It is made anew when one of the parts
/// that it is made of is another.
pub(crate) fn dir(
    what: &str,
    parts: &[&[u8]],
    make: impl FnOnce(&Path) -> Result<(), Failure>,
) -> Result<PathBuf, Failure> {
    let dir = root()?.join(format!("{what}-{:016x}", digest(parts)));
    let complete = dir.join(COMPLETE);
    if complete.is_file() {
        return Ok(dir);
    }
    let failed = |error: std::io::Error| format!("{}: {error}", dir.display());
    if dir.exists() {
        fs::remove_dir_all(&dir).map_err(failed)?;
    }
    fs::create_dir_all(&dir).map_err(failed)?;
    make(&dir)?;
    fs::write(&complete, "").map_err(failed)?;
    Ok(dir)
}

/// FNV-1a: the same on every machine and with every compiler.
fn digest(parts: &[&[u8]]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for part in parts {
        for byte in (part.len() as u64).to_le_bytes().iter().chain(*part) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_named_by_all_of_its_parts() {
        assert_eq!(digest(&[b"a", b"b"]), digest(&[b"a", b"b"]));
        assert_ne!(digest(&[b"a", b"b"]), digest(&[b"ab", b""]));
        assert_ne!(digest(&[b"a"]), digest(&[b"b"]));
    }
}
