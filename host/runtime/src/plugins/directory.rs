//! The plugins directory: which files there are, and when it is worth looking again.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use notify::event::{AccessKind, AccessMode};
use notify::{Config as NotifyConfig, EventKind, EventKindMask, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

use super::file::Seen;

/// The files of a directory that may be plugins, by their names.
///
/// # Errors
/// It cannot be read, or not to its end: nothing is known of what is in it.
pub(super) fn look(dir: &Path) -> io::Result<BTreeMap<String, Seen>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let wasm = path.extension().is_some_and(|extension| extension == "wasm");
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        if !wasm || name.starts_with('.') {
            continue;
        }
        if let Some(seen) = Seen::look(&path) {
            found.insert(name.to_owned(), seen);
        }
    }
    Ok(found)
}

/// Tells `changed` of everything that is written or moved in a directory, until it is dropped.
pub(super) fn watcher(dir: &Path, changed: Arc<Notify>) -> notify::Result<RecommendedWatcher> {
    let kinds = EventKindMask::CORE | EventKindMask::ACCESS_CLOSE;
    let on_event = move |event: notify::Result<notify::Event>| {
        let opened = event.is_ok_and(
            |event| matches!(event.kind, EventKind::Access(kind) if kind != AccessKind::Close(AccessMode::Write)),
        );
        if !opened {
            changed.notify_one();
        }
    };
    let mut watcher = RecommendedWatcher::new(on_event, NotifyConfig::default().with_event_kinds(kinds))?;
    watcher.watch(dir, RecursiveMode::NonRecursive)?;
    Ok(watcher)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_cannot_be_read_is_not_an_empty_one() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("a.wasm"), b"x").expect("written");
        std::fs::write(dir.path().join(".hidden.wasm"), b"x").expect("written");
        std::fs::write(dir.path().join("a.txt"), b"x").expect("written");
        std::fs::create_dir(dir.path().join("d.wasm")).expect("made");
        let found = look(dir.path()).expect("readable");
        assert_eq!(found.keys().collect::<Vec<_>>(), ["a.wasm", "d.wasm"]);
        assert!(look(&dir.path().join("none")).is_err());
        assert!(look(&dir.path().join("a.wasm")).is_err());
    }
}
