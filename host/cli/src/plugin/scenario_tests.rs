use super::*;
use setpoint_core::contract::{Failure as Refusal, Outcome};

fn known(kind: &GroupKind) -> Option<Known> {
    match (&*kind.group, &*kind.kind) {
        ("a.io", "Pool") => Some(Known { owned: true, namespaced: true }),
        ("", "ConfigMap") => Some(Known { owned: false, namespaced: true }),
        _ => None,
    }
}

fn all(text: &str) -> Vec<Result<Scenario, String>> {
    parse("dir/one.yaml", text, &known).into_iter().map(|one| one.map_err(|error| error.to_string())).collect()
}

fn one(text: &str) -> Scenario {
    match all(text).as_slice() {
        [Ok(scenario)] => scenario.clone(),
        other => panic!("{other:?}"),
    }
}

fn mistake(text: &str) -> String {
    match all(text).as_slice() {
        [Err(error)] => error.clone(),
        other => panic!("{other:?}"),
    }
}

const POOL: &str = "given:\n- apiVersion: a.io/v1\n  kind: Pool\n  metadata: {name: p}\n";

#[test]
fn a_scenario_says_what_there_is_and_what_is_expected() {
    let text = format!(
        "# why\nscenario: a sentence\n{POOL}- apiVersion: x.io/v1\n  kind: Node\n  metadata: {{name: node, namespace: \"\"}}\n\
         config: {{limit: 3}}\nunavailable: [ConfigMap]\nnot_granted: [Secret]\nexpect:\n  failure: {{retry: later}}\n"
    );
    let scenario = one(&text);
    assert_eq!((scenario.line, scenario.name.as_str()), (2, "a sentence"));
    let keys: Vec<String> = scenario.given.iter().map(|(key, _)| key.to_string()).collect();
    assert_eq!(keys, ["local/a.io/Pool/default/p", "local/x.io/Node/-/node"]);
    assert_eq!(scenario.reconcile, scenario.given[0].0);
    assert_eq!(scenario.config, Some(json!({"limit": 3})));
    assert_eq!((scenario.unavailable, scenario.not_granted), (vec!["ConfigMap".into()], vec!["Secret".into()]));
    assert_eq!(scenario.expect, Some(json!({"failure": {"retry": "later"}})));
    assert!(!scenario.deleting);
    assert_eq!(one(POOL).name, "one", "of the file");
    assert_eq!(one(&format!("{POOL}expect:\n")).expect, None);
}

#[test]
fn a_mistake_is_named_where_it_is_written() {
    let list = "given:\n- apiVersion: v1\n  kind: ConfigMap\n  metadata: {name: a}\n";
    for (text, said) in [
        ("- a\n".to_owned(), "1:1: a scenario is expected: a mapping with `given` and `expect`"),
        (format!("{POOL}expct: 1\n"), "5:1: unknown key \"expct\"; did you mean \"expect\"?"),
        ("given: []\n".to_owned(), "1:8: `given` must be a list of objects, one of them of a kind of the plugin"),
        (list.to_owned(), "1:1: none of the objects is of a kind that the plugin reconciles"),
        (format!("{POOL}deleting: yes please\n"), "5:11: `deleting` must be true or false"),
        (format!("{POOL}unavailable: ConfigMap\n"), "5:14: `unavailable` must be a list of kinds, such as [ConfigMap]"),
        (format!("{POOL}reconcile: q\n"), "5:12: `reconcile`: no object q of a kind of the plugin is given"),
        ("given:\n- apiVersion: a.io/v1\n  kind: Pool\n".to_owned(), "2:3: metadata.name is missing"),
        ("given:\n- kind: Pool\n  metadata: {name: p}\n".to_owned(), "2:1: apiVersion is missing"),
    ] {
        assert_eq!(mistake(&text), said, "{text}");
    }
    let twice = mistake(&format!("{POOL}- apiVersion: a.io/v1\n  kind: Pool\n  metadata: {{name: p}}\n"));
    assert_eq!(twice, "5:3: Pool.a.io default/p is given twice");
    let deleted = mistake(&POOL.replace("{name: p}", "{name: p, deletionTimestamp: x}"));
    assert!(deleted.contains("`deleting: true`"), "{deleted}");
}

