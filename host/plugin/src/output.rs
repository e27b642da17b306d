//! What a plugin prints: the end of it is kept, because the message of a panic is found nowhere
//! else. Printing never fails and never waits.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wasmtime_wasi_io::async_trait;
use wasmtime_wasi_io::bytes::Bytes;
use wasmtime_wasi_io::poll::Pollable;
use wasmtime_wasi_io::streams::{OutputStream, StreamResult};

/// How much may be written at once.
const PERMIT: usize = 64 * 1024;

#[derive(Debug)]
struct Tail {
    bytes: Vec<u8>,
    keep: usize,
}

impl Tail {
    fn push(&mut self, bytes: &[u8]) {
        let bytes = &bytes[bytes.len().saturating_sub(self.keep)..];
        self.bytes.extend_from_slice(bytes);
        // Twice the size is let stand, so that many short lines do not each move the rest.
        if self.bytes.len() > 2 * self.keep {
            self.bytes.drain(..self.bytes.len() - self.keep);
        }
    }

    fn kept(&self) -> &[u8] {
        &self.bytes[self.bytes.len().saturating_sub(self.keep)..]
    }
}

/// Standard output and standard error of one call, together.
#[derive(Clone, Debug)]
pub(crate) struct Output(Arc<Mutex<Tail>>);

impl Output {
    /// Keeps the last `keep` bytes.
    pub(crate) fn new(keep: usize) -> Self {
        Self(Arc::new(Mutex::new(Tail { bytes: Vec::new(), keep })))
    }

    /// Forgets what was printed, and keeps the last `keep` bytes of what comes.
    pub(crate) fn restart(&self, keep: usize) {
        *self.tail() = Tail { bytes: Vec::new(), keep };
    }

    fn tail(&self) -> MutexGuard<'_, Tail> {
        // A Tail is right after every step, so one left by a panic is as good.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The end of what was printed; bytes that are not UTF-8 are replaced.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(self.tail().kept()).into_owned()
    }
}

#[async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {}
}

#[async_trait]
impl OutputStream for Output {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.tail().push(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(PERMIT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_kept_however_it_is_written() {
        let whole: String = (0..1000).map(|i| format!("line {i}\n")).collect();
        for chunk in [1, 7, 99, 100, 101, 5000, whole.len()] {
            let mut output = Output::new(100);
            for part in whole.as_bytes().chunks(chunk) {
                output.write(Bytes::copy_from_slice(part)).expect("writing never fails");
                assert!(output.tail().bytes.capacity() <= 1024, "it does not grow with what is printed");
            }
            assert_eq!(output.text(), whole[whole.len() - 100..]);
        }
    }

    #[test]
    fn both_streams_are_one_text() {
        let output = Output::new(100);
        let (mut a, mut b) = (output.clone(), output.clone());
        a.write(Bytes::from_static(b"one ")).expect("writing never fails");
        b.write(Bytes::from_static(b"t\xffwo")).expect("writing never fails");
        assert_eq!(output.text(), "one t\u{fffd}wo");
        output.restart(3);
        assert_eq!(output.text(), "");
        a.write(Bytes::from_static(b"three")).expect("writing never fails");
        assert_eq!(output.text(), "ree", "streams that were opened before go on");
    }
}
