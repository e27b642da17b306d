//! YAML and JSON texts as documents whose every value knows where it was written.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::{Location, MessageFormatter, Spanned};

/// Nodes that one document may have, aliases resolved: beyond it is a bomb, not a manifest.
pub const MAX_NODES: usize = 50_000;
/// Nodes that the documents of one file may have together: it bounds what reading a file costs.
pub const MAX_FILE_NODES: usize = 1_000_000;
/// Bytes of text that the values of one document may have, aliases resolved. A string is text once
/// in the file, but once more in memory for each alias of it.
pub const MAX_TEXT: usize = 32 << 20;
/// The same for the documents of one file together.
pub const MAX_FILE_TEXT: usize = 64 << 20;

/// A place in a file. Both count from 1; columns count characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Position {
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1.
    pub column: u32,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// What is wrong with a file, and where.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{position}: {message}")]
pub struct SourceError {
    /// Where.
    pub position: Position,
    /// What, in words for the author of the file; without paths.
    pub message: String,
}

impl SourceError {
    /// An error at a place.
    pub fn new(position: Position, message: impl Into<String>) -> Self {
        Self { position, message: message.into() }
    }
}

/// One document of a file.
#[derive(Clone, PartialEq, Debug)]
pub struct Document {
    /// What it says. Integers that fit 64 bits are exact; aliases and merge keys are resolved.
    pub value: Value,
    /// Where it says it.
    pub spans: Spans,
    /// Line of its first content.
    pub line: u32,
    /// Words that YAML 1.1 reads as booleans, such as `yes` and `off`, with what they were read as:
    /// their author may have meant text.
    pub booleans: Vec<(Position, String)>,
}

/// A document, or what is wrong with it. A broken document does not hide its neighbours.
pub type ParsedDocument = Result<Document, SourceError>;

#[derive(Clone, PartialEq, Debug)]
enum Step {
    Root,
    Member(Box<str>),
    Item(u32),
}

#[derive(Clone, PartialEq, Debug)]
struct SpanNode {
    parent: u32,
    step: Step,
    key: Position,
    value: Position,
}

/// Where the values of one document were written. Made while parsing, dropped after admission.
#[derive(Clone, PartialEq, Debug)]
pub struct Spans {
    nodes: Vec<SpanNode>,
}

impl Spans {
    /// Where the value at a JSON pointer begins. If there is none, where its nearest ancestor's
    /// key is written.
    pub fn locate(&self, pointer: &str) -> Position {
        match self.find(pointer) {
            (node, true) => node.value,
            (node, false) => node.key,
        }
    }

    /// Where the key of the value at a JSON pointer is written; an item of a list has only its
    /// value. Falls back to the nearest ancestor.
    pub fn locate_key(&self, pointer: &str) -> Position {
        self.find(pointer).0.key
    }

    /// The places of a part of the document, as if it were a document of its own. Of the nearest
    /// ancestor, if there is nothing at the pointer.
    pub fn below(&self, pointer: &str) -> Spans {
        let (root, _) = self.index(pointer);
        // A value stands before everything in it, so that a part is one run of nodes.
        let rest = &self.nodes[root + 1..];
        let end = rest.iter().position(|node| (node.parent as usize) < root).unwrap_or(rest.len());
        let first = SpanNode { parent: 0, ..self.nodes[root].clone() };
        let inner = rest[..end].iter().map(|node| SpanNode { parent: node.parent - root as u32, ..node.clone() });
        Spans { nodes: std::iter::once(first).chain(inner).collect() }
    }

    fn find(&self, pointer: &str) -> (&SpanNode, bool) {
        let (at, whole) = self.index(pointer);
        (&self.nodes[at], whole)
    }

    /// The node at a pointer or of its nearest ancestor, and which of them it is.
    fn index(&self, pointer: &str) -> (usize, bool) {
        let mut at = 0;
        for part in pointer.split('/').skip(1) {
            let name = part.replace("~1", "/").replace("~0", "~");
            let child = self.nodes.iter().enumerate().skip(at + 1).find(|(_, node)| {
                node.parent as usize == at
                    && match &node.step {
                        Step::Root => false,
                        Step::Member(member) => **member == *name,
                        Step::Item(index) => name.parse() == Ok(*index),
                    }
            });
            match child {
                Some((index, _)) => at = index,
                None => return (at, false),
            }
        }
        (at, true)
    }
}

