//! Address, trust and credentials of a cluster, and a link made of them.

use std::path::Path;
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

/// Sends one request.
pub(crate) type Service = BoxCloneSyncService<Request<Full<Bytes>>, Response<hyper::body::Incoming>, BoxError>;

/// A pool of connections with one set of credentials.
pub(crate) struct Link {
    /// Counts the links of a cluster.
    pub(crate) number: u64,
    pub(crate) service: Service,
    /// For people.
    pub(crate) server: String,
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
        let service = tokio::task::spawn_blocking(move || service(&config))
            .await
            .map_err(|error| error.to_string())
            .and_then(|service| service)
            .map_err(|error| format!("{credentials}: {error}"))?;
        Ok(Self { number, service, server })
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

fn service(config: &Config) -> Result<Service, String> {
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
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(Duration::from_secs(60))
        .http2_initial_stream_window_size(STREAM_WINDOW)
        .http2_initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keep_alive_interval(PING)
        .http2_keep_alive_timeout(PONG)
        .build(connector);
    let stack = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer().map_err(text)?)
        .layer(config.extra_headers_layer().map_err(text)?)
        .map_err(BoxError::from)
        .service(client);
    Ok(BoxCloneSyncService::new(stack))
}
