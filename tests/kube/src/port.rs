//! Ports that stay ours while a server is killed and started again.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::SystemTime;

/// Below what systems give to outgoing connections (from 32768 on Linux): nobody gets one of these by chance
/// while its server is down.
const FIRST: u16 = 20_000;
const COUNT: u16 = 10_000;

/// A port that is free on 127.0.0.1 now, and that this process does not give out again soon. Another process may
/// take it in between, so whoever cannot listen on it asks for another.
///
/// # Panics
/// None is free.
pub(crate) fn free() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Processes that start together look in different places.
    let elapsed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let start = std::process::id().wrapping_mul(131).wrapping_add(elapsed.subsec_micros());
    for _ in 0..COUNT {
        let turn = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let offset = start.wrapping_add(turn) % u32::from(COUNT);
        let port = FIRST + u16::try_from(offset).unwrap_or_default();
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no port between {FIRST} and {} is free on 127.0.0.1", FIRST + COUNT);
}