/// Splits a text at its document markers and parses each document alone. Documents of nothing but
/// comments are skipped. JSON is read by the same parser.
pub fn parse_documents(text: &str) -> Vec<ParsedDocument> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut left = Cost { nodes: MAX_FILE_NODES, text: MAX_FILE_TEXT };
    let mut documents = Vec::new();
    for part in split(text).into_iter().filter(Part::has_content) {
        if left.nodes == 0 || left.text == 0 {
            let position = Position { line: part.first_line(), column: 1 };
            let message = format!(
                "the documents of this file have more than {MAX_FILE_NODES} values or {} MiB of text together; this \
                 one and those after it are not read: divide the file",
                MAX_FILE_TEXT >> 20
            );
            documents.push(Err(SourceError::new(position, message)));
            break;
        }
        let (document, cost) = part.parse();
        left.nodes = left.nodes.saturating_sub(cost.nodes);
        left.text = left.text.saturating_sub(cost.text);
        documents.push(document);
    }
    documents
}

/// What a document costs, or what the documents of a file may still cost.
struct Cost {
    nodes: usize,
    /// Bytes of keys and strings.
    text: usize,
}

/// A document's text with the number of lines before it.
struct Part<'a> {
    text: &'a str,
    lines_before: u32,
}

/// `---` or `...` alone or followed by a blank, at the beginning of a line. Inside a block scalar
/// of a document that is an error of YAML's, so no content can look like it.
fn is_marker(line: &str, marker: &str) -> bool {
    line.strip_prefix(marker).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

/// Whether a line ends the document before it.
pub fn ends_document(line: &str) -> bool {
    is_marker(line, "---") || is_marker(line, "...")
}

fn split(text: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let (mut start, mut start_line) = (0, 0);
    let (mut at, mut line_number) = (0, 0);
    for line in text.split_inclusive('\n') {
        let end = at + line.len();
        if is_marker(line, "---") {
            parts.push(Part { text: &text[start..at], lines_before: start_line });
            (start, start_line) = (at, line_number);
        } else if is_marker(line, "...") {
            parts.push(Part { text: &text[start..at], lines_before: start_line });
            (start, start_line) = (end, line_number + 1);
        }
        at = end;
        line_number += 1;
    }
    parts.push(Part { text: &text[start..], lines_before: start_line });
    parts
}

impl Part<'_> {
    /// The first line that is neither empty, comment, directive nor bare marker; from 0.
    fn first_content(&self) -> Option<u32> {
        let mut lines = (0u32..).zip(self.text.lines());
        let content = |line: &str, first: bool| {
            let line = if first && is_marker(line, "---") { &line[3..] } else { line };
            let line = line.trim();
            !line.is_empty() && !line.starts_with('#')
        };
        lines.find(|(number, line)| content(line, *number == 0) && !line.starts_with('%')).map(|(number, _)| number)
    }

    fn has_content(&self) -> bool {
        self.first_content().is_some()
    }

    /// The line of the first content in the file.
    fn first_line(&self) -> u32 {
        self.lines_before + 1 + self.first_content().unwrap_or(0)
    }

    /// The document, and what it took to read it.
    fn parse(&self) -> (ParsedDocument, Cost) {
        let line = self.first_line();
        let start = Position { line, column: 1 };
        let root: Spanned<Node> = match serde_saphyr::from_str_with_options(self.text, options()) {
            Ok(root) => root,
            Err(error) => {
                // A bomb is read up to the limit. Without aliases, text has no more nodes than bytes.
                let nodes = if self.text.contains('*') { MAX_NODES } else { self.text.len().min(MAX_NODES) };
                return (Err(self.error(&error, start)), Cost { nodes, text: 0 });
            }
        };
        let mut builder = Builder { part: self, nodes: Vec::new(), booleans: Vec::new(), text: 0 };
        let position = builder.place(&root.referenced).unwrap_or(start);
        let value = builder.build(root, 0, Step::Root, position);
        let Builder { nodes, booleans, text, .. } = builder;
        let cost = Cost { nodes: nodes.len(), text };
        (Ok(Document { value, spans: Spans { nodes }, line, booleans }), cost)
    }

    fn error(&self, error: &serde_saphyr::Error, start: Position) -> SourceError {
        let error = error.without_snippet();
        let position = error.location().as_ref().and_then(|location| place(location, self.lines_before));
        let root = match error {
            serde_saphyr::Error::AliasError { error, .. } => error.without_snippet(),
            error => error,
        };
        let message = match root {
            serde_saphyr::Error::DuplicateMappingKey { key: Some(key), .. } => {
                return SourceError::new(
                    position.unwrap_or(start),
                    format!("the key {key:?} is there twice; leave one"),
                );
            }
            serde_saphyr::Error::Budget { .. } => {
                let message = format!(
                    "the document is too large: with its aliases expanded it may have {MAX_NODES} values and {} MiB of \
                     text, and be nested reasonably deep; divide it",
                    MAX_TEXT >> 20
                );
                return SourceError::new(position.unwrap_or(start), message);
            }
            _ => serde_saphyr::DefaultMessageFormatter.format_message(error),
        };
        let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
        SourceError::new(position.unwrap_or(start), message)
    }
}

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_nodes: MAX_NODES, max_documents: 1, max_total_scalar_bytes: MAX_TEXT },
        legacy_octal_numbers: true,
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::Error,
        with_snippet: false,
    }
}

