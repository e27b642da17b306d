//! The answer to a write: whether it is on disk.

use std::any::Any;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::oneshot;

/// The store does not keep anything any more. What was acknowledged before is kept.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(transparent)]
pub struct StoreError(Why);

#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
enum Why {
    #[error(
        "the state store cannot be written: {0}; what was acknowledged is kept, and nothing more is taken until the \
         host is started again: free space or repair the disk, then restart it"
    )]
    Unwritten(Arc<str>),
    #[error(
        "the host has failed over a change that it took in: {0}; what was acknowledged is kept, and nothing more is \
         taken until the host is started again: restart it, and report this with the log before it"
    )]
    Untold(Arc<str>),
}

impl StoreError {
    pub(crate) fn new(reason: &dyn std::fmt::Display) -> Self {
        StoreError(Why::Unwritten(reason.to_string().into()))
    }

    /// Whoever was to be told of what is on disk has panicked.
    pub(crate) fn untold(panic: &(dyn Any + Send)) -> Self {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        StoreError(Why::Untold(text.unwrap_or("it does not say why").into()))
    }

    pub(crate) fn stopped() -> Self {
        StoreError::new(&"it is closed")
    }
}

/// The answer to a commit: ready once it is on disk, or will never be.
#[derive(Debug)]
#[must_use = "a write is done only when this says so"]
pub struct Durable(State);

#[derive(Debug)]
enum State {
    Known(Result<(), StoreError>),
    Waiting(oneshot::Receiver<Result<(), StoreError>>),
}

impl Durable {
    pub(crate) fn known(result: Result<(), StoreError>) -> Self {
        Durable(State::Known(result))
    }

    pub(crate) fn waiting(answer: oneshot::Receiver<Result<(), StoreError>>) -> Self {
        Durable(State::Waiting(answer))
    }

    /// Waits on this thread, which must not be one of an async runtime.
    ///
    /// # Errors
    /// The store failed: the write is not kept.
    pub fn wait(self) -> Result<(), StoreError> {
        match self.0 {
            State::Known(result) => result,
            State::Waiting(receiver) => receiver.blocking_recv().unwrap_or_else(|_| Err(StoreError::stopped())),
        }
    }
}

impl Future for Durable {
    type Output = Result<(), StoreError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            State::Known(result) => Poll::Ready(result.clone()),
            State::Waiting(receiver) => {
                Pin::new(receiver).poll(context).map(|answer| answer.unwrap_or_else(|_| Err(StoreError::stopped())))
            }
        }
    }
}
