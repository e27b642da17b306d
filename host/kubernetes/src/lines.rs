//! The events of a watch, one per line, out of the pieces in which they come.

use bytes::{Bytes, BytesMut};

/// A longer line is no event: objects are at most a few megabytes.
const LONGEST: usize = 16 << 20;

/// Puts pieces together and gives out whole lines.
#[derive(Default)]
pub(crate) struct Lines {
    pending: BytesMut,
    /// Up to here there is no end of a line.
    looked_at: usize,
}

/// A line that does not end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

impl Lines {
    pub(crate) fn push(&mut self, piece: &[u8]) -> Result<(), TooLong> {
        self.pending.extend_from_slice(piece);
        if self.pending.len() > LONGEST && !self.pending[self.looked_at..].contains(&b'\n') {
            return Err(TooLong);
        }
        Ok(())
    }

    /// The next whole line that is not empty.
    pub(crate) fn next(&mut self) -> Option<Bytes> {
        loop {
            let Some(at) = self.pending[self.looked_at..].iter().position(|byte| *byte == b'\n') else {
                self.looked_at = self.pending.len();
                return None;
            };
            let line = self.pending.split_to(self.looked_at + at + 1).freeze();
            self.looked_at = 0;
            let line = line.slice(..line.len() - 1);
            if line.iter().any(|byte| !byte.is_ascii_whitespace()) {
                return Some(line);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(lines: &mut Lines) -> Vec<Bytes> {
        std::iter::from_fn(|| lines.next()).collect()
    }

    #[test]
    fn lines_are_the_same_however_they_are_cut() {
        let text = b"{\"a\":1}\n\n{\"b\":\"\xc3\xa4\"}\r\n{\"c\":3}";
        for size in 1..text.len() {
            let mut lines = Lines::default();
            let mut found = Vec::new();
            for piece in text.chunks(size) {
                assert_eq!(lines.push(piece), Ok(()));
                found.extend(all(&mut lines));
            }
            assert_eq!(found, [&b"{\"a\":1}"[..], b"{\"b\":\"\xc3\xa4\"}\r"], "pieces of {size}");
            assert_eq!(lines.push(b"\n"), Ok(()));
            assert_eq!(all(&mut lines), [&b"{\"c\":3}"[..]]);
        }
    }

    #[test]
    fn a_line_without_an_end_is_given_up() {
        let mut lines = Lines::default();
        let piece = vec![b'x'; LONGEST / 2];
        assert_eq!(lines.push(&piece), Ok(()));
        assert_eq!(lines.next(), None);
        assert_eq!(lines.push(&piece), Ok(()));
        assert_eq!(lines.next(), None);
        assert_eq!(lines.push(b"y"), Err(TooLong));
    }
}
