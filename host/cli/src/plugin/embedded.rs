//! What the binary carries for `plugin new`; made by `build.rs`.

include!(concat!(env!("OUT_DIR"), "/embedded.rs"));
