//! Whether a text is a JSON object, without building it.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// Ok if the text is one JSON object that can be parsed: depth, escapes and numbers included.
///
/// # Errors
/// What is wrong, with line and column.
pub(crate) fn check_object(text: &str) -> Result<(), String> {
    serde_json::from_str::<Object>(text).map(|_| ()).map_err(|error| error.to_string())
}

struct Object;
struct Value;

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ObjectVisitor;

impl<'de> Visitor<'de> for ObjectVisitor {
    type Value = Object;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
        while map.next_entry::<Value, Value>()?.is_some() {}
        Ok(Object)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Value, E> {
        Ok(Value)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Value, E> {
        Ok(Value)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Value, E> {
        Ok(Value)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Value, E> {
        Ok(Value)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Value, E> {
        Ok(Value)
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        while seq.next_element::<Value>()?.is_some() {}
        Ok(Value)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        while map.next_entry::<Value, Value>()?.is_some() {}
        Ok(Value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_accepts_exactly_what_the_parser_accepts_as_an_object() {
        let deep = format!("{}1{}", "{\"a\":".repeat(200), "}".repeat(200));
        for text in [
            "{}",
            r#" {"a":[1,-2,3.5e3,true,null,"x\n\u00e9",{"b":{}}]} "#,
            "{\"a\":1",
            "[]",
            "1",
            "",
            "{} {}",
            r#"{"a":"\ud800"}"#,
            r#"{"a":"\x"}"#,
            r#"{"a":1e999}"#,
            r#"{a:1}"#,
            deep.as_str(),
        ] {
            let expected = serde_json::from_str::<serde_json::Value>(text).is_ok_and(|value| value.is_object());
            assert_eq!(check_object(text).is_ok(), expected, "{text}");
        }
        assert!(check_object("[1]").expect_err("an array").contains("a JSON object"));
    }
}
