//! Where the harness does what takes its time: threads of its own, so that its calls can be made from any
//! test, whether that has a runtime or not.

use std::future::Future;
use std::sync::{OnceLock, mpsc};

use tokio::runtime::{Builder, Handle, Runtime};

/// The runtime of the harness. It lives as long as the process.
pub(crate) fn handle() -> &'static Handle {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| {
        Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("test-kube")
            .enable_all()
            .build()
            .unwrap_or_else(|error| panic!("the runtime of the harness cannot be started: {error}"))
    });
    runtime.handle()
}

/// Waits for a future on that runtime. It blocks the calling thread, and may be called on threads of a runtime.
///
/// # Panics
/// The future panics.
pub(crate) fn wait<F>(future: F) -> F::Output
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let (done, answer) = mpsc::sync_channel(1);
    handle().spawn(async move {
        // Nobody stops waiting before it is answered.
        let _ = done.send(future.await);
    });
    answer.recv().unwrap_or_else(|_| panic!("a task of the harness has panicked; see above"))
}

#[cfg(test)]
mod tests {
    #[tokio::test]
    async fn it_can_be_waited_for_within_another_runtime() {
        assert_eq!(super::wait(async { 7 }), 7);
    }
}
