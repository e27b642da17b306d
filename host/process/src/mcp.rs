//! The pipes of a process that speaks MCP, for whoever speaks with it.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::unix::pipe;
use tokio::sync::Notify;

/// Standard input and standard output of one start of a process. Whoever has them decides when the
/// process reads the end of its input: when [`McpInput`] is dropped.
#[derive(Debug)]
pub struct McpPipes {
    /// The process that they belong to.
    pub pid: u32,
    /// What is written here the process reads.
    pub input: McpInput,
    /// What the process writes is read here. Its end is the end of the process, or of its output.
    pub output: McpOutput,
}

/// The end of standard input that is written to.
#[derive(Debug)]
pub struct McpInput(pub(crate) pipe::Sender);

/// The end of standard output that is read from.
#[derive(Debug)]
pub struct McpOutput(pub(crate) pipe::Receiver);

impl AsyncWrite for McpInput {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl AsyncRead for McpOutput {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

#[derive(Debug, Default)]
struct Inner {
    /// Those of the process that runs, if nobody took them yet.
    waiting: Option<McpPipes>,
    ended: bool,
}

/// Where the pipes of each start are left to be taken.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    inner: Mutex<Inner>,
    changed: Notify,
}

impl Desk {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves the pipes of a new start; those of the one before are of no use any more.
    pub(crate) fn leave(&self, pipes: Option<McpPipes>) {
        self.inner().waiting = pipes;
        self.changed.notify_one();
    }

    /// There will be no more.
    pub(crate) fn end(&self) {
        let mut inner = self.inner();
        inner.waiting = None;
        inner.ended = true;
        drop(inner);
        self.changed.notify_one();
    }
}

/// The pipes of one start after the other. There is one taker at a time: of two, each start goes to one
/// of them.
#[derive(Debug)]
pub struct McpStarts(pub(crate) Arc<Desk>);

impl McpStarts {
    /// Waits for the next start and takes its pipes; those of a process that runs already, and of which
    /// nobody took them, at once. None when the process is gone for good.
    pub async fn next(&mut self) -> Option<McpPipes> {
        loop {
            let changed = self.0.changed.notified();
            {
                let mut inner = self.0.inner();
                if let Some(pipes) = inner.waiting.take() {
                    return Some(pipes);
                }
                if inner.ended {
                    // For another taker, if there is one.
                    self.0.changed.notify_one();
                    return None;
                }
            }
            changed.await;
        }
    }
}
