//! The promises of the SDK to plugin authors, kept end to end through its public interface.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use setpoint_sdk::prelude::*;
use setpoint_sdk::schemars::JsonSchema;
use setpoint_sdk::testing::{self, TestKit};
use setpoint_sdk::{Component, DescribeError, Tuning};

/// How large and from what.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct PoolSpec {
    #[schemars(range(min = 1))]
    size: u32,
    /// What to do; see the tests.
    #[serde(default)]
    action: String,
    #[serde(default)]
    selector: String,
}

#[derive(Serialize, Deserialize, JsonSchema, PartialEq, Debug)]
struct PoolStatus {
    seen: Vec<String>,
}

#[derive(Deserialize, JsonSchema)]
struct PoolConfig {
    limit: Option<u32>,
}

struct Pool;

impl Reconciler for Pool {
    type Spec = PoolSpec;
    type Status = PoolStatus;
    type Config = PoolConfig;

    fn describe() -> Describe<Self> {
        let kind = Kind::namespaced("examples.setpoint.dev", "v1alpha1", "Pool").short_name("po").column(
            "Size",
            "integer",
            ".spec.size",
        );
        Describe::new("pool", "1.2.3", kind)
            .reads(Read::all::<ConfigMap>().fields([".data.shown"]).index("shown", ".data.shown"))
            .reads(Read::named::<Secret>())
            .writes::<ConfigMap>()
            .tuning(Tuning { resync: Some(Duration::from_secs(60)), ..Tuning::default() })
    }

    fn reconcile(cx: &Context<Self>) -> Result<Outcome<PoolStatus>, Error> {
        let seen = |seen: Vec<String>| PoolStatus { seen };
        Ok(match cx.spec().action.as_str() {
            "list" => {
                let maps = cx.list::<ConfigMap>(Query::new().selector(&cx.spec().selector).page_size(2))?;
                Outcome::ready(seen(maps.into_iter().map(|map| map.metadata.name).collect()))
            }
            "index" => {
                let maps = cx.list::<ConfigMap>(Query::new().index("shown", "yes"))?;
                Outcome::ready(seen(maps.into_iter().map(|map| map.metadata.name).collect()))
            }
            "data" => {
                let map = cx.get::<ConfigMap>("a")?.ok_or_else(|| Error::retry("a is missing"))?;
                Outcome::ready(seen(map.data.keys().cloned().collect()))
            }
            "list-secrets" => {
                Outcome::ready(seen(cx.list::<Secret>(Query::new())?.into_iter().map(|s| s.body.kind).collect()))
            }
            "child" => Outcome::ready(seen(vec![cx.spec().size.to_string()])).child(Child::of("c", &ConfigMap::new())),
            "wrong" => Outcome::ready(seen(vec![]))
                .child(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}}))
                .child(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "s-"}}))
                .child(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "status": {}}))
                .condition("Ready", true, "not camel", "")
                .finalized(),
            "config" => Outcome::ready(seen(vec![format!("{:?}", cx.config().limit)])),
            "log" => {
                cx.log(setpoint_sdk::Level::Info, "sized", &[("size", "3")]);
                Outcome::without_status().progressing("Waiting", format!("attempt {}", cx.attempt()))
            }
            _ => Outcome::ready(seen(vec![format!("{:?}", cx.status())])),
        })
    }
}

struct Drain;

impl Reconciler for Drain {
    type Spec = Value;
    type Status = Value;
    type Config = NoConfig;

    fn describe() -> Describe<Self> {
        Describe::new("pool", "1.2.3", Kind::cluster_scoped("examples.setpoint.dev", "v1alpha1", "Drain"))
            .finalizer()
            .reads(Read::named::<ConfigMap>())
            .tuning(Tuning { resync: Some(Duration::from_secs(60)), ..Tuning::default() })
    }

    fn reconcile(cx: &Context<Self>) -> Result<Outcome<Value>, Error> {
        let outcome = Outcome::without_status();
        Ok(if cx.deleting() { outcome.finalized() } else { outcome })
    }
}

setpoint_sdk::export!(Pool, Drain);

fn pool(action: &str) -> TestKit<Pool> {
    TestKit::new().object(json!({"metadata": {"name": "p"}, "spec": {"size": 3, "action": action}}))
}

fn maps() -> Value {
    let map = |name: &str, namespace: &str, tier: &str| {
        json!({"kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace, "labels": {"tier": tier}},
               "data": {"shown": if tier == "x" { "yes" } else { "no" }, "hidden": "1"}})
    };
    json!([
        map("c", "default", "x"),
        map("a", "default", "x"),
        map("b", "default", "y"),
        map("d", "other", "x"),
        map("e", "default", "x")
    ])
}

