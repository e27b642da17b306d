//! `setpoint plugin test`: golden scenarios and recordings on the compiled component, without a host.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use setpoint_cluster::source::read::{ReadError, read_text};
use setpoint_cluster::source::scan::is_hidden;
use setpoint_cluster::source::yaml::{Position, SourceError};
use setpoint_core::key::GroupKind;
use setpoint_core::recording;
use setpoint_plugin::Plugin;
use setpoint_schema::{Crd, FieldError};

use super::load;
use super::rerun::{call, plugin_host, rerun};
use super::scenario::{self, Known, Scenario, came, read, title};
use super::stage::{NoCall, Setting, Stage, Subject};
use crate::crds::definitions;
use crate::diff;
use crate::failure::Failure;
use crate::output::print;
use crate::yaml::to_yaml;

/// Where scenarios are if none are named.
const SCENARIOS: &str = "tests/scenarios";
/// Recordings end in this.
const RECORDING: &str = "jsonl";

#[derive(clap::Args, Debug)]
pub(crate) struct TestArgs {
    /// The plugin file
    pub(crate) file: PathBuf,
    /// Scenarios (*.yaml, *.yml), recordings (*.jsonl), or directories of them [default: tests/scenarios]
    #[arg(value_name = "SCENARIO|DIR")]
    pub(crate) paths: Vec<PathBuf>,
    /// Write what comes out into the scenarios, as what they expect
    #[arg(long)]
    pub(crate) update: bool,
}

/// Runs them all, and says of each what came of it.
///
/// # Errors
/// One of them failed, or could not be read.
pub(crate) fn test(args: &TestArgs) -> Result<(), Failure> {
    let plugin = load(&plugin_host()?, &args.file)?;
    let tested = Tested { crds: definitions(&args.file, plugin.description())?, plugin, update: args.update };
    let mut tally = Tally::default();
    for file in fixtures(&args.paths)? {
        if file.extension().is_some_and(|extension| extension == RECORDING) {
            tested.recording(&file, &mut tally)?;
        } else {
            tested.scenarios(&file, &mut tally)?;
        }
    }
    tally.end()
}

/// What came of a scenario or of a recorded call.
#[derive(Clone, PartialEq, Debug)]
enum Verdict {
    Ok,
    Updated,
    /// With everything that there is to say, in lines.
    Failed(String),
}

/// How many there were.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Tally {
    ok: usize,
    updated: usize,
    failed: usize,
}

impl Tally {
    /// Says what came of one.
    fn tell(&mut self, place: &str, name: &str, verdict: &Verdict) -> Result<(), Failure> {
        let (word, detail) = match verdict {
            Verdict::Ok => {
                self.ok += 1;
                ("ok     ", "")
            }
            Verdict::Updated => {
                self.updated += 1;
                ("updated", "")
            }
            Verdict::Failed(detail) => {
                self.failed += 1;
                ("FAILED ", detail.as_str())
            }
        };
        let line = format!("{word} {place} {name}");
        print(&format!("{}\n{}", line.trim_end(), indented(detail)))
    }

    fn summary(self) -> String {
        let count = |number: usize, word: &str| if number == 0 { String::new() } else { format!(", {number} {word}") };
        let all = self.ok + self.updated + self.failed;
        format!("{all} tested: {} ok{}{}\n", self.ok, count(self.updated, "updated"), count(self.failed, "failed"))
    }

    fn end(self) -> Result<(), Failure> {
        if self == Self::default() {
            return Err(Failure::new("there is nothing to test: no scenario and no recorded call is there")
                .hint("write a scenario with `given` and let --update write what comes of it"));
        }
        print(&self.summary())?;
        if self.failed == 0 {
            return Ok(());
        }
        Err(Failure::new(format!("{} of {} failed", self.failed, self.ok + self.updated + self.failed))
            .hint("if what came is right, take it over with --update, and look at the difference before you commit it"))
    }
}

fn indented(text: &str) -> String {
    text.lines().map(|line| if line.is_empty() { "\n".to_owned() } else { format!("    {line}\n") }).collect()
}

/// The plugin under test.
struct Tested {
    plugin: Arc<Plugin>,
    crds: Vec<Crd>,
    update: bool,
}

impl Tested {
    fn known(&self, kind: &GroupKind) -> Option<Known> {
        let own = self.crds.iter().find(|crd| *crd.group == *kind.group && *crd.kind == *kind.kind);
        match own {
            Some(crd) => Some(Known { owned: true, namespaced: crd.namespaced }),
            None => setpoint_cluster::local::Model::new()
                .crd(kind)
                .map(|crd| Known { owned: false, namespaced: crd.namespaced }),
        }
    }