#[test]
fn the_object_to_reconcile_is_named_as_far_as_is_needed() {
    let second = "- apiVersion: a.io/v1\n  kind: Pool\n  metadata: {name: p, namespace: ns}\n";
    let with = |word: &str| format!("{POOL}{second}reconcile: {word}\n");
    for word in ["ns/p", "Pool ns/p", "Pool.a.io ns/p"] {
        assert_eq!(one(&with(word)).reconcile.namespace.as_deref(), Some("ns"), "{word}");
    }
    assert!(mistake(&with("p")).ends_with("several objects p are given; write KIND NAMESPACE/NAME"));
}

#[test]
fn a_broken_document_does_not_hide_its_neighbours() {
    let found = all(&format!("given: [\n---\n{POOL}"));
    assert!(matches!(found.as_slice(), [Err(_), Ok(_)]), "{found:?}");
}

#[test]
fn an_update_writes_the_expectation_and_nothing_else() -> Result<(), SourceError> {
    let rewritten = |text: &str, at: usize| match &parse("one.yaml", text, &known)[at] {
        Ok(scenario) => scenario.rewrite(text, &json!({"failure": {"retry": "later"}})),
        Err(error) => Err(error.clone()),
    };
    let new = "expect:\n  failure:\n    retry: later\n";
    assert_eq!(rewritten(POOL, 0)?, format!("{POOL}{new}"));
    assert_eq!(rewritten(POOL.trim_end(), 0)?, format!("{POOL}{new}"), "the last line had no end");
    let old = "# why this is right\nexpect:\n  # lost\n  outcome: {readiness: ready}\n";
    let kept = "# why this is right\n";
    assert_eq!(rewritten(&format!("{POOL}{old}"), 0)?, format!("{POOL}{kept}{new}"));
    let between = "\n# the next one\n---\n";
    let two = format!("{POOL}{old}{between}{POOL}");
    assert_eq!(rewritten(&two, 0)?, format!("{POOL}{kept}{new}{between}{POOL}"));
    assert_eq!(rewritten(&two, 1)?, format!("{POOL}{old}{between}{POOL}{new}"));
    let before = format!("scenario: a\nexpect: {{}}\n\n# the world\n{POOL}");
    assert_eq!(rewritten(&before, 0)?, format!("scenario: a\n{new}\n# the world\n{POOL}"));
    let flow = "{given: [{apiVersion: a.io/v1, kind: Pool, metadata: {name: p}}]}\n";
    assert!(rewritten(flow, 0).is_err_and(|error| error.message.contains("cannot be updated")));
    Ok(())
}

#[test]
fn what_was_updated_is_what_is_read() -> Result<(), Box<dyn std::error::Error>> {
    let outcome = Outcome { status: Some(r#"{"lines":"a\nb\n","on":true,"n":1.5}"#.into()), ..Outcome::default() };
    let came = came(&RecordedResult::of(&Ok(outcome)), &[Question::Get("local/core/ConfigMap/default/a".into())], &[])?;
    let text = one(POOL).rewrite(POOL, &came)?;
    assert_eq!(one(&text).expect, Some(came));
    Ok(())
}

#[test]
fn what_came_of_a_call_is_shown_with_its_reads() -> Result<(), Failure> {
    let list = |cluster: &str| {
        serde_json::from_value(json!({"list": {"cluster": cluster, "kind": "ConfigMap", "namespace": "n",
                                               "labels": "app=a", "index": ["shown", "yes"]}}))
        .map_err(|error| Failure::new(error.to_string()))
    };
    let asked = [Question::Get("local/a.io/Pool/-/p".into()), list("local")?, list("east")?];
    let result = RecordedResult::of(&Err(Refusal::RetryAfter("busy".into(), 500)));
    assert_eq!(
        came(&result, &asked, &["ChildInvalid: x".into()])?,
        json!({
            "failure": {"retry_after": ["busy", 500]},
            "reads": ["get Pool.a.io p", "list ConfigMap n app=a shown=yes", "list ConfigMap n app=a shown=yes in east"],
            "refused": ["ChildInvalid: x"],
        })
    );
    let nothing = came(&RecordedResult::Trap("gone".into()), &[], &[])?;
    assert_eq!(nothing, json!({"trap": "gone"}));
    Ok(())
}
