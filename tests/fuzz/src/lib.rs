//! What parses, or comes from a plugin or a stranger, and what it promises for every input.
//!
//! A target is one function of bytes that panics when a promise is broken. It is run in two ways:
//! `tests/targets.rs` runs all of them for a few seconds each on mutated examples, on stable Rust and in
//! CI; `cargo xtask fuzz` runs them guided by coverage. Both begin with the files of `corpus/TARGET`.
//! An input that once broke a promise is kept in `regressions/TARGET`, and is always tried first.

#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod corpus;
mod place;
mod targets;

use std::time::{Duration, Instant};

/// One target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, which is that of its directory in `corpus` as well.
    pub name: &'static str,
    /// What is tried. Panics when a promise is broken.
    run: fn(&[u8]),
    /// Stops what `run` started, and removes what it made.
    end: fn(),
    /// Longer inputs are not made; bytes.
    pub longest: usize,
    /// No input may take longer than this, on a machine that has other things to do as well.
    pub patience: Duration,
    /// Words that inputs are made of.
    pub words: &'static [&'static str],
}

/// All targets.
pub static TARGETS: [Target; 12] = [
    targets::yaml::TARGET,
    targets::config::TARGET,
    targets::selector::TARGET,
    targets::mask::TARGET,
    targets::mcp::TARGET,
    targets::grants::TARGET,
    targets::key::TARGET,
    targets::schema::TARGET,
    targets::recording::TARGET,
    targets::outcome::TARGET,
    targets::component::TARGET,
    targets::http::TARGET,
];

impl Target {
    /// The target of this name.
    pub fn named(name: &str) -> Option<&'static Target> {
        TARGETS.iter().find(|target| target.name == name)
    }

    /// Tries one input.
    ///
    /// # Panics
    /// A promise is broken, or it took longer than [`Target::patience`].
    pub fn check(&self, data: &[u8]) {
        let began = Instant::now();
        (self.run)(data);
        let took = began.elapsed();
        assert!(took <= self.patience, "{} bytes took {took:?}, more than {:?}", data.len(), self.patience);
    }

    /// Stops what inputs started, and removes what they made.
    pub fn end(&self) {
        (self.end)();
    }
}

/// Targets that only compute.
const QUICK: Duration = Duration::from_secs(5);

/// Nothing was started.
fn nothing() {}
