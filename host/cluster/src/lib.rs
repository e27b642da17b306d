//! What the host asks of a cluster, and the embedded cluster `local` (design §3).
//!
//! | question | module |
//! |---|---|
//! | what is a cluster, and who hears of its objects | here: [`Cluster`], [`Sink`] |
//! | who may children be written as | [`ServiceAccount`] |
//! | how does the embedded cluster keep objects | [`local`] |
//! | how do files become desired state | [`source`] |

#![forbid(unsafe_code)]
#![deny(missing_docs)]

use std::sync::Arc;

use setpoint_core::coverage::Scope;
use setpoint_core::engine::{Told, Want};
use setpoint_core::key::{Key, Name, Source};
use setpoint_core::object::Object;
use setpoint_core::op::{Answer, Op, Refusal};

mod account;
pub mod local;
pub mod source;

pub use account::{NoServiceAccount, ServiceAccount};
pub use futures_util::future::BoxFuture;

/// Whether this host may do now what it is about to do: where several hosts could, by the leases that it holds.
#[derive(Clone)]
pub struct Permit(Arc<dyn Fn() -> bool + Send + Sync>);

impl Permit {
    /// A permit that is asked like this, often, and answers at once.
    pub fn new(holds: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(holds))
    }

    /// Whether it holds now.
    pub fn holds(&self) -> bool {
        (self.0)()
    }
}

impl std::fmt::Debug for Permit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Permit({})", self.holds())
    }
}

/// By what right something is done for an attempt.
#[derive(Clone, Debug, Default)]
pub struct Warrant {
    /// Asked immediately before each request that changes something (rule D8); none: what the connection itself asks.
    pub permit: Option<Permit>,
    /// As whom children are written and deleted on an API server; none: as the host itself. What is said of the owner is
    /// the host's word.
    pub acts_as: Option<Arc<ServiceAccount>>,
}

/// One cluster: it performs the operations that the rules ask for.
pub trait Cluster: Send + Sync {
    /// Its name, as it stands in keys.
    fn name(&self) -> &Name;

    /// Performs one operation. A write is answered once it will not be lost; what could not be
    /// done is an [`Answer::Refused`], never a panic.
    fn perform<'a>(&'a self, op: Op) -> BoxFuture<'a, Answer>;

    /// The same for an attempt, which may be given up meanwhile.
    fn perform_by<'a>(&'a self, op: Op, warrant: Warrant) -> BoxFuture<'a, Answer> {
        if warrant.permit.is_none_or(|permit| permit.holds()) {
            return self.perform(op);
        }
        Box::pin(std::future::ready(Answer::Refused(Refusal::Transient("this host does not hold its lease".into()))))
    }

    /// Whether it can be asked for the events that were recorded there. Default: not.
    fn keeps_events(&self) -> bool {
        false
    }

    /// What the host needs to hear of from now on, all of it; what is not in it any more is not needed. The sink is
    /// told of it before this returns, so nothing may be locked that it locks. A cluster that tells everything it has
    /// anyway does nothing.
    fn want(&self, wants: Vec<Want>) {
        drop(wants);
    }
}

/// Who hears what a cluster sees; `()` hears nothing. Called with the cluster's locks held: an implementation queues
/// what it hears and returns, and does not call the cluster back.
pub trait Sink: Send + Sync {
    /// The newest version of an object, in order for each key; none: it is gone.
    fn observed(&self, key: &Key, object: Option<Arc<Object>>);

    /// All objects of this source have been told; from now on what was not told is absent.
    fn source_known(&self, source: &Source);

    /// Nothing is known of this source at present: what was told stays, absence proves nothing
    /// (rule A4). The reason is for people.
    fn source_unknown(&self, source: &Source, reason: &str);

    /// A reflector of a part of a source tells something, in order. For whom parts are nothing special, what is
    /// told of all of a source is told by the methods above.
    fn told(&self, source: &Source, scope: &Scope, told: Told) {
        if *scope != Scope::All {
            return;
        }
        match told {
            Told::Object(key, object) => self.observed(&key, object),
            Told::ListEnds { .. } | Told::Known => self.source_known(source),
            Told::Unknown { reason } => self.source_unknown(source, &reason),
            Told::Ended => self.source_unknown(source, "it is not watched any more"),
            Told::Syncing | Told::ListBegins | Told::Unreadable(_) | Told::Bookmark { .. } => {}
        }
    }
}

impl Sink for () {
    fn observed(&self, _: &Key, _: Option<Arc<Object>>) {}
    fn source_known(&self, _: &Source) {}
    fn source_unknown(&self, _: &Source, _: &str) {}
}