    fn scenarios(&self, file: &Path, tally: &mut Tally) -> Result<(), Failure> {
        let shown = file.display().to_string();
        let text = text_of(file)?;
        let scenarios = scenario::parse(&shown, &text, &|kind| self.known(kind));
        let mut updates = Vec::new();
        for scenario in scenarios {
            match scenario {
                Ok(scenario) => {
                    let (verdict, came) = self.scenario(&scenario)?;
                    tally.tell(&format!("{shown}:{}", scenario.line), &scenario.name, &verdict)?;
                    if verdict == Verdict::Updated {
                        updates.push((scenario, came));
                    }
                }
                Err(error) => {
                    let place = format!("{shown}:{}", error.position);
                    tally.tell(&place, "", &Verdict::Failed(error.message))?;
                }
            }
        }
        if updates.is_empty() { Ok(()) } else { write(file, text, &updates) }
    }

    /// Runs one, and answers what came of it in the form of `expect`.
    fn scenario(&self, scenario: &Scenario) -> Result<(Verdict, Value), Failure> {
        let subject =
            Subject { digest: self.plugin.digest().as_str(), description: self.plugin.description(), crds: &self.crds };
        let setting = Setting {
            given: scenario.given.clone(),
            reconcile: &scenario.reconcile,
            deleting: scenario.deleting,
            config: scenario.config.as_ref(),
            unavailable: &scenario.unavailable,
            not_granted: &scenario.not_granted,
        };
        let (came, logs) = match Stage::set(&subject, &setting) {
            Ok(stage) => {
                let called = call(&self.plugin, &stage.request, stage.reads())?;
                let refused = called.outcome.as_ref().map(|outcome| stage.refusals(outcome)).unwrap_or_default();
                (came(&called.result, &stage.asked(), &refused)?, called.logs)
            }
            Err(NoCall::Refused { key, errors }) if key == scenario.reconcile => (invalid(&errors), Vec::new()),
            Err(NoCall::Refused { key, errors }) => {
                let at = scenario.given.iter().position(|(given, _)| *given == key);
                let place = at.and_then(|at| scenario.places.get(at)).map(Position::to_string).unwrap_or_default();
                let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
                let text = format!("{place}: {} cannot be given: {}", title(&key), lines.join("; "));
                return Ok((Verdict::Failed(text), Value::Null));
            }
            Err(NoCall::Wrong(text)) => return Ok((Verdict::Failed(text), Value::Null)),
        };
        Ok((judge(scenario.expect.as_ref(), &came, self.update, &logs), came))
    }

    /// Makes the calls of a recording again, each of which must come to the same.
    fn recording(&self, file: &Path, tally: &mut Tally) -> Result<(), Failure> {
        let text = text_of(file)?;
        let (_, calls) =
            recording::parse(&text).map_err(|error| Failure::new(format!("{}: {error}", file.display())))?;
        let name = &self.plugin.description().name;
        for (at, recorded) in calls.iter().enumerate().filter(|(_, call)| *call.plugin == **name) {
            let place = format!("{}: call {}", file.display(), at + 1);
            let rerun = rerun(&self.plugin, recorded)?;
            let verdict = match rerun.difference(recorded)? {
                None => Verdict::Ok,
                // It may come to something else each time: that is no promise that was broken (rule A7).
                Some(_) if recorded.impure || rerun.called.impure => Verdict::Ok,
                Some(difference) => {
                    let mut detail = difference;
                    for question in &rerun.unrecorded {
                        detail.push_str(&format!("not in the recording: {}\n", read(question)));
                    }
                    Verdict::Failed(detail + &logged(&rerun.called.logs))
                }
            };
            tally.tell(&place, &recorded.request.key, &verdict)?;
        }
        Ok(())
    }
}

/// The mistakes for which the host would not take the object.
fn invalid(errors: &[FieldError]) -> Value {
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    json!({ "invalid": lines })
}

/// Whether what came is what is expected.
fn judge(expect: Option<&Value>, came: &Value, update: bool, logs: &[String]) -> Verdict {
    match expect {
        Some(expect) if expect == came => Verdict::Ok,
        _ if update => Verdict::Updated,
        Some(expect) => Verdict::Failed(diff::unified(&to_yaml(expect), &to_yaml(came)) + &logged(logs)),
        None => Verdict::Failed(format!("it expects nothing; with --update it would expect:\n{}", to_yaml(came))),
    }
}

fn logged(logs: &[String]) -> String {
    logs.iter().map(|line| format!("logged: {line}\n")).collect()
}

/// Writes new expectations into a file, from its end so that the lines above keep their numbers.
fn write(file: &Path, mut text: String, updates: &[(Scenario, Value)]) -> Result<(), Failure> {
    for (scenario, came) in updates.iter().rev() {
        text = scenario.rewrite(&text, came).map_err(|error| failure(file, &error))?;
    }
    super::sdk::write(file, text.as_bytes()).map_err(|error| Failure::io(file, &error))
}

fn failure(file: &Path, error: &SourceError) -> Failure {
    Failure::new(format!("{}:{error}", file.display()))
}

