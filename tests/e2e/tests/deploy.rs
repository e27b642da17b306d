//! What is in `deploy/` fits the host: rights, flags, values, and the names of metrics.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use setpoint_e2e::with_plugins;
use setpoint_test_support::host::command;
use setpoint_test_support::run;

const COMMAND: Duration = Duration::from_secs(60);
/// What the image of `deploy/Containerfile` has.
const BUNDLED: [&str; 3] = ["config-bundle", "mcp-server", "workflow"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn yaml(path: &str) -> Value {
    serde_saphyr::from_str(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The templates of the chart, by name.
fn templates() -> BTreeMap<String, String> {
    let dir = root().join("deploy/chart/templates");
    let entries = fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.map(|name| (name.clone(), read(&format!("deploy/chart/templates/{name}")))).collect()
}

#[test]
fn the_chart_has_the_rights_that_the_command_prints() {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("rights-of-the-chart");
    with_plugins(&dir, &BUNDLED);
    let print = |more: &[&str]| {
        let stand_in = ["--service-account", "chart-account", "--service-account-namespace", "chart-namespace"];
        run(command(&dir).arg("rbac").args(stand_in).args(more), COMMAND).ok()
    };
    for (file, flags) in [("rbac.yaml", &[][..]), ("rbac-install-crds.yaml", &["--install-crds"])] {
        let file = format!("deploy/chart/files/{file}");
        let printed = print(flags);
        assert!(
            printed == read(&file),
            "{file} is outdated; `setpoint rbac --service-account chart-account --service-account-namespace chart-namespace {}` \
             prints:\n{printed}",
            flags.join(" ")
        );
    }
}

#[test]
fn the_image_has_the_plugins_whose_rights_the_chart_has() {
    let containerfile = read("deploy/Containerfile");
    let copied: BTreeSet<&str> = containerfile
        .split_whitespace()
        .filter_map(|word| word.strip_prefix("/plugins/")?.strip_suffix(".wasm"))
        .collect();
    assert_eq!(copied, BTreeSet::from(BUNDLED));
}

#[test]
fn the_chart_gives_flags_that_exist() {
    let help = run(command(Path::new(env!("CARGO_TARGET_TMPDIR"))).args(["run", "--help"]), COMMAND).ok();
    let template = &templates()["deployment.yaml"];
    let flags: Vec<&str> = template
        .split(|c: char| c.is_whitespace() || matches!(c, '=' | '"'))
        .filter(|word| word.starts_with("--"))
        .collect();
    assert!(flags.len() > 5, "{flags:?}");
    for flag in flags {
        assert!(help.split([' ', '\n', ',', '[', '=']).any(|word| word == flag), "there is no {flag}");
    }
}

#[test]
fn templates_name_values_that_exist_and_every_value_is_used() {
    let values = yaml("deploy/chart/values.yaml");
    let mut used = BTreeSet::new();
    for (name, text) in templates() {
        for rest in text.split(".Values.").skip(1) {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '.').unwrap_or(rest.len());
            let path = rest[..end].trim_end_matches('.');
            let found = values.pointer(&format!("/{}", path.replace('.', "/")));
            assert!(found.is_some(), "{name}: values.yaml has no {path}");
            used.extend(path.split('.').next().map(str::to_owned));
        }
    }
    let there: BTreeSet<String> = values.as_object().into_iter().flatten().map(|(key, _)| key.clone()).collect();
    assert_eq!(used, there);
}

#[test]
fn what_a_template_begins_it_ends() {
    for (name, text) in templates() {
        let actions: Vec<&str> = text
            .split("{{")
            .skip(1)
            .map(|rest| {
                let (action, _) = rest.split_once("}}").unwrap_or_else(|| panic!("{name}: an action has no end"));
                action.trim_matches(['-', ' '])
            })
            .collect();
        let begins = |action: &&&str| ["if ", "with ", "range ", "define "].iter().any(|word| action.starts_with(word));
        let ends = actions.iter().filter(|action| **action == "end").count();
        assert_eq!(actions.iter().filter(begins).count(), ends, "{name}");
    }
}

#[test]
fn the_chart_is_of_this_version() {
    let chart = yaml("deploy/chart/Chart.yaml");
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
    assert_eq!(chart["version"], env!("CARGO_PKG_VERSION"));
}

/// What a pod of the chart runs as. Nobody loosens it by the way.
#[test]
fn the_pod_has_no_privileges() {
    let values = yaml("deploy/chart/values.yaml");
    let (pod, container) = (&values["podSecurityContext"], &values["securityContext"]);
    assert_eq!([&pod["runAsNonRoot"], &pod["seccompProfile"]["type"]], [&json!(true), &json!("RuntimeDefault")]);
    assert_eq!(container["capabilities"]["drop"], json!(["ALL"]));
    assert_eq!(container["allowPrivilegeEscalation"], false);
    assert_eq!(container["readOnlyRootFilesystem"], true);
    assert_eq!(values["grants"], json!([]), "nothing is granted on a cluster unless somebody says so");
}

/// Metrics with their labels, as the reference has them; a test of the book compares that with the code.
fn metrics() -> BTreeMap<String, BTreeSet<String>> {
    let mut metrics = BTreeMap::new();
    for line in read("docs/book/src/reference/metrics.md").lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.split(" | ").map(|cell| cell.trim_matches(['|', ' ', '`'])).collect();
        let [name, kind, labels, ..] = cells[..] else { panic!("{line}") };
        let labels: BTreeSet<String> =
            labels.split(", ").filter(|label| !label.is_empty()).map(str::to_owned).collect();
        if kind == "histogram" {
            for suffix in ["_sum", "_count"] {
                metrics.insert(format!("{name}{suffix}"), labels.clone());
            }
            metrics.insert(format!("{name}_bucket"), labels.into_iter().chain(["le".to_owned()]).collect());
        } else {
            metrics.insert(name.to_owned(), labels);
        }
    }
    assert!(metrics.contains_key("setpoint_objects"), "is the page still read rightly?");
    metrics
}

/// Metrics and labels of an expression: words that are no functions, no operators and no durations.
fn words(expression: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut names, mut labels) = (BTreeSet::new(), BTreeSet::new());
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '$');
    // How deep in braces, and in the parentheses of `by`.
    let (mut selector, mut by) = (false, false);
    let mut rest = expression;
    while let Some(first) = rest.chars().next() {
        if word(first) {
            let end = rest.find(|c: char| !word(c)).unwrap_or(rest.len());
            let (name, after) = rest.split_at(end);
            let called = ["(", "by "].iter().any(|next| after.trim_start().starts_with(next));
            if name == "by" {
                by = true;
            } else if selector || by {
                labels.insert(name.to_owned());
            } else if !called && !first.is_ascii_digit() && first != '$' {
                names.insert(name.to_owned());
            }
            rest = after;
            continue;
        }
        // What is quoted or a duration names nothing.
        let skipped = match first {
            '"' => rest[1..].find('"').map(|end| end + 2),
            '[' => rest.find(']').map(|end| end + 1),
            _ => None,
        };
        match first {
            '{' => selector = true,
            '}' => selector = false,
            ')' => by = false,
            _ => {}
        }
        rest = &rest[skipped.unwrap_or(first.len_utf8())..];
    }
    (names, labels)
}

