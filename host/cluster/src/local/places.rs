//! The rows of places: where an owner's children may be (rule B2).

use serde::{Deserialize, Serialize};
use setpoint_core::key::{GroupKind, Name};

#[derive(Serialize, Deserialize)]
struct Place {
    cluster: String,
    group: String,
    kind: String,
}

pub(crate) fn encode(places: &[(Name, GroupKind)]) -> Vec<u8> {
    let rows: Vec<Place> = places
        .iter()
        .map(|(cluster, kind)| Place {
            cluster: cluster.to_string(),
            group: kind.group.to_string(),
            kind: kind.kind.to_string(),
        })
        .collect();
    serde_json::to_vec(&rows).unwrap_or_default()
}

pub(crate) fn decode(bytes: &[u8]) -> Result<Vec<(Name, GroupKind)>, String> {
    let rows: Vec<Place> = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    Ok(rows.into_iter().map(|row| (row.cluster.into(), GroupKind::new(&row.group, &row.kind))).collect())
}
