//! Starts `backend.py`, which is all that stands on the other side.

use std::io::{self, BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// The backend as a process of its own; it ends with this.
pub(crate) struct Backend {
    process: Child,
    pub(crate) url: String,
}

impl Backend {
    /// Starts it on a free port.
    pub(crate) fn start() -> io::Result<Backend> {
        let mut process = Command::new("python3")
            .args(["-c", include_str!("backend.py"), "0"])
            .stdout(Stdio::piped())
            // It tells there of every request.
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("python3: {error}")))?;
        let mut line = String::new();
        if let Some(output) = process.stdout.take() {
            BufReader::new(output).read_line(&mut line)?;
        }
        let url = line.find("http://").and_then(|at| line.get(at..));
        let url = url.unwrap_or_default().trim().to_owned();
        let backend = Backend { process, url };
        match backend.url.is_empty() {
            true => Err(io::Error::other(
                "the backend does not say where it listens",
            )),
            false => Ok(backend),
        }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
