//! Logs: to standard error, so that standard output is the result's alone.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Starts logging as `RUST_LOG` says, or from `level` on.
pub(crate) fn start(json: bool, level: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    if json {
        logs.json().init();
    } else {
        logs.with_ansi(std::io::stderr().is_terminal()).init();
    }
}
