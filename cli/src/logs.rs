//! Logs: to standard error, so that standard output is the result's alone.

use std::io::IsTerminal;
use std::panic::{PanicHookInfo, set_hook};

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

/// Has panics told as everything else is, and only where they were: what they say may quote content.
pub(crate) fn tell_panics() {
    set_hook(Box::new(|panic| {
        let at = place(panic);
        tracing::error!(at, "a panic");
    }));
}

fn place(panic: &PanicHookInfo<'_>) -> String {
    let place = panic.location();
    place.map_or_else(String::new, |at| format!("{}:{}", at.file(), at.line()))
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    /// Set in the process that panics: hooks and logs are a whole process's.
    const CHILD: &str = "DRIFTLINE_TEST_PANICS";

    #[test]
    fn a_panic_is_told_by_its_place_alone() {
        if let Ok(form) = std::env::var(CHILD) {
            super::start(form == "json", "info");
            super::tell_panics();
            let _ = std::panic::catch_unwind(|| panic!("what a person wrote"));
            return;
        }
        for form in ["text", "json"] {
            let test = "logs::tests::a_panic_is_told_by_its_place_alone";
            let child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", test, "--nocapture"])
                .env(CHILD, form)
                .env_remove("RUST_LOG")
                .stdout(Stdio::null())
                .output()
                .unwrap();
            let log = String::from_utf8(child.stderr).unwrap();
            assert!(log.contains("a panic") && log.contains("logs.rs:"), "{log}");
            assert!(!log.contains("what a person wrote"), "{log}");
            if form == "json" {
                let line: serde_json::Value = serde_json::from_str(log.trim()).unwrap();
                assert_eq!(line["level"], "ERROR");
            }
        }
    }
}
