//! `docs/rules.md` says what checks each rule. It has to be true.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && !path.ends_with("target") {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The names of functions that carry `#[test]` or `#[tokio::test]`.
fn tests() -> BTreeSet<String> {
    let mut files = Vec::new();
    for directory in ["host", "sdk", "tests"] {
        sources(&root().join(directory), &mut files);
    }
    let mut names = BTreeSet::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap_or_default();
        let mut marked = false;
        for line in text.lines().map(str::trim_start) {
            marked |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
            let function = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
            if let Some(function) = function
                && std::mem::take(&mut marked)
            {
                let end = function.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(function.len());
                names.insert(function[..end].to_owned());
            }
        }
    }
    names
}

/// The rows of the table: number of the rule and what checks it.
fn rows() -> Vec<(String, String)> {
    let text = fs::read_to_string(root().join("docs/rules.md")).expect("docs/rules.md is there");
    let cells = text
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| rule ") && !line.starts_with("| promise "));
    cells
        .filter_map(|line| {
            let mut cells = line.trim_matches('|').splitn(3, '|').map(str::trim);
            let (rule, _, checked) = (cells.next()?, cells.next()?, cells.next()?);
            Some((rule.to_owned(), checked.to_owned()))
        })
        .collect()
}

#[test]
fn every_rule_has_a_row_with_a_check_or_a_reason() {
    let rows = rows();
    let rules = [('A', 13), ('B', 17), ('C', 10), ('D', 15)];
    for rule in rules.iter().flat_map(|(letter, last)| (1..=*last).map(move |number| format!("{letter}{number}"))) {
        let found: Vec<_> = rows.iter().filter(|(name, _)| *name == rule).collect();
        assert_eq!(found.len(), 1, "rows of {rule}");
        let checked = &found[0].1;
        let reason = checked.split("not yet").nth(1);
        assert!(checked.contains('`') || checked.contains("simulation") || reason.is_some(), "{rule} is not checked");
    }
}

#[test]
fn every_test_that_the_table_names_exists() {
    let tests = tests();
    let mut named = 0;
    for (rule, checked) in rows() {
        // Words of more than one part are names of tests; commands and conditions have no underscore.
        for name in checked.split('`').skip(1).step_by(2).filter(|name| name.contains('_') && !name.contains(' ')) {
            assert!(tests.contains(name), "{rule}: there is no test {name}");
            named += 1;
        }
    }
    assert!(named > 100, "only {named} names were found");
}
