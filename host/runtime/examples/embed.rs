//! A program with a host inside: one kind that it reconciles itself, and a view of what comes of it.
//!
//! `cargo run -p setpoint-runtime --example embed`

use std::path::Path;

use serde::Deserialize;
use serde_json::json;
use setpoint_runtime::Host;
use setpoint_runtime::embed::{
    Child, Describe, Failure, Key, Outcome, Readiness, Reason, Reconciler, Request, Shutdown, TrackedReads, Update,
};

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Makes a ConfigMap of each `Greeting`, with the word that the ConfigMap `words` has for it.
struct Greeter;

#[derive(Deserialize)]
struct Greeting {
    spec: GreetingSpec,
}

#[derive(Deserialize)]
struct GreetingSpec {
    to: String,
}

#[derive(Deserialize)]
struct Words {
    data: WordsData,
}

#[derive(Deserialize)]
struct WordsData {
    hello: String,
}

/// What clients of this program want to know of a ConfigMap.
#[derive(Deserialize)]
struct Text {
    data: TextData,
}

#[derive(Deserialize)]
struct TextData {
    text: String,
}

impl Reconciler for Greeter {
    fn describe(&self) -> Describe {
        let definition = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "greetings.examples.setpoint.dev"},
            "spec": {"group": "examples.setpoint.dev", "scope": "Namespaced",
                "names": {"kind": "Greeting", "plural": "greetings", "singular": "greeting"},
                "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                    "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                        "spec": {"type": "object", "required": ["to"], "properties": {"to": {"type": "string"}}},
                        "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}}}]},
        });
        Describe::new("greeter", "1.0.0")
            .owns("v1", definition)
            .reads_named("", "v1", "ConfigMap")
            .writes("", "v1", "ConfigMap")
            .pure()
    }

    async fn reconcile(&self, request: Request, reads: TrackedReads) -> Result<Outcome, Failure> {
        let greeting: Greeting =
            serde_json::from_str(&request.object).map_err(|error| Failure::Permanent(error.to_string()))?;
        // This read is why another word is another greeting at once: nobody has declared a watch.
        let words = Key { name: "words".into(), kind: "ConfigMap".into(), group: "".into(), ..(*request.key).clone() };
        let Some(words) = reads.get_as::<Words>(&words).await? else {
            let reason = Reason::new("NoWords", "There is no ConfigMap words");
            return Ok(Outcome { readiness: Readiness::Progressing(reason), ..Outcome::default() });
        };
        let text = format!("{}, {}!", words.data.hello, greeting.spec.to);
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": format!("{}-text", request.key.name)}, "data": {"text": text}});
        let child = Child { cluster: None, object: object.to_string(), update: Update::InPlace };
        Ok(Outcome { children: Some(vec![child]), ..Outcome::default() })
    }
}

fn words(hello: &str) -> String {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "words"}, "data": {"hello": hello}})
        .to_string()
}

/// Runs the host in a directory until another word was greeted with. Answers the greetings, in order.
///
/// # Errors
/// The host does not start.
#[allow(unreachable_pub, reason = "the tests use it")]
pub async fn run(dir: &Path) -> Result<Vec<String>, Error> {
    let files = dir.join("resources");
    std::fs::create_dir_all(&files)?;
    std::fs::write(files.join("words.yaml"), words("Hello"))?;
    let greeting = json!({"apiVersion": "examples.setpoint.dev/v1", "kind": "Greeting",
        "metadata": {"name": "world"}, "spec": {"to": "world"}});
    std::fs::write(files.join("world.yaml"), greeting.to_string())?;

    let shutdown = Shutdown::new();
    let host = Host::builder()
        .files(&files)
        .state(dir.join("state"))
        .reconciler(Greeter)
        .grant("greeter", "described@local")
        .shutdown(&shutdown)
        .start()
        .await?;

    let texts = host.handle().registry::<Text>("local", "", "ConfigMap", Some("default"))?;
    let mut greetings: Vec<String> = Vec::new();
    let mut changes = texts.changes();
    while let Some(snapshot) = changes.next().await {
        // The ConfigMap `words` has no text: it is not among the items, but among what could not be read.
        let Some(text) = snapshot.get(Some("default"), "world-text").map(|item| &item.value.data.text) else {
            continue;
        };
        if greetings.last() == Some(text) {
            continue;
        }
        println!("version {}: {text}", snapshot.version());
        greetings.push(text.clone());
        match greetings.len() {
            1 => std::fs::write(files.join("words.yaml"), words("Good evening"))?,
            _ => shutdown.request(),
        }
    }
    host.stopped().await;
    Ok(greetings)
}

#[tokio::main]
#[allow(dead_code, reason = "the tests run the example without it")]
async fn main() -> Result<(), Error> {
    let dir = tempfile::tempdir()?;
    run(dir.path()).await?;
    Ok(())
}
