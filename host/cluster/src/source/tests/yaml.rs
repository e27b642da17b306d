use proptest::prelude::*;
use serde_json::{Value, json};

use crate::source::yaml::{Document, ParsedDocument, Position, SourceError, parse_documents};

fn at(line: u32, column: u32) -> Position {
    Position { line, column }
}

fn one(text: &str) -> Document {
    let mut documents = parse_documents(text);
    assert_eq!(documents.len(), 1, "{text:?}");
    documents.remove(0).unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

fn refused(text: &str) -> SourceError {
    let mut documents = parse_documents(text);
    assert_eq!(documents.len(), 1, "{text:?}");
    match documents.remove(0) {
        Ok(document) => panic!("{text:?} was read as {}", document.value),
        Err(error) => error,
    }
}

#[test]
fn every_value_knows_where_it_and_its_key_are_written() {
    let document = one("# who\napiVersion: v1\nspec:\n  replicas: 3\n  tags:\n    - a\n    - {x: 1, \"b/c~d\": 2}\n");
    assert_eq!(document.line, 2);
    assert_eq!(
        document.value,
        json!({"apiVersion": "v1", "spec": {"replicas": 3, "tags": ["a", {"x": 1, "b/c~d": 2}]}})
    );
    let spans = &document.spans;
    assert_eq!(spans.locate("/spec/replicas"), at(4, 13));
    assert_eq!(spans.locate_key("/spec/replicas"), at(4, 3));
    assert_eq!(spans.locate("/spec/tags/0"), at(6, 7));
    assert_eq!(spans.locate("/spec/tags/1/b~1c~0d"), at(7, 23));
    assert_eq!(spans.locate("/spec/missing/deep"), at(3, 1), "the nearest ancestor's key");
    assert_eq!(spans.locate("/nothing"), at(2, 1));
    assert_eq!(spans.locate(""), at(2, 1));
    let part = spans.below("/spec/tags/1");
    assert_eq!((part.locate(""), part.locate("/x")), (spans.locate("/spec/tags/1"), spans.locate("/spec/tags/1/x")));
    assert_eq!(part.locate("/b~1c~0d"), at(7, 23));
    let part = spans.below("/spec");
    assert_eq!(part.locate_key("/replicas"), at(4, 3));
    assert_eq!(part.locate("/apiVersion"), at(3, 1), "what stands outside is not in it");
}

#[test]
fn documents_are_split_at_markers_and_positions_count_from_the_file_s_beginning() {
    let text = "---\na: 1\n---\n# nothing but this\n--- # comment\nb: 2\n...\n---\nc: |\n  --- not a marker\n";
    let documents: Vec<Document> = parse_documents(text).into_iter().flatten().collect();
    let values: Vec<&Value> = documents.iter().map(|document| &document.value).collect();
    assert_eq!(values, [&json!({"a": 1}), &json!({"b": 2}), &json!({"c": "--- not a marker\n"})]);
    assert_eq!(documents.iter().map(|document| document.line).collect::<Vec<_>>(), [2, 6, 9]);
    assert_eq!(documents[1].spans.locate("/b"), at(6, 4));
    assert_eq!(documents[2].spans.locate_key("/c"), at(9, 1));
}

#[test]
fn a_broken_document_does_not_hide_the_others() {
    let documents = parse_documents("a: 1\n---\nb: [1,\n---\nc: 3\n");
    assert_eq!(documents.len(), 3);
    assert!(documents[0].is_ok() && documents[2].is_ok());
    let Err(error) = &documents[1] else { panic!("the second is broken") };
    assert!((3..=4).contains(&error.position.line), "{error}");
    assert!(!error.message.is_empty() && !error.message.contains('\n'), "{error}");
}

#[test]
fn a_text_without_content_has_no_documents() {
    for text in ["", "\n", "# only this\n", "---\n---\n# x\n...\n", "\u{feff}", "%YAML 1.2\n---\n"] {
        assert_eq!(parse_documents(text), Vec::<ParsedDocument>::new(), "{text:?}");
    }
}

#[test]
fn a_byte_order_mark_carriage_returns_and_directives_do_no_harm() {
    assert_eq!(one("\u{feff}a: 1\r\nb: x\r\n").value, json!({"a": 1, "b": "x"}));
    assert_eq!(one("%YAML 1.2\r\n---\r\na: 1\r\n").value, json!({"a": 1}));
}

#[test]
fn a_key_that_is_there_twice_is_an_error_at_its_second_place() {
    let error = refused("spec:\n  a: 1\n  b: 2\n  a: 3\n");
    assert_eq!(error.position, at(4, 3), "{error}");
    assert!(error.message.contains("is there twice"), "{error}");
}

#[test]
fn numbers_are_read_as_go_reads_them() {
    let value = one("a: 0777\nb: 18446744073709551615\nc: -9223372036854775808\nd: 1.5\ne: \"0777\"\nf: 0x1f\n").value;
    let wanted = json!({"a": 511, "b": u64::MAX, "c": i64::MIN, "d": 1.5, "e": "0777", "f": 31});
    assert_eq!(value, wanted);
    assert!(refused("a: .inf\n").message.contains("finite"), "JSON has no infinity");
}

#[test]
fn null_and_booleans_are_what_kubectl_makes_of_them() {
    assert_eq!(
        one("a:\nb: ~\nc: yes\nd: \"yes\"\ne: off\n").value,
        json!({"a": null, "b": null, "c": true, "d": "yes", "e": false})
    );
}

#[test]
fn anchors_and_merge_keys_are_resolved() {
    let document = one("base: &b {x: 1, y: 2}\nuse:\n  <<: *b\n  y: 3\nalias: *b\n");
    assert_eq!(document.value["use"], json!({"x": 1, "y": 3}));
    assert_eq!(document.value["alias"], json!({"x": 1, "y": 2}));
    assert_eq!(document.spans.locate("/alias"), at(5, 8), "where it is used, not where it is defined");
}

#[test]
fn an_alias_bomb_is_refused_quickly() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..9 {
        let alias = format!("*a{}", level - 1);
        text.push_str(&format!("a{level}: &a{level} [{}]\n", vec![alias; 9].join(", ")));
    }
    let start = std::time::Instant::now();
    let error = refused(&text);
    assert!(start.elapsed() < std::time::Duration::from_secs(2), "{error}");
    assert!(error.message.contains("too large"), "{error}");
}

