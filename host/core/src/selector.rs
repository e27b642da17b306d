//! Label selectors as kubectl writes them: `app=a,tier in (b,c),!old`.

use std::fmt;

/// One requirement of a selector.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Requirement {
    In(Box<str>, Vec<Box<str>>),
    NotIn(Box<str>, Vec<Box<str>>),
    Exists(Box<str>),
    DoesNotExist(Box<str>),
}

/// A label selector: all of its requirements have to hold. An empty one selects everything.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Selector {
    requirements: Vec<Requirement>,
}

/// Why a selector does not parse.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("selector {text:?}: {problem} at character {at}; write it as `app=a,tier in (b,c),!old`")]
pub struct SelectorError {
    text: String,
    problem: String,
    at: usize,
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/')
}

impl<'a> Parser<'a> {
    fn error(&self, problem: impl Into<String>) -> SelectorError {
        SelectorError {
            text: self.text.chars().take(200).collect(),
            problem: problem.into(),
            at: self.text[..self.at].chars().count() + 1,
        }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn space(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    fn eat(&mut self, token: &str) -> bool {
        self.space();
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn word(&mut self) -> &'a str {
        self.space();
        let rest = self.rest();
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    fn key(&mut self) -> Result<Box<str>, SelectorError> {
        let word = self.word();
        if word.is_empty() { Err(self.error("a label key is missing")) } else { Ok(word.into()) }
    }

    fn values(&mut self) -> Result<Vec<Box<str>>, SelectorError> {
        if !self.eat("(") {
            return Err(self.error("`(` expected"));
        }
        let mut values: Vec<Box<str>> = vec![self.word().into()];
        while self.eat(",") {
            values.push(self.word().into());
        }
        if self.eat(")") { Ok(values) } else { Err(self.error("`,` or `)` expected")) }
    }

    fn requirement(&mut self) -> Result<Requirement, SelectorError> {
        if self.eat("!") {
            return Ok(Requirement::DoesNotExist(self.key()?));
        }
        let key = self.key()?;
        if self.eat("!=") {
            return Ok(Requirement::NotIn(key, vec![self.word().into()]));
        }
        if self.eat("==") || self.eat("=") {
            return Ok(Requirement::In(key, vec![self.word().into()]));
        }
        let before = self.at;
        match self.word() {
            "in" => Ok(Requirement::In(key, self.values()?)),
            "notin" => Ok(Requirement::NotIn(key, self.values()?)),
            "" => Ok(Requirement::Exists(key)),
            other => {
                let other = other.to_owned();
                self.at = before;
                Err(self.error(format!("`=`, `!=`, `in` or `notin` expected, found `{other}`")))
            }
        }
    }
}

impl Selector {
    /// Reads a selector.
    ///
    /// # Errors
    /// Says what is wrong and at which character.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut parser = Parser { text, at: 0 };
        let mut requirements = Vec::new();
        parser.space();
        if parser.rest().is_empty() {
            return Ok(Self::default());
        }
        loop {
            requirements.push(parser.requirement()?);
            parser.space();
            if parser.rest().is_empty() {
                return Ok(Self { requirements });
            }
            if !parser.eat(",") {
                return Err(parser.error("`,` expected"));
            }
        }
    }

    /// A selector of one label with one value.
    pub fn equals(key: &str, value: &str) -> Self {
        Self { requirements: vec![Requirement::In(key.into(), vec![value.into()])] }
    }

    /// Whether these labels are selected. Labels are given in any order. As in Kubernetes, `!=` and
    /// `notin` select objects without the label as well.
    pub fn matches(&self, labels: &[(Box<str>, Box<str>)]) -> bool {
        let value = |key: &str| labels.iter().find(|(k, _)| &**k == key).map(|(_, v)| v);
        self.requirements.iter().all(|requirement| match requirement {
            Requirement::In(key, values) => value(key).is_some_and(|v| values.contains(v)),
            Requirement::NotIn(key, values) => !value(key).is_some_and(|v| values.contains(v)),
            Requirement::Exists(key) => value(key).is_some(),
            Requirement::DoesNotExist(key) => value(key).is_none(),
        })
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, requirement) in self.requirements.iter().enumerate() {
            if at > 0 {
                f.write_str(",")?;
            }
            match requirement {
                Requirement::In(key, values) if values.len() == 1 => write!(f, "{key}={}", values[0])?,
                Requirement::In(key, values) => write!(f, "{key} in ({})", values.join(","))?,
                Requirement::NotIn(key, values) if values.len() == 1 => write!(f, "{key}!={}", values[0])?,
                Requirement::NotIn(key, values) => write!(f, "{key} notin ({})", values.join(","))?,
                Requirement::Exists(key) => f.write_str(key)?,
                Requirement::DoesNotExist(key) => write!(f, "!{key}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn labels(pairs: &[(&str, &str)]) -> Vec<(Box<str>, Box<str>)> {
        pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect()
    }

    fn selects(selector: &str, pairs: &[(&str, &str)]) -> bool {
        Selector::parse(selector).is_ok_and(|s| s.matches(&labels(pairs)))
    }

    #[test]
    fn requirements_mean_what_kubectl_means() {
        assert!(selects("", &[]));
        assert!(selects("app=a, tier in (b, c),!old", &[("app", "a"), ("tier", "c")]));
        assert!(!selects("app=a,!old", &[("app", "a"), ("old", "")]));
        assert!(selects("app!=a", &[]) && selects("app notin (a,b)", &[("app", "c")]));
        assert!(selects("example.com/x", &[("example.com/x", "")]));
        assert!(selects("app==", &[("app", "")]));
    }

    #[test]
    fn an_error_says_where() {
        let text = Selector::parse("app=a,tier on (b)").map_err(|e| e.to_string());
        assert!(text.is_err_and(|e| e.contains("`on`") && e.contains("at character 12")));
        for bad in ["=a", "a in b", "a in (b", "a,,b", "a b", "a=b c", ","] {
            assert!(Selector::parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic_and_what_parses_survives_its_own_text(text in "[a-c=!, ()\\PCin]{0,30}") {
            if let Ok(selector) = Selector::parse(&text) {
                prop_assert_eq!(Selector::parse(&selector.to_string()), Ok(selector));
            }
        }
    }
}
