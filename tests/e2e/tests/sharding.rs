//! Hosts that share work, against a real API server: by clusters, and by ranges of the keys of one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::json;
use setpoint_e2e::hub::{BUNDLES, Hub, MAPS, SERVERS, bundle, condition, part};
use setpoint_test_support::{Host, Setup};

/// Nothing takes longer than this, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long leases last in these tests.
const LEASE: Duration = Duration::from_secs(10);

fn configuration(hub: &Hub, sharding: &str) -> String {
    let namespace = &hub.namespace;
    setpoint_e2e::configuration(&format!(
        "kubernetes:\n  lease: {{namespace: {namespace}, duration: 10s, renewDeadline: 7s, retryPeriod: 1s}}\n  \
         sharding: {sharding}\nclusters:\n  teams: {{namespaces: {{label: 'shared-by={namespace}'}}}}\n"
    ))
}

/// A host whose writes the server knows by a name of its own.
fn host(hub: &Hub, user: &str, sharding: &str) -> Setup {
    let kubeconfig = hub.kube.kubeconfig_with_certificate(user, &["system:masters"]);
    let setup = hub.host_of(&kubeconfig).arg("--leader-elect").arg("--grant").arg("*=described@*");
    setup.config(&configuration(hub, sharding)).plugin("config-bundle")
}

/// Namespaces of the hub that are clusters.
fn teams(hub: &Hub, count: usize) -> Vec<Hub> {
    let team = |_| {
        let team = Hub::on(&hub.kube);
        let labels = json!({"metadata": {"labels": {"shared-by": hub.namespace}}});
        hub.kube.api().merge(&format!("/api/v1/namespaces/{}", team.namespace), &labels).ok();
        team
    };
    (0..count).map(team).collect()
}

/// What a host acts on.
fn held(host: &Host) -> BTreeSet<String> {
    let shards = host.json("/v1/overview")["shards"]["held"].clone();
    shards.as_array().into_iter().flatten().filter_map(|shard| shard.as_str().map(str::to_owned)).collect()
}

/// Who acts on each shard; none while not all of them are acted on, or one by two.
fn holders(hosts: &[&Host], all: usize) -> Option<BTreeMap<String, usize>> {
    let mut holders = BTreeMap::new();
    for (at, host) in hosts.iter().enumerate() {
        for shard in held(host) {
            let before = holders.insert(shard.clone(), at);
            assert!(before.is_none(), "two hosts act on {shard}");
        }
    }
    (holders.len() == all).then_some(holders)
}

/// Waits until all is acted on, and each host acts on something.
fn shared_among(hub: &Hub, hosts: &[&Host], all: usize) -> BTreeMap<String, usize> {
    let everybody = |host: &&Host| {
        let shards = host.json("/v1/overview")["shards"].clone();
        let members = shards["members"].as_array().map_or(0, Vec::len);
        members == hosts.len() && shards["total"] == all
    };
    let (mut last, mut looks) = (None, 0);
    hub.wait_for("all is shared", || {
        let now = holders(hosts, all).filter(|_| hosts.iter().all(everybody));
        // A host that has come takes its part of each cluster when it knows it.
        looks = if now.is_some() && now == last { looks + 1 } else { 0 };
        std::thread::sleep(Duration::from_millis(600));
        last.clone_from(&now);
        now.filter(|_| looks >= 9)
    })
}

fn make_bundle(place: &Hub, name: &str) {
    place.make(MAPS, &part(&format!("{name}-part"), name, &json!({"x": "0"})));
    place.make(BUNDLES, &bundle(name));
}

fn change(place: &Hub, name: &str, value: &str) {
    place.change(MAPS, &format!("{name}-part"), &json!({"data": {"x": value}}));
}

fn shows(place: &Hub, name: &str, value: &str) -> bool {
    place.get(MAPS, name).is_some_and(|map| map["data"]["x"] == value)
}

fn is_ready(place: &Hub, name: &str) -> bool {
    place.get(BUNDLES, name).is_some_and(|bundle| condition(&bundle, "Ready") == "True")
}

/// Who has written each bundle and what it made, as the server has written it down.
fn writers(places: &[&Hub], users: &[&str]) -> BTreeMap<(String, String), BTreeSet<String>> {
    let mut writers: BTreeMap<_, BTreeSet<String>> = BTreeMap::new();
    for asked in places[0].kube.audited() {
        let there = places.iter().any(|place| asked.namespace() == place.namespace);
        let counts = ["configmaps", "configbundles"].contains(&asked.resource());
        if there && counts && asked.is_write() && asked.code() < 300 && users.contains(&asked.user()) {
            let object = (asked.namespace().to_owned(), asked.name().to_owned());
            writers.entry(object).or_default().insert(asked.user().to_owned());
        }
    }
    writers
}

fn moved(before: &BTreeMap<String, usize>, after: &BTreeMap<String, usize>) -> Vec<String> {
    before.iter().filter(|(shard, holder)| after.get(*shard) != Some(holder)).map(|(shard, _)| shard.clone()).collect()
}

