//! One module per target: what is tried, and what must hold.

pub(crate) mod component;
pub(crate) mod config;
pub(crate) mod grants;
pub(crate) mod http;
pub(crate) mod key;
pub(crate) mod mask;
pub(crate) mod mcp;
pub(crate) mod outcome;
pub(crate) mod recording;
pub(crate) mod schema;
pub(crate) mod selector;
pub(crate) mod yaml;
