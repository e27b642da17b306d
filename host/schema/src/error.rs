//! What is wrong with an object, or with a CustomResourceDefinition.

use std::fmt;

use serde_json::Value;
use thiserror::Error;

use crate::path::FieldPath;

/// Longer values are cut in messages: a message is read by a person.
const LONGEST_VALUE: usize = 256;

/// What kind of mistake a [`FieldError`] is. The names are those of the API server.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FieldErrorKind {
    /// A field that must be there is not.
    Required,
    /// A value does not satisfy a bound, pattern or alternative.
    Invalid,
    /// A value has another type than the schema says, or another format.
    TypeInvalid,
    /// An item of a set or map list is there twice.
    Duplicate,
    /// A value is none of the enumerated ones.
    NotSupported,
    /// A string is too long.
    TooLong,
    /// A list or map has too many entries.
    TooMany,
    /// A field must not be set here.
    Forbidden,
    /// A CEL rule (`x-kubernetes-validations`) does not hold.
    Rule,
}

/// One mistake in an object. Displays as an API server writes it:
/// `spec.type: Unsupported value: "x": supported values: "a", "b"`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FieldError {
    /// The field it is about. The root where it is about the object as a whole.
    pub path: FieldPath,
    /// The message without the path in front.
    pub message: String,
    /// The kind of mistake.
    pub kind: FieldErrorKind,
}

impl std::error::Error for FieldError {}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_root() { f.write_str(&self.message) } else { write!(f, "{}: {}", self.path, self.message) }
    }
}

impl FieldError {
    fn new(kind: FieldErrorKind, path: FieldPath, message: String) -> Self {
        FieldError { path, message, kind }
    }

    pub(crate) fn required(path: FieldPath, detail: &str) -> Self {
        Self::new(FieldErrorKind::Required, path, with_detail("Required value".into(), detail))
    }

    pub(crate) fn forbidden(path: FieldPath, detail: &str) -> Self {
        Self::new(FieldErrorKind::Forbidden, path, with_detail("Forbidden".into(), detail))
    }

    /// `detail` says the whole sentence, the name of the field included.
    pub(crate) fn invalid(path: FieldPath, value: &Value, detail: &str) -> Self {
        let message = with_detail(format!("Invalid value: {}", shown(value)), detail);
        Self::new(FieldErrorKind::Invalid, path, message)
    }

    /// `expected` completes "must be …".
    pub(crate) fn type_invalid(path: FieldPath, value: &Value, expected: &str) -> Self {
        let found = type_name(value);
        let message = format!("Invalid value: \"{found}\": {} in body must be {expected}: \"{found}\"", named(&path));
        Self::new(FieldErrorKind::TypeInvalid, path, message)
    }

    pub(crate) fn format_invalid(path: FieldPath, value: &Value, format: &str) -> Self {
        let value = shown(value);
        let message = format!("Invalid value: {value}: {} in body must be of type {format}: {value}", named(&path));
        Self::new(FieldErrorKind::TypeInvalid, path, message)
    }

    pub(crate) fn duplicate(path: FieldPath, value: &Value) -> Self {
        let message = format!("Duplicate value: {}", shown(value));
        Self::new(FieldErrorKind::Duplicate, path, message)
    }

    pub(crate) fn not_supported(path: FieldPath, value: &Value, supported: &[Value]) -> Self {
        let supported: Vec<String> = supported.iter().map(shown).collect();
        let message = format!("Unsupported value: {}: supported values: {}", shown(value), supported.join(", "));
        Self::new(FieldErrorKind::NotSupported, path, message)
    }

    pub(crate) fn too_long(path: FieldPath, most: u64) -> Self {
        let message = format!("Too long: may not be more than {most} characters");
        Self::new(FieldErrorKind::TooLong, path, message)
    }

    pub(crate) fn too_many(path: FieldPath, found: usize, most: u64) -> Self {
        let message = format!("Too many: {found}: must have at most {most} items");
        Self::new(FieldErrorKind::TooMany, path, message)
    }

    /// A CEL rule; the message is complete.
    pub(crate) fn rule(path: FieldPath, message: String) -> Self {
        Self::new(FieldErrorKind::Rule, path, message)
    }

