//! Kubeconfigs: the clusters that a file names, and kubeconfigs that are no files.

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use kube::config::{AuthInfo, Kubeconfig};

use crate::failure::chain;

/// One context of a kubeconfig.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KubeContext {
    /// Its name.
    pub name: String,
    /// Address of the server that it leads to.
    pub server: String,
    /// Whether it is the current one.
    pub current: bool,
}

/// The contexts of a kubeconfig, in its order.
///
/// # Errors
/// The file cannot be read, is no kubeconfig, or has a context that leads nowhere.
pub fn contexts(path: &Path) -> Result<Vec<KubeContext>, String> {
    let read = || -> Result<Vec<KubeContext>, String> {
        let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
        contexts_of(&parse(&text)?)
    };
    read().map_err(|problem| format!("{}: {problem}", path.display()))
}

fn parse(text: &str) -> Result<Kubeconfig, String> {
    if text.trim().is_empty() {
        return Err("it is empty".into());
    }
    // The first line says what and where; the others show the text, which may have credentials in it.
    let brief = |text: String| text.lines().next().unwrap_or_default().to_owned();
    let parsed = Kubeconfig::from_yaml(text);
    let config = parsed.map_err(|error| format!("it is no kubeconfig: {}", brief(chain(&error))))?;
    if config.contexts.is_empty() {
        return Err("it is no kubeconfig, or has no contexts".into());
    }
    Ok(config)
}

fn contexts_of(config: &Kubeconfig) -> Result<Vec<KubeContext>, String> {
    let current = current_context(config);
    let context = |name: &String| {
        let server = server_of(config, name)?;
        Ok(KubeContext { name: name.clone(), server, current: current.as_ref() == Some(name) })
    };
    config.contexts.iter().map(|named| context(&named.name)).collect()
}

fn server_of(config: &Kubeconfig, context: &str) -> Result<String, String> {
    let named = config.contexts.iter().find(|named| named.name == context);
    let Some(found) = named.and_then(|named| named.context.as_ref()) else {
        return Err(format!("there is no context {context:?}"));
    };
    let cluster = config.clusters.iter().find(|named| named.name == found.cluster);
    let server = cluster.and_then(|named| named.cluster.as_ref()).and_then(|cluster| cluster.server.clone());
    server.ok_or_else(|| {
        format!("the context {context:?} names the cluster {:?}, of which no address is known", found.cluster)
    })
}

/// A kubeconfig that is no file, such as one that is kept in a Secret. Its text may be replaced at any time, as when
/// credentials are renewed: who uses it sees the new one.
#[derive(Clone)]
pub struct SharedKubeconfig(Arc<Inner>);

struct Inner {
    /// Where it is kept, for people.
    place: String,
    current: RwLock<(String, String)>,
}

impl SharedKubeconfig {
    /// A kubeconfig that is kept at a place. It has to carry its credentials itself: commands and files that it names are
    /// those of whoever may write there, and not to be run or read by this host.
    ///
    /// # Errors
    /// It is none, or is not complete in itself.
    pub fn new(place: impl Into<String>, text: &str) -> Result<Self, String> {
        let place = place.into();
        let server = complete(text).map_err(|problem| format!("{place}: {problem}"))?;
        Ok(Self(Arc::new(Inner { place, current: RwLock::new((text.to_owned(), server)) })))
    }

    /// A kubeconfig that is made by this host, from what its operator allows.
    pub fn trusted(place: impl Into<String>, text: String, server: String) -> Self {
        Self(Arc::new(Inner { place: place.into(), current: RwLock::new((text, server)) }))
    }

    /// Replaces its text. Answers whether it still leads to the same server.
    ///
    /// # Errors
    /// As [`SharedKubeconfig::new`]; the last good text stays.
    pub fn replace(&self, text: &str) -> Result<bool, String> {
        let server = complete(text).map_err(|problem| format!("{}: {problem}", self.0.place))?;
        let mut current = self.0.current.write().unwrap_or_else(PoisonError::into_inner);
        let same = current.1 == server;
        *current = (text.to_owned(), server);
        Ok(same)
    }

    /// Where it is kept, for people.
    pub fn place(&self) -> &str {
        &self.0.place
    }

    /// Address of the server that its current context leads to.
    pub fn server(&self) -> String {
        self.0.current.read().unwrap_or_else(PoisonError::into_inner).1.clone()
    }

    pub(crate) fn load(&self) -> Result<Kubeconfig, String> {
        let current = self.0.current.read().unwrap_or_else(PoisonError::into_inner);
        let mut config = parse(&current.0).map_err(|problem| format!("{}: {problem}", self.0.place))?;
        config.current_context = current_context(&config);
        Ok(config)
    }
}

