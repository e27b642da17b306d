//! Who a plugin's children may be written as.

use std::fmt;
use std::str::FromStr;

/// A ServiceAccount of Kubernetes clusters, written as `NAMESPACE/NAME`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ServiceAccount {
    /// Its namespace.
    pub namespace: Box<str>,
    /// Its name.
    pub name: Box<str>,
}

/// A text that is no ServiceAccount.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0:?} is no ServiceAccount; write NAMESPACE/NAME")]
pub struct NoServiceAccount(String);

impl ServiceAccount {
    /// The user that it is to an API server.
    pub fn user(&self) -> String {
        format!("system:serviceaccount:{}:{}", self.namespace, self.name)
    }
}

impl FromStr for ServiceAccount {
    type Err = NoServiceAccount;

    fn from_str(text: &str) -> Result<Self, NoServiceAccount> {
        let good = |part: &str| {
            let known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
            !part.is_empty() && part.len() <= 253 && part.chars().all(known)
        };
        match text.split_once('/').filter(|(namespace, name)| good(namespace) && good(name)) {
            Some((namespace, name)) => Ok(Self { namespace: namespace.into(), name: name.into() }),
            None => Err(NoServiceAccount(text.to_owned())),
        }
    }
}

impl fmt::Display for ServiceAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_a_namespace_and_a_name() {
        let account: ServiceAccount = "tools/bundler".parse().unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(
            (account.user().as_str(), account.to_string().as_str()),
            ("system:serviceaccount:tools:bundler", "tools/bundler")
        );
        for bad in
            ["bundler", "/bundler", "tools/", "tools/Bundler", "a/b/c", "system:serviceaccount:tools:bundler", ""]
        {
            let error = bad.parse::<ServiceAccount>().map_err(|error| error.to_string());
            assert_eq!(error, Err(format!("{bad:?} is no ServiceAccount; write NAMESPACE/NAME")));
        }
    }
}
