//! `setpoint replay`: recorded calls made again without a host, and what would come of them now.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value, json};
use setpoint_core::recording::{self, Header, Question, RecordedCall, RecordedResult};
use setpoint_plugin::{Digest, Plugin};

use crate::args::{Output, OutputArgs};
use crate::crds::files;
use crate::failure::Failure;
use crate::output::{json_text, print, yaml_text};
use crate::plugin::rerun::{plugin_host, rerun};
use crate::plugin::{load, read_text};

#[derive(clap::Args, Debug)]
pub(crate) struct ReplayArgs {
    /// The recording, as `setpoint record` writes it (*.jsonl)
    pub(crate) file: PathBuf,
    /// Make the calls on this plugin file instead of the component that was recorded
    #[arg(long, value_name = "FILE.wasm")]
    pub(crate) plugin: Option<PathBuf>,
    /// Directory of plugins, in which the recorded component is looked for
    #[arg(long, value_name = "DIR", default_value = "plugins", env = "SETPOINT_PLUGINS")]
    pub(crate) plugins: PathBuf,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// What became of one recorded call.
#[derive(Serialize, Debug)]
struct Replayed {
    /// Its number in the recording, from 1.
    call: usize,
    plugin: String,
    key: String,
    /// When it was recorded.
    at: String,
    /// The result is the recorded one.
    same: bool,
    /// It may answer differently each time (rule A7): a difference is no change of behaviour.
    impure: bool,
    recorded: RecordedResult,
    now: RecordedResult,
    /// What it asked and was not recorded.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unrecorded: Vec<Question>,
    #[serde(skip)]
    difference: Option<String>,
}

/// Makes the calls of a recording again, and shows where the results differ.
///
/// # Errors
/// A call that is not impure comes to something else, or the recording or the plugin cannot be used.
pub(crate) fn replay(args: &ReplayArgs) -> Result<(), Failure> {
    let text = std::fs::read_to_string(&args.file).map_err(|error| Failure::io(&args.file, &error))?;
    let (header, calls) =
        recording::parse(&text).map_err(|error| Failure::new(format!("{}: {error}", args.file.display())))?;
    if calls.is_empty() {
        return Err(Failure::new(format!("{}: there is no call in it", args.file.display())));
    }
    let plugins = match &args.plugin {
        Some(file) => on_one(file, &calls)?,
        None => recorded_ones(&args.plugins, &calls)?,
    };
    let others = plugins.iter().filter(|plugin| plugin.is_none()).count();
    let mut replayed = Vec::new();
    for (at, (call, plugin)) in calls.iter().zip(plugins).enumerate() {
        let Some(plugin) = plugin else { continue };
        let rerun = rerun(&plugin, call)?;
        let difference = rerun.difference(call)?;
        replayed.push(Replayed {
            call: at + 1,
            plugin: call.plugin.clone(),
            key: call.request.key.clone(),
            at: call.at.clone(),
            same: difference.is_none(),
            impure: call.impure || rerun.called.impure,
            recorded: call.result.clone(),
            now: rerun.called.result,
            unrecorded: rerun.unrecorded,
            difference,
        });
    }
    print(&match args.output.output {
        Output::Table | Output::Wide => table(&header, &replayed, others),
        Output::Json => json_text(&whole(&header, &replayed, others)?)?,
        Output::Yaml => yaml_text(&whole(&header, &replayed, others)?)?,
    })?;
    match Summary::of(&replayed).differ {
        0 => Ok(()),
        differ => Err(Failure::new(format!("{differ} of {} calls differ", replayed.len()))),
    }
}

/// For each call what it is made on; none: it is left out.
type Plugins = Vec<Option<Arc<Plugin>>>;

/// One plugin file for all calls of the plugin of its name.
fn on_one(file: &Path, calls: &[RecordedCall]) -> Result<Plugins, Failure> {
    let plugin = load(&plugin_host()?, file)?;
    let name = &*plugin.description().name;
    if calls.iter().all(|call| call.plugin != name) {
        let recorded: BTreeSet<&str> = calls.iter().map(|call| call.plugin.as_str()).collect();
        let recorded: Vec<&str> = recorded.into_iter().collect();
        return Err(Failure::new(format!(
            "{}: no call of the plugin {name} was recorded, but of {}",
            file.display(),
            recorded.join(", ")
        )));
    }
    Ok(calls.iter().map(|call| (call.plugin == name).then(|| plugin.clone())).collect())
}

/// The very components that were recorded.
fn recorded_ones(dir: &Path, calls: &[RecordedCall]) -> Result<Plugins, Failure> {
    let digest = |call: &RecordedCall| {
        Digest::parse(&call.digest)
            .ok_or_else(|| Failure::new(format!("{:?} is not the digest of a component", call.digest)))
    };
    let wanted = calls.iter().map(digest).collect::<Result<Vec<Digest>, Failure>>()?;
    let host = plugin_host()?;
    let mut found: BTreeMap<Digest, Arc<Plugin>> = BTreeMap::new();
    for file in files(dir)? {
        let bytes = std::fs::read(&file).map_err(|error| Failure::io(&file, &error))?;
        let digest = Digest::of(&bytes);
        if wanted.contains(&digest) {
            found.insert(digest, load(&host, &file)?);
        }
    }
    let component = |(call, digest): (&RecordedCall, &Digest)| match found.get(digest) {
        Some(plugin) => Ok(Some(plugin.clone())),
        None => Err(Failure::new(format!(
            "{}: the component of {} that was recorded (sha256:{}) is not there",
            dir.display(),
            call.plugin,
            digest.short()
        ))
        .hint("name its directory with --plugins DIR, or make the calls on another one with --plugin FILE.wasm")),
    };
    calls.iter().zip(&wanted).map(component).collect()
}

/// How many calls came to what.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Debug)]
struct Summary {
    calls: usize,
    same: usize,
    differ: usize,
    /// They differ as well, which says nothing.
    impure: usize,
}

impl Summary {
    fn of(replayed: &[Replayed]) -> Self {
        let count = |which: &dyn Fn(&Replayed) -> bool| replayed.iter().filter(|call| which(call)).count();
        Self {
            calls: replayed.len(),
            same: count(&|call| call.same),
            differ: count(&|call| !call.same && !call.impure),
            impure: count(&|call| !call.same && call.impure),
        }
    }
}

fn whole(header: &Header, replayed: &[Replayed], others: usize) -> Result<Value, Failure> {
    let calls = serde_json::to_value(replayed)
        .map_err(|error| Failure::new(format!("the answer cannot be written: {error}")))?;
    Ok(json!({
        "summary": Summary::of(replayed),
        "ofOtherPlugins": others,
        "withSecrets": header.with_secrets,
        "calls": calls,
    }))
}

fn table(header: &Header, replayed: &[Replayed], others: usize) -> String {
    let mut text = String::new();
    for call in replayed.iter().filter(|call| !call.same || !call.unrecorded.is_empty()) {
        let verdict = match (call.same, call.impure) {
            (true, _) => "same, but it asks for more than was recorded",
            (false, false) => "differs",
            (false, true) => "differs, as it may: it reads the time, randomness or the network",
        };
        text.push_str(&format!("call {} of {} at {}, {}: {verdict}\n", call.call, call.plugin, call.at, call.key));
        for line in call.difference.iter().flat_map(|difference| difference.lines()) {
            text.push_str(&format!("    {line}\n"));
        }
        for question in &call.unrecorded {
            text.push_str(&format!("    not in the recording: {}\n", read_text(question)));
        }
    }
    let summary = Summary::of(replayed);
    text.push_str(&format!("{}: {} same, {} differ", calls(summary.calls), summary.same, summary.differ));
    if summary.impure > 0 {
        text.push_str(&format!(", {} differ as impure calls may", summary.impure));
    }
    text.push('\n');
    if others > 0 {
        text.push_str(&format!("{} of other plugins left out\n", calls(others)));
    }
    if summary.differ > 0 && !header.with_secrets {
        text.push_str("values of Secrets were recorded as hashes: what is made of a value may differ for that alone\n");
    }
    text
}

fn calls(number: usize) -> String {
    if number == 1 { "1 call".into() } else { format!("{number} calls") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(number: usize, same: bool, impure: bool) -> Replayed {
        let result = |text: &str| RecordedResult::Trap(text.into());
        Replayed {
            call: number,
            plugin: "pool".into(),
            key: "local/a.io/Pool/default/p".into(),
            at: "2026-01-01T00:00:00Z".into(),
            same,
            impure,
            recorded: result("a"),
            now: result(if same { "a" } else { "b" }),
            unrecorded: Vec::new(),
            difference: (!same).then(|| "- trap: a\n+ trap: b\n".to_owned()),
        }
    }

    fn header(with_secrets: bool) -> Header {
        Header::new("0.1.0", with_secrets)
    }

    #[test]
    fn only_differences_are_shown_and_all_are_counted() {
        let calls = [call(1, true, false), call(2, false, false), call(3, false, true)];
        assert_eq!(
            table(&header(true), &calls, 1),
            "call 2 of pool at 2026-01-01T00:00:00Z, local/a.io/Pool/default/p: differs\n    - trap: a\n    + trap: b\n\
             call 3 of pool at 2026-01-01T00:00:00Z, local/a.io/Pool/default/p: differs, as it may: it reads the time, randomness or the network\n\
             \x20   - trap: a\n    + trap: b\n\
             3 calls: 1 same, 1 differ, 1 differ as impure calls may\n\
             1 call of other plugins left out\n"
        );
        assert_eq!(table(&header(false), &[call(1, true, false)], 0), "1 call: 1 same, 0 differ\n");
    }

    #[test]
    fn a_read_that_was_not_recorded_is_named_though_the_result_is_the_same() {
        let mut more = call(1, true, false);
        more.unrecorded = vec![Question::Get("local/core/ConfigMap/default/a".into())];
        let text = table(&header(true), &[more], 0);
        assert!(text.contains("not in the recording: get ConfigMap default/a\n"), "{text}");
    }

    #[test]
    fn hidden_secrets_are_named_where_something_differs() {
        let text = table(&header(false), &[call(1, false, false)], 0);
        assert!(text.ends_with("may differ for that alone\n"), "{text}");
        assert!(!table(&header(true), &[call(1, false, false)], 0).contains("Secrets"));
    }

    #[test]
    fn programs_read_the_results_of_each_call() -> Result<(), Failure> {
        let value = whole(&header(true), &[call(1, false, false)], 0)?;
        assert_eq!(value["summary"], json!({"calls": 1, "same": 0, "differ": 1, "impure": 0}));
        assert_eq!(value["calls"][0]["recorded"], json!({"trap": "a"}));
        assert_eq!(value["calls"][0]["now"], json!({"trap": "b"}));
        Ok(())
    }

    #[test]
    fn a_component_that_is_not_there_is_named_with_what_to_do() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let digest = Digest::of(b"a component").to_string();
        let call: RecordedCall = serde_json::from_value(json!({
            "plugin": "pool", "digest": digest, "at": "2026-01-01T00:00:00Z",
            "request": {"key": "local/a.io/Pool/default/p", "object": {}, "attempt": 1},
            "reads": [], "result": {"trap": "a"},
        }))?;
        let said = recorded_ones(dir.path(), &[call]).map(|_| ()).map_err(|failure| failure.to_string());
        assert!(said.as_ref().is_err_and(|text| text.contains("of pool that was recorded (sha256:")), "{said:?}");
        assert!(said.is_err_and(|text| text.contains("--plugin FILE.wasm")));
        Ok(())
    }
}