#[test]
fn a_derived_crd_carries_the_types_and_the_fields_of_the_host() {
    let crd = testing::crd::<(Pool,)>();
    assert_eq!(crd["metadata"]["name"], "pools.examples.setpoint.dev");
    let version = &crd["spec"]["versions"][0];
    let schema = &version["schema"]["openAPIV3Schema"];
    assert_eq!(schema["properties"]["spec"]["properties"]["size"]["minimum"], 1);
    assert_eq!(schema["properties"]["spec"]["required"], json!(["size"]));
    assert_eq!(schema["required"], json!(["spec"]));
    let status = &schema["properties"]["status"]["properties"];
    assert_eq!(status["seen"]["type"], "array");
    assert_eq!(status["observedGeneration"]["type"], "integer");
    assert_eq!(status["conditions"]["x-kubernetes-list-type"], "map");
    assert_eq!(version["subresources"], json!({"status": {}}));
    let columns = version["additionalPrinterColumns"].as_array().map(|c| c.iter().map(|c| c["name"].clone()).collect());
    assert_eq!(columns, Some(vec![json!("Size"), json!("Age")]));
    assert_eq!(testing::crd::<(Drain,)>()["spec"]["scope"], "Cluster");
}

#[test]
fn the_kinds_of_one_component_are_described_as_one() {
    let description = testing::describe::<(Pool, Drain)>();
    assert_eq!((description.name.as_str(), description.version.as_str()), ("pool", "1.2.3"));
    assert_eq!(description.kinds.iter().map(|kind| kind.finalizer).collect::<Vec<_>>(), [false, true]);
    let maps: Vec<_> = description.reads.iter().filter(|read| read.kind.kind == "ConfigMap").collect();
    assert_eq!(maps.len(), 1);
    assert!(maps[0].fields.is_empty(), "Drain sees the whole object, so the component does");
    assert_eq!(maps[0].indexes.len(), 1);
    assert!(description.config_schema.is_some_and(|schema| schema.contains("limit")));
    assert_eq!(description.tuning.resync, Some(60_000));
}

struct Stranger;

impl Reconciler for Stranger {
    type Spec = Value;
    type Status = Value;
    type Config = NoConfig;

    fn describe() -> Describe<Self> {
        Describe::new("Stranger", "1.2.3", Kind::namespaced("examples.setpoint.dev", "v1alpha1", "Stranger"))
    }

    fn reconcile(_: &Context<Self>) -> Result<Outcome<Value>, Error> {
        Ok(Outcome::without_status())
    }
}

#[test]
fn a_description_that_cannot_be_is_refused_with_a_reason() {
    assert_eq!(<(Stranger,)>::description(), Err(DescribeError::Name("Stranger".into())));
    assert!(<(Pool, Stranger)>::description().is_err());
}

#[test]
fn a_list_comes_whole_and_in_order_however_small_the_pages() {
    let kit = TestKit::<Pool>::new()
        .object(json!({"metadata": {"name": "p"}, "spec": {"size": 1, "action": "list", "selector": "tier=x"}}))
        .with(maps());
    let run = kit.run("p");
    assert_eq!(run.expect_ready().status().seen, ["a", "c", "e"]);
    let reads: Vec<String> = run.reads().iter().map(ToString::to_string).collect();
    assert_eq!(reads, ["list ConfigMap default tier=x"]);
}

#[test]
fn an_index_finds_by_value() {
    let run = pool("index").with(maps()).run("p");
    assert_eq!(run.status().seen, ["a", "c", "e"]);
}

#[test]
fn a_field_outside_the_mask_is_not_seen() {
    assert_eq!(pool("data").with(maps()).run("p").status().seen, ["shown"]);
}

#[test]
fn absence_is_an_answer_and_ignorance_is_not() {
    assert_eq!(pool("data").run("p").expect_retry(), "a is missing");
    let text = pool("data").with(maps()).unavailable("ConfigMap").run("p").expect_retry().to_owned();
    assert!(text.contains("not known at present") && text.contains("ConfigMap"), "{text}");
    assert!(pool("data").not_granted("ConfigMap").run("p").expect_permanent().contains("not granted"));
}

#[test]
fn a_kind_that_is_only_read_by_name_has_no_list() {
    assert!(pool("list-secrets").run("p").expect_permanent().contains("not described"));
}

#[test]
fn an_object_or_configuration_that_does_not_fit_waits_for_a_change() {
    let kit = TestKit::<Pool>::new().object(json!({"metadata": {"name": "p"}, "spec": {"size": "many"}}));
    assert!(kit.run("p").expect_permanent().contains("invalid type: string \"many\""));
    let kit = TestKit::<Pool>::new().object(json!({"metadata": {"name": "p"}}));
    assert!(kit.run("p").expect_permanent().contains("missing field `size`"));
    assert!(pool("").config(json!({"limit": "x"})).run("p").expect_permanent().contains("configuration"));
    assert_eq!(pool("config").config(json!({"limit": 4})).run("p").status().seen, ["Some(4)"]);
}

#[test]
fn a_status_of_an_older_version_does_not_stop_a_newer_one() {
    let with = |status: Value| {
        TestKit::<Pool>::new().object(json!({"metadata": {"name": "p"}, "spec": {"size": 1}, "status": status}))
    };
    assert_eq!(with(json!({"seen": 5})).run("p").status().seen, ["None"]);
    assert_eq!(with(json!({"seen": ["x"]})).run("p").status().seen, ["Some(PoolStatus { seen: [\"x\"] })"]);
}

