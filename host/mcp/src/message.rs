//! JSON-RPC messages as they go through: the envelope is looked at, parameters and results stay the text that
//! they are.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// A message of more than so many bytes is never taken as one, from nobody.
pub const LONGEST_MESSAGE: usize = 4 << 20;

/// Longer ids are refused, in bytes.
const LONGEST_ID: usize = 256;

/// Messages of one batch at most (protocol version 2025-03-26).
const LARGEST_BATCH: usize = 64;

/// JSON-RPC: the text is no JSON.
pub(crate) const PARSE_ERROR: i64 = -32_700;
/// JSON-RPC: the message is none that can be followed.
pub(crate) const INVALID_REQUEST: i64 = -32_600;
/// JSON-RPC: nobody here does that.
pub(crate) const METHOD_NOT_FOUND: i64 = -32_601;
/// Ours: the server cannot be asked, for the reason that the message gives.
pub(crate) const UNAVAILABLE: i64 = -32_000;

/// The id of a request in the words of whoever chose it: the JSON of a string or a number.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Id(Box<str>);

impl Id {
    /// The id as JSON.
    pub fn json(&self) -> &str {
        &self.0
    }

    fn of(raw: &RawValue) -> Option<Self> {
        let text = raw.get();
        let first = text.bytes().next()?;
        let fits = text.len() <= LONGEST_ID && (first == b'"' || first == b'-' || first.is_ascii_digit());
        fits.then(|| Self(text.into()))
    }

    /// The number, if it is one of ours.
    pub(crate) fn number(&self) -> Option<u64> {
        self.0.parse().ok()
    }
}

impl From<u64> for Id {
    fn from(number: u64) -> Self {
        Self(number.to_string().into())
    }
}

/// One message.
#[derive(Clone, Debug)]
pub(crate) enum Message<'a> {
    Request {
        id: Id,
        method: Cow<'a, str>,
        params: Option<&'a RawValue>,
    },
    Notification {
        method: Cow<'a, str>,
        params: Option<&'a RawValue>,
    },
    Response {
        id: Id,
        body: Body<'a>,
    },
    /// An error that names no request.
    Complaint,
}

/// What a response says.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Body<'a> {
    Result(&'a RawValue),
    Error(&'a RawValue),
}

/// The text is no message, or no batch of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct NoMessage;

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    jsonrpc: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "present")]
    params: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    result: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    error: Option<&'a RawValue>,
}

/// A field that is there is there, `null` included.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// The messages of a text: one, or those of a batch.
pub(crate) fn parse(text: &[u8]) -> Result<Vec<Message<'_>>, NoMessage> {
    let start = text.iter().find(|byte| !byte.is_ascii_whitespace());
    match start {
        Some(b'{') => one(text).map(|message| vec![message]),
        Some(b'[') => {
            let parts: Vec<&RawValue> = serde_json::from_slice(text).map_err(|_| NoMessage)?;
            if parts.is_empty() || parts.len() > LARGEST_BATCH {
                return Err(NoMessage);
            }
            parts.into_iter().map(|part| one(part.get().as_bytes())).collect()
        }
        _ => Err(NoMessage),
    }
}

fn one(text: &[u8]) -> Result<Message<'_>, NoMessage> {
    let envelope: Envelope<'_> = serde_json::from_slice(text).map_err(|_| NoMessage)?;
    if envelope.jsonrpc != "2.0" {
        return Err(NoMessage);
    }
    if envelope.id.is_none_or(|id| id.get() == "null") && envelope.method.is_none() && envelope.error.is_some() {
        return Ok(Message::Complaint);
    }
    let id = envelope.id.map(|raw| Id::of(raw).ok_or(NoMessage));
    match (envelope.method, id, envelope.result, envelope.error) {
        (Some(method), None, None, None) => Ok(Message::Notification { method, params: envelope.params }),
        (Some(method), Some(id), None, None) => Ok(Message::Request { id: id?, method, params: envelope.params }),
        (None, Some(id), Some(result), None) => Ok(Message::Response { id: id?, body: Body::Result(result) }),
        (None, Some(id), None, Some(error)) => Ok(Message::Response { id: id?, body: Body::Error(error) }),
        _ => Err(NoMessage),
    }
}

