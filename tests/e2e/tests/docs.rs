//! The book and the README say what is true of the binary: pages that are made from the code are those of
//! the code, links lead somewhere, and commands are ones that exist.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use setpoint_test_support::host::command;
use setpoint_test_support::run;

const COMMAND: Duration = Duration::from_secs(30);
/// Where the pages lie that `setpoint docs` makes, below the book's sources.
const GENERATED: &str = "reference";
const SUMMARY: &str = "SUMMARY.md";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn book() -> PathBuf {
    root().join("docs/book/src")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// An empty directory of this name.
fn scratch(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if dir.exists() {
        fs::remove_dir_all(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    }
    fs::create_dir_all(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    dir
}

/// All pages in a directory and below, by their paths relative to it.
fn pages(dir: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open = vec![dir.to_owned()];
    while let Some(current) = open.pop() {
        let entries = fs::read_dir(&current).unwrap_or_else(|error| panic!("{}: {error}", current.display()));
        for entry in entries.flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                let below = path.strip_prefix(dir).unwrap_or(&path);
                found.insert(below.to_string_lossy().into_owned());
            }
        }
    }
    found
}

/// Each line outside of fences and in them, the latter with what stands behind their opening.
fn fenced(text: &str) -> impl Iterator<Item = (Option<&str>, &str)> {
    let mut open: Option<&str> = None;
    text.lines().filter_map(move |line| match (line.trim_start().strip_prefix("```"), open) {
        (Some(_), Some(_)) => {
            open = None;
            None
        }
        (Some(language), None) => {
            open = Some(language.trim());
            None
        }
        (None, fence) => Some((fence, line)),
    })
}

/// Where the links of a page lead, without those to other sites.
fn links(text: &str) -> Vec<String> {
    let prose = fenced(text).filter(|(fence, _)| fence.is_none());
    let targets = prose.flat_map(|(_, line)| line.split("](").skip(1));
    let targets = targets.filter_map(|rest| rest.split_once(')')).map(|(target, _)| target);
    targets.filter(|target| !target.contains("://")).map(str::to_owned).collect()
}

/// The anchors of a page, as mdBook makes them of headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = fenced(text).filter(|(fence, line)| fence.is_none() && line.starts_with('#'));
    headings.map(|(_, line)| anchor(line.trim_start_matches('#').trim())).collect()
}

fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | ' '));
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}

/// What is wrong with the links of the page in this file.
fn broken_links(file: &Path) -> Vec<String> {
    let dir = file.parent().unwrap_or(Path::new("."));
    let mut broken = Vec::new();
    for link in links(&read(file)) {
        let (path, wanted) = link.split_once('#').map_or((link.as_str(), None), |(path, anchor)| (path, Some(anchor)));
        let target = if path.is_empty() { file.to_owned() } else { dir.join(path) };
        let there =
            target.exists() && wanted.is_none_or(|wanted| target.is_file() && anchors(&read(&target)).contains(wanted));
        if !there {
            broken.push(format!("{}: {link}", file.display()));
        }
    }
    broken
}

/// The words behind `setpoint` of each command line in a page: of those that are typed in fences of `console`
/// and `sh`, of indented ones, and of those within a sentence.
fn commands(text: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for (fence, line) in fenced(text) {
        match fence {
            Some("console") => found.extend(line.trim_start().strip_prefix("$ ").and_then(words)),
            Some("sh") => found.extend(words(line.trim_start())),
            Some(_) => {}
            None => {
                found.extend(line.strip_prefix("    ").and_then(words));
                found.extend(line.split('`').skip(1).step_by(2).filter_map(words));
            }
        }
    }
    found
}

/// The words behind `setpoint`, up to a comment or to what is the shell's; none if it is another command.
fn words(line: &str) -> Option<Vec<String>> {
    let rest = line.strip_prefix("setpoint ")?;
    let own = |word: &&str| !matches!(*word, "|" | ">" | "<" | "&&") && !word.starts_with('#');
    Some(rest.split_whitespace().take_while(own).map(str::to_owned).collect())
}

/// What `setpoint help` says of a command.
#[derive(Clone)]
struct Help {
    flags: BTreeSet<String>,
    has_commands: bool,
}

/// The flags, long and short, that the lines of a help text begin with.
fn flags(help: &str) -> BTreeSet<String> {
    let of_line = |line: &str| -> Vec<String> {
        let words = line.split_whitespace().take_while(|word| word.starts_with('-'));
        words.map(|word| word.trim_end_matches([',', '.']).to_owned()).collect()
    };
    help.lines().flat_map(of_line).collect()
}

/// Asks the binary once for each command.
struct Binary {
    dir: PathBuf,
    known: BTreeMap<Vec<String>, Option<Help>>,
}

