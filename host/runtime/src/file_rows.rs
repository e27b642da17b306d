//! What is wrong with files, or worth knowing of them, as rows with file:line:column. The running host
//! shows them, and `setpoint validate` prints the same without one.

use setpoint_cluster::source::{FileReport, Position, Spans};
use setpoint_core::key::{GroupKind, LOCAL};
use setpoint_core::sanitize::sanitize;
use setpoint_schema::{FieldError, FieldErrorKind, FieldPath};

use crate::views::FileRow;

/// The state of a row that is a mistake: what it is about keeps its last good content.
pub const INVALID: &str = "Invalid";
/// The state of a document whose kind no plugin brings (rule D5).
pub const UNCLAIMED: &str = "Unclaimed";
/// The state of what an author should know.
pub const NOTICE: &str = "Notice";

/// The mistakes that the admission found in a document, each where it was written.
pub fn mistakes(file: &str, spans: &Spans, errors: &[FieldError]) -> Vec<FileRow> {
    let row = |error: &FieldError| {
        let pointer = error.path.pointer();
        // A field that must not be there is at its name, a wrong value at the value.
        let at = match error.kind {
            FieldErrorKind::Forbidden => spans.locate_key(&pointer),
            _ => spans.locate(&pointer),
        };
        row(file, at, INVALID, sanitize(&error.to_string()))
    };
    errors.iter().map(row).collect()
}

/// Fields that the schema does not know: they are left out.
pub fn unknown(file: &str, spans: &Spans, paths: &[FieldPath]) -> Vec<FileRow> {
    let row = |path: &FieldPath| {
        row(file, spans.locate_key(&path.pointer()), NOTICE, format!("unknown field {path}: it is left out"))
    };
    paths.iter().map(row).collect()
}

/// What the file source says of a file beside its objects.
pub fn of_report(report: &FileReport) -> Vec<FileRow> {
    let file = &*report.file;
    let errors = report.errors.iter().map(|error| row(file, error.position, INVALID, sanitize(&error.message)));
    let unclaimed = report.unclaimed.iter().map(|unclaimed| {
        let kind = GroupKind::new(&unclaimed.document.group, &unclaimed.document.kind);
        let message = format!("no plugin brings the kind {kind}; put its plugin into the plugins directory");
        row(file, Position { line: unclaimed.line, column: 1 }, UNCLAIMED, message)
    });
    let notices = report.notices.iter().map(|notice| row(file, notice.position, NOTICE, notice.message.clone()));
    errors.chain(unclaimed).chain(notices).collect()
}

pub(crate) fn row(file: &str, at: Position, state: &str, message: String) -> FileRow {
    FileRow {
        cluster: LOCAL.to_owned(),
        file: file.into(),
        line: at.line as usize,
        column: at.column as usize,
        state: state.into(),
        message,
    }
}