/// A string as JSON.
pub(crate) fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The text of a request.
pub(crate) fn request(id: &str, method: &str, params: Option<&str>) -> String {
    let method = quote(method);
    match params {
        Some(params) => format!(r#"{{"jsonrpc":"2.0","id":{id},"method":{method},"params":{params}}}"#),
        None => format!(r#"{{"jsonrpc":"2.0","id":{id},"method":{method}}}"#),
    }
}

/// The text of a notification.
pub(crate) fn notification(method: &str, params: Option<&str>) -> String {
    let method = quote(method);
    match params {
        Some(params) => format!(r#"{{"jsonrpc":"2.0","method":{method},"params":{params}}}"#),
        None => format!(r#"{{"jsonrpc":"2.0","method":{method}}}"#),
    }
}

/// The text of a response.
pub(crate) fn response(id: &Id, body: Body<'_>) -> String {
    let id = id.json();
    match body {
        Body::Result(result) => format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{}}}"#, result.get()),
        Body::Error(error) => format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{}}}"#, error.get()),
    }
}

/// The text of a response with a result that is already text.
pub(crate) fn result(id: &Id, result: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{},"result":{result}}}"#, id.json())
}

/// The text of an error; without an id where nobody knows which request it answers.
pub(crate) fn error(id: Option<&Id>, code: i64, message: &str) -> String {
    let id = id.map_or("null", Id::json);
    format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":{}}}}}"#, quote(message))
}

/// The fields of an object in their order, each as its text.
struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'de> Visitor<'de> for Visit {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                #[derive(Deserialize)]
                struct Name<'n>(#[serde(borrow)] Cow<'n, str>);
                let mut fields = Vec::new();
                while let Some((Name(name), value)) = map.next_entry::<Name<'de>, &'de RawValue>()? {
                    fields.push((name, value));
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Visit)
    }
}

/// A field of an object, at the end of a path of objects.
pub(crate) fn field<'a>(object: &'a RawValue, path: &[&str]) -> Option<&'a RawValue> {
    let mut at = object;
    for name in path {
        let fields: Fields<'a> = serde_json::from_str(at.get()).ok()?;
        at = fields.0.into_iter().find(|(known, _)| known == name)?.1;
    }
    Some(at)
}

/// The object with another value at the end of a path, all else as it is. None: there is no such field. Of a field
/// that is there twice the first counts, as for [`field`], and the others go: for whoever reads on, the last would.
pub(crate) fn with_field(object: &RawValue, path: &[&str], value: &str) -> Option<String> {
    let (name, rest) = path.split_first()?;
    let fields: Fields<'_> = serde_json::from_str(object.get()).ok()?;
    let mut found = false;
    let mut text = String::with_capacity(object.get().len() + value.len());
    for (known, kept) in &fields.0 {
        if known == name && found {
            continue;
        }
        text.push(if text.is_empty() { '{' } else { ',' });
        text.push_str(&quote(known));
        text.push(':');
        if known == name {
            found = true;
            match rest {
                [] => text.push_str(value),
                _ => text.push_str(&with_field(kept, rest, value)?),
            }
        } else {
            text.push_str(kept.get());
        }
    }
    text.push('}');
    found.then_some(text)
}

/// Names of an object's fields; of the first ones only.
pub(crate) fn names(object: &RawValue) -> BTreeSet<String> {
    let fields = serde_json::from_str::<Fields<'_>>(object.get()).map(|fields| fields.0).unwrap_or_default();
    fields.into_iter().take(64).map(|(name, _)| name.into_owned()).collect()
}

/// A field that is a string.
pub(crate) fn text_field(object: Option<&RawValue>, path: &[&str]) -> Option<String> {
    serde_json::from_str(field(object?, path)?.get()).ok()
}

