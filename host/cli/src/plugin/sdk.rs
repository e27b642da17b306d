//! The SDK that plugins depend on, unpacked from the binary into the user's cache.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};

use setpoint_plugin::Digest;

use super::embedded::SDK;
use crate::failure::Failure;

/// The directory of the SDK: the one given, else the one that the binary carries.
pub(super) fn directory(given: Option<&Path>) -> Result<PathBuf, Failure> {
    match given {
        Some(dir) => check(dir),
        None => unpack(&cache_dir(std::env::var_os("XDG_CACHE_HOME"), std::env::var_os("HOME"))?),
    }
}

fn check(dir: &Path) -> Result<PathBuf, Failure> {
    let manifest = dir.join("Cargo.toml");
    let text = std::fs::read_to_string(&manifest).map_err(|error| Failure::io(&manifest, &error))?;
    if !text.contains("name = \"setpoint-sdk\"") {
        return Err(Failure::new(format!("{}: this is not the crate setpoint-sdk", manifest.display()))
            .hint("name the directory sdk/rust of a clone with --sdk PATH, or leave it out"));
    }
    dir.canonicalize().map_err(|error| Failure::io(dir, &error))
}

/// `$XDG_CACHE_HOME`, else `~/.cache`. As its specification says, a relative path does not count.
fn cache_dir(xdg: Option<OsString>, home: Option<OsString>) -> Result<PathBuf, Failure> {
    let absolute = |path: Option<OsString>| path.map(PathBuf::from).filter(|path| path.is_absolute());
    match (absolute(xdg), absolute(home)) {
        (Some(cache), _) => Ok(cache),
        (None, Some(home)) => Ok(home.join(".cache")),
        (None, None) => Err(Failure::new("there is no cache directory: neither XDG_CACHE_HOME nor HOME is set")
            .hint("name the directory of the SDK with --sdk PATH")),
    }
}

/// Writes the SDK into a directory of its own version and content, and mends what is not as it was.
fn unpack(cache: &Path) -> Result<PathBuf, Failure> {
    let dir = cache.join("setpoint").join("sdk").join(format!("{}-{}", env!("CARGO_PKG_VERSION"), hash().short()));
    for (path, content) in SDK {
        let file = dir.join(path);
        if std::fs::read(&file).is_ok_and(|there| there == *content) {
            continue;
        }
        write(&file, content).map_err(|error| Failure::io(&file, &error))?;
    }
    Ok(dir)
}

fn hash() -> Digest {
    let mut all = Vec::new();
    for (path, content) in SDK {
        all.extend_from_slice(path.as_bytes());
        all.push(0);
        all.extend_from_slice(&content.len().to_le_bytes());
        all.extend_from_slice(content);
    }
    Digest::of(&all)
}

/// Puts a file there in one step, so that a build that runs at the same time never sees half of it.
pub(super) fn write(file: &Path, content: &[u8]) -> std::io::Result<()> {
    let dir = file.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(dir)?;
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    // Begins with a dot: a host that watches the directory does not take it for a plugin.
    let mut new = tempfile::Builder::new().prefix(&format!(".{name}.")).suffix(".new").tempfile_in(dir)?;
    new.write_all(content)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // Temporary files are private; what stays is as readable as other files.
        new.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
    }
    new.as_file().sync_all()?;
    new.persist(file).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sdk_is_unpacked_with_its_contract_and_mended_if_it_was_changed() -> Result<(), Box<dyn std::error::Error>> {
        let cache = tempfile::tempdir()?;
        let dir = unpack(cache.path())?;
        assert!(dir.starts_with(cache.path().join("setpoint/sdk")));
        let manifest = std::fs::read_to_string(dir.join("Cargo.toml"))?;
        assert!(manifest.contains("name = \"setpoint-sdk\""));
        assert!(!manifest.contains("workspace = true"), "it stands alone: {manifest}");
        assert!(std::fs::read_to_string(dir.join("wit/reconciler.wit"))?.contains("package setpoint:reconciler@"));
        std::fs::write(dir.join("src/lib.rs"), "broken")?;
        std::fs::remove_file(dir.join("wit/reconciler.wit"))?;
        assert_eq!(unpack(cache.path())?, dir);
        assert_ne!(std::fs::read(dir.join("src/lib.rs"))?, b"broken");
        assert!(dir.join("wit/reconciler.wit").exists());
        assert_eq!(check(&dir)?, dir.canonicalize()?);
        Ok(())
    }

    #[test]
    fn the_cache_is_where_the_user_keeps_it() {
        let dir = |xdg: Option<&str>, home: Option<&str>| cache_dir(xdg.map(Into::into), home.map(Into::into)).ok();
        assert_eq!(dir(Some("/x"), Some("/home/a")), Some("/x".into()));
        assert_eq!(dir(Some("x"), Some("/home/a")), Some("/home/a/.cache".into()));
        assert_eq!(dir(None, Some("/home/a")), Some("/home/a/.cache".into()));
        assert_eq!(dir(Some(""), None), None);
    }

    #[test]
    fn a_directory_that_is_not_the_sdk_is_refused() -> std::io::Result<()> {
        let dir = tempfile::tempdir()?;
        assert!(check(dir.path()).is_err_and(|failure| failure.message.contains("Cargo.toml: ")));
        std::fs::write(dir.path().join("Cargo.toml"), "[package]\nname = \"other\"\n")?;
        assert!(
            check(dir.path()).is_err_and(|failure| failure.message.ends_with("this is not the crate setpoint-sdk"))
        );
        Ok(())
    }
}
