//! The plugins that are played.

use serde_json::{Value, json};
use setpoint_core::contract::{Failure, ListQuery, Outcome, Readiness, Reason};
use setpoint_core::grants::Grant;
use setpoint_core::key::{DEFAULT_NAMESPACE, GroupKind, Key, LOCAL};
use setpoint_core::native;

use crate::kinds::{GROUP, SERVER, config_map, far_map, native_key, owned};
use crate::plugin::{Ask, Plugin, Reads, Stop, child, maps};
use crate::world::url_of;

fn outcome(status: Value) -> Outcome {
    Outcome { status: Some(status.to_string()), children: Some(Vec::new()), ..Outcome::default() }
}

fn progressing(why: &str) -> Readiness {
    Readiness::Progressing(Reason::new("Waiting", why))
}

fn link() -> GroupKind {
    GroupKind::new(GROUP, "Link")
}

/// All plugins, in their first version.
pub fn all() -> Vec<Plugin> {
    vec![
        note(),
        boxed(),
        bundle(),
        fleet(1),
        vault(),
        peer(),
        shaky(),
        claim(),
        flap(),
        chain(),
        link_plugin(),
        clock(),
        remote(),
    ]
}

/// A later version of a plugin: fleets write other data and other names, the rest does the same.
pub fn version(plugin: &Plugin, number: u32) -> Plugin {
    let mut next = if &*plugin.description.name == "fleet" { fleet(number) } else { plugin.version(number) };
    next.config = plugin.config.clone();
    next
}

/// (a) Only a status.
pub fn note() -> Plugin {
    Plugin::new("note", "Note", |ask, _| Ok(outcome(json!({"text": ask.text("v").to_uppercase()}))))
}

/// What an object shows in `data.v`.
fn shown(object: Option<&Value>) -> String {
    object.and_then(|object| object["data"]["v"].as_str()).unwrap_or("none").to_owned()
}

fn one_map(ask: &Ask, reads: &mut dyn Reads, target: &Key) -> Result<Outcome, Stop> {
    let wanted = ask.text("v");
    let there = reads.get(target)?;
    let mut answer = outcome(json!({"seen": shown(there.as_ref())}));
    if shown(there.as_ref()) != wanted {
        answer.readiness = progressing("the map is not there yet");
    }
    answer.children = Some(vec![child(&ask.key, target, json!({"data": {"v": wanted}}))]);
    Ok(answer)
}

/// (b) One child, and a status that is read from it.
pub fn boxed() -> Plugin {
    Plugin::new("box", "Box", |ask, reads| one_map(ask, reads, &config_map(&format!("box-{}", ask.key.name))))
        .reads(&maps(), &[])
        .writes(&maps())
}

/// (c) Merges all maps with a label into one. A stubborn one takes an unknown list for an empty one.
pub fn bundle() -> Plugin {
    Plugin::new("bundle", "Bundle", |ask, reads| {
        let query = ListQuery {
            cluster: LOCAL.into(),
            kind: maps(),
            namespace: Some(DEFAULT_NAMESPACE.into()),
            labels: Some(format!("bundle={}", ask.key.name)),
            index: None,
        };
        let parts = match reads.list(&query) {
            Ok(parts) => parts,
            Err(Stop::Read(_)) if ask.object["spec"]["stubborn"] == true => {
                return Ok(outcome(json!({"parts": 0})));
            }
            Err(stop) => return Err(stop),
        };
        let mut data = serde_json::Map::new();
        for part in &parts {
            for (name, value) in part["data"].as_object().into_iter().flatten() {
                data.insert(name.clone(), value.clone());
            }
        }
        let mut answer = outcome(json!({"parts": parts.len()}));
        if !parts.is_empty() {
            let key = config_map(&format!("bundle-{}", ask.key.name));
            answer.children = Some(vec![child(&ask.key, &key, json!({"data": data}))]);
        }
        Ok(answer)
    })
    .reads(&maps(), &[".data"])
    .writes(&maps())
}

/// (d) Many children, whose names change with the spec, the configuration and the version.
pub fn fleet(number: u32) -> Plugin {
    let mut plugin = Plugin::new("fleet", "Fleet", move |ask, _| {
        let count = ask.number("count");
        let suffix = ask.config["suffix"].as_str().unwrap_or_default().to_owned();
        let generation = if number.is_multiple_of(3) { "x" } else { "" };
        let mut answer = outcome(json!({"members": count}));
        let member = |at: u64| {
            let name = format!("{}{generation}{suffix}-{}-{at}", ask.text("v"), ask.key.name);
            child(&ask.key, &config_map(&name), json!({"data": {"at": at.to_string(), "by": number.to_string()}}))
        };
        answer.children = Some((0..count).map(member).collect());
        Ok(answer)
    })
    .writes(&maps());
    plugin.digest = format!("fleet-{number}");
    plugin
}

