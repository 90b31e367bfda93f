//! This process's memory and writing, as Linux tells it.

use std::fs;

use crate::Outcome;

/// Bytes resident now.
pub(crate) fn resident() -> Outcome<u64> {
    status("VmRSS:")
}

/// The most bytes resident since the start, or since [`reset_peak`].
pub(crate) fn peak() -> Outcome<u64> {
    status("VmHWM:")
}

/// Lets the peak begin at what is resident now.
pub(crate) fn reset_peak() -> Outcome<()> {
    Ok(fs::write("/proc/self/clear_refs", "5")?)
}

fn status(key: &str) -> Outcome<u64> {
    let text = fs::read_to_string("/proc/self/status")
        .map_err(|error| format!("memory is measured on Linux only: {error}"))?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(key))
        .ok_or("no such line in /proc/self/status")?;
    let kibibytes: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kibibytes << 10)
}

/// The bytes that this process has handed to the system to be written, since its start.
pub(crate) fn written() -> Outcome<u64> {
    let text = fs::read_to_string("/proc/self/io")
        .map_err(|error| format!("writing is measured on Linux only: {error}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("wchar:"));
    Ok(line
        .ok_or("no such line in /proc/self/io")?
        .trim()
        .parse()?)
}

/// Mebibytes.
pub(crate) fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
