//! The environment of a process, with what its Secrets say in it.

use std::collections::BTreeMap;
use std::fmt;

use sha2::{Digest as _, Sha256};

use super::spec::EnvVar;
use crate::contract::Reason;
use crate::native::SecretKeyRef;

/// What an environment says, in short: two with the same digest are the same. Shows nothing, since
/// a short secret could be found from it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Digest([u8; 32]);

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(…)")
    }
}

#[derive(Clone, PartialEq, Eq)]
struct Variable {
    value: String,
    secret: bool,
}

/// The variables of one process by name, beyond those that every process gets. Shows only names.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Environment(BTreeMap<String, Variable>);

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Environment {
    /// The values of all variables. `lookup` answers with the bytes of a key of a Secret, with none
    /// if the Secret or the key is not there, or with the reason why it may not be read.
    ///
    /// # Errors
    /// Why the process cannot be started: the first variable that has no value. `SecretNotFound`,
    /// `Invalid`, or what `lookup` said.
    pub fn resolve(
        variables: &[EnvVar],
        mut lookup: impl FnMut(&SecretKeyRef) -> Result<Option<Vec<u8>>, Reason>,
    ) -> Result<Self, Reason> {
        let mut resolved = BTreeMap::new();
        for variable in variables {
            let name = &variable.name;
            if name.is_empty() || name.contains(['=', '\0']) {
                return Err(invalid(name, "is no name of a variable"));
            }
            let (value, secret) = match (&variable.value, &variable.value_from) {
                (Some(value), None) => (value.clone(), false),
                (None, Some(source)) => match from_secret(name, &source.secret_key_ref, &mut lookup)? {
                    Some(value) => (value, true),
                    None => continue,
                },
                _ => return Err(invalid(name, "needs either a value or a place that it comes from")),
            };
            if value.contains('\0') {
                return Err(invalid(name, "has a zero byte in its value, which no variable can have"));
            }
            resolved.insert(name.clone(), Variable { value, secret });
        }
        Ok(Self(resolved))
    }

    /// What tells it from others.
    pub fn digest(&self) -> Digest {
        let mut hash = Sha256::new();
        for (name, variable) in &self.0 {
            for part in [name, &variable.value] {
                hash.update((part.len() as u64).to_le_bytes());
                hash.update(part);
            }
        }
        Digest(hash.finalize().into())
    }

    /// Names and values, in order of names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, variable)| (name.as_str(), variable.value.as_str()))
    }

    /// The values that came from Secrets, which must show nowhere.
    pub fn secrets(&self) -> impl Iterator<Item = &str> {
        self.0.values().filter(|variable| variable.secret).map(|variable| variable.value.as_str())
    }
}

fn from_secret(
    name: &str,
    from: &SecretKeyRef,
    lookup: &mut impl FnMut(&SecretKeyRef) -> Result<Option<Vec<u8>>, Reason>,
) -> Result<Option<String>, Reason> {
    match lookup(from)? {
        Some(bytes) => match String::from_utf8(bytes) {
            Ok(value) => Ok(Some(value)),
            Err(_) => {
                let what = format!("comes from the key {} of the Secret {}, which is not text", from.key, from.name);
                Err(invalid(name, &what))
            }
        },
        None if from.optional => Ok(None),
        None => Err(Reason::new(
            "SecretNotFound",
            format!("the variable {name} needs the key {} of the Secret {}, which is not there", from.key, from.name),
        )),
    }
}

fn invalid(name: &str, what: &str) -> Reason {
    Reason::new("Invalid", format!("the variable {} {what}", name.replace('\0', "␀")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::EnvSource;

    fn literal(name: &str, value: &str) -> EnvVar {
        EnvVar { name: name.into(), value: Some(value.into()), value_from: None }
    }

    fn secret(name: &str, key: &str, optional: bool) -> EnvVar {
        let secret_key_ref = SecretKeyRef { name: "s".into(), key: key.into(), optional };
        EnvVar { name: name.into(), value: None, value_from: Some(EnvSource { secret_key_ref }) }
    }

    fn resolve(variables: &[EnvVar]) -> Result<Environment, Reason> {
        Environment::resolve(variables, |wanted| {
            Ok(match wanted.key.as_str() {
                "password" => Some(b"hunter2".to_vec()),
                "bytes" => Some(vec![0xff, 0xfe]),
                "zero" => Some(b"a\0b".to_vec()),
                _ => None,
            })
        })
    }

    fn pairs(environment: &Environment) -> Vec<(&str, &str)> {
        environment.iter().collect()
    }

    #[test]
    fn values_of_secrets_are_known_as_secrets_and_shown_nowhere() {
        let environment = resolve(&[literal("A", "1"), secret("B", "password", false)]).expect("all is there");
        assert_eq!(pairs(&environment), [("A", "1"), ("B", "hunter2")]);
        assert_eq!(environment.secrets().collect::<Vec<_>>(), ["hunter2"]);
        let shown = format!("{environment:?} {:?}", environment.digest());
        assert!(!shown.contains("hunter2") && !shown.contains('1'), "{shown}");
    }

    #[test]
    fn what_is_missing_or_no_value_is_said_with_its_variable() {
        let reason = |variable| resolve(&[variable]).expect_err("it has no value");
        let missing = reason(secret("B", "nothing", false));
        assert_eq!(missing.code, "SecretNotFound");
        assert_eq!(missing.message, "the variable B needs the key nothing of the Secret s, which is not there");
        for (variable, word) in [
            (secret("B", "bytes", false), "not text"),
            (secret("B", "zero", false), "zero byte"),
            (literal("B", "a\0b"), "zero byte"),
            (literal("", "a"), "no name"),
            (literal("A=B", "a"), "no name"),
            (EnvVar { name: "B".into(), value: None, value_from: None }, "either"),
        ] {
            let reason = reason(variable);
            assert!(reason.code == "Invalid" && reason.message.contains(word), "{reason:?}");
        }
        let refused = Environment::resolve(&[secret("B", "k", true)], |_| Err(Reason::new("NotGranted", "no")));
        assert_eq!(refused.expect_err("it may not be read").code, "NotGranted");
    }

    #[test]
    fn an_optional_variable_without_a_value_is_left_out() {
        assert_eq!(pairs(&resolve(&[secret("B", "nothing", true)]).expect("it is optional")), []);
    }

    #[test]
    fn the_digest_changes_with_each_name_and_value_and_not_with_their_place_or_order() {
        let of = |variables: &[EnvVar]| resolve(variables).expect("all is there").digest();
        let base = of(&[literal("A", "1"), literal("B", "hunter2")]);
        assert_eq!(base, of(&[literal("B", "hunter2"), literal("A", "1")]));
        assert_eq!(base, of(&[literal("A", "1"), secret("B", "password", false)]));
        assert_ne!(base, of(&[literal("A", "1")]));
        assert_ne!(base, of(&[literal("A", "1"), literal("B", "hunter3")]));
        assert_ne!(of(&[literal("A", "1B")]), of(&[literal("A1", "B")]));
    }
}