fn check(place: &str, expression: &str, metrics: &BTreeMap<String, BTreeSet<String>>) {
    let (names, labels) = words(expression);
    assert!(!names.is_empty(), "{place}: {expression} asks for nothing");
    let mut known = BTreeSet::new();
    for name in &names {
        let Some(labels) = metrics.get(name) else { panic!("{place}: there is no metric {name}, in {expression}") };
        known.extend(labels);
    }
    for label in &labels {
        assert!(known.contains(label), "{place}: no metric of {expression} has the label {label}");
    }
}

#[test]
fn alerts_ask_for_metrics_that_exist() {
    let (alerts, metrics) = (yaml("deploy/alerts.yaml"), metrics());
    let mut names = BTreeSet::new();
    for rule in alerts["groups"].as_array().into_iter().flatten().flat_map(|group| group["rules"].as_array()).flatten()
    {
        let name = rule["alert"].as_str().unwrap_or_else(|| panic!("{rule} has no name"));
        assert!(names.insert(name.to_owned()), "{name} is there twice");
        check(name, rule["expr"].as_str().unwrap_or_default(), &metrics);
        for text in ["summary", "description"] {
            assert!(rule["annotations"][text].is_string(), "{name} has no {text}");
        }
        assert!(rule["labels"]["severity"].is_string() && rule["for"].is_string(), "{name}");
    }
    assert!(names.len() > 5, "{names:?}");
}

#[test]
fn the_dashboard_shows_metrics_that_exist() {
    let dashboard: Value =
        serde_json::from_str(&read("deploy/dashboard.json")).unwrap_or_else(|error| panic!("{error}"));
    let metrics = metrics();
    let mut shown = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for panel in dashboard["panels"].as_array().into_iter().flatten() {
        let title = panel["title"].as_str().unwrap_or_default();
        assert!(ids.insert(panel["id"].to_string()), "{title}: its id is another's");
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = target["expr"].as_str().unwrap_or_default();
            check(title, expression, &metrics);
            shown.extend(words(expression).0);
        }
    }
    assert!(shown.len() > 25, "only {shown:?}");
}

#[test]
fn words_of_an_expression_are_told_apart() {
    let (names, labels) = words(
        "histogram_quantile(0.99, sum by (plugin, le) (rate(a_bucket{state=~\"Error|b\", x!=\"y\"}[5m]))) > 1 / max(c[$__rate_interval])",
    );
    let set = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!((names, labels), (set(&["a_bucket", "c"]), set(&["le", "plugin", "state", "x"])));
}