impl Binary {
    /// None if there is no such command.
    fn help(&mut self, path: &[String]) -> Option<Help> {
        if let Some(known) = self.known.get(path) {
            return known.clone();
        }
        let ran = run(command(&self.dir).arg("help").args(path), COMMAND);
        let help = (ran.code == Some(0)).then(|| Help {
            flags: flags(&ran.stdout),
            has_commands: ran.stdout.lines().any(|line| line.trim_end() == "Commands:"),
        });
        self.known.insert(path.to_vec(), help.clone());
        help
    }

    /// What is wrong with a command line.
    fn problem(&mut self, words: &[String]) -> Option<String> {
        let words = words.strip_prefix(&["help".to_owned()]).unwrap_or(words);
        let mut path: Vec<String> = Vec::new();
        let mut rest = words.iter().take_while(|word| !word.starts_with('-'));
        let help = loop {
            let Some(help) = self.help(&path) else {
                return Some(format!("there is no `setpoint {}`", path.join(" ")));
            };
            match rest.next() {
                Some(word) if help.has_commands => path.push(word.clone()),
                _ => break help,
            }
        };
        let given = words.iter().filter(|word| word.starts_with('-') && word.len() > 1);
        let mut given = given.map(|word| word.split_once('=').map_or(word.as_str(), |(flag, _)| flag));
        let unknown = given.find(|flag| !help.flags.contains(*flag))?;
        Some(format!("`setpoint {}` has no {unknown}", path.join(" ")))
    }
}

#[test]
fn pages_that_are_made_from_the_code_are_those_of_the_code() {
    let made = scratch("made-pages");
    run(command(&made).arg("docs").arg(&made), COMMAND).ok();
    let committed = book().join(GENERATED);
    let remedy = "refresh the pages with `cargo xtask docs`";
    assert!(!pages(&made).is_empty());
    assert_eq!(pages(&made), pages(&committed), "{remedy}");
    for page in pages(&made) {
        assert!(read(&made.join(&page)) == read(&committed.join(&page)), "{GENERATED}/{page} is outdated; {remedy}");
    }
}

#[test]
fn every_link_leads_to_a_file_and_a_heading_that_exist() {
    let mut files: Vec<PathBuf> = pages(&book()).into_iter().map(|page| book().join(page)).collect();
    files.extend(["README.md", "docs/architecture.md"].map(|page| root().join(page)));
    let broken: Vec<String> = files.iter().flat_map(|file| broken_links(file)).collect();
    assert!(broken.is_empty(), "these links lead nowhere:\n{}", broken.join("\n"));
}

#[test]
fn every_page_is_in_the_summary_and_every_entry_is_a_page() {
    let listed: BTreeSet<String> = links(&read(&book().join(SUMMARY))).into_iter().collect();
    let mut there = pages(&book());
    assert!(there.remove(SUMMARY));
    assert_eq!(listed, there);
}

#[test]
fn every_command_in_the_book_has_a_name_and_flags_that_exist() {
    let mut binary = Binary { dir: scratch("commands-of-the-book"), known: BTreeMap::new() };
    let mut checked = 0;
    let mut problems = Vec::new();
    let written = pages(&book()).into_iter().filter(|page| !page.starts_with(GENERATED)).map(|page| book().join(page));
    for file in written.chain([root().join("README.md")]) {
        for words in commands(&read(&file)) {
            checked += 1;
            problems.extend(binary.problem(&words).map(|problem| format!("{}: {problem}", file.display())));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert!(checked > 50, "only {checked} commands were found: are they still looked for rightly?");
}

#[test]
fn a_command_that_does_not_exist_is_found() {
    let mut binary = Binary { dir: scratch("commands-that-do-not-exist"), known: BTreeMap::new() };
    let mut problem = |line: &str| words(line).and_then(|words| binary.problem(&words));
    assert_eq!(problem("setpoint frobnicate"), Some("there is no `setpoint frobnicate`".into()));
    assert_eq!(problem("setpoint get --wacth"), Some("`setpoint get` has no --wacth".into()));
    assert_eq!(problem("setpoint plugin knit"), Some("there is no `setpoint plugin knit`".into()));
    for right in
        ["setpoint get cb web -o json", "setpoint help plugin new", "setpoint --version", "setpoint get --server=x"]
    {
        assert_eq!(problem(right), None, "{right}");
    }
}

#[test]
fn commands_and_links_are_found_where_they_are_written() {
    let page = "Type `setpoint top --watch`, see [here](a.md#b) or [there](https://a.example).\n\n\
                    \x20   setpoint run  # until it ends\n\n\
                ```console\n$ setpoint get | head\nsetpoint 0.1.0\n```\n\
                ```rust\n// setpoint [no](link.md)\n```\n## A Heading, with `code`\n";
    let found: Vec<String> = commands(page).into_iter().map(|words| words.join(" ")).collect();
    assert_eq!(found, ["top --watch", "run", "get"]);
    assert_eq!(links(page), ["a.md#b"]);
    assert_eq!(anchors(page), BTreeSet::from(["a-heading-with-code".to_owned()]));
}
