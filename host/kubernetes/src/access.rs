//! Address, trust and credentials of a cluster, and a link made of them.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::Config;
use kube::client::ConfigExt;
use kube::config::{KubeConfigOptions, Kubeconfig};
use tower::util::BoxCloneSyncService;
use tower::{BoxError, ServiceBuilder};

use crate::failure::chain;
use crate::options::Access;

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(5);
/// A connection on which watches run is asked for a sign of life after so long …
const PING: Duration = Duration::from_secs(15);
/// … and given up if none comes within this.
const PONG: Duration = Duration::from_secs(10);
/// What may be on its way of one answer, and of all on a connection: a list does not hold up the watches
/// beside it.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 8 << 20;

/// Watches that share a connection: a server may allow a hundred requests on one, and what is beyond waits for
/// others to end, which watches do not.
const WATCHES_PER_CONNECTION: usize = 80;

/// Sends one request.
pub(crate) type Service = BoxCloneSyncService<Request<Full<Bytes>>, Response<hyper::body::Incoming>, BoxError>;

/// Makes connections with the same credentials.
type Maker = Box<dyn Fn() -> Service + Send + Sync>;

/// The connections to a server with one set of credentials.
pub(crate) struct Link {
    /// Counts the links of a cluster.
    pub(crate) number: u64,
    /// For all but watches.
    pub(crate) service: Service,
    /// For people.
    pub(crate) server: String,
    lanes: Mutex<Vec<Arc<Lane>>>,
    maker: Maker,
}

/// A connection for watches.
struct Lane {
    service: Service,
    watches: AtomicUsize,
}

/// The place of one watch on a connection.
pub(crate) struct Place(Arc<Lane>);

impl Place {
    pub(crate) fn service(&self) -> Service {
        self.0.service.clone()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.watches.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Link {
    /// Makes a link. Nothing is sent.
    ///
    /// # Errors
    /// What is wrong with the configuration, and where.
    pub(crate) async fn make(access: &Access, number: u64) -> Result<Self, String> {
        let config = load(access).await?;
        let server = config.cluster_url.to_string();
        if config.proxy_url.is_some() {
            return Err(format!("{}: proxy-url is not supported; reach the server without a proxy", shown(access)));
        }
        let credentials = format!("{}: the credentials for {server}", shown(access));
        // Commands that fetch credentials are run here: not on the threads that serve everything else.
        let maker = tokio::task::spawn_blocking(move || maker(&config))
            .await
            .map_err(|error| error.to_string())
            .and_then(|maker| maker)
            .map_err(|error| format!("{credentials}: {error}"))?;
        Ok(Self { number, service: maker(), server, lanes: Mutex::default(), maker })
    }

    /// A place for a watch, on a connection that has one left.
    pub(crate) fn place(&self) -> Place {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let free = lanes.iter().find(|lane| lane.watches.load(Ordering::Relaxed) < WATCHES_PER_CONNECTION).cloned();
        let lane = free.unwrap_or_else(|| {
            let lane = Arc::new(Lane { service: (self.maker)(), watches: AtomicUsize::new(0) });
            lanes.push(lane.clone());
            lane
        });
        lane.watches.fetch_add(1, Ordering::Relaxed);
        Place(lane)
    }
}

async fn load(access: &Access) -> Result<Config, String> {
    let mut config = match access {
        Access::InCluster => Config::incluster().map_err(|error| format!("{}: {}", shown(access), chain(&error)))?,
        Access::Kubeconfig { path, context } => {
            let error = |error: kube::config::KubeconfigError| format!("{}: {}", shown(access), chain(&error));
            let kubeconfig = match path {
                Some(path) => read(path)?,
                None => Kubeconfig::read().map_err(error)?,
            };
            let options = KubeConfigOptions { context: context.clone(), ..KubeConfigOptions::default() };
            Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(error)?
        }
        Access::Shared(shared) => {
            let options = KubeConfigOptions::default();
            let config = Config::from_custom_kubeconfig(shared.load()?, &options).await;
            config.map_err(|error| format!("{}: {}", shared.place(), chain(&error)))?
        }
    };
    // What may be sent twice is decided here, not below.
    config.default_retry = false;
    Ok(config)
}

fn read(path: &Path) -> Result<Kubeconfig, String> {
    match path.try_exists() {
        Ok(true) => Kubeconfig::read_from(path).map_err(|error| format!("{}: {}", path.display(), chain(&error))),
        Ok(false) => Err(format!("{}: there is no such file", path.display())),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

/// Where the configuration comes from, for people.
pub(crate) fn shown(access: &Access) -> String {
    match access {
        Access::InCluster => "the service account of the pod".into(),
        Access::Shared(shared) => shared.place().to_owned(),
        Access::Kubeconfig { path, context } => {
            let file = match path {
                Some(path) => path.display().to_string(),
                None => match std::env::var("KUBECONFIG") {
                    Ok(files) if !files.is_empty() => format!("{files} (from KUBECONFIG)"),
                    _ => "~/.kube/config".into(),
                },
            };
            match context {
                Some(context) => format!("the context {context} of {file}"),
                None => format!("the current context of {file}"),
            }
        }
    }
}

fn maker(config: &Config) -> Result<Maker, String> {
    let text = |error: kube::Error| chain(&error);
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT));
    tcp.set_keepalive(Some(PING));
    let mut connector = hyper_rustls::HttpsConnectorBuilder::new()
        .with_tls_config(config.rustls_client_config().map_err(text)?)
        .https_or_http();
    if let Some(name) = &config.tls_server_name {
        let name = name.clone().try_into().map_err(|_| format!("tls-server-name: {name:?} is no host name"))?;
        connector = connector.with_server_name_resolver(hyper_rustls::FixedServerNameResolver::new(name));
    }
    let connector = connector.enable_all_versions().wrap_connector(tcp);
    let address = config.base_uri_layer();
    // Tokens that are renewed are shared by all connections.
    let credentials = config.auth_layer().map_err(text)?;
    let headers = config.extra_headers_layer().map_err(text)?;
    Ok(Box::new(move || {
        let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(60))
            .http2_initial_stream_window_size(STREAM_WINDOW)
            .http2_initial_connection_window_size(CONNECTION_WINDOW)
            .http2_keep_alive_interval(PING)
            .http2_keep_alive_timeout(PONG)
            .build(connector.clone());
        let stack = ServiceBuilder::new()
            .layer(&address)
            .option_layer(credentials.as_ref())
            .layer(&headers)
            .map_err(BoxError::from)
            .service(client);
        BoxCloneSyncService::new(stack)
    }))
}
