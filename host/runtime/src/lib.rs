//! The running host: joins the rules of `setpoint-core` with clusters, plugins and people.
//!
//! | question | module |
//! |---|---|
//! | how is it started and stopped | [`host`], with what is there early in `late` |
//! | how is it part of another program | [`embed`], with what is called for an object in `code` |
//! | which MCP servers has a group of ToolHive, in one call | [`backends`] |
//! | what can be asked of it | [`handle`], `objects`, `runs`, [`views`], [`http`] |
//! | what do the objects of a kind amount to, live | [`registry`] |
//! | which objects are asked for | `filter` |
//! | what did plugins log | `logs` |
//! | what would a reconcile change now | [`plan`] |
//! | what is called, as it happens | [`record`], [`live`] |
//! | how is an object let go of that no plugin reconciles | [`release`] |
//! | who carries attempts through | [`driver`] |
//! | how are a plugin's reads answered | [`reads`] |
//! | which kinds are served | [`kinds`] |
//! | files or Kubernetes | [`mode`] |
//! | which Kubernetes clusters take part, and on which this host acts | `clusters` |
//! | what happened to objects of other clusters | `recent` |
//! | which plugins are there | [`plugins`] |
//! | is a new version as good as the one before | `shadow`, with the calls of [`ring`] |
//! | which components ran before | `versions` |
//! | which of them have looked at all objects | `passed`, kept like them in `kept` |
//! | what does the host reconcile itself | `native` |
//! | what do the files say | [`files`], in words [`file_rows`] |
//! | what did the operator configure | [`config`] |
//! | what is counted | [`metrics`] |

#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod backends;
mod board;
pub mod clock;
mod clusters;
mod code;
pub mod config;
pub mod driver;
pub mod embed;
mod file_clusters;
pub mod file_rows;
pub mod files;
mod filter;
pub mod handle;
pub mod host;
pub mod http;
mod installation;
mod kept;
pub mod kinds;
mod late;
pub mod live;
mod lock;
mod logs;
pub mod metrics;
pub mod mode;
mod native;
mod objects;
mod passed;
pub mod plan;
pub mod plugins;
pub mod reads;
mod recent;
pub mod record;
pub mod registry;
pub mod release;
pub mod ring;
mod runs;
mod shadow;
mod versions;
pub mod views;

pub use backends::backend_registry;
pub use clusters::rows::{ClusterView, FleetView, ProviderTrouble};
pub use clusters::{ClustersConfig, ForgetError, InstallCrds, LeaseConfig, ProviderConfig, ShardingConfig};
pub use code::Code;
pub use handle::Handle;
pub use host::{Host, HostOptions, StartError};
pub use mode::Mode;
pub use native::KeeperProgram;
pub use registry::{RegistryError, RegistryView};
pub use versions::COMPONENTS;
