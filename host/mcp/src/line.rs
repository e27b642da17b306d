//! Lines of a stream, each within a bound.

use tokio::io::{AsyncRead, AsyncReadExt};

/// So much of the beginning and of the end of a line that is too long is kept.
const KEPT: usize = 512;
/// Read at once: little while a line is awaited, as there may be hundreds of streams that say nothing; more within
/// a long one.
const CHUNK: usize = 4 << 10;
const LARGE_CHUNK: usize = 64 << 10;

/// What came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Line {
    /// A line without its end.
    Whole(Vec<u8>),
    /// A line longer than the bound: its beginning and its end.
    TooLong {
        /// The first bytes.
        head: Vec<u8>,
        /// The last bytes.
        tail: Vec<u8>,
    },
}

/// Splits a stream into lines. Never holds more than the bound and one chunk.
#[derive(Debug)]
pub(crate) struct Lines<R> {
    reader: R,
    longest: usize,
    /// What was read and is in no line yet.
    buffer: Vec<u8>,
    /// Before this no line ends.
    searched: usize,
    /// The beginning of the line that is too long, of which the end has not come yet.
    head: Option<Vec<u8>>,
    ended: bool,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    /// Lines of at most so many bytes.
    pub(crate) fn new(reader: R, longest: usize) -> Self {
        Self { reader, longest, buffer: Vec::new(), searched: 0, head: None, ended: false }
    }

    /// The next line; none at the end of the stream. The last line needs no end. Nothing is lost when the future is
    /// dropped.
    ///
    /// # Errors
    /// The stream cannot be read.
    pub(crate) async fn next(&mut self) -> std::io::Result<Option<Line>> {
        loop {
            if let Some(end) = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n') {
                let end = self.searched + end;
                let rest = self.buffer.split_off(end + 1);
                let mut line = std::mem::replace(&mut self.buffer, rest);
                line.pop();
                self.searched = 0;
                return Ok(Some(self.whole(line)));
            }
            self.searched = self.buffer.len();
            if self.buffer.len() > self.longest {
                let keep = self.buffer.split_off(self.buffer.len() - KEPT.min(self.buffer.len()));
                let mut head = std::mem::replace(&mut self.buffer, keep);
                if self.head.is_none() {
                    head.truncate(KEPT);
                    self.head = Some(head);
                }
                self.searched = self.buffer.len();
            }
            if self.ended {
                let line = std::mem::take(&mut self.buffer);
                self.searched = 0;
                let nothing = line.is_empty() && self.head.is_none();
                return Ok((!nothing).then(|| self.whole(line)));
            }
            let chunk = if self.buffer.len() < CHUNK { CHUNK } else { LARGE_CHUNK };
            self.buffer.reserve(chunk);
            let read = (&mut self.reader).take(chunk as u64).read_buf(&mut self.buffer).await?;
            self.ended = read == 0;
        }
    }

    fn whole(&mut self, mut line: Vec<u8>) -> Line {
        if let Some(head) = self.head.take() {
            let tail = line.split_off(line.len() - KEPT.min(line.len()));
            return Line::TooLong { head, tail };
        }
        if line.len() > self.longest {
            let tail = line.split_off(line.len() - KEPT.min(line.len()));
            line.truncate(KEPT);
            return Line::TooLong { head: line, tail };
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Line::Whole(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::pin::Pin;
    use std::task::{Context, Poll};
    use tokio::io::ReadBuf;

    /// A stream that comes in pieces of given sizes.
    struct Pieces {
        data: Vec<u8>,
        sizes: Vec<usize>,
    }

    impl AsyncRead for Pieces {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<std::io::Result<()>> {
            let size = self.sizes.pop().unwrap_or(7).max(1).min(self.data.len()).min(buffer.remaining());
            let rest = self.data.split_off(size);
            buffer.put_slice(&self.data);
            self.data = rest;
            Poll::Ready(Ok(()))
        }
    }

    async fn lines(data: &[u8], sizes: Vec<usize>, longest: usize) -> (Vec<Line>, usize) {
        let mut lines = Lines::new(Pieces { data: data.to_vec(), sizes }, longest);
        let (mut all, mut most) = (Vec::new(), 0);
        while let Some(line) = lines.next().await.expect("it can be read") {
            most = most.max(lines.buffer.len());
            all.push(line);
        }
        (all, most)
    }

    #[tokio::test]
    async fn the_last_line_needs_no_end_and_carriage_returns_go() {
        let (all, _) = lines(b"one\r\n\ntwo", vec![], 10).await;
        assert_eq!(all, [b"one".to_vec(), b"".to_vec(), b"two".to_vec()].map(Line::Whole));
        assert_eq!(lines(b"", vec![], 10).await.0, []);
    }

    #[tokio::test]
    async fn a_huge_line_is_passed_over_and_its_ends_are_kept() {
        let mut data = b"{\"id\":1".to_vec();
        data.extend(vec![b'x'; 300_000]);
        data.extend(b"\"end\"}\nnext\n");
        let (all, most) = lines(&data, vec![CHUNK; 40], 1_000).await;
        assert!(most <= 1_000 + LARGE_CHUNK, "{most}");
        let [Line::TooLong { head, tail }, next] = all.as_slice() else { panic!("{}", all.len()) };
        assert!(head.starts_with(b"{\"id\":1") && tail.ends_with(b"\"end\"}"));
        assert!(head.len() <= KEPT && tail.len() <= KEPT);
        assert_eq!(next, &Line::Whole(b"next".to_vec()));
    }

    proptest! {
        #[test]
        fn lines_are_the_same_however_they_come(
            data in prop::collection::vec(prop_oneof![3 => Just(b'a'), 1 => Just(b'\n'), 1 => Just(b'\r')], 0..400),
            sizes in prop::collection::vec(1..40usize, 0..60),
            longest in 1..50usize,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            let (all, _) = runtime.block_on(lines(&data, sizes, longest));
            let mut expected: Vec<&[u8]> = data.split(|byte| *byte == b'\n').collect();
            if expected.last().is_some_and(|last| last.is_empty()) {
                expected.pop();
            }
            prop_assert_eq!(all.len(), expected.len());
            for (line, expected) in all.iter().zip(expected) {
                match line {
                    Line::Whole(line) => {
                        prop_assert_eq!(line.as_slice(), expected.strip_suffix(b"\r").unwrap_or(expected));
                    }
                    Line::TooLong { .. } => prop_assert!(expected.len() > longest),
                }
            }
        }
    }
}