    /// Whether an API server leaves CEL rules unchecked because of this: they may count on
    /// what the schema promises.
    pub(crate) fn blocks_rules(&self) -> bool {
        matches!(
            self.kind,
            FieldErrorKind::Required
                | FieldErrorKind::NotSupported
                | FieldErrorKind::TooLong
                | FieldErrorKind::TooMany
                | FieldErrorKind::TypeInvalid
        )
    }
}

fn with_detail(head: String, detail: &str) -> String {
    if detail.is_empty() { head } else { format!("{head}: {detail}") }
}

/// A field's name within a sentence.
pub(crate) fn named(path: &FieldPath) -> String {
    if path.is_root() { "object".to_owned() } else { path.to_string() }
}

/// A value as messages show it: JSON, cut when long.
pub(crate) fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(LONGEST_VALUE) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text,
    }
}

/// The OpenAPI name of a value's type.
pub(crate) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Why a CustomResourceDefinition is refused. Paths are those within the definition, with
/// references put in.
#[derive(Debug, Error)]
pub enum CrdError {
    /// Something outside of the schemas is missing or has the wrong shape.
    #[error("{path}: {message}")]
    Definition {
        /// The field of the definition.
        path: FieldPath,
        /// What is wrong with it.
        message: String,
    },
    /// The wanted version is not one that the definition serves.
    #[error("version {version} of {kind} is not served; served are: {}", served.join(", "))]
    Version {
        /// The kind.
        kind: String,
        /// The version that was asked for.
        version: String,
        /// The versions that are served.
        served: Vec<String>,
    },
    /// Several versions with a conversion that only an API server can do (rule D6).
    #[error(
        "{kind} has the versions {} with the conversion strategy {strategy}: objects kept as written can be read in every version only with the strategy None",
        versions.join(", ")
    )]
    Conversion {
        /// The kind.
        kind: String,
        /// The strategy of `spec.conversion`.
        strategy: String,
        /// All versions of the definition.
        versions: Vec<String>,
    },
    /// A schema that has no structural form, or is malformed.
    #[error("{path}: {message}")]
    Schema {
        /// The place within the definition.
        path: FieldPath,
        /// What is wrong with it.
        message: String,
    },
    /// A CEL rule that does not compile.
    #[error("{path}: rule `{rule}`: {message}")]
    Rule {
        /// The schema that has the rule.
        path: FieldPath,
        /// The rule, or its message expression.
        rule: String,
        /// Why it does not compile.
        message: String,
    },
}

impl CrdError {
    pub(crate) fn schema(path: FieldPath, message: impl Into<String>) -> Self {
        CrdError::Schema { path, message: message.into() }
    }

    pub(crate) fn definition(path: FieldPath, message: impl Into<String>) -> Self {
        CrdError::Definition { path, message: message.into() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn errors_read_as_those_of_an_api_server() {
        let path = FieldPath::of(&["spec", "y"]);
        let cases = [
            (FieldError::required(path.clone(), ""), "spec.y: Required value"),
            (
                FieldError::not_supported(path.clone(), &json!("x"), &[json!("a"), json!("b")]),
                r#"spec.y: Unsupported value: "x": supported values: "a", "b""#,
            ),
            (
                FieldError::type_invalid(path.clone(), &json!("7"), "of type integer"),
                r#"spec.y: Invalid value: "string": spec.y in body must be of type integer: "string""#,
            ),
            (
                FieldError::invalid(path.clone(), &json!("x"), "spec.y in body should match '^a$'"),
                r#"spec.y: Invalid value: "x": spec.y in body should match '^a$'"#,
            ),
            (FieldError::too_many(path.clone(), 3, 2), "spec.y: Too many: 3: must have at most 2 items"),
            (FieldError::duplicate(path, &json!({"id": "a"})), r#"spec.y: Duplicate value: {"id":"a"}"#),
        ];
        for (error, text) in cases {
            assert_eq!(error.to_string(), text);
        }
    }

    #[test]
    fn a_long_value_is_cut_between_characters() {
        let text = shown(&json!("ä".repeat(1000)));
        assert!(text.ends_with('…') && text.chars().count() == LONGEST_VALUE + 1);
    }
}
