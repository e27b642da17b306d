//! Between the contract and reconcilers: which reconciler a call is for, and the component's imports.

use std::marker::PhantomData;
use std::rc::Rc;

use crate::bindings::exports::setpoint::reconciler::guest::Guest;
use crate::bindings::setpoint::reconciler::types::{Description, Failure, Key, Outcome, Request};
use crate::bindings::setpoint::reconciler::{log, objects};
use crate::host::{GroupKindText, Host, RawPage, RawQuery, ReadError};
use crate::merge::merge;
use crate::{Context, DescribeError, Level, Reconciler};

/// One reconciler of a component, with its types erased.
#[derive(Debug)]
pub struct Entry {
    owns: fn(&str, &str) -> bool,
    describe: fn() -> Result<Description, DescribeError>,
    reconcile: fn(Request, Rc<dyn Host>) -> Result<Outcome, Failure>,
}

impl Entry {
    /// The entry of a reconciler.
    pub const fn of<R: Reconciler>() -> Self {
        Self {
            owns: |group, kind| R::describe().owns(group, kind),
            describe: || R::describe().finish(),
            reconcile: reconcile::<R>,
        }
    }
}

fn reconcile<R: Reconciler>(request: Request, host: Rc<dyn Host>) -> Result<Outcome, Failure> {
    let cx = Context::<R>::new(request, host)?;
    Ok(R::reconcile(&cx)?.into_contract()?)
}

/// The reconcilers of one component: tuples of one to eight of them.
pub trait Component: 'static {
    /// They.
    const ENTRIES: &'static [Entry];

    /// Their merged description.
    ///
    /// # Errors
    /// What is wrong with it, or why two of them do not go together.
    fn description() -> Result<Description, DescribeError> {
        if let [only] = Self::ENTRIES {
            return (only.describe)();
        }
        merge(Self::ENTRIES.iter().map(|entry| (entry.describe)()).collect::<Result<_, _>>()?)
    }

    /// Gives a call to the reconciler of its kind.
    ///
    /// # Errors
    /// The reconciler's failure; a permanent one for a kind that none of them has.
    fn call(request: Request, host: Rc<dyn Host>) -> Result<Outcome, Failure> {
        if let [only] = Self::ENTRIES {
            return (only.reconcile)(request, host);
        }
        let Key { group, kind, .. } = &request.key;
        match Self::ENTRIES.iter().find(|entry| (entry.owns)(group, kind)) {
            Some(entry) => (entry.reconcile)(request, host),
            None => Err(Failure::Permanent(format!("{} is no kind of this plugin", GroupKindText(group, kind)))),
        }
    }
}

macro_rules! components {
    ($(($($name:ident),+))+) => {
        $(impl<$($name: Reconciler),+> Component for ($($name,)+) {
            const ENTRIES: &'static [Entry] = &[$(Entry::of::<$name>()),+];
        })+
    };
}

components! {
    (A) (A, B) (A, B, C) (A, B, C, D) (A, B, C, D, E) (A, B, C, D, E, F) (A, B, C, D, E, F, G) (A, B, C, D, E, F, G, H)
}

/// What a component exports. Named by [`crate::export!`].
#[derive(Debug)]
pub struct Adapter<C>(PhantomData<C>);

impl<C: Component> Guest for Adapter<C> {
    fn describe() -> Description {
        match C::description() {
            Ok(description) => description,
            // The contract has no error here, and a plugin with a wrong description cannot be used at
            // all: the host shows the text of the panic as the reason why it is refused.
            Err(error) => panic!("{error}"),
        }
    }

    fn reconcile(request: Request) -> Result<Outcome, Failure> {
        C::call(request, Rc::new(Imports))
    }
}

/// The component's imports.
struct Imports;

impl Host for Imports {
    fn get(&self, key: &Key) -> Result<Option<String>, ReadError> {
        objects::get(key).map_err(ReadError::from)
    }

    fn list(&self, query: &RawQuery) -> Result<RawPage, ReadError> {
        objects::list(query).map_err(ReadError::from)
    }

    fn log(&self, level: Level, message: &str, fields: &[(String, String)]) {
        log::log(level, message, fields);
    }
}

impl From<objects::ReadError> for ReadError {
    fn from(error: objects::ReadError) -> Self {
        match error {
            objects::ReadError::NotDescribed(text) => Self::NotDescribed(text),
            objects::ReadError::NotGranted(text) => Self::NotGranted(text),
            objects::ReadError::Unavailable(text) => Self::Unavailable(text),
            objects::ReadError::Invalid(text) => Self::Invalid(text),
            objects::ReadError::LimitExceeded(text) => Self::LimitExceeded(text),
        }
    }
}
