//! The credentials of a backend. They fail closed: without them nobody is sent there.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, from_value};
use setpoint_sdk::content_hash;
use setpoint_sdk::prelude::*;

use crate::problem::{Checked, Problem, or_problem};
use crate::source::{SecretKeyRef, SourceRef, TOOLHIVE, TOOLHIVE_VERSION};
use crate::status::Auth;

/// The types that ToolHive's gateway has a strategy for, and where their settings are.
const SUPPORTED: [(&str, Option<&str>); 6] = [
    ("tokenExchange", Some("tokenExchange")),
    ("headerInjection", Some("headerInjection")),
    ("unauthenticated", None),
    ("upstreamInject", Some("upstreamInject")),
    ("awsSts", Some("awsSts")),
    ("xaa", Some("xaa")),
];
/// What fields that refer to a Secret end in.
const SECRET_REF: &str = "SecretRef";

/// How a source authenticates elsewhere.
#[derive(Deserialize)]
pub struct MCPExternalAuthConfig {
    spec: BTreeMap<String, Value>,
}

impl Resource for MCPExternalAuthConfig {
    const GROUP: &'static str = TOOLHIVE;
    const VERSION: &'static str = TOOLHIVE_VERSION;
    const KIND: &'static str = "MCPExternalAuthConfig";
}

/// How credentials are read. Of a Secret it matters whether it has the key; its value goes nowhere.
pub fn reads() -> [Read; 2] {
    [Read::named::<MCPExternalAuthConfig>().fields([".spec"]), Read::named::<Secret>().fields([".data"])]
}

/// Looks at the credentials that a source names.
pub fn check<R: Reconciler>(cx: &Context<R>, source: &SourceRef, name: &str) -> Checked<Auth> {
    let found = match or_problem(cx.get::<MCPExternalAuthConfig>(source.beside(name)))? {
        Ok(Some(found)) => found.body,
        Ok(None) => {
            let message = format!("There is no MCPExternalAuthConfig {name}");
            return Ok(Err(Problem::new("AuthConfigNotFound", message)));
        }
        Err(problem) => return Ok(Err(problem)),
    };
    let invalid = |message: String| Ok(Err(Problem::new("AuthInvalid", message)));
    let auth_type = found.spec.get("type").and_then(Value::as_str).unwrap_or_default();
    let Some((_, settings)) = SUPPORTED.iter().find(|(known, _)| *known == auth_type) else {
        let message = format!("MCPExternalAuthConfig {name} is of type {auth_type:?}, which no backend can use");
        return Ok(Err(Problem::new("AuthUnsupported", message)));
    };
    let mut secrets = Vec::new();
    if let Some(field) = settings {
        let Some(Value::Object(settings)) = found.spec.get(*field) else {
            return invalid(format!("MCPExternalAuthConfig {name} has no spec.{field}"));
        };
        for (key, reference) in settings.iter().filter(|(key, value)| key.ends_with(SECRET_REF) && !value.is_null()) {
            match from_value::<SecretKeyRef>(reference.clone()) {
                Ok(secret) => secrets.push(secret),
                Err(_) => {
                    return invalid(format!(
                        "spec.{field}.{key} of MCPExternalAuthConfig {name} needs a name and a key"
                    ));
                }
            }
        }
        if *field == "headerInjection" && secrets.is_empty() {
            return invalid(format!("MCPExternalAuthConfig {name} has no spec.headerInjection.valueSecretRef"));
        }
    }
    secrets.sort();
    for secret in &secrets {
        if let Err(problem) = secret_is_there(cx, source, secret)? {
            return Ok(Err(problem));
        }
    }
    let Ok(config_hash) = content_hash(&found.spec) else {
        return invalid(format!("MCPExternalAuthConfig {name} cannot be written as JSON"));
    };
    Ok(Ok(Auth { config: name.to_owned(), auth_type: auth_type.to_owned(), config_hash, secrets }))
}

/// Whether a Secret has a value that somebody refers to.
pub fn secret_is_there<R: Reconciler>(cx: &Context<R>, source: &SourceRef, secret: &SecretKeyRef) -> Checked<()> {
    let SecretKeyRef { name, key } = secret;
    Ok(match or_problem(cx.get::<Secret>(source.beside(name)))? {
        Ok(Some(found)) if found.data.contains_key(key) => Ok(()),
        Ok(Some(_)) => Err(Problem::new("SecretKeyNotFound", format!("Secret {name} has no key {key}"))),
        Ok(None) => Err(Problem::new("SecretNotFound", format!("There is no Secret {name}"))),
        Err(problem) => Err(problem),
    })
}