#[test]
fn clusters_are_shared_and_only_what_must_move_moves() {
    let Some(hub) = Hub::new() else { return };
    let teams = teams(&hub, 11);
    let all = teams.len() + 1;
    let start = |user: &str| host(&hub, user, "{enabled: true}").start();
    let (first, second, third) = (start("share-first"), start("share-second"), start("share-third"));
    hub.serves(BUNDLES);
    let before = shared_among(&hub, &[&first, &second, &third], all);
    teams.iter().for_each(|team| make_bundle(team, "shop"));
    teams.iter().for_each(|team| hub.wait_for("its bundle is ready", || is_ready(team, "shop").then_some(())));
    let places: Vec<&Hub> = teams.iter().collect();
    let users = ["share-first", "share-second", "share-third"];
    let writers = writers(&places, &users);
    assert_eq!(writers.len(), teams.len(), "{writers:?}");
    for ((namespace, name), by) in &writers {
        let expected = users[before[namespace]].to_owned();
        assert_eq!(*by, BTreeSet::from([expected]), "{namespace}/{name} is written by the one that acts there");
    }
    let share = first.json("/v1/clusters").to_string();
    assert!(share.contains("\"shards_held\":1") || held(&first).is_empty(), "{share}");
    let total: f64 =
        [&first, &second, &third].iter().map(|host| host.metric("leader_election_master_status", &[])).sum();
    assert!((total - all as f64).abs() < 0.5, "each lease has one holder: {total}");

    // One is killed: the others keep what they have, and share what it had.
    let lost: Vec<String> = before.iter().filter(|(_, at)| **at == 0).map(|(shard, _)| shard.clone()).collect();
    first.kill();
    let killed = Instant::now();
    teams.iter().for_each(|team| change(team, "shop", "1"));
    let at_once: Vec<&Hub> = teams.iter().filter(|team| !lost.contains(&team.namespace)).collect();
    hub.wait_for("the others go on", || at_once.iter().all(|team| shows(team, "shop", "1")).then_some(()));
    let undisturbed = killed.elapsed();
    hub.wait_for("what it had is taken over", || teams.iter().all(|team| shows(team, "shop", "1")).then_some(()));
    println!(
        "measured: {} of {all} shards taken over {:.1} s after a kill, with leases of 10 s; the others went on after {:.1} s",
        lost.len(),
        killed.elapsed().as_secs_f64(),
        undisturbed.as_secs_f64()
    );
    let after = shared_among(&hub, &[&second, &third], all);
    let shifted: BTreeMap<String, usize> = after.iter().map(|(shard, at)| (shard.clone(), at + 1)).collect();
    assert_eq!(moved(&before, &shifted), lost, "only what it had moves");
    if !lost.is_empty() {
        assert!(killed.elapsed() > Duration::from_secs(4), "not before its lease has ended");
    }

    // One comes: it takes its part, and nothing else moves.
    let newcomer = first.start_again();
    let hosts = [&newcomer, &second, &third];
    let began = Instant::now();
    let mut free: BTreeMap<String, Duration> = BTreeMap::new();
    let mut looked = Instant::now();
    let mut members = 0;
    while members < 3 || looked.duration_since(began) < Duration::from_secs(10) {
        members = newcomer.json("/v1/overview")["shards"]["members"].as_array().map_or(0, Vec::len);
        let acted: BTreeSet<String> = hosts.iter().flat_map(|host| held(host)).collect();
        let since = looked.elapsed();
        looked = Instant::now();
        for shard in before.keys().filter(|shard| !acted.contains(*shard)) {
            *free.entry(shard.clone()).or_default() += since;
        }
        assert!(began.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(10));
    }
    let last = shared_among(&hub, &hosts, all);
    let changed = moved(&shifted, &last);
    assert!(changed.iter().all(|shard| last[shard] == 0), "{changed:?} move only to the one that came: {last:?}");
    let longest = free.values().max().copied().unwrap_or_default();
    println!(
        "measured: {} of {all} shards handed over to a host that came, each without a host for {:.1} s at most",
        changed.len(),
        longest.as_secs_f64()
    );
    assert!(longest < LEASE / 2, "nothing is handed over to a host before it takes it");
    teams.iter().for_each(|team| change(team, "shop", "2"));
    hub.wait_for("all goes on", || teams.iter().all(|team| shows(team, "shop", "2")).then_some(()));
}