/// (e) With a finalizer: its child goes before it does.
pub fn vault() -> Plugin {
    Plugin::new("vault", "Vault", |ask, reads| {
        let target = config_map(&format!("vault-{}", ask.key.name));
        if !ask.deleting {
            return one_map(ask, reads, &target);
        }
        let mine = ask.key.to_string();
        let owner = |map: &Value| map["metadata"]["annotations"]["setpoint.dev/owner-key"] == mine.as_str();
        let gone = !reads.get(&target)?.as_ref().is_some_and(owner);
        let mut answer = outcome(json!({"seen": "leaving"}));
        answer.finalized = gone;
        if !gone {
            answer.readiness = progressing("the map has to go first");
        }
        Ok(answer)
    })
    .reads(&maps(), &[])
    .writes(&maps())
    .with_finalizer()
}

/// (f) Reads its siblings through a mask that does not show their statuses (rule A2).
pub fn peer() -> Plugin {
    let kind = GroupKind::new(GROUP, "Peer");
    let read = kind.clone();
    Plugin::new("peer", "Peer", move |ask, reads| {
        let query = ListQuery { cluster: LOCAL.into(), kind: kind.clone(), namespace: None, labels: None, index: None };
        let family = ask.text("v");
        let count = reads.list(&query)?.iter().filter(|peer| peer["spec"]["v"].as_str() == Some(&family)).count();
        Ok(Outcome { children: None, ..outcome(json!({"family": count})) })
    })
    .reads(&read, &[".spec.v"])
}

/// (g) Fails as the map `weather-NAME` says.
pub fn shaky() -> Plugin {
    Plugin::new("shaky", "Shaky", |ask, reads| {
        let weather = reads.get(&config_map(&format!("weather-{}", ask.key.name)))?;
        match shown(weather.as_ref()).as_str() {
            "retry" => Err(Stop::Fail(Failure::Retry("it rains".into()))),
            "later" => Err(Stop::Fail(Failure::RetryAfter("it will clear up".into(), 20_000))),
            "permanent" => Err(Stop::Fail(Failure::Permanent("the roof is gone".into()))),
            "trap" => Err(Stop::Trap("struck by lightning".into())),
            _ => {
                let mut answer = outcome(json!({"v": ask.text("v")}));
                let key = config_map(&format!("shaky-{}", ask.key.name));
                answer.children = Some(vec![child(&ask.key, &key, json!({"data": {"v": ask.text("v")}}))]);
                Ok(answer)
            }
        }
    })
    .reads(&maps(), &[])
    .writes(&maps())
}

/// (h) Owners that may want one and the same child.
pub fn claim() -> Plugin {
    Plugin::new("claim", "Claim", |ask, _| {
        let mut answer = outcome(json!({"wants": ask.text("v")}));
        let key = config_map(&format!("claim-{}", ask.text("v")));
        answer.children = Some(vec![child(&ask.key, &key, json!({"data": {"by": &*ask.key.name}}))]);
        Ok(answer)
    })
    .writes(&maps())
}

/// (i) Its child is overwritten by another controller again and again.
pub fn flap() -> Plugin {
    Plugin::new("flap", "Flap", |ask, _| {
        let mut answer = outcome(json!({"v": ask.text("v")}));
        let key = config_map(&format!("flap-{}", ask.key.name));
        answer.children = Some(vec![child(&ask.key, &key, json!({"data": {"x": "mine"}}))]);
        Ok(answer)
    })
    .writes(&maps())
}

/// (j) A chain: its child is reconciled by another plugin, whose status it passes on.
pub fn chain() -> Plugin {
    Plugin::new("chain", "Chain", |ask, reads| {
        let target = owned("Link", &format!("of-{}", ask.key.name));
        let seen = reads.get(&target)?;
        let seen = seen.as_ref().and_then(|link| link["status"]["seen"].as_str()).unwrap_or("none").to_owned();
        let mut answer = outcome(json!({"seen": seen}));
        if seen != ask.text("v") {
            answer.readiness = progressing("the link has not got it yet");
        }
        answer.children = Some(vec![child(&ask.key, &target, json!({"spec": {"v": ask.text("v")}}))]);
        Ok(answer)
    })
    .reads(&link(), &[".status.seen"])
    .writes(&link())
}

