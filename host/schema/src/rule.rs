//! CEL rules (`x-kubernetes-validations`): compiled once, refused when they cannot work.
//!
//! The language and Kubernetes' functions come from `kube-cel`. The walk over an object is our own
//! (see [`crate::evaluate`]): names with `_`, items of atomic lists and optional old values are
//! treated there as an API server treats them.

use kube_cel::cel::IdedExpr;
use kube_cel::cel::parser::Parser;
use serde_json::Value;

use crate::error::CrdError;
use crate::expr::{self, Cost};
use crate::path::{At, Segment};
use crate::schema::Schema;

/// Longer rules are refused: what a plugin brings must not cost a host its stack.
const LONGEST_RULE: usize = 8 * 1024;
/// Deeper expressions are refused, for they are evaluated on the stack of a worker thread.
const DEEPEST_RULE: usize = 100;
/// The parser descends once per operator; a long chain of them needs room.
const PARSER_STACK: usize = 64 * 1024 * 1024;

/// The API server's name for what is wrong when a rule does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    Invalid,
    Forbidden,
    Required,
    Duplicate,
}

/// A compiled rule of one schema node.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) text: String,
    pub(crate) expr: IdedExpr,
    pub(crate) message: Option<String>,
    pub(crate) message_expr: Option<IdedExpr>,
    pub(crate) reason: Reason,
    /// Where a violation is reported, below the node of the rule.
    pub(crate) field_path: Vec<Segment>,
    /// Whether `oldSelf` is read: a transition rule.
    pub(crate) uses_old: bool,
    /// `optionalOldSelf`: evaluated without an old value too, and `oldSelf` is an optional.
    pub(crate) old_is_optional: bool,
    /// Whether the rule reads `.status` of its node.
    pub(crate) reads_status: bool,
    pub(crate) cost: Cost,
}

impl Rule {
    /// Compiles one entry of `x-kubernetes-validations` of `schema`, whose properties are compiled
    /// already. `follows_old` says whether there can be an old value at all.
    pub(crate) fn compile(json: &Value, schema: &Schema, follows_old: bool, at: &At<'_>) -> Result<Self, CrdError> {
        let text = |key: &str| match json.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.trim())),
            Some(_) => Err(CrdError::schema(at.key(key).path(), "must be a string")),
        };
        let Some(rule) = text("rule")?.filter(|rule| !rule.is_empty()) else {
            return Err(CrdError::schema(at.key("rule").path(), "a rule is required"));
        };
        let old_is_optional = json.get("optionalOldSelf") == Some(&Value::Bool(true));
        let refused = |key: &str, rule: &str, message: String| CrdError::Rule {
            path: at.key(key).path(),
            rule: rule.to_owned(),
            message,
        };

        let parsed = parse(rule).map_err(|message| refused("rule", rule, message))?;
        let facts = expr::check(&parsed, schema, old_is_optional).map_err(|message| refused("rule", rule, message))?;
        if facts.reads_old && !follows_old {
            let message = "oldSelf cannot be used here: below an atomic or set list, or an atomic map, there is no telling what the old value was";
            return Err(refused("rule", rule, message.to_owned()));
        }
        if old_is_optional && !facts.reads_old {
            return Err(refused("optionalOldSelf", rule, "may be set only if the rule uses oldSelf".to_owned()));
        }
        let message_expr = match text("messageExpression")?.filter(|text| !text.is_empty()) {
            None => None,
            Some(text) => {
                let refused = |message| refused("messageExpression", text, message);
                let parsed = parse(text).map_err(refused)?;
                expr::check(&parsed, schema, old_is_optional).map_err(refused)?;
                Some(parsed)
            }
        };
        let reason = match text("reason")? {
            None | Some("FieldValueInvalid") => Reason::Invalid,
            Some("FieldValueForbidden") => Reason::Forbidden,
            Some("FieldValueRequired") => Reason::Required,
            Some("FieldValueDuplicate") => Reason::Duplicate,
            Some(other) => {
                return Err(CrdError::schema(at.key("reason").path(), format!("unknown reason {other}")));
            }
        };
        let field_path = match text("fieldPath")?.filter(|path| !path.is_empty()) {
            None => Vec::new(),
            Some(path) => {
                field_path(path, schema).map_err(|message| CrdError::schema(at.key("fieldPath").path(), message))?
            }
        };
        Ok(Rule {
            cost: Cost::of(&parsed),
            expr: parsed,
            text: rule.to_owned(),
            message: text("message")?.filter(|message| !message.is_empty()).map(str::to_owned),
            message_expr,
            reason,
            field_path,
            uses_old: facts.reads_old,
            old_is_optional,
            reads_status: facts.reads_status,
        })
    }
}

/// Parses an expression where a deep one or a fault of the parser does no harm.
fn parse(text: &str) -> Result<IdedExpr, String> {
    if text.len() > LONGEST_RULE {
        return Err(format!("longer than {LONGEST_RULE} bytes"));
    }
    let text = text.to_owned();
    let parse = move || {
        let mut parsed = Parser::new()
            .enable_optional_syntax(true)
            .parse(&text)
            .map_err(|errors| errors.to_string().trim().to_owned())?;
        if expr::depth(&parsed) > DEEPEST_RULE {
            return Err(format!("nested more than {DEEPEST_RULE} levels deep"));
        }
        expr::mend(&mut parsed);
        Ok(parsed)
    };
    std::thread::Builder::new()
        .name("cel-compile".to_owned())
        .stack_size(PARSER_STACK)
        .spawn(parse)
        .map_err(|error| format!("cannot be compiled: {error}"))?
        .join()
        .unwrap_or_else(|_| Err("cannot be compiled: the parser failed on it".to_owned()))
}

/// Reads `.spec.replicas`, `.labels['a.b/c']` as far as the schema knows it.
fn field_path(text: &str, schema: &Schema) -> Result<Vec<Segment>, String> {
    let mut segments = Vec::new();
    let mut node = schema;
    let mut rest = text;
    while !rest.is_empty() {
        let (key, after) = if let Some(bracket) = rest.strip_prefix("['") {
            bracket.split_once("']").ok_or_else(|| format!("{text} has a bracket that is not closed"))?
        } else {
            // The leading dot may be left out at the start only.
            let plain = match rest.strip_prefix('.') {
                Some(plain) => plain,
                None if segments.is_empty() => rest,
                None => return Err(format!("{text} is no field path")),
            };
            plain.split_at(plain.find(['.', '[']).unwrap_or(plain.len()))
        };
        node = node.child(key).ok_or_else(|| format!("{text} does not refer to a field: {key:?} is unknown"))?;
        segments.push(Segment::Key(key.to_owned()));
        rest = after;
    }
    Ok(segments)
}
