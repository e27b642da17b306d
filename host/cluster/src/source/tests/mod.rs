//! Tests of the file source: its texts, its scans, and the whole of it on a real directory.

mod harness;
mod hostile;
mod identity;
mod live;
mod moves;
mod scan;
mod yaml;
