//! What real guests get and what they can do to the host. `SETPOINT_TEST_GUESTS` names the
//! directory with the compiled plugins, among them `hostile.wasm`, which misbehaves on request.

mod answers;
mod limits;
mod loading;
mod support;
mod warm;
