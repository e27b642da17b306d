//! One look at files without a running source: what a source of `local` would tell of them at its start.

use std::io;
use std::path::Path;
use std::sync::mpsc;

use setpoint_core::key::{LOCAL, Name};

use super::event::SourceEvent;
use super::ledger::{Ledger, Outcome};
use super::scan;
use super::watch::KindLookup;

/// Reads every file of a directory once, and answers what a source tells of them: objects, then what
/// there is to say about each file. Nothing is made and nothing is watched.
///
/// # Errors
/// The directory is not there or cannot be listed.
pub fn read_directory(root: &Path, kinds: KindLookup) -> io::Result<Vec<SourceEvent>> {
    // The scan itself only says that it found nothing; this says why.
    std::fs::read_dir(root)?;
    look(root, kinds, |ledger| {
        ledger.scan_started();
        let found = scan::scan(root, &mut |_, _| {});
        if found.identity.is_none() {
            return Err(io::Error::other("it went away while it was read"));
        }
        for file in found.files.keys() {
            ledger.read(0, file, false);
        }
        ledger.scan_completed(0, 0, found);
        Ok(())
    })
}

/// The same for some files of a directory, whatever they are called. They are named by their paths
/// below it.
///
/// # Errors
/// A file is not there, or is a directory.
pub fn read_files(root: &Path, files: &[Name], kinds: KindLookup) -> io::Result<Vec<SourceEvent>> {
    look(root, kinds, |ledger| {
        for file in files {
            match ledger.read(0, file, false) {
                Outcome::Taken | Outcome::Torn => {}
                Outcome::Gone => return Err(io::ErrorKind::NotFound.into()),
                Outcome::Directory => return Err(io::ErrorKind::IsADirectory.into()),
            }
        }
        Ok(())
    })
}

/// What a ledger that knows nothing of earlier tells when it is shown something.
fn look(
    root: &Path,
    kinds: KindLookup,
    show: impl FnOnce(&mut Ledger) -> io::Result<()>,
) -> io::Result<Vec<SourceEvent>> {
    let (tell, told) = mpsc::channel();
    let sink = move |event| {
        // The other end lives until the ledger is gone.
        let _ = tell.send(event);
    };
    let mut ledger = Ledger::new(LOCAL.into(), root.to_owned(), kinds, Vec::new(), None, Box::new(sink));
    show(&mut ledger)?;
    ledger.flush();
    drop(ledger);
    Ok(told.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::source::Scope;

    fn kinds() -> KindLookup {
        Arc::new(|group, kind| (group.is_empty() && kind == "ConfigMap").then_some(Scope { namespaced: true }))
    }

    fn config_map(name: &str) -> String {
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n")
    }

    /// Objects by name with their files, and errors and notices with theirs.
    fn shown(events: Vec<SourceEvent>) -> Vec<String> {
        let mut lines = Vec::new();
        for event in events {
            match event {
                SourceEvent::Desired(desired) => lines.push(format!("{} in {}", desired.object.key.name, desired.file)),
                SourceEvent::Report(report) => {
                    let errors = report.errors.iter().map(|error| format!("{}:{error}", report.file));
                    lines.extend(errors);
                    let notices =
                        report.notices.iter().map(|n| format!("{}:{}: {}", report.file, n.position, n.message));
                    lines.extend(notices);
                    lines.extend(
                        report.unclaimed.iter().map(|u| format!("{}:{}: {}", report.file, u.line, u.document.kind)),
                    );
                }
                SourceEvent::Identity(_) => {}
                other => lines.push(format!("{other:?}")),
            }
        }
        lines
    }

    #[test]
    fn a_look_tells_what_a_source_tells_at_its_start() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        std::fs::create_dir(dir.path().join("below"))?;
        std::fs::write(dir.path().join("a.yaml"), config_map("a"))?;
        std::fs::write(dir.path().join("below/b.yaml"), config_map("a"))?;
        std::fs::write(dir.path().join("broken.yaml"), "apiVersion: v1\nkind: [ConfigMap\n")?;
        std::fs::write(dir.path().join("other.yaml"), "apiVersion: x.io/v1\nkind: Other\nmetadata: {name: other}\n")?;
        std::fs::write(dir.path().join("readme.md"), "not read")?;
        let lines = shown(read_directory(dir.path(), kinds())?);
        assert_eq!(lines[0], "a in a.yaml", "{lines:?}");
        assert!(
            lines.iter().any(|line| line.starts_with("below/b.yaml:") && line.contains("a.yaml as well")),
            "{lines:?}"
        );
        assert!(lines.iter().any(|line| line.starts_with("broken.yaml:")), "{lines:?}");
        assert!(lines.contains(&"other.yaml:1: Other".to_owned()), "{lines:?}");
        assert!(!lines.iter().any(|line| line.contains("readme")), "{lines:?}");
        Ok(())
    }

    #[test]
    fn one_file_is_read_whatever_it_is_called() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        std::fs::write(dir.path().join("manifest.txt"), format!("{}---\n{}", config_map("a"), config_map("b")))?;
        let lines = shown(read_files(dir.path(), &["manifest.txt".into()], kinds())?);
        assert_eq!(lines, ["a in manifest.txt", "b in manifest.txt"]);
        let missing = read_files(dir.path(), &["nothing.yaml".into()], kinds()).map_err(|error| error.kind());
        assert_eq!(missing, Err(io::ErrorKind::NotFound));
        Ok(())
    }

    #[test]
    fn a_directory_that_is_not_there_is_an_error_and_is_not_made() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let missing = dir.path().join("nothing");
        assert!(read_directory(&missing, kinds()).is_err());
        assert!(!missing.exists());
        Ok(())
    }
}
