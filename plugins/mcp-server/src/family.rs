//! Families: servers that do the same for different instances of something.
//!
//! Their tools have one name, and an argument that says which server is meant. So all members have to
//! agree on that argument. If they do not, each is known by its own prefix.

use std::collections::BTreeMap;

use serde::Deserialize;
use setpoint_sdk::prelude::*;

use crate::spec::{Family, MCPServerSpec};

/// Index over the names of families.
pub const INDEX: &str = "family";
/// Members that a message names.
const NAMED: usize = 3;

/// A server as its family sees it.
#[derive(Deserialize)]
pub struct Member {
    #[serde(default)]
    spec: MemberSpec,
}

#[derive(Deserialize, Default)]
struct MemberSpec {
    family: Option<Family>,
}

impl Resource for Member {
    const GROUP: &'static str = "muster.giantswarm.io";
    const VERSION: &'static str = "v1alpha1";
    const KIND: &'static str = "MCPServer";
}

/// Which reads [`agreement`] needs.
pub fn reads() -> Read {
    Read::all::<Member>().fields([".spec.family"]).index(INDEX, ".spec.family.name")
}

/// The query for all members of a family.
pub fn members(family: &Family) -> Query {
    Query::new().index(INDEX, &family.name)
}

/// None if all members agree, else in what they differ.
pub fn disagreement(family: &Family, members: &[setpoint_sdk::Object<Member>]) -> Option<String> {
    let mut by_argument: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for member in members {
        if let Some(Family { instance_arg, .. }) = &member.spec.family {
            by_argument.entry(instance_arg).or_default().push(&member.metadata.name);
        }
    }
    if by_argument.len() < 2 {
        return None;
    }
    let groups: Vec<String> = by_argument
        .iter()
        .take(NAMED)
        .map(|(argument, names)| {
            let shown = names.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
            let more = if names.len() > NAMED { ", …" } else { "" };
            format!("{argument} of {shown}{more}")
        })
        .collect();
    let more = if by_argument.len() > NAMED { "; …" } else { "" };
    let (name, groups) = (&family.name, groups.join("; "));
    Some(format!("The servers of family {name} differ in instanceArg ({groups}{more}): each has its own prefix"))
}

/// The condition `FamilyAgrees`, if the server is in a family.
pub fn with_condition<R, S>(cx: &Context<R>, outcome: Outcome<S>) -> Result<Outcome<S>, Error>
where
    R: Reconciler<Spec = MCPServerSpec>,
{
    let Some(family) = &cx.spec().family else { return Ok(outcome) };
    let members = cx.list::<Member>(members(family))?;
    Ok(match disagreement(family, &members) {
        None => outcome.condition("FamilyAgrees", true, "Agreed", "All servers of the family agree on instanceArg"),
        Some(message) => outcome.condition("FamilyAgrees", false, "InstanceArgDiffers", message),
    })
}