#[test]
fn nesting_without_end_is_refused() {
    refused(&format!("a: {}", "[".repeat(100_000)));
}

#[test]
fn json_is_read_by_the_same_parser() {
    let text =
        "{\n\t\"apiVersion\": \"v1\",\n\t\"list\": [1, -2.5e3, true, null, \"\\u00e9\\/\\n\"],\n\t\"o\": {}\n}\n";
    let document = one(text);
    assert_eq!(document.value, serde_json::from_str::<Value>(text).expect("JSON"));
    assert_eq!(document.spans.locate("/list/1").line, 3);
    let pairs = one(r#"{"face": "\ud83d\ude00"}"#);
    assert_eq!(pairs.value, json!({"face": "😀"}));
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        "[ -~äß€\n\t]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map("[a-z/~. 0-9]{0,8}", inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_written_as_json_is_read_as_it_was(value in value(), pretty in any::<bool>()) {
        let object = json!({ "a": value });
        let text = if pretty { format!("{object:#}") } else { object.to_string() };
        let documents = parse_documents(&text);
        prop_assert_eq!(documents.len(), 1);
        let read = documents[0].as_ref().map(|document| document.value.clone());
        prop_assert_eq!(read, Ok(object));
    }

    #[test]
    fn no_text_makes_the_parser_panic_or_point_outside(text in "([a-c:\\[\\]{}&*!|>'\"#%@,? \n\t-]|---\n|a: |- ){0,60}") {
        let lines = text.split('\n').count() as u32;
        for document in parse_documents(&text) {
            let position = match document {
                Ok(document) => document.spans.locate(""),
                Err(error) => error.position,
            };
            prop_assert!(position.line >= 1 && position.line <= lines + 1 && position.column >= 1, "{}", position);
        }
    }
}