#[test]
fn ranges_of_the_keys_of_one_cluster_are_shared() {
    const BUNDLES_THERE: usize = 40;
    let Some(hub) = Hub::new() else { return };
    let sharding = "{enabled: true, large: [hub]}";
    let (first, second) = (host(&hub, "range-first", sharding).start(), host(&hub, "range-second", sharding).start());
    hub.serves(BUNDLES);
    let before = shared_among(&hub, &[&first, &second], 64);
    let names: Vec<String> = (0..BUNDLES_THERE).map(|number| format!("b{number}")).collect();
    names.iter().for_each(|name| make_bundle(&hub, name));
    names.iter().for_each(|name| hub.wait_for("it is ready", || is_ready(&hub, name).then_some(())));
    let users = ["range-first", "range-second"];
    let by = writers(&[&hub], &users);
    // On a machine that is too slow for leases as short as these, ranges move by themselves.
    let moved = [&first, &second].iter().any(|host| host.log().contains("does not hold the lease"));
    for name in &names {
        let by = &by[&(hub.namespace.clone(), name.clone())];
        assert!(by.len() == 1 || moved, "{name} is written by one host: {by:?}");
    }
    for user in users {
        assert!(by.values().any(|by| by.contains(user)), "{user} does its part");
    }
    let table = first.cli(&["get", "clusters"]).ok();
    assert!(table.contains("/64"), "{table}");
    let waiting = first.list("/v1/reconciles?kind=ConfigBundle");
    let elsewhere = waiting.iter().filter(|row| row.to_string().contains("another host acts on it")).count();
    assert!(elsewhere > 0 && elsewhere < BUNDLES_THERE, "{elsewhere}");

    // Told to stop, it hands over.
    let mine = before.values().filter(|at| **at == 1).count();
    let (status, _) = second.terminate();
    assert!(status.success());
    let stopped = Instant::now();
    names.iter().for_each(|name| change(&hub, name, "1"));
    hub.wait_for("the first one does all of it", || names.iter().all(|name| shows(&hub, name, "1")).then_some(()));
    hub.wait_for("it holds all", || (held(&first).len() == 64).then_some(()));
    println!(
        "measured: {mine} of 64 ranges handed over by a host that stopped, {:.1} s after it had",
        stopped.elapsed().as_secs_f64()
    );
    assert!(stopped.elapsed() < LEASE + Duration::from_secs(4), "they were given back");
}

#[test]
fn hosts_that_divide_work_in_different_ways_do_not_act_on_the_same() {
    let Some(hub) = Hub::new() else { return };
    let one_for_all = host(&hub, "mixed-all", "{enabled: false}").start();
    hub.serves(BUNDLES);
    hub.wait_for("it acts", || (one_for_all.json("/v1/overview")["lease"]["holds"] == true).then_some(()));
    let whole = host(&hub, "mixed-whole", "{enabled: true}").start();
    // On a machine that is too slow for leases as short as these they change hands by themselves: never are both held.
    let does_all = |host: &Host| host.json("/v1/overview")["lease"]["holds"] == true;
    whole.never("it acts beside the one that does all", Duration::from_secs(8), |host| {
        does_all(&one_for_all) && !held(host).is_empty()
    });
    one_for_all.kill();
    hub.wait_for("it acts now", || (held(&whole).len() == 1).then_some(()));

    // By ranges: not while another one acts on the whole.
    let ranges = host(&hub, "mixed-ranges", "{enabled: true, large: [hub], weight: 100}").start();
    ranges.never("it acts on ranges of what is acted on", Duration::from_secs(8), |host| {
        !held(&whole).is_empty() && !held(host).is_empty()
    });
    make_bundle(&hub, "shop");
    hub.wait_for("the work is done", || is_ready(&hub, "shop").then_some(()));
    whole.kill();
    hub.wait_for("it acts on them now", || (held(&ranges).len() == 64).then_some(()));
    change(&hub, "shop", "1");
    hub.wait_for("it does the work", || shows(&hub, "shop", "1").then_some(()));
    let again = one_for_all.start_again();
    again.never("it acts beside those that share", Duration::from_secs(8), |host| {
        !held(&ranges).is_empty() && does_all(host)
    });
}

#[test]
fn processes_for_owners_in_a_shard_run_where_it_is_acted_on() {
    let Some(hub) = Hub::new() else { return };
    let server = setpoint_test_support::mcp::test_server();
    let setup = |user: &str| {
        let sharding = "{enabled: true, large: [hub]}";
        host(&hub, user, sharding).arg("--grant").arg("mcp-server=process").plugin("mcp-server")
    };
    let first = setup("process-first").start();
    hub.serves(SERVERS);
    let names: Vec<String> = (0..6).map(|number| format!("tools-{number}")).collect();
    for name in &names {
        hub.make(
            SERVERS,
            &json!({"apiVersion": "muster.giantswarm.io/v1alpha1", "kind": "MCPServer", "metadata": {"name": name},
                "spec": {"type": "stdio", "autoStart": true, "command": server, "args": ["--stdio"]}}),
        );
    }
    let run = |host: &Host| -> BTreeSet<String> {
        let processes = host.list("/v1/objects?kind=Process");
        processes.iter().map(|process| process["metadata"]["name"].to_string()).collect()
    };
    hub.wait_for("all run", || (run(&first).len() == names.len()).then_some(()));
    let second = setup("process-second").start();
    let both = |what: &str| {
        hub.wait_for(what, || {
            // One that is on its way is seen at neither.
            let (there, here) = (run(&second), run(&first));
            assert!(here.is_disjoint(&there), "one runs twice: {here:?} and {there:?}");
            (here.len() + there.len() == names.len() && !there.is_empty()).then_some(())
        });
    };
    both("they are shared");
    hub.wait_for("their servers run", || {
        let running = |name: &String| hub.get(SERVERS, name).is_some_and(|is| is["status"]["state"] == "Running");
        names.iter().all(running).then_some(())
    });
}
