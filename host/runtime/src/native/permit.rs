//! Whose child an object of the host's kinds is, and what its owner's plugin may do: a process is run, an
//! endpoint is spoken to, and a Secret is resolved, only for a plugin that was granted it (design §6).

use std::sync::Arc;

use setpoint_core::contract::Reason;
use setpoint_core::effects::{OWNER_KEY, OWNER_LABEL};
use setpoint_core::engine::PluginInfo;
use setpoint_core::key::{GroupKind, Key, Source};
use setpoint_core::native;
use setpoint_core::object::Object;

use super::Native;

/// The plugin that an object is a child for.
pub(super) struct Permit {
    /// Whose child it is.
    pub(super) owner: Key,
    plugin: Arc<PluginInfo>,
}

/// Why an object is nobody's business here.
pub(super) enum Denied {
    /// It must not do anything.
    Never(Reason),
    /// Nobody can say at present; what goes on goes on.
    NotNow(Reason),
}

impl Permit {
    /// Whether a process of this command may run.
    ///
    /// # Errors
    /// Why not, and what to grant.
    pub(super) fn run(&self, command: &str) -> Result<(), Reason> {
        if self.plugin.grants().may_run(command) {
            return Ok(());
        }
        Err(self.not_granted("process"))
    }

    /// Whether a host may be spoken to.
    pub(super) fn may_dial(&self, host: &str, port: u16) -> bool {
        self.plugin.grants().may_dial(host, port)
    }

    /// The reason for which it may not.
    pub(super) fn may_not_dial(&self, host: &str, port: u16) -> Reason {
        let target = native::Target { host: host.to_owned(), port };
        self.not_granted(&format!("http:{target}"))
    }

    /// The Secret of a name: in the owner's namespace, if the plugin may read Secrets there.
    ///
    /// # Errors
    /// Why not, and what to grant.
    pub(super) fn secret(&self, name: &str) -> Result<Key, Reason> {
        let (cluster, namespace) = (&self.owner.cluster, self.owner.namespace.as_deref());
        let kind = GroupKind::new("", "Secret");
        let described = self.plugin.description.reads.iter().any(|read| read.kind.group_kind() == kind);
        if !described {
            let message = format!("the plugin {} does not describe that it reads Secrets", self.plugin.name);
            return Err(Reason::new("NotGranted", message));
        }
        if !self.plugin.grants().may_read(&kind, cluster, namespace) {
            let scope = namespace.map(|namespace| format!("/{namespace}")).unwrap_or_default();
            return Err(self.not_granted(&format!("read:core/Secret@{cluster}{scope}")));
        }
        Ok(Key::new(cluster, "", "Secret", namespace, name))
    }

    fn not_granted(&self, grant: &str) -> Reason {
        let name = &self.plugin.name;
        Reason::new("NotGranted", format!("not granted to the plugin {name}; grant it with --grant {name}={grant}"))
    }
}

impl Native {
    /// For whom an object is there.
    pub(super) fn permit(&self, key: &Key, object: &Object) -> Result<Permit, Denied> {
        let nobodys = || {
            let message =
                format!("a {} is there for a plugin that returned it as a child, and this one is not", key.kind);
            Denied::Never(Reason::new("NotGranted", message))
        };
        // What a file defines is nobody's child, whatever it says of itself.
        let from_file = self.local.read(|model| model.file_of(key).is_some());
        if from_file || object.label(OWNER_LABEL).is_none() {
            return Err(nobodys());
        }
        let owner = object.mark(OWNER_KEY).and_then(Key::parse).ok_or_else(nobodys)?;
        let source = Source { cluster: owner.cluster.clone(), kind: owner.group_kind() };
        let plugin = self.driver.look(|engine| engine.plugin_for(&source).cloned());
        match plugin {
            Some(plugin) => Ok(Permit { owner, plugin }),
            None => {
                let message = format!("no plugin reconciles {} now", owner.group_kind());
                Err(Denied::NotNow(Reason::new("PluginMissing", message)))
            }
        }
    }

    /// The value of a key of a Secret; none if the Secret or the key is not there.
    ///
    /// # Errors
    /// It may not be read, or nothing is known of it at present.
    pub(super) async fn secret(&self, permit: &Permit, name: &str, entry: &str) -> Result<Option<Vec<u8>>, Reason> {
        let key = permit.secret(name)?;
        let object = match self.get(&key).await {
            Ok(Some(object)) => object.value(),
            Ok(None) => return Ok(None),
            Err(why) => return Err(Reason::new("SecretUnavailable", format!("the Secret {name}: {why}"))),
        };
        let Some(text) = object.pointer("/data").and_then(|data| data.get(entry)).and_then(|value| value.as_str())
        else {
            return Ok(None);
        };
        let wrong = || Reason::new("Invalid", format!("the key {entry} of the Secret {name} is not base64"));
        base64(text).ok_or_else(wrong).map(Some)
    }
}

fn base64(text: &str) -> Option<Vec<u8>> {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.decode(text).ok()
}