/// (j) The middle of the chain, with a finalizer.
pub fn link_plugin() -> Plugin {
    Plugin::new("link", "Link", |ask, reads| {
        let target = config_map(&format!("link-{}", ask.key.name));
        if ask.deleting {
            return Ok(Outcome { finalized: true, ..outcome(json!({"seen": "leaving"})) });
        }
        one_map(ask, reads, &target)
    })
    .reads(&maps(), &[])
    .writes(&maps())
    .with_finalizer()
}

/// (k) Impure, and asks to be called again.
pub fn clock() -> Plugin {
    let mut plugin = Plugin::new("clock", "Clock", |ask, _| {
        Ok(Outcome { requeue_after: Some(60_000), ..outcome(json!({"v": ask.text("v")})) })
    });
    plugin.impure = true;
    plugin
}

/// A child in another cluster.
pub fn remote() -> Plugin {
    Plugin::new("remote", "Remote", |ask, reads| one_map(ask, reads, &far_map(&format!("remote-{}", ask.key.name))))
        .reads(&maps(), &[])
        .writes(&maps())
}

/// (l) In the shape of an `MCPServer`: a process and a probe of it, or a probe of an endpoint, whose states it shows.
/// `count` says which: 0 is suspended, odd is a process. Only in worlds that have processes.
pub fn server() -> Plugin {
    let (process, probe) = [native::PROCESS, native::PROBE].map(|kind| GroupKind::new(native::GROUP, kind)).into();
    let fields = |more: [&'static str; 4]| {
        let all = [".metadata.generation", ".spec", ".status.state", ".status.reason", ".status.message"];
        [all.as_slice(), &more, &[".status.consecutiveFailures", ".status.observedGeneration"]].concat()
    };
    let of_process = [".status.pid", ".status.restarts", ".status.nextRestartAt", ".status.lastExit.at"];
    let of_probe = [".status.tools", ".status.lastConnected", ".status.lastAttempt", ".status.nextAttempt"];
    Plugin::new("server", SERVER, serve)
        .reads(&process, &fields(of_process))
        .reads(&probe, &fields(of_probe))
        .writes(&process)
        .writes(&probe)
        .granted(&[Grant::Process(None), Grant::Http("*".into())])
}

fn serve(ask: &Ask, reads: &mut dyn Reads) -> Result<Outcome, Stop> {
    let (name, value) = (&*ask.key.name, ask.text("v"));
    let (process_at, probe_at) = (native_key(native::PROCESS, name), native_key(native::PROBE, name));
    let process = reads.get(&process_at)?.map_or(Value::Null, |process| process["status"].clone());
    if ask.number("count") == 0 {
        return Ok(outcome(json!({"state": if process.is_null() { "Stopped" } else { "Stopping" }})));
    }
    let local = ask.number("count") % 2 == 1;
    let probe = reads.get(&probe_at)?.map_or(Value::Null, |probe| probe["status"].clone());
    let state = match (process["state"].as_str(), probe["state"].as_str()) {
        (Some("Running"), Some(state)) if local => state,
        (state, _) if local => state.unwrap_or("Starting"),
        (_, state) => state.unwrap_or("Connecting"),
    };
    let mut answer = outcome(json!({
        "state": state,
        "restarts": process["restarts"],
        "failures": [process["consecutiveFailures"], probe["consecutiveFailures"]],
        "next": [process["nextRestartAt"], probe["nextAttempt"]],
        "tools": probe["tools"],
        "connected": probe["lastConnected"],
    }));
    if !["Healthy", "AuthRequired"].contains(&state) {
        answer.readiness = progressing("it does not answer");
    }
    let target = match local {
        true => json!({"transport": "stdio", "process": name}),
        false => json!({"transport": "streamable-http", "url": url_of(name, &value)}),
    };
    let token = json!({"secretKeyRef": {"name": format!("token-{name}"), "key": "t", "optional": true}});
    let run = json!({"command": "server", "args": [value], "stdin": "MCP",
        "env": [{"name": "TOKEN", "valueFrom": token}]});
    let process = local.then(|| child(&ask.key, &process_at, json!({"spec": run})));
    let probe = child(&ask.key, &probe_at, json!({"spec": {"mcp": target}}));
    answer.children = Some(process.into_iter().chain([probe]).collect());
    Ok(answer)
}
