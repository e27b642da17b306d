//! What a host says of itself, and waiting for it.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::client::Answer;
use crate::host::{Host, POLL};
use crate::place::{cluster, namespace};

/// What is waited for comes true within this, on a machine that has other things to do as well.
const USUAL: Duration = Duration::from_secs(20);
/// Nothing happened for so long: a host is at rest.
const REST: Duration = Duration::from_millis(150);

impl Host {
    /// Looks until there is something, and returns it.
    ///
    /// # Panics
    /// Nothing within 20 s, or the host ended: with what was waited for, the state of the host and
    /// the end of its log.
    pub fn wait_for<T>(&self, what: &str, look: impl FnMut(&Self) -> Option<T>) -> T {
        self.wait_within(what, USUAL, look)
    }

    /// The same with another limit.
    ///
    /// # Panics
    /// Nothing within the limit, or the host ended.
    pub fn wait_within<T>(&self, what: &str, at_most: Duration, mut look: impl FnMut(&Self) -> Option<T>) -> T {
        let began = Instant::now();
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            if let Some(status) = self.ended() {
                panic!("the host ended ({status}) before {what}\n{}", self.log_tail());
            }
            if began.elapsed() > at_most {
                panic!("not within {at_most:?}: {what}\n{}\n{}", self.state(), self.log_tail());
            }
            thread::sleep(POLL);
        }
    }

    /// Looks for a while that something does not come true.
    ///
    /// # Panics
    /// It does.
    pub fn never(&self, what: &str, during: Duration, mut look: impl FnMut(&Self) -> bool) {
        let began = Instant::now();
        while began.elapsed() < during {
            assert!(!look(self), "{what}\n{}\n{}", self.state(), self.log_tail());
            thread::sleep(POLL);
        }
    }

    /// The answer to a GET.
    ///
    /// # Panics
    /// Nobody answers.
    pub fn get(&self, path: &str) -> Answer {
        self.client().get(path).unwrap_or_else(|error| panic!("GET {path}: {error}\n{}", self.log_tail()))
    }

    /// The JSON that a GET answers.
    ///
    /// # Panics
    /// It answers anything but 200.
    pub fn json(&self, path: &str) -> Value {
        let answer = self.get(path);
        assert_eq!(answer.status, 200, "GET {path}: {}", answer.text);
        answer.json()
    }

    /// The rows that a GET answers.
    ///
    /// # Panics
    /// It answers anything but a list.
    pub fn list(&self, path: &str) -> Vec<Value> {
        let answered = self.json(path);
        match answered {
            Value::Array(rows) => rows,
            other => panic!("GET {path}: a list was expected: {other}"),
        }
    }

    /// Whether it says that it is ready.
    pub fn ready(&self) -> bool {
        self.client().get("/readyz").is_ok_and(|answer| answer.status == 200)
    }

    /// How an object of the test's namespace is reconciled; none if there is no such object.
    pub fn row(&self, kind: &str, name: &str) -> Option<Value> {
        let rows = self.list(&format!("/v1/reconciles?kind={kind}&namespace={}&name={name}", namespace()));
        rows.into_iter().next()
    }

    /// The rows of a kind.
    pub fn rows(&self, kind: &str) -> Vec<Value> {
        self.list(&format!("/v1/reconciles?kind={kind}"))
    }

    /// How the file `FILE.wasm` of the plugins directory is doing; none if nothing is said of it.
    pub fn plugin(&self, file: &str) -> Option<Value> {
        let file = format!("{file}.wasm");
        self.list("/v1/plugins").into_iter().find(|row| row["file"] == *file)
    }

    /// What is wrong with a file of resources, in order of places.
    pub fn wrong(&self, file: &str) -> Vec<Value> {
        self.list("/v1/files").into_iter().filter(|row| row["file"] == *file && row["state"] == "Invalid").collect()
    }

    /// The path of an object of the test's namespace under `/v1/objects`, `/v1/reconciles`; `KIND` is
    /// written `Kind.group`, without group for the core group.
    pub fn path(kind: &str, name: &str) -> String {
        let (kind, group) = kind.split_once('.').unwrap_or((kind, "core"));
        format!("{}/{group}/{kind}/{}/{name}", cluster(), namespace())
    }

    /// An object of the test's namespace; none if it is not there. For the kind see [`Self::path`].
    ///
    /// # Panics
    /// The answer is neither the object nor that there is none.
    pub fn object(&self, kind: &str, name: &str) -> Option<Value> {
        let path = format!("/v1/objects/{}", Self::path(kind, name));
        let answer = self.get(&path);
        match answer.status {
            200 => Some(answer.json()["object"].clone()),
            404 => None,
            status => panic!("GET {path}: {status}: {}", answer.text),
        }
    }

    /// The version of every object, by `Kind namespace/name`.
    pub fn versions(&self) -> BTreeMap<String, String> {
        let text =
            |object: &Value, pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or("-").to_owned();
        self.list("/v1/objects")
            .iter()
            .map(|object| {
                let at = |pointer| text(object, pointer);
                let name = format!("{} {}/{}", at("/kind"), at("/metadata/namespace"), at("/metadata/name"));
                (name.replace(&namespace(), "default"), at("/metadata/resourceVersion"))
            })
            .collect()
    }

    /// The sum of a metric over all its labels, or over those that contain all of these texts, such
    /// as `result="error"`. 0 if there is no such sample.
    pub fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let text = self.get("/metrics").text;
        let sample = |line: &str| {
            let rest = line.strip_prefix(name)?;
            let ours = rest.starts_with('{') || rest.starts_with(' ');
            let wanted = ours && labels.iter().all(|label| rest.contains(label));
            // Label values may contain blanks, the number does not.
            wanted.then(|| rest.rsplit(' ').next()?.parse::<f64>().ok())?
        };
        text.lines().filter_map(sample).sum()
    }

    /// Waits until so many objects are reconciled, and all of them are synced.
    ///
    /// # Panics
    /// It does not come true within the limit.
    pub fn all_synced(&self, count: usize, at_most: Duration) {
        self.wait_within(&format!("{count} objects are synced"), at_most, |host| {
            let summary = &host.json("/v1/overview")["status_summary"];
            (summary["total"] == count && summary["synced"] == count).then_some(())
        });
    }

    /// Waits until nothing is queued, nothing runs, and nothing was written for a moment.
    ///
    /// # Panics
    /// It does not come to rest.
    pub fn at_rest(&self) {
        let mut last = (self.writes(), Instant::now());
        self.wait_for("the host is at rest", |host| {
            let overview = host.json("/v1/overview");
            let busy = overview["queue_length"] != 0 || overview["status_summary"]["reconciling"] != 0;
            let writes = host.writes();
            if busy || writes != last.0 {
                last = (writes, Instant::now());
            }
            (last.1.elapsed() >= REST).then_some(())
        });
    }

    /// Writes of the host since it started: children, statuses, metadata.
    pub fn writes(&self) -> u64 {
        self.metric("setpoint_writes_total", &[]) as u64
    }

    /// For people who read why a test failed.
    fn state(&self) -> String {
        let text = |path| self.client().get(path).map_or_else(|error| error, |answer| answer.text);
        let rows = text("/v1/reconciles").chars().take(4_000).collect::<String>();
        format!(
            "readyz: {}\nrows: {rows}\nfiles: {}\nplugins: {}",
            text("/readyz"),
            text("/v1/files"),
            text("/v1/plugins")
        )
    }
}
