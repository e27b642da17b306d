//! What processes use, as the system tells it.

use std::fs;

/// Ticks per second of `/proc/PID/stat`: the same on every Linux.
const TICKS: f64 = 100.0;

fn read(pid: u32, file: &str) -> String {
    fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_else(|error| panic!("{file} of {pid}: {error}"))
}

/// A line `NAME:  NUMBER kB`, in bytes.
fn bytes(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or_else(|| panic!("no {name} in {text}")) * 1024
}

/// CPU time of a process, seconds.
pub(crate) fn cpu(pid: u32) -> f64 {
    let stat = read(pid, "stat");
    // The name in parentheses may hold blanks; user and system time are the 12th and 13th after it.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(f64::NAN);
    (ticks(11) + ticks(12)) / TICKS
}

/// Bytes that a process had written to disk.
pub(crate) fn written(pid: u32) -> u64 {
    let io = read(pid, "io");
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    line.and_then(|bytes| bytes.trim().parse().ok()).unwrap_or_else(|| panic!("no write_bytes in {io}"))
}

/// Resident memory now, bytes.
pub(crate) fn resident(pid: u32) -> u64 {
    bytes(&read(pid, "status"), "VmRSS")
}

/// Resident memory when it was most, bytes.
pub(crate) fn peak(pid: u32) -> u64 {
    bytes(&read(pid, "status"), "VmHWM")
}

/// Resident memory now, with pages that several processes share divided among them: what is to be added up.
pub(crate) fn proportional(pid: u32) -> u64 {
    bytes(&read(pid, "smaps_rollup"), "Pss")
}

/// From now on [`peak`] is of what comes.
pub(crate) fn forget_peak(pid: u32) {
    fs::write(format!("/proc/{pid}/clear_refs"), "5").unwrap_or_else(|error| panic!("clear_refs of {pid}: {error}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_never_had_less_at_its_peak() {
        let pid = std::process::id();
        // Other tests of this process make it grow meanwhile.
        let before = resident(pid);
        assert!(before > 0 && proportional(pid) > 0);
        assert!(peak(pid) >= before);
        assert!(cpu(pid) >= 0.0);
    }
}
