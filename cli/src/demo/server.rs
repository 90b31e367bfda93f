//! The server's process.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
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
    directory: PathBuf,
    pub(super) data: PathBuf,
    secret: Vec<u8>,
}

/// A free port.
const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

impl Server {
    /// Starts a server in `directory` and waits until it says where it listens.
    pub(super) fn start(
        directory: &Path,
        schema: &str,
        secret: Vec<u8>,
    ) -> Result<Server, Failure> {
        let data = directory.join("data");
        std::fs::create_dir_all(&data).map_err(cannot_start)?;
        std::fs::write(directory.join(SECRET), &secret).map_err(cannot_start)?;
        let (child, address) = serve(directory, schema, ANY_PORT)?;
        Ok(Server {
            child,
            address,
            directory: directory.to_owned(),
            data,
            secret,
        })
    }

    /// Stops it and starts it again on the same data, at the same address, with another schema. Says
    /// whether it had ended well.
    pub(super) fn restart(&mut self, schema: &str) -> Result<bool, Failure> {
        let ended = self.stop()?;
        (self.child, self.address) = serve(&self.directory, schema, self.address)?;
        Ok(ended)
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

const SECRET: &str = "secret.txt";

fn cannot_start(error: std::io::Error) -> Failure {
    Failure::unavailable("no_server", "cannot start the server's process").because(&error)
}

/// Starts the process and waits until it says where it listens.
fn serve(
    directory: &Path,
    schema: &str,
    listen: SocketAddr,
) -> Result<(Child, SocketAddr), Failure> {
    let schema_file = directory.join("schema.toml");
    std::fs::write(&schema_file, schema).map_err(cannot_start)?;
    let log_file = directory.join("server.log");
    let log = File::options().create(true).append(true).open(&log_file);
    let mut child = Command::new(std::env::current_exe().map_err(cannot_start)?)
        .args(["--json", "serve", "--listen", &listen.to_string()])
        .args(["--create-workspaces", "--log-json", "--until-stdin-closes"])
        .arg("--schema")
        .arg(&schema_file)
        .arg("--data")
        .arg(directory.join("data"))
        .arg("--hs256-secret-file")
        .arg(directory.join(SECRET))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log.map_err(cannot_start)?)
        .spawn()
        .map_err(cannot_start)?;
    match child.stdout.take().and_then(first_address) {
        Some(address) => Ok((child, address)),
        None => {
            let _ = child.kill();
            let _ = child.wait();
            let log = std::fs::read_to_string(log_file).unwrap_or_default();
            Err(Failure::unavailable(
                "no_server",
                format!("the server did not start\n{}", log.trim_end()),
            ))
        }
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
