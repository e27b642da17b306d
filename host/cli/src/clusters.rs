//! `setpoint get clusters`: which clusters take part, how each is doing, and what is in the way.

use std::fmt::Write;

use jiff::Timestamp;
use setpoint_runtime::{ClusterView, FleetView};

use crate::age;
use crate::args::Output;
use crate::client::Client;
use crate::failure::Failure;
use crate::output::{one_line, print};
use crate::table::Table;

/// Shows them, or one.
pub(crate) fn clusters(client: &Client, name: Option<&str>, output: Output) -> Result<(), Failure> {
    let mut fleet: FleetView = client.get("/v1/clusters")?;
    if let Some(name) = name {
        fleet.clusters.retain(|cluster| cluster.name == name);
        fleet.troubles.clear();
        if fleet.clusters.is_empty() {
            return Err(Failure::new(format!("there is no cluster {name}")).hint("`setpoint get clusters` shows them"));
        }
    }
    print(&text(&fleet, output == Output::Wide, Timestamp::now()))
}

fn text(fleet: &FleetView, wide: bool, now: Timestamp) -> String {
    let mut header = vec!["NAME", "PROVIDER", "STATE", "ACTING", "OBJECTS", "WATCHES", "FOR"];
    if wide {
        header.extend(["SERVER", "LAST HEARD", "IDENTITY", "LABELS"]);
    }
    let mut table = Table::new(&header);
    for cluster in &fleet.clusters {
        let engaged = cluster.state == "Engaged";
        let watches = match (cluster.watches, cluster.watches_behind) {
            (all, 0) => all.to_string(),
            (all, behind) => format!("{}/{all}", all - behind),
        };
        let mut cells = vec![
            cluster.name.clone(),
            cluster.provider.clone(),
            cluster.state.clone(),
            acting(cluster),
            if engaged { cluster.objects.to_string() } else { "-".to_owned() },
            if engaged { watches } else { "-".to_owned() },
            age::since(Some(&cluster.since), now),
        ];
        if wide {
            let labels: Vec<String> = cluster.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
            let heard = cluster.watch_age_ms.map(|ms| age::human((ms / 1_000) as i64));
            let or_none = |text: String| if text.is_empty() { "<none>".to_owned() } else { text };
            cells.extend([
                or_none(cluster.server.clone().unwrap_or_default()),
                or_none(heard.unwrap_or_default()),
                or_none(cluster.identity.clone().unwrap_or_default()),
                or_none(labels.join(",")),
            ]);
        }
        table.row(cells);
    }
    let remarks: Vec<String> = fleet.clusters.iter().flat_map(|cluster| remarks(cluster, now)).collect();
    let troubles = fleet
        .troubles
        .iter()
        .map(|trouble| format!("{}: {}: {}", trouble.provider, one_line(&trouble.about), one_line(&trouble.message)));
    let remarks: Vec<String> = remarks.into_iter().chain(troubles).collect();
    let mut text = table.render();
    if !remarks.is_empty() {
        let _ = write!(text, "\nREMARKS\n{}\n", remarks.join("\n"));
    }
    text
}

/// Whether this host acts on a cluster; on how many of its shards, if there are several.
fn acting(cluster: &ClusterView) -> String {
    match (cluster.shards_held, cluster.shards) {
        (Some(held), Some(all)) if all > 1 => format!("{held}/{all}"),
        _ => if cluster.acting { "yes" } else { "no" }.to_owned(),
    }
}

/// What is to be said of a cluster that is not as it should be.
fn remarks(cluster: &ClusterView, now: Timestamp) -> Vec<String> {
    let mut remarks = Vec::new();
    if let Some(reason) = &cluster.reason {
        let next = cluster.next_try.as_deref().and_then(|at| at.parse::<Timestamp>().ok());
        let next = next.map(|at| format!("; next try in {}", age::human((at.as_second() - now.as_second()).max(0))));
        let required = if cluster.required { "; the host is not ready without it" } else { "" };
        remarks.push(format!("{}: {}{}{required}", cluster.name, one_line(reason), next.unwrap_or_default()));
    }
    remarks.extend(cluster.problems.iter().map(|problem| format!("{}: {}", cluster.name, one_line(problem))));
    for other in &cluster.also_offered_by {
        let first = &cluster.provider;
        remarks
            .push(format!("{}: {other} offers a cluster of this name as well; that of {first} counts", cluster.name));
    }
    remarks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters_are_shown_with_what_keeps_them_out() {
        let now: Timestamp = "2026-01-01T00:01:00Z".parse().unwrap();
        let cluster = |name: &str, state: &str| ClusterView {
            name: name.into(),
            provider: "files".into(),
            state: state.into(),
            since: "2026-01-01T00:00:00Z".into(),
            ..ClusterView::default()
        };
        let fleet = FleetView {
            clusters: vec![
                ClusterView {
                    reason: Some("nobody is there".into()),
                    next_try: Some("2026-01-01T00:01:09Z".into()),
                    ..cluster("east", "Unreachable")
                },
                ClusterView {
                    acting: true,
                    shards_held: Some(21),
                    shards: Some(64),
                    objects: 7,
                    watches: 3,
                    watches_behind: 1,
                    problems: vec!["core/ConfigMap (all): it is forbidden".into()],
                    also_offered_by: vec!["other".into()],
                    ..cluster("west", "Engaged")
                },
            ],
            troubles: vec![setpoint_runtime::ProviderTrouble {
                provider: "files".into(),
                about: "clusters/x.kubeconfig".into(),
                message: "it is empty".into(),
            }],
        };
        let expected = "\
NAME   PROVIDER   STATE         ACTING   OBJECTS   WATCHES   FOR
east   files      Unreachable   no       -         -         60s
west   files      Engaged       21/64    7         2/3       60s

REMARKS
east: nobody is there; next try in 9s
west: core/ConfigMap (all): it is forbidden
west: other offers a cluster of this name as well; that of files counts
files: clusters/x.kubeconfig: it is empty
";
        assert_eq!(text(&fleet, false, now), expected);
    }
}
