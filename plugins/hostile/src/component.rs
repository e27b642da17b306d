//! The component. Not made by `export!`, as that could not break the contract.

use setpoint_sdk::bindings::exports::setpoint::reconciler::guest::Guest;
use setpoint_sdk::bindings::setpoint::reconciler::types;
use setpoint_sdk::{Adapter, Description};

use crate::{Hostile, HostileFinal, behaviour, variant};

pub(crate) struct Tampered;

impl Guest for Tampered {
    fn describe() -> Description {
        variant::describe(variant::name(), Sound::describe())
    }

    fn reconcile(request: types::Request) -> Result<types::Outcome, types::Failure> {
        let variant = variant::name();
        variant::asked(variant, &request);
        let breaks = behaviour::breaks_the_contract(&request.object);
        let mut outcome = variant::answer(variant, Sound::reconcile(request)?);
        if breaks {
            outcome.status = Some("{\"value\":".into());
        }
        Ok(outcome)
    }
}

/// The same without the damage.
type Sound = Adapter<(Hostile, HostileFinal)>;

#[cfg(target_family = "wasm")]
setpoint_sdk::bindings::export_component!(Tampered with_types_in setpoint_sdk::bindings);
