//! CustomResourceDefinitions and the objects that they admit: YAML documents, the definition first.

use serde_json::Value;
use setpoint_cluster::source::yaml::parse_documents;
use setpoint_schema::{Crd, Part};

use crate::{QUICK, Target, nothing};

/// A definition is refused with a reason or compiles. Then what it admits it admits again as it is, and
/// each error is about the object (rule D6).
pub(crate) const TARGET: Target = Target {
    name: "schema",
    run,
    end: nothing,
    longest: 8 * 1024,
    patience: QUICK,
    words: &[
        "type: ",
        "object",
        "array",
        "string",
        "integer",
        "number",
        "boolean",
        "properties: ",
        "items: ",
        "additionalProperties: ",
        "required: [a]",
        "default: ",
        "nullable: true",
        "enum: [a, 1]",
        "pattern: ",
        "'^a*$'",
        "'(a+)+$'",
        "maxLength: 3",
        "minimum: 0",
        "multipleOf: 0.1",
        "format: date-time",
        "oneOf: [",
        "anyOf: [",
        "allOf: [",
        "not: {",
        "}",
        "]",
        ", ",
        "\n",
        "x-kubernetes-int-or-string: true",
        "x-kubernetes-preserve-unknown-fields: true",
        "x-kubernetes-list-type: map",
        "x-kubernetes-list-map-keys: [a]",
        "x-kubernetes-embedded-resource: true",
        "x-kubernetes-validations: [{rule: ",
        "'self == oldSelf'",
        "'self.all(x, self.all(y, x == y))'",
        "'size(self) < 3'",
        "$ref: '#/definitions/a'",
        "null",
        "a: ",
        "---\n",
        "v1",
        "spec: ",
        "status: ",
    ],
};

fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut documents = parse_documents(&text).into_iter().filter_map(Result::ok).map(|document| document.value);
    let Some(definition) = documents.next() else { return };
    let version = definition.pointer("/spec/versions/0/name").and_then(Value::as_str).unwrap_or("v1").to_owned();
    let crd = match Crd::parse(&definition, &version) {
        Ok(crd) => crd,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    assert!(crd.served.contains(&crd.version), "{:?}", crd.served);
    for object in documents.take(4) {
        for part in [Part::Whole, Part::Spec, Part::Status] {
            let first = crd.admit(object.clone(), None, part);
            let second = crd.admit(first.object.clone(), None, part);
            assert_eq!(first.object, second.object, "{part:?}: admitted again it changes");
            assert_eq!(first.errors, second.errors, "{part:?}: admitted again it has other errors");
            assert!(second.unknown.is_empty(), "{part:?}: unknown after pruning: {:?}", second.unknown);
        }
        let mut once = object;
        crd.default_and_prune(&mut once);
        let mut twice = once.clone();
        crd.default_and_prune(&mut twice);
        assert_eq!(once, twice, "defaulted and pruned twice it changes");
    }
}
