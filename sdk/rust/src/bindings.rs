//! The contract as wit-bindgen renders it. Plugins meet its plain types (keys, causes,
//! descriptions) through the re-exports of this crate; the rest is for [`crate::export!`] and tests.
#![allow(missing_docs, unsafe_code, unreachable_pub, clippy::all, clippy::unwrap_used)]

wit_bindgen::generate!({
    path: "wit",
    world: "reconciler",
    pub_export_macro: true,
    export_macro_name: "export_component",
    default_bindings_module: "setpoint_sdk::bindings",
    additional_derives: [PartialEq, Eq],
    generate_all,
});
