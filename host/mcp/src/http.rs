//! The client side of HTTP: what checks and transports need of it, and no more.
//!
//! - One [`Http`] speaks to one endpoint. Its connections are kept between its requests and closed with it, so that nothing
//!   is open while nobody asks.
//! - Each connection is made only where [`Access`] allows it, redirects included.
//! - Failures are classified where they happen: name, socket, TLS, HTTP.
//! - Values of [`SecretHeaders`] show in no message.
//! - HTTP/1.1 only, and no proxy.

mod client;
mod connect;
mod events;
mod sse;
mod tls;
mod url;

pub use client::SecretHeaders;
pub use connect::Access;

pub(crate) use client::{Answer, Ask, Http};
pub(crate) use connect::{Trail, dial};
pub(crate) use events::{Events, events};
pub(crate) use tls::Tls;
pub(crate) use url::{Origin, join, parse as parse_url};