impl PartialEq for SharedKubeconfig {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for SharedKubeconfig {}

impl std::fmt::Debug for SharedKubeconfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Its text has credentials in it.
        f.debug_tuple("SharedKubeconfig").field(&self.0.place).finish()
    }
}

/// The server of the current context of a kubeconfig that needs nothing beside itself.
fn complete(text: &str) -> Result<String, String> {
    let config = parse(text)?;
    let context = current_context(&config).unwrap_or_default();
    for named in &config.auth_infos {
        if let Some(what) = named.auth_info.as_ref().and_then(outside) {
            let user = &named.name;
            return Err(format!(
                "the user {user:?} has {what}; a kubeconfig that is no file has to carry its credentials itself"
            ));
        }
    }
    for named in &config.clusters {
        if named.cluster.as_ref().is_some_and(|cluster| cluster.certificate_authority.is_some()) {
            let cluster = &named.name;
            return Err(format!(
                "the cluster {cluster:?} has certificate-authority, the name of a file; write certificate-authority-data"
            ));
        }
    }
    server_of(&config, &context)
}

/// The context that is meant: what the kubeconfig says, else its first one.
fn current_context(config: &Kubeconfig) -> Option<String> {
    let said = config.current_context.clone().filter(|context| !context.is_empty());
    said.or_else(|| config.contexts.first().map(|named| named.name.clone()))
}

/// What a user needs beside the kubeconfig.
fn outside(user: &AuthInfo) -> Option<&'static str> {
    [
        ("exec, a command", user.exec.is_some()),
        ("auth-provider, a command", user.auth_provider.is_some()),
        ("tokenFile, the name of a file", user.token_file.is_some()),
        ("client-certificate, the name of a file", user.client_certificate.is_some()),
        ("client-key, the name of a file", user.client_key.is_some()),
    ]
    .into_iter()
    .find_map(|(what, has)| has.then_some(what))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kubeconfig(user: &str, cluster: &str) -> String {
        format!(
            "apiVersion: v1
kind: Config
clusters:
- name: c
  cluster: {{server: 'https://a.example:6443'{cluster}}}
- name: empty
users:
- name: u
  user: {{{user}}}
contexts:
- name: x
  context: {{cluster: c, user: u}}
current-context: x
"
        )
    }

    #[test]
    fn the_contexts_of_a_file_say_where_they_lead() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config");
        std::fs::write(&path, kubeconfig("token: t", "")).unwrap();
        let found = contexts(&path).unwrap();
        let server = "https://a.example:6443".to_owned();
        assert_eq!(found, [KubeContext { name: "x".into(), server, current: true }]);
    }

    #[test]
    fn what_is_no_kubeconfig_is_named_with_its_mistake() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config");
        let whole = kubeconfig("token: t", "");
        let nowhere = whole.replace("cluster: c,", "cluster: d,");
        let (half, _) = whole.split_at(whole.find("contexts:").unwrap());
        for (text, says) in [
            ("", "it is empty"),
            ("clusters: [", "it is no kubeconfig"),
            ("a: b\n", "no contexts"),
            (nowhere.as_str(), "of which no address is known"),
            (half, "no contexts"),
            (&half[..half.len() - 8], "it is no kubeconfig"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = contexts(&path).expect_err(text);
            assert!(error.contains(says) && error.contains("config"), "{error}");
        }
        let error = contexts(&dir.path().join("none")).expect_err("it is not there");
        assert!(error.contains("none") && error.contains("No such file"), "{error}");
    }

    #[test]
    fn a_kubeconfig_that_is_no_file_brings_everything_along_and_runs_nothing() {
        for (user, cluster, says) in [
            ("exec: {command: sh, apiVersion: client.authentication.k8s.io/v1}", "", "exec"),
            ("tokenFile: /etc/passwd", "", "tokenFile"),
            ("client-certificate: /a", "", "client-certificate"),
            ("client-key: /a", "", "client-key"),
            ("token: t", ", certificate-authority: /a", "certificate-authority-data"),
        ] {
            let error = SharedKubeconfig::new("the Secret a/b", &kubeconfig(user, cluster)).expect_err(user);
            assert!(error.contains(says) && error.starts_with("the Secret a/b: "), "{error}");
        }
        let shared = SharedKubeconfig::new("s", &kubeconfig("token: one", "")).expect("it is complete");
        assert_eq!(shared.server(), "https://a.example:6443");
        assert!(!format!("{shared:?}").contains("one"), "its text is not shown");
        let clone = shared.clone();
        assert_eq!(shared.replace(&kubeconfig("token: two", "")), Ok(true));
        assert!(clone.0.current.read().unwrap().0.contains("two"), "who uses it sees the new one");
        assert!(shared.replace("nonsense: [").is_err());
        let elsewhere = kubeconfig("token: three", "").replace("a.example", "b.example");
        assert_eq!(shared.replace(&elsewhere), Ok(false));
    }
}