#[test]
fn the_kit_refuses_what_the_host_would_refuse() {
    let run = pool("wrong").run("p");
    let problems = run.problems().join("\n");
    for expected in [
        "not among the plugin's writes",
        "without metadata.name",
        "sets status",
        "Ready is the host's",
        "not camel",
        "finalized",
    ] {
        assert!(problems.contains(expected), "{expected} is missing in:\n{problems}");
    }
    let caught = std::panic::catch_unwind(|| pool("wrong").run("p").expect_ready().leaves_children());
    assert!(caught.is_err(), "an outcome that the host refuses must fail the test");
    assert!(pool("child").run("p").problems().is_empty());
    assert_eq!(pool("child").run("p").child("ConfigMap", "c")["metadata"], json!({"name": "c"}));
}

struct Unserved;

impl Reconciler for Unserved {
    type Spec = Value;
    type Status = Value;
    type Config = NoConfig;

    fn describe() -> Describe<Self> {
        let crd =
            r#"{"spec": {"group": "g", "names": {"kind": "Unserved"}, "versions": [{"name": "v1", "served": true}]}}"#;
        Describe::with_crd_json("unserved", "1.0.0", "v2", crd)
    }

    fn reconcile(_: &Context<Self>) -> Result<Outcome<Value>, Error> {
        Ok(Outcome::without_status())
    }
}

#[test]
#[should_panic(expected = "the CRD does not serve version v2")]
fn a_hand_written_crd_has_to_serve_the_version_that_is_spoken() {
    let _ = testing::describe::<(Unserved,)>();
}

struct Careless;

impl Reconciler for Careless {
    type Spec = Value;
    type Status = Value;
    type Config = NoConfig;

    fn describe() -> Describe<Self> {
        let crd =
            r#"{"spec": {"group": "g", "names": {"kind": "Careless"}, "versions": [{"name": "v1", "served": true}]}}"#;
        Describe::with_crd_json("careless", "1.0.0", "v1", crd)
    }

    fn reconcile(cx: &Context<Self>) -> Result<Outcome<Value>, Error> {
        assert_eq!(cx.metadata()?.labels["l"], "1");
        Ok(Outcome::ready(cx.spec().clone()))
    }
}

#[test]
fn a_status_cannot_carry_what_the_host_writes() {
    let with = |spec: Value| {
        let object = json!({"metadata": {"name": "c", "labels": {"l": "1"}}, "spec": spec});
        TestKit::<Careless>::new().object(object).run("c").problems().to_vec()
    };
    assert!(with(json!({"observedGeneration": 1})).concat().contains("status.observedGeneration is the host's"));
    assert!(with(json!([])).concat().contains("no JSON object"));
    assert!(with(json!({"a": 1})).is_empty());
}

#[test]
fn scenarios_hold_for_all_kinds_of_a_component() {
    assert_eq!(testing::scenarios::<(Pool, Drain)>("tests/scenarios"), 5);
}

#[test]
#[should_panic(expected = "outcome.status.seen[0]: expected \"4\", came \"3\"")]
fn a_scenario_that_comes_to_something_else_fails_with_the_place_of_the_difference() {
    testing::scenarios::<(Pool, Drain)>("tests/broken/wrong.yaml");
}

#[test]
#[should_panic(expected = "it expects nothing")]
fn a_scenario_that_expects_nothing_fails() {
    testing::scenarios::<(Pool, Drain)>("tests/broken/nothing.yaml");
}

#[test]
fn a_recording_is_a_test() {
    assert_eq!(testing::replay::<(Pool, Drain)>("tests/recordings/pool.jsonl"), 2);
}

#[test]
#[should_panic(expected = "no call of stranger in it can be compared")]
fn a_recording_of_other_plugins_proves_nothing() {
    testing::replay::<(Lodger,)>("tests/recordings/pool.jsonl");
}

struct Lodger;

impl Reconciler for Lodger {
    type Spec = Value;
    type Status = Value;
    type Config = NoConfig;

    fn describe() -> Describe<Self> {
        Describe::new("stranger", "1.0.0", Kind::namespaced("examples.setpoint.dev", "v1alpha1", "Lodger"))
    }

    fn reconcile(_: &Context<Self>) -> Result<Outcome<Value>, Error> {
        Ok(Outcome::without_status())
    }
}

#[test]
fn logs_and_attempts_can_be_tested() {
    let run = pool("log").attempt(3, "it broke").run("p");
    run.expect_progressing("Waiting");
    assert_eq!(run.logs()[0].fields, [("size".to_owned(), "3".to_owned())]);
    assert!(run.leaves_children() && run.outcome().status.is_none());
}

#[test]
fn a_deleting_object_is_called_until_it_says_finalized() {
    let kit = TestKit::<Drain>::new().object_yaml("metadata:\n  name: d\n");
    assert!(!kit.run("d").finalized());
    assert!(kit.deleting("d").run("d").finalized());
}

#[test]
#[should_panic(expected = "without .finalizer() the host makes no call")]
fn a_deleting_object_without_finalizer_is_not_called() {
    let _ = pool("").deleting("p").run("p");
}