/// A field that is an id or a progress token.
pub(crate) fn id_field(object: Option<&RawValue>, path: &[&str]) -> Option<Id> {
    Id::of(field(object?, path)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn raw(value: &Value) -> Box<RawValue> {
        RawValue::from_string(value.to_string()).expect("JSON")
    }

    #[test]
    fn messages_are_told_apart() {
        let kind = |text: &str| match parse(text.as_bytes()) {
            Ok(messages) => messages
                .iter()
                .map(|message| match message {
                    Message::Request { id, method, .. } => format!("request {} {method}", id.json()),
                    Message::Notification { method, .. } => format!("notification {method}"),
                    Message::Response { id, body: Body::Result(result) } => {
                        format!("result {} {}", id.json(), result.get())
                    }
                    Message::Response { id, body: Body::Error(_) } => format!("error {}", id.json()),
                    Message::Complaint => "complaint".to_owned(),
                })
                .collect::<Vec<_>>()
                .join("; "),
            Err(NoMessage) => "no message".to_owned(),
        };
        assert_eq!(kind(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#), "request 1 ping");
        assert_eq!(kind(r#" {"method":"a","id":"x","jsonrpc":"2.0","params":{}} "#), "request \"x\" a");
        assert_eq!(kind(r#"{"jsonrpc":"2.0","method":"n"}"#), "notification n");
        assert_eq!(kind(r#"{"result":null,"jsonrpc":"2.0","id":7}"#), "result 7 null");
        assert_eq!(kind(r#"{"jsonrpc":"2.0","id":7,"error":{"code":1,"message":""}}"#), "error 7");
        assert_eq!(
            kind(r#"[{"jsonrpc":"2.0","id":1,"method":"a"},{"jsonrpc":"2.0","method":"b"}]"#),
            "request 1 a; notification b"
        );
        assert_eq!(kind(r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"parse"}}"#), "complaint");
        for garbage in [
            "",
            "   ",
            "Server is running on stdio",
            "null",
            "7",
            "[]",
            "[1]",
            "{}",
            r#"{"level":"info","method":"GET"}"#,
            r#"{"jsonrpc":"1.0","id":1,"method":"a"}"#,
            r#"{"jsonrpc":"2.0","id":null,"method":"a"}"#,
            r#"{"jsonrpc":"2.0","id":{},"method":"a"}"#,
            r#"{"jsonrpc":"2.0","id":1}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"a"} trailing"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"a""#,
        ] {
            assert_eq!(kind(garbage), "no message", "{garbage}");
        }
        let long = format!(r#"{{"jsonrpc":"2.0","id":"{}","method":"a"}}"#, "x".repeat(300));
        assert_eq!(kind(&long), "no message");
        assert_eq!(kind(&format!("[{}]", vec!["{}"; 65].join(","))), "no message");
    }

    #[test]
    fn one_field_is_exchanged_and_all_else_stays_as_it_was_written() {
        let params = RawValue::from_string(
            r#"{"name":"x", "_meta":{"a\"b":1.50,"progressToken":"tok"},"n":12345678901234567890123}"#.to_owned(),
        )
        .expect("JSON");
        assert_eq!(field(&params, &["_meta", "progressToken"]).map(RawValue::get), Some("\"tok\""));
        let twice = RawValue::from_string(r#"{"t":4,"n":1,"t":5}"#.to_owned()).expect("JSON");
        assert_eq!(with_field(&twice, &["t"], "9").as_deref(), Some(r#"{"t":9,"n":1}"#));
        assert_eq!(
            with_field(&params, &["_meta", "progressToken"], "9").as_deref(),
            Some(r#"{"name":"x","_meta":{"a\"b":1.50,"progressToken":9},"n":12345678901234567890123}"#)
        );
        assert_eq!(with_field(&params, &["_meta", "other"], "9"), None);
        assert_eq!(with_field(&params, &["name", "deeper"], "9"), None);
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-c\"\\\\é]{0,3}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_bytes_bring_it_down(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn near_messages_do_not_either(text in r#"[\[\]{}",:.0-9a-e\\ -]{0,60}"#) {
            let text = format!(r#"{{"jsonrpc":"2.0","id":1,{text}"#);
            let _ = parse(text.as_bytes());
        }

        #[test]
        fn what_is_written_is_read(params in value(), method in any::<String>(), id in any::<u64>()) {
            let text = request(&id.to_string(), &method, Some(&params.to_string()));
            match parse(text.as_bytes()).as_deref() {
                Ok([Message::Request { id: read, method: read_method, params: Some(read_params) }]) => {
                    prop_assert_eq!(read.number(), Some(id));
                    prop_assert_eq!(read_method, &method);
                    prop_assert_eq!(serde_json::from_str::<Value>(read_params.get()).ok(), Some(params));
                }
                other => prop_assert!(false, "{:?}", other),
            }
            let answer = error(Some(&Id::from(id)), UNAVAILABLE, &method);
            let again = parse(answer.as_bytes());
            let is_answer = matches!(again.as_deref(), Ok([Message::Response { .. }]));
            prop_assert!(is_answer);
        }

        #[test]
        fn an_exchanged_field_is_the_only_difference(mut params in value(), name in "[a-c]") {
            let before = raw(&params);
            let exchanged = with_field(&before, &[&name], "77");
            let expected = params.as_object_mut().and_then(|map| map.get_mut(&name)).map(|kept| *kept = json!(77));
            prop_assert_eq!(exchanged.is_some(), expected.is_some());
            if let Some(text) = exchanged {
                prop_assert_eq!(serde_json::from_str::<Value>(&text).ok(), Some(params));
            }
        }
    }
}