fn text_of(file: &Path) -> Result<String, Failure> {
    match read_text(file) {
        Ok((text, _)) => Ok(text),
        Err(ReadError::Gone) => Err(Failure::new(format!("{}: there is no such file", file.display()))),
        Err(ReadError::Refused(error)) => Err(failure(file, &error)),
    }
}

/// The files that are meant, in order.
fn fixtures(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    if paths.is_empty() && !Path::new(SCENARIOS).is_dir() {
        return Err(Failure::usage(format!("there is no directory {SCENARIOS} here"))
            .hint("name scenarios, recordings or directories of them after the plugin file"));
    }
    let usual = [PathBuf::from(SCENARIOS)];
    let paths: &[PathBuf] = if paths.is_empty() { &usual } else { paths };
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            collect(path, &mut files)?;
        } else {
            files.push(path.clone());
        }
    }
    Ok(files)
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) -> Result<(), Failure> {
    let mut entries = std::fs::read_dir(dir)
        .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>())
        .map_err(|error| Failure::io(dir, &error))?;
    entries.sort();
    for path in entries {
        let hidden = path.file_name().is_none_or(|name| is_hidden(&name.to_string_lossy()));
        let fixture = path.extension().is_some_and(|e| e == "yaml" || e == "yml" || e == RECORDING);
        match (hidden, path.is_dir()) {
            (true, _) => {}
            (false, true) => collect(&path, files)?,
            (false, false) if fixture => files.push(path),
            (false, false) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_is_compared_as_a_whole() {
        let (expected, came) = (json!({"outcome": {"readiness": "ready"}}), json!({"failure": {"retry": "later"}}));
        assert_eq!(judge(Some(&came), &came, false, &[]), Verdict::Ok);
        assert_eq!(judge(Some(&came), &came, true, &[]), Verdict::Ok, "nothing is written if nothing differs");
        assert_eq!(judge(Some(&expected), &came, true, &[]), Verdict::Updated);
        let Verdict::Failed(text) = judge(Some(&expected), &came, false, &["info hello".into()]) else {
            panic!("a difference passed");
        };
        assert!(text.contains("retry: later") && text.ends_with("logged: info hello\n"), "{text}");
    }

    #[test]
    fn a_scenario_that_expects_nothing_fails_and_shows_what_came() {
        let came = json!({"failure": {"retry": "later"}});
        let said = "it expects nothing; with --update it would expect:\nfailure:\n  retry: later\n";
        assert_eq!(judge(None, &came, false, &[]), Verdict::Failed(said.into()));
        assert_eq!(judge(None, &came, true, &[]), Verdict::Updated);
    }

    #[test]
    fn the_summary_says_how_many_and_fails_if_one_did() {
        let tally = Tally { ok: 3, updated: 0, failed: 1 };
        assert_eq!(tally.summary(), "4 tested: 3 ok, 1 failed\n");
        assert!(tally.end().is_err_and(|failure| failure.exit == 1 && failure.message == "1 of 4 failed"));
        assert_eq!(Tally { updated: 2, ..Tally::default() }.summary(), "2 tested: 0 ok, 2 updated\n");
        assert!(Tally::default().end().is_err_and(|failure| failure.message.contains("nothing to test")));
    }

    #[test]
    fn fixtures_are_found_below_directories_and_taken_as_named() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        std::fs::create_dir_all(dir.path().join("below"))?;
        for name in ["b.yaml", "a.jsonl", "readme.md", ".hidden.yaml", "below/c.yml"] {
            std::fs::write(dir.path().join(name), "")?;
        }
        let named = dir.path().join("readme.md");
        let found = fixtures(&[dir.path().to_owned(), named.clone()])?;
        let names = ["a.jsonl", "b.yaml", "below/c.yml"].map(|name| dir.path().join(name));
        assert_eq!(found[..3], names);
        assert_eq!(found[3..], [named]);
        assert!(
            fixtures(&[dir.path().join("missing.yaml")]).is_ok_and(|files| files.len() == 1),
            "said when it is read"
        );
        let missing = text_of(&dir.path().join("missing.yaml")).map_err(|failure| failure.message);
        assert!(missing.is_err_and(|text| text.ends_with("missing.yaml: there is no such file")));
        Ok(())
    }

    #[test]
    fn updates_of_one_file_do_not_disturb_each_other() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("two.yaml");
        let one = "given:\n- apiVersion: a.io/v1\n  kind: Pool\n  metadata: {name: p}\n";
        let text = format!("{one}---\n{one}expect: {{}}\n");
        let known = |_: &GroupKind| Some(Known { owned: true, namespaced: true });
        let mut updates = Vec::new();
        for (scenario, word) in scenario::parse("two.yaml", &text, &known).into_iter().zip(["first", "second"]) {
            updates.push((scenario?, json!({"trap": word})));
        }
        write(&file, text, &updates)?;
        let expected = format!("{one}expect:\n  trap: first\n---\n{one}expect:\n  trap: second\n");
        assert_eq!(std::fs::read_to_string(&file)?, expected);
        Ok(())
    }
}
