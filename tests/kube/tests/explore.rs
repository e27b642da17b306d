#[path = "statements/widgets.rs"]
#[allow(dead_code)]
mod widgets;
use setpoint_test_kube::*;
use std::time::*;
use widgets::*;
#[test]
fn bookmarks() {
    let Some(kube) = shared() else { return };
    let quiet = Widgets::on(kube);
    let seen = Widgets::on(kube);
    std::thread::sleep(Duration::from_secs(3));
    let a = seen.made("a", "red");
    let api = kube.api();
    let q = api.get(&quiet.list()).ok();
    let b = Instant::now();
    let w1 =
        api.watch(&format!("{}?watch=true&allowWatchBookmarks=true&resourceVersion={}", quiet.list(), version(&q)));
    let w2 = api.watch(&format!("{}?watch=true&allowWatchBookmarks=true&resourceVersion={}", seen.list(), version(&a)));
    let w3 = api.watch(&format!(
        "{}?watch=true&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan",
        quiet.list()
    ));
    let w4 = api.watch(&format!(
        "/api/v1/namespaces/{}/configmaps?watch=true&allowWatchBookmarks=true&resourceVersion={}",
        quiet.namespace,
        version(&q)
    ));
    let w5 = api.watch(&format!(
        "{}?watch=true&allowWatchBookmarks=true&timeoutSeconds=150&resourceVersion={}",
        seen.list(),
        version(&a)
    ));
    std::thread::scope(|s| {
        for (n, w) in [("quiet", w1), ("seen", w2), ("streaming quiet", w3), ("configmaps", w4), ("seen 150", w5)] {
            s.spawn(move || {
                while b.elapsed() < Duration::from_secs(200) {
                    if let Some(e) = w.next(Duration::from_secs(5)) {
                        println!(
                            "### {n} {:?} {} {}",
                            b.elapsed(),
                            e["type"],
                            e["object"]["metadata"]["resourceVersion"]
                        );
                    }
                }
            });
        }
    });
    println!("### {}", version(&api.get(&quiet.list()).ok()));
}
