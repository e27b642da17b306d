//! What the host sees of a cluster: lists and watches, shared among all who need them.
//!
//! | question | module |
//! |---|---|
//! | which reflectors run | [`wanted`] |
//! | when does one list, watch and wait | `setpoint_core::reflector`, driven by [`watcher`] |
//! | what comes over the wire | [`stream`] |
//! | when do kinds come, change and go | [`definitions`] |

pub(crate) mod definitions;
pub(crate) mod stream;
pub(crate) mod wanted;
pub(crate) mod watcher;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use setpoint_cluster::Sink;
use setpoint_core::Time;
use setpoint_core::key::{GroupVersionKind, Name};
use setpoint_core::mask::Mask;
use tokio::time::Instant;

use crate::intake::Intake;
use crate::kinds::Kinds;
use crate::transport::Transport;

/// What all parts of a connection share.
pub(crate) struct Shared {
    pub(crate) name: Name,
    /// Those that are looked at; empty: all.
    pub(crate) namespaces: Vec<Name>,
    pub(crate) transport: Arc<Transport>,
    pub(crate) kinds: Kinds,
    pub(crate) sink: Arc<dyn Sink>,
    pub(crate) origin: Instant,
    /// The server lists as the beginning of a watch, as far as is known.
    pub(crate) streams: AtomicBool,
    /// The manager of this installation's statuses.
    pub(crate) status_manager: Name,
}

impl Shared {
    /// Makes objects of a kind of what the server sends.
    pub(crate) fn intake(&self, kind: GroupVersionKind, mask: Mask) -> Intake {
        Intake::new(self.name.clone(), kind, mask, self.status_manager.clone())
    }

    /// Milliseconds since the connection was made.
    pub(crate) fn now(&self) -> Time {
        u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// When a time is, for timers.
    pub(crate) fn at(&self, time: Time) -> Instant {
        self.origin + std::time::Duration::from_millis(time)
    }
}

/// A number that nobody can foresee, for jitter.
pub(crate) fn random() -> u64 {
    use std::hash::BuildHasher;
    std::hash::RandomState::new().hash_one(0u8)
}
