//! Who a cluster is: its authority, its keys, its users. Several API servers of one cluster share it.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use uuid::Uuid;

use crate::api::Api;
use crate::certificates::{Authority, write_keys};
use crate::file::write;
use crate::keeper::Keeper;

/// May do everything: in the group `system:masters`.
pub const ADMIN: &str = "admin";
/// May do nothing until it is [allowed](crate::Kube::allow), but what every authenticated user may.
pub const USERS: [&str; 3] = ["alice", "bob", "carol"];

/// The files of a cluster, in the directory of its keeper.
pub(crate) struct Identity {
    pub(crate) keeper: Arc<Keeper>,
    pub(crate) authority: Authority,
    /// Nobody else on this machine knows the tokens.
    secret: Uuid,
}

impl Identity {
    pub(crate) fn new() -> Self {
        let keeper = Arc::new(Keeper::new());
        let authority = Authority::new(keeper.dir());
        let identity = Self { keeper, authority, secret: Uuid::new_v4() };
        write_keys(&identity.signing_key(), &identity.checking_key());
        let mut users = format!("{},{ADMIN},{ADMIN},system:masters\n", identity.token(ADMIN));
        for user in USERS {
            // Writing to a String cannot fail.
            let _ = writeln!(users, "{},{user},{user}", identity.token(user));
        }
        write(&identity.users(), &users);
        identity
    }

    /// The file of tokens, users and groups.
    pub(crate) fn users(&self) -> PathBuf {
        self.file("users.csv")
    }

    /// The key that signs the tokens of service accounts.
    pub(crate) fn signing_key(&self) -> PathBuf {
        self.file("service-accounts.key")
    }

    /// The key that these are checked with.
    pub(crate) fn checking_key(&self) -> PathBuf {
        self.file("service-accounts.pub")
    }

    pub(crate) fn token(&self, user: &str) -> String {
        format!("{user}-{}", self.secret)
    }

    pub(crate) fn api(&self, server: &str, token: &str) -> Api {
        Api::new(server.to_owned(), self.authority.trusting(), Some(token))
    }

    /// Writes a kubeconfig whose one context is the user at this server.
    pub(crate) fn kubeconfig(&self, server: &str, user: &str, credentials: &Credentials) -> PathBuf {
        let credentials = match credentials {
            Credentials::Token(token) => format!("token: {token}"),
            Credentials::Certificate(certificate, key) => {
                format!("client-certificate: {}\n    client-key: {}", certificate.display(), key.display())
            }
        };
        let port = server.rsplit(':').next().unwrap_or_default();
        let file = self.file(&format!("kubeconfig-{port}-{}.yaml", user.replace([':', '/'], "-")));
        let text = format!(
            "\
apiVersion: v1
kind: Config
clusters:
- name: test
  cluster:
    server: {server}
    certificate-authority: {}
users:
- name: {user}
  user:
    {credentials}
contexts:
- name: {user}
  context:
    cluster: test
    user: {user}
current-context: {user}
",
            self.authority.certificate().display(),
        );
        write(&file, &text);
        file
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.keeper.dir().join(name)
    }
}

/// How a user shows who it is.
pub(crate) enum Credentials {
    Token(String),
    /// The files of certificate and key.
    Certificate(PathBuf, PathBuf),
}
