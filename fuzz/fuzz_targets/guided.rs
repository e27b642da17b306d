//! One of the targets of `setpoint-fuzz`, by the environment variable `SETPOINT_FUZZ_TARGET`.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use setpoint_fuzz::Target;

static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    let name = std::env::var("SETPOINT_FUZZ_TARGET").unwrap_or_default();
    match Target::named(&name) {
        Some(target) => target,
        None => panic!("SETPOINT_FUZZ_TARGET={name:?} is no target; run `cargo xtask fuzz TARGET`"),
    }
});

fuzz_target!(|data: &[u8]| TARGET.check(data));
