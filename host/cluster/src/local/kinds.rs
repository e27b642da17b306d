//! Definitions that the store keeps, so that objects outlive the plugin that brought their kind
//! (rules B12, C9): after a start without it they are there, and wait for a plugin.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use setpoint_core::key::GroupKind;
use setpoint_schema::Crd;

use super::effects::Effects;
use super::model::Model;

/// Rows of [`Table::Bookkeeping`](super::Table) of this prefix hold a definition each.
const PREFIX: &str = "kind/";

#[derive(Serialize, Deserialize)]
struct Kept {
    /// The version that the plugin speaks (rule D6).
    version: String,
    definition: Value,
}

fn row_name(kind: &GroupKind) -> String {
    format!("{PREFIX}{kind}")
}

/// The row of a kind; none for what is built in.
fn row(crd: &Crd) -> Option<(String, Vec<u8>)> {
    let definition = crd.manifest();
    if definition.is_null() {
        return None;
    }
    let kept = Kept { version: crd.version.clone(), definition };
    let bytes = serde_json::to_vec(&kept).unwrap_or_default();
    Some((row_name(&GroupKind::new(&crd.group, &crd.kind)), bytes))
}

impl Model {
    /// Serves a kind as [`Model::install_kind`] does, and keeps its definition: it is served again
    /// by [`Model::restore_kinds`] after a start. A kept definition is replaced by a changed one.
    pub fn keep_kind(&mut self, crd: Crd) -> Effects {
        let row = row(&crd);
        let mut effects = self.install_kind(crd);
        if let Some((name, bytes)) = row {
            effects.join(self.bookkeeping_put(&name, Some(&bytes)));
        }
        effects
    }

    /// Serves a kind no longer, and does not serve it after a start either; see
    /// [`Model::remove_kind`].
    pub fn drop_kind(&mut self, kind: &GroupKind) -> Effects {
        self.remove_kind(kind);
        self.bookkeeping_put(&row_name(kind), None)
    }

    /// Serves the kinds whose definitions were kept, as far as there are objects of them. What
    /// cannot be read any more is answered with the reason: its objects stay hidden until a plugin
    /// brings the kind.
    pub fn restore_kinds(&mut self) -> (Effects, Vec<String>) {
        let (mut effects, mut unreadable) = (Effects::default(), Vec::new());
        let rows: Vec<(String, Vec<u8>)> = self
            .bookkeeping
            .range(PREFIX.to_owned()..)
            .take_while(|(name, _)| name.starts_with(PREFIX))
            .map(|(name, bytes)| (name.clone(), bytes.clone()))
            .collect();
        for (name, bytes) in rows {
            match parse(&bytes) {
                Ok(crd) if self.has_any(&GroupKind::new(&crd.group, &crd.kind)) => {
                    effects.join(self.install_kind(crd));
                }
                Ok(_) => {}
                Err(reason) => unreadable.push(format!("{}: {reason}", &name[PREFIX.len()..])),
            }
        }
        (effects, unreadable)
    }

    /// Forgets the definitions of kinds that nobody needs: there is no object of them, and `used`
    /// says that no plugin brings them.
    pub fn forget_kinds(&mut self, used: impl Fn(&GroupKind) -> bool) -> Effects {
        let mut effects = Effects::default();
        let kept = self.bookkeeping.range(PREFIX.to_owned()..).take_while(|(name, _)| name.starts_with(PREFIX));
        let unused: Vec<String> = kept
            .filter(|(_, bytes)| {
                parse(bytes).is_ok_and(|crd| {
                    let kind = GroupKind::new(&crd.group, &crd.kind);
                    self.crd(&kind).is_none() && !self.has_any(&kind) && !used(&kind)
                })
            })
            .map(|(name, _)| name.clone())
            .collect();
        for name in unused {
            effects.join(self.bookkeeping_put(&name, None));
        }
        effects
    }
}

fn parse(bytes: &[u8]) -> Result<Crd, String> {
    let kept: Kept = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    Crd::parse(&kept.definition, &kept.version).map_err(|error| error.to_string())
}
