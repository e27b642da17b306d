//! `setpoint validate`: what a host would say of files, without one. They are read by the file source,
//! identified by its rules, and admitted by the embedded cluster, with the CRDs of the plugins; nothing is
//! kept.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use setpoint_cluster::local::{FileRefusal, Model};
use setpoint_cluster::source::once::{read_directory, read_files};
use setpoint_cluster::source::{Desired, Scope, SourceEvent};
use setpoint_core::key::{GroupKind, LOCAL, Name};
use setpoint_runtime::file_rows::{self, INVALID};
use setpoint_runtime::views::FileRow;
use setpoint_schema::Crd;

use crate::args::{Output, OutputArgs};
use crate::crds::{definitions, files};
use crate::failure::Failure;
use crate::output::{json_text, one_line, print, yaml_text};
use crate::plugin::load;
use crate::plugin::rerun::plugin_host;

/// Plugins are looked for here, if it is there and nothing else is said.
const PLUGINS: &str = "plugins";
/// Stands for standard input.
const STDIN: &str = "-";

#[derive(clap::Args, Debug)]
pub(crate) struct ValidateArgs {
    /// Directory of resources, or files; - for standard input
    #[arg(required = true, value_name = "DIR|FILE")]
    pub(crate) paths: Vec<PathBuf>,
    /// Directory of plugins, which bring the kinds [default: ./plugins if it is there]
    #[arg(long, value_name = "DIR", env = "SETPOINT_PLUGINS")]
    pub(crate) plugins: Option<PathBuf>,
    /// Fields that a kind does not know are mistakes
    #[arg(long)]
    pub(crate) strict: bool,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Says what is wrong with files.
///
/// # Errors
/// There is a mistake, or something cannot be read.
pub(crate) fn validate(args: &ValidateArgs) -> Result<(), Failure> {
    let mut model = Model::new();
    for crd in crds(args.plugins.as_deref())? {
        model.install_kind(crd);
    }
    let mut found = Found::default();
    for path in &args.paths {
        found.look(&mut model, path, args.strict)?;
    }
    print(&match args.output.output {
        Output::Table | Output::Wide => found.text(),
        Output::Json => json_text(&found.value())?,
        Output::Yaml => yaml_text(&found.value())?,
    })?;
    match found.errors() {
        0 => Ok(()),
        1 => Err(Failure::new("there is 1 mistake")),
        errors => Err(Failure::new(format!("there are {errors} mistakes"))),
    }
}

/// The kinds that the plugins of a directory bring.
fn crds(dir: Option<&Path>) -> Result<Vec<Crd>, Failure> {
    let usual = Path::new(PLUGINS);
    let dir = match dir {
        Some(dir) => dir,
        None if usual.is_dir() => usual,
        None => return Ok(Vec::new()),
    };
    let host = plugin_host()?;
    let mut crds = Vec::new();
    for file in files(dir)? {
        crds.extend(definitions(&file, load(&host, &file)?.description())?);
    }
    Ok(crds)
}

/// What there is to say.
#[derive(Default)]
struct Found {
    /// Objects that a host would take.
    objects: usize,
    rows: Vec<FileRow>,
}

impl Found {
    /// Looks at a directory, a file or standard input.
    fn look(&mut self, model: &mut Model, path: &Path, strict: bool) -> Result<(), Failure> {
        let known: BTreeMap<GroupKind, bool> =
            model.kinds().iter().map(|crd| (GroupKind::new(&crd.group, &crd.kind), crd.namespaced)).collect();
        let kinds = Arc::new(move |group: &str, kind: &str| {
            known.get(&GroupKind::new(group, kind)).map(|namespaced| Scope { namespaced: *namespaced })
        });
        let unreadable = |error: std::io::Error| Failure::io(path, &error);
        if path == Path::new(STDIN) {
            let text = std::io::read_to_string(std::io::stdin()).map_err(unreadable)?;
            let dir = tempfile::tempdir().map_err(unreadable)?;
            std::fs::write(dir.path().join(STDIN), text).map_err(unreadable)?;
            let events = read_files(dir.path(), &[STDIN.into()], kinds).map_err(unreadable)?;
            self.take(model, events, Path::new(""), strict);
            // There is no file that could be called like the object.
            self.rows.retain(|row| row.file != STDIN || !row.message.ends_with("like its file"));
            return Ok(());
        }
        if path.is_dir() {
            let events = read_directory(path, kinds).map_err(unreadable)?;
            self.take(model, events, path, strict);
            return Ok(());
        }
        let name: Option<Name> = path.file_name().and_then(|name| name.to_str()).map(Into::into);
        let name = name.ok_or_else(|| Failure::new(format!("{}: there is no such file", path.display())))?;
        let events = read_files(parent(path), &[name], kinds).map_err(unreadable)?;
        self.take(model, events, path.parent().unwrap_or(Path::new("")), strict);
        Ok(())
    }

