//! Paths and patterns of them, as they are written in a configuration.

use std::path::{Path, PathBuf};

/// Its last part.
pub(super) fn last(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Whether it stands for all paths of a directory that are called like that.
pub(super) fn is_pattern(path: &Path) -> bool {
    last(path).contains('*')
}

/// The directory that it is in.
pub(super) fn parent(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// What a directory has that is wanted, by its name and its path; never what is hidden.
///
/// # Errors
/// It cannot be read.
pub(super) fn list(dir: &Path, wanted: impl Fn(&str, &Path) -> bool) -> Result<Vec<PathBuf>, String> {
    let entries = std::fs::read_dir(dir).map_err(|error| format!("it cannot be read: {error}"))?;
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| format!("it cannot be read: {error}"))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') && wanted(&name, &entry.path()) {
            found.push(entry.path());
        }
    }
    found.sort_unstable();
    Ok(found)
}
