//! The running host: joins the rules of `setpoint-core` with clusters, plugins and people.
//!
//! | question | module |
//! |---|---|
//! | how is it started and stopped | [`host`] |
//! | what can be asked of it | [`handle`], [`views`], [`http`] |
//! | who carries attempts through | [`driver`] |
//! | how are a plugin's reads answered | [`reads`] |
//! | which kinds are served | [`kinds`] |
//! | which plugins are there | [`plugins`] |
//! | what do the files say | [`files`], in words [`file_rows`] |
//! | what did the operator configure | [`config`] |
//! | what is counted | [`metrics`] |

#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod clock;
pub mod config;
pub mod driver;
pub mod file_rows;
pub mod files;
pub mod handle;
pub mod host;
pub mod http;
pub mod kinds;
pub mod metrics;
pub mod plugins;
pub mod reads;
pub mod views;

pub use handle::Handle;
pub use host::{Host, HostOptions, StartError};