fn place(location: &Location, lines_before: u32) -> Option<Position> {
    let (line, column) = (u32::try_from(location.line()).ok()?, u32::try_from(location.column()).ok()?);
    (line > 0).then_some(Position { line: line + lines_before, column: column.max(1) })
}

enum Node {
    Scalar(Value),
    List(Vec<Spanned<Node>>),
    Map(Vec<(Spanned<String>, Spanned<Node>)>),
}

/// Makes the value of a document, and with it what there is to know of it.
struct Builder<'p> {
    part: &'p Part<'p>,
    nodes: Vec<SpanNode>,
    booleans: Vec<(Position, String)>,
    /// Bytes of its keys and strings.
    text: usize,
}

impl Builder<'_> {
    fn place(&self, location: &Location) -> Option<Position> {
        place(location, self.part.lines_before)
    }

    fn build(&mut self, node: Spanned<Node>, parent: u32, step: Step, key: Position) -> Value {
        let value = self.place(&node.referenced).unwrap_or(key);
        let me = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        // An item has no key; its own beginning stands for it.
        let key = if matches!(step, Step::Item(_)) { value } else { key };
        self.nodes.push(SpanNode { parent, step, key, value });
        match node.value {
            Node::Scalar(scalar) => {
                match &scalar {
                    Value::Bool(read) => self.note_boolean(&node.referenced, value, *read),
                    Value::String(text) => self.text += text.len(),
                    _ => {}
                }
                scalar
            }
            Node::List(items) => {
                let items = (0u32..).zip(items);
                items.map(|(index, item)| self.build(item, me, Step::Item(index), value)).collect()
            }
            Node::Map(members) => {
                let mut map = Map::with_capacity(members.len());
                for (name, member) in members {
                    let key = self.place(&name.referenced).unwrap_or(value);
                    let step = Step::Member(name.value.as_str().into());
                    self.text += name.value.len();
                    map.insert(name.value, self.build(member, me, step, key));
                }
                Value::Object(map)
            }
        }
    }

    fn note_boolean(&mut self, location: &Location, position: Position, read: bool) {
        let (span, part) = (location.span(), self.part);
        let written = || {
            let start = usize::try_from(span.byte_offset()?).ok()?;
            let length = usize::try_from(span.byte_len()?).ok()?;
            Some(part.text.get(start..start.checked_add(length)?)?.trim())
        };
        if let Some(word) = written()
            && ["yes", "no", "on", "off", "y", "n"].iter().any(|old| word.eq_ignore_ascii_case(old))
        {
            let message = format!("`{word}` is read as {read}; write {read} for a boolean, or \"{word}\" for text");
            self.booleans.push((position, message));
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value that JSON can hold")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Scalar(Value::from(value)))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Scalar(Value::from(value)))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Node, E> {
        let number = Number::from_f64(value).ok_or_else(|| E::custom("numbers must be finite"))?;
        Ok(Node::Scalar(Value::Number(number)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Scalar(Value::String(value.to_owned())))
    }

    fn visit_string<E>(self, value: String) -> Result<Node, E> {
        Ok(Node::Scalar(Value::String(value)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Node::Map(members))
    }
}
