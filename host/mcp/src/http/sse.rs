//! Server-sent events, each within a bound.

use sse_stream::Sse;

/// An event is longer than the bound.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("an event is longer than {0} bytes")]
pub(crate) struct EventTooLong(usize);

/// Takes events out of bytes as they come. Never holds more than the bound and what was fed.
#[derive(Debug)]
pub(crate) struct Parser {
    longest: usize,
    /// The line that has not ended.
    line: Vec<u8>,
    /// The last byte ended a line, and a line feed after it belongs to that end.
    after_return: bool,
    /// Nothing was fed yet: a byte order mark may come.
    start: bool,
    event: Sse,
    /// Bytes of the event until now.
    size: usize,
}

impl Parser {
    /// Events of at most so many bytes.
    pub(crate) fn new(longest: usize) -> Self {
        Self { longest, line: Vec::new(), after_return: false, start: true, event: Sse::default(), size: 0 }
    }

    /// The events that end with these bytes.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Sse>, EventTooLong> {
        let mut events = Vec::new();
        for piece in bytes.split_inclusive(|byte| matches!(byte, b'\n' | b'\r')) {
            let (text, end) = match piece.split_last() {
                Some((end @ (b'\n' | b'\r'), text)) => (text, Some(*end)),
                _ => (piece, None),
            };
            if std::mem::take(&mut self.after_return) && text.is_empty() && end == Some(b'\n') {
                continue;
            }
            self.line.extend_from_slice(text);
            if self.size + self.line.len() > self.longest {
                return Err(EventTooLong(self.longest));
            }
            if end.is_some() {
                self.after_return = end == Some(b'\r');
                let line = std::mem::take(&mut self.line);
                events.extend(self.line_ended(&line));
            }
        }
        Ok(events)
    }

    fn line_ended(&mut self, line: &[u8]) -> Option<Sse> {
        let mut line = line;
        if std::mem::take(&mut self.start) {
            line = line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(line);
        }
        if line.is_empty() {
            self.size = 0;
            let event = std::mem::take(&mut self.event);
            return (event != Sse::default()).then_some(event);
        }
        self.size += line.len();
        let text = String::from_utf8_lossy(line);
        let (name, value) = text.split_once(':').unwrap_or((&text, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "event" => self.event.event = Some(value.to_owned()),
            "data" => match &mut self.event.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                none => *none = Some(value.to_owned()),
            },
            "id" if !value.contains('\0') => self.event.id = Some(value.to_owned()),
            "retry" => self.event.retry = value.parse().ok().or(self.event.retry),
            // A comment, or nothing that is known.
            _ => self.size -= line.len(),
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(text: &[u8], sizes: &[usize]) -> Result<Vec<Sse>, EventTooLong> {
        let mut parser = Parser::new(64);
        let (mut events, mut rest) = (Vec::new(), text);
        let mut sizes = sizes.iter().cycle();
        while !rest.is_empty() {
            let size = sizes.next().map_or(1, |size| *size).min(rest.len());
            events.extend(parser.feed(&rest[..size])?);
            rest = &rest[size..];
        }
        Ok(events)
    }

    #[test]
    fn events_are_read_with_all_line_ends() {
        let text =
            "\u{feff}event: endpoint\r\ndata: /messages\r\n\r\n: a comment\rdata:one\rdata: two\r\rid: 7\nretry: 5\n\n";
        let expected = vec![
            Sse::default().event("endpoint").data("/messages"),
            Sse::default().data("one\ntwo"),
            Sse::default().id("7").retry(5),
        ];
        assert_eq!(all(text.as_bytes(), &[1_000]), Ok(expected.clone()));
        assert_eq!(all(text.as_bytes(), &[1]), Ok(expected));
        assert_eq!(all(b"\n\r\n\r: only\n\ndata: unfinished\n", &[3]), Ok(vec![]));
    }

    #[test]
    fn an_event_that_is_too_long_is_not_held() {
        assert!(all(&[b'x'; 65], &[1]).is_err());
        let many = "data: 0123456789\n".repeat(5);
        assert!(all(many.as_bytes(), &[7]).is_err());
        let comments = ": 0123456789012345678901234567890\n".repeat(50);
        assert_eq!(all(comments.as_bytes(), &[7]), Ok(vec![]), "comments keep a stream open for as long as it likes");
    }

    proptest! {
        #[test]
        fn events_are_the_same_however_they_come(
            text in "(data: [a-c]{0,5}|event: [a-c]{1,3}|id: [0-9]|:x|zz|\r|\n|\r\n){0,40}",
            sizes in prop::collection::vec(1..9usize, 1..20),
        ) {
            prop_assert_eq!(all(text.as_bytes(), &sizes), all(text.as_bytes(), &[1]));
        }

        #[test]
        fn no_bytes_bring_it_down(bytes in prop::collection::vec(any::<u8>(), 0..200), sizes in prop::collection::vec(1..9usize, 1..5)) {
            let _ = all(&bytes, &sizes);
        }
    }
}
