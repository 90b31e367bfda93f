//! The server's process.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use driftline_server::auth::Role;
use driftline_server::auth::mint::{self, Minted};

use crate::failure::Failure;
use crate::token::unix_seconds;

/// A `driftline serve` at work.
pub(super) struct Server {
    child: Child,
    pub(super) address: SocketAddr,
    pub(super) data: PathBuf,
    secret: Vec<u8>,
}

impl Server {
    /// Starts a server in `directory` and waits until it says where it listens.
    pub(super) fn start(
        directory: &Path,
        schema: &str,
        secret: Vec<u8>,
    ) -> Result<Server, Failure> {
        let fail = |error: std::io::Error| {
            Failure::unavailable("no_server", "cannot start the server's process").because(&error)
        };
        let (schema_file, secret_file) =
            (directory.join("schema.toml"), directory.join("secret.txt"));
        let data = directory.join("data");
        std::fs::create_dir_all(&data).map_err(fail)?;
        std::fs::write(&schema_file, schema).map_err(fail)?;
        std::fs::write(&secret_file, &secret).map_err(fail)?;
        let log = File::create(directory.join("server.log")).map_err(fail)?;
        let mut child = Command::new(std::env::current_exe().map_err(fail)?)
            .args(["--json", "serve", "--listen", "127.0.0.1:0"])
            .args(["--create-workspaces", "--log-json", "--until-stdin-closes"])
            .arg("--schema")
            .arg(&schema_file)
            .arg("--data")
            .arg(&data)
            .arg("--hs256-secret-file")
            .arg(&secret_file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .map_err(fail)?;
        match child.stdout.take().and_then(first_address) {
            Some(address) => Ok(Server {
                child,
                address,
                data,
                secret,
            }),
            None => {
                let _ = child.kill();
                let _ = child.wait();
                let log = std::fs::read_to_string(directory.join("server.log")).unwrap_or_default();
                Err(Failure::unavailable(
                    "no_server",
                    format!("the server did not start\n{}", log.trim_end()),
                ))
            }
        }
    }

    /// A token for an account, valid for an hour.
    pub(super) fn token(&self, account: &str, workspace: &str) -> Result<String, Failure> {
        let minted = Minted {
            account: account.to_owned(),
            workspaces: [(workspace.to_owned(), Role::Writer)].into(),
            issued: unix_seconds(),
            lifetime: 3600,
            audience: None,
            issuer: None,
        };
        mint::hs256(&self.secret, &minted)
            .map_err(|error| Failure::fault("a token cannot be signed").because(&error))
    }

    /// Ends it as a supervisor would, and says whether it ended well.
    pub(super) fn stop(&mut self) -> Result<bool, Failure> {
        // Its standard input ends: it finishes what is under way.
        drop(self.child.stdin.take());
        let status = self.child.wait().map_err(|error| {
            Failure::unavailable("no_server", "the server did not end").because(&error)
        })?;
        Ok(status.success())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The address in the first line.
fn first_address(stdout: impl Read) -> Option<SocketAddr> {
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).ok()?;
    let said: serde_json::Value = serde_json::from_str(&line).ok()?;
    said.get("listening")?
        .as_str()?
        .strip_prefix("http://")?
        .parse()
        .ok()
}