    /// Admits what was read, as a host does, into a cluster that nobody sees.
    fn take(&mut self, model: &mut Model, events: Vec<SourceEvent>, root: &Path, strict: bool) {
        let mut rows = Vec::new();
        for event in events {
            match event {
                SourceEvent::Desired(desired) => rows.extend(self.admit(model, *desired, strict)),
                SourceEvent::Report(report) => rows.extend(file_rows::of_report(&report)),
                // The rest is about a source that runs.
                _ => {}
            }
        }
        rows.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
        for row in &mut rows {
            row.file = root.join(&row.file).display().to_string();
        }
        self.rows.extend(rows);
    }

    fn admit(&mut self, model: &mut Model, desired: Desired, strict: bool) -> Vec<FileRow> {
        let Desired { object, file, line, spans } = desired;
        match model.desired(0, &object.key, object.value, &file) {
            Ok(accepted) => {
                self.objects += 1;
                let mut rows = file_rows::unknown(&file, &spans, &accepted.unknown);
                if strict {
                    rows.iter_mut().for_each(|row| row.state = INVALID.into());
                }
                rows
            }
            Err(FileRefusal::Invalid(errors)) => file_rows::mistakes(&file, &spans, &errors),
            Err(other) => vec![FileRow {
                cluster: LOCAL.to_owned(),
                file: file.to_string(),
                line: line as usize,
                column: 1,
                state: INVALID.into(),
                message: other.to_string(),
            }],
        }
    }

    fn errors(&self) -> usize {
        self.rows.iter().filter(|row| row.state == INVALID).count()
    }

