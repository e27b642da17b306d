//! The job of the plugin `config-bundle` as a program of its own, with kube-rs's Controller: what Setpoint is measured
//! against by `cargo xtask bench kube`.

mod bundle;
mod reconcile;

use std::process::ExitCode;
use std::sync::Arc;

use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::runtime::controller::{self, Controller};
use kube::runtime::{PredicateConfig, WatchStreamExt as _, predicates, reflector, watcher};
use kube::{Api, Client, Config, ResourceExt as _};

use bundle::ConfigBundle;

/// As in the host.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const USAGE: &str = "usage: setpoint-peer-kube-rs [--group GROUP] [--concurrency N]";

fn main() -> ExitCode {
    tracing_subscriber::fmt().with_env_filter("error").with_writer(std::io::stderr).init();
    let mut args = std::env::args().skip(1);
    let mut concurrency = 4;
    while let Some(flag) = args.next() {
        let value = args.next().unwrap_or_default();
        match (flag.as_str(), value.parse()) {
            ("--group", _) => bundle::set_group(value),
            ("--concurrency", Ok(number)) => concurrency = number,
            _ => {
                eprintln!("{USAGE}");
                return ExitCode::from(2);
            }
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let ended = runtime.map_err(|error| error.to_string()).and_then(|runtime| runtime.block_on(run(concurrency)));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(concurrency: u16) -> Result<(), String> {
    let config = Config::infer().await.map_err(|error| error.to_string())?;
    let client = Client::try_from(config).map_err(|error| error.to_string())?;
    // What the guide to optimisation says: one watch of each kind, streamed lists, nothing kept that nobody looks at.
    let listing = watcher::Config::default().streaming_lists();
    let (bundles, bundle_writer) = reflector::store();
    let bundle_stream = watcher(Api::<ConfigBundle>::all(client.clone()), listing.clone())
        .default_backoff()
        .modify(|bundle| bundle.managed_fields_mut().clear())
        .reflect(bundle_writer)
        .applied_objects()
        .predicate_filter(predicates::generation, PredicateConfig::default());
    let (maps, map_writer) = reflector::store();
    // Deletions are shown too: of sources, and of children that are to be there.
    let map_stream = watcher(Api::<ConfigMap>::all(client.clone()), listing)
        .default_backoff()
        .modify(|map| map.managed_fields_mut().clear())
        .reflect(map_writer)
        .touched_objects();
    let selecting = bundles.clone();
    let context = Arc::new(reconcile::Context::new(client, maps));
    Controller::for_stream(bundle_stream, bundles)
        .with_config(controller::Config::default().concurrency(concurrency))
        .watches_stream(map_stream, move |map| reconcile::concerned(&selecting, &map))
        .shutdown_on_signal()
        .run(reconcile::reconcile, reconcile::again, context)
        .for_each(|result| {
            if let Err(error) = result {
                eprintln!("{error}: {error:?}");
            }
            std::future::ready(())
        })
        .await;
    Ok(())
}
