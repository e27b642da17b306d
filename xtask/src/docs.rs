//! `cargo xtask docs`: the reference pages of the book, made by the host's own binary.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::step::{Failure, run};
use crate::{PROFILE, commands, paths};

/// Where the pages stand.
fn reference() -> PathBuf {
    paths::root().join("docs/book/src/reference")
}

/// Writes the pages, or with `check` only says which of them are not what the code makes of them.
pub(crate) fn docs(check: bool) -> Result<(), Failure> {
    commands::build()?;
    if !check {
        return generate(&reference());
    }
    let fresh = paths::target().join("reference");
    if fresh.exists() {
        fs::remove_dir_all(&fresh).map_err(|error| format!("{}: {error}", fresh.display()))?;
    }
    generate(&fresh)?;
    let stale = differing(&pages(&fresh)?, &pages(&reference())?);
    if stale.is_empty() {
        return Ok(());
    }
    Err(format!("not what the code says: {}; run `cargo xtask docs`", stale.join(", ")))
}

fn generate(dir: &Path) -> Result<(), Failure> {
    run("write the reference", Command::new(paths::binary(PROFILE, "setpoint")).arg("docs").arg(dir))
}

/// The pages of a directory by name.
fn pages(dir: &Path) -> Result<BTreeMap<String, Vec<u8>>, Failure> {
    let failed = |error: std::io::Error| format!("{}: {error}", dir.display());
    let mut pages = BTreeMap::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let text = fs::read(entry.path()).map_err(|error| format!("{}: {error}", entry.path().display()))?;
        pages.insert(entry.file_name().to_string_lossy().into_owned(), text);
    }
    Ok(pages)
}

/// The names of made pages that are missing or different. Other pages are written by hand.
fn differing(made: &BTreeMap<String, Vec<u8>>, there: &BTreeMap<String, Vec<u8>>) -> Vec<String> {
    made.iter().filter(|(name, text)| there.get(*name) != Some(text)).map(|(name, _)| name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_is_missing_or_different_is_stale_and_one_by_hand_is_not() {
        let page = |name: &str, text: &str| (name.to_owned(), text.as_bytes().to_vec());
        let made = BTreeMap::from([page("a", "1"), page("b", "2"), page("c", "3")]);
        let there = BTreeMap::from([page("a", "1"), page("b", "old"), page("hand", "x")]);
        assert_eq!(differing(&made, &there), ["b", "c"]);
        assert!(differing(&made, &made).is_empty());
    }
}
