//! What a whole copy of the component does, whatever its objects ask for. A mark in its data says
//! which variant it is; tests write over the mark in the file. Each copy is a component with a digest
//! of its own that nobody has to build.

use std::hint::black_box;
use std::time::SystemTime;

use serde_json::Value;
use setpoint_sdk::Description;
use setpoint_sdk::bindings::setpoint::reconciler::types::{Outcome, Request};

/// All of them, each with what it does.
pub const VARIANTS: [(&str, &str); 8] = [
    ("none", "is as it is"),
    ("describe-traps", "panics when it is asked what it is"),
    ("describe-differs", "says something else each time it is asked what it is"),
    ("impostor", "has another name and the same kinds"),
    ("only-hostile", "has the kind Hostile alone"),
    ("only-final", "has another name, and the kind HostileFinal alone"),
    ("panics", "panics in every call, but for an object named spared"),
    ("childless", "wants no children, whatever the object says"),
];

/// Before the name in [`MARK`].
const PREFIX: usize = "setpoint-hostile-variant:".len();
/// Found in the file by its beginning; the name is filled up with blanks.
static MARK: [u8; 56] = *b"setpoint-hostile-variant:none                           ";

/// The variant that this copy is.
pub(crate) fn name() -> &'static str {
    // Not known when it is compiled: it may be another one in the file.
    let mark = black_box(&MARK);
    std::str::from_utf8(&mark[PREFIX..]).unwrap_or_default().trim_end()
}

/// What this copy says of itself instead.
pub(crate) fn describe(variant: &str, mut description: Description) -> Description {
    match variant {
        "describe-traps" => panic!("hostile does not say what it is, as asked"),
        "describe-differs" => {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            description.tuning.resync = Some(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX).max(1));
        }
        "impostor" => description.name = "impostor".to_owned(),
        "only-hostile" => description.kinds.retain(|owned| owns(&owned.crd, "Hostile")),
        "only-final" => {
            description.name = "hostile-final".to_owned();
            description.kinds.retain(|owned| owns(&owned.crd, "HostileFinal"));
        }
        _ => {}
    }
    description
}

fn owns(crd: &str, kind: &str) -> bool {
    serde_json::from_str::<Value>(crd).is_ok_and(|crd| crd["spec"]["names"]["kind"] == kind)
}

/// What this copy does before it answers.
pub(crate) fn asked(variant: &str, request: &Request) {
    assert!(variant != "panics" || request.key.name == "spared", "this version of hostile panics as asked");
}

/// What this copy makes of its answer.
pub(crate) fn answer(variant: &str, mut outcome: Outcome) -> Outcome {
    if variant == "childless" {
        outcome.children = Some(Vec::new());
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Hostile, HostileFinal};

    fn described(variant: &str) -> Description {
        describe(variant, setpoint_sdk::testing::describe::<(Hostile, HostileFinal)>())
    }

    #[test]
    fn a_copy_is_no_variant_unless_its_mark_says_so() {
        assert_eq!(name(), "none");
        assert!(VARIANTS.iter().all(|(name, _)| name.len() <= MARK.len() - PREFIX));
    }

    #[test]
    fn the_kinds_are_divided_between_two_plugins() {
        assert_eq!(described("none").kinds.len(), 2);
        let (rest, moved) = (described("only-hostile"), described("only-final"));
        assert_eq!((rest.kinds.len(), moved.kinds.len()), (1, 1));
        assert_ne!(rest.name, moved.name);
        assert_ne!(rest.kinds[0].crd, moved.kinds[0].crd);
    }
}