    fn value(&self) -> Value {
        let problems: Vec<Value> = self
            .rows
            .iter()
            .map(|row| {
                json!({"file": row.file, "line": row.line, "column": row.column, "state": row.state,
                       "message": row.message})
            })
            .collect();
        json!({"objects": self.objects, "errors": self.errors(), "warnings": self.rows.len() - self.errors(),
               "problems": problems})
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for row in &self.rows {
            let warning = if row.state == INVALID { "" } else { "warning: " };
            text.push_str(&format!("{}:{}:{}: {warning}{}\n", row.file, row.line, row.column, one_line(&row.message)));
        }
        let (errors, warnings) = (self.errors(), self.rows.len() - self.errors());
        let plural = |number: usize, word: &str| format!("{number} {word}{}", if number == 1 { "" } else { "s" });
        let told = [plural(errors, "mistake"), plural(warnings, "warning")].join(", ");
        text + &format!("{}: {told}\n", plural(self.objects, "good object"))
    }
}

/// The directory that a file is in.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> Result<Model, setpoint_schema::CrdError> {
        let crd = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "pools.a.io"},
            "spec": {"group": "a.io", "scope": "Namespaced", "names": {"kind": "Pool", "plural": "pools"},
                "versions": [{"name": "v1", "served": true, "storage": true,
                    "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object",
                        "properties": {"size": {"type": "integer", "minimum": 1}}}}}}}]},
        });
        let mut model = Model::new();
        model.install_kind(Crd::parse(&crd, "v1")?);
        Ok(model)
    }

    fn pool(name: &str, spec: &str) -> String {
        format!("apiVersion: a.io/v1\nkind: Pool\nmetadata:\n  name: {name}\nspec:\n  {spec}\n")
    }

    fn found(files: &[(&str, String)], strict: bool) -> Result<(tempfile::TempDir, Found), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        for (file, text) in files {
            std::fs::write(dir.path().join(file), text)?;
        }
        let mut found = Found::default();
        found.look(&mut model()?, dir.path(), strict)?;
        Ok((dir, found))
    }

    #[test]
    fn each_mistake_is_told_with_its_place_and_the_rest_counts() -> Result<(), Box<dyn std::error::Error>> {
        let files = [
            ("a.yaml", pool("a", "size: 3")),
            ("b.yaml", pool("b", "size: 0")),
            ("c.yaml", "apiVersion: x.io/v1\nkind: Other\nmetadata: {name: c}\n".to_owned()),
            ("d.yaml", "kind: [\n".to_owned()),
            ("e.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: e}\ndata: {n: 1}\n".to_owned()),
        ];
        let (dir, found) = found(&files, false)?;
        let text = found.text().replace(&format!("{}/", dir.path().display()), "");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 5, "{text}");
        assert!(lines[0].starts_with("b.yaml:6:9: spec.size: Invalid value: 0"), "{text}");
        assert_eq!(
            lines[1],
            "c.yaml:1:1: warning: no plugin brings the kind Other.x.io; put its plugin into the plugins directory"
        );
        assert!(lines[2].starts_with("d.yaml:"), "{text}");
        assert!(lines[3].starts_with("e.yaml:4:11: data.n: Invalid value: must be a string"), "{text}");
        assert_eq!(lines[4], "1 good object: 3 mistakes, 1 warning");
        Ok(())
    }

    #[test]
    fn an_unknown_field_is_a_mistake_only_if_asked_for() -> Result<(), Box<dyn std::error::Error>> {
        let files = [("a.yaml", pool("a", "sice: 3"))];
        let (_dir, lenient) = found(&files, false)?;
        assert_eq!((lenient.errors(), lenient.rows.len()), (0, 1));
        assert_eq!((lenient.rows[0].line, lenient.rows[0].column), (6, 3));
        assert_eq!(lenient.rows[0].message, "unknown field spec.sice: it is left out");
        let (_dir, strict) = found(&files, true)?;
        assert_eq!(strict.errors(), 1);
        Ok(())
    }

    #[test]
    fn two_files_with_one_key_are_told() -> Result<(), Box<dyn std::error::Error>> {
        let (_dir, found) = found(&[("a.yaml", pool("a", "size: 1")), ("b.yaml", pool("a", "size: 2"))], false)?;
        assert_eq!(found.objects, 1);
        let told = |row: &FileRow| row.file.ends_with("b.yaml") && row.message.contains("is defined in a.yaml as well");
        assert!(found.rows.iter().any(told), "{:?}", found.rows);
        Ok(())
    }

    #[test]
    fn one_file_is_looked_at_under_the_name_that_was_given() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("a.yaml");
        std::fs::write(&file, pool("a", "size: 0"))?;
        let mut found = Found::default();
        found.look(&mut model()?, &file, false)?;
        assert_eq!((found.rows.len(), found.rows[0].file.as_str()), (1, file.display().to_string().as_str()));
        let missing = Found::default().look(&mut model()?, &dir.path().join("b.yaml"), false);
        assert!(missing.is_err_and(|failure| failure.message.contains("b.yaml: ")));
        assert_eq!((parent(Path::new("a.yaml")), parent(Path::new("d/a.yaml"))), (Path::new("."), Path::new("d")));
        Ok(())
    }

    #[test]
    fn programs_read_the_same() -> Result<(), Box<dyn std::error::Error>> {
        let (_dir, found) = found(&[("b.yaml", pool("b", "size: 0"))], false)?;
        let value = found.value();
        assert_eq!((&value["objects"], &value["errors"], &value["warnings"]), (&json!(0), &json!(1), &json!(0)));
        assert_eq!((&value["problems"][0]["line"], &value["problems"][0]["state"]), (&json!(6), &json!("Invalid")));
        Ok(())
    }
}
