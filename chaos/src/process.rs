//! The processes: devices that are told what to do by lines, and the server.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use crate::order::{Order, Reply, SCHEMA};

/// How long anything may take that has no reason to take long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Who a device is, over all its lives.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) name: String,
    pub(crate) account: String,
    pub(crate) workspace: String,
    pub(crate) file: PathBuf,
    pub(crate) normal: bool,
}

/// A device at work.
pub(crate) struct Process {
    child: Child,
    orders: ChildStdin,
    replies: Receiver<Reply>,
}

impl Process {
    /// Starts the device and does not wait for it.
    pub(crate) fn start(identity: &Identity) -> Result<Process, String> {
        let failed = |error: std::io::Error| format!("cannot start a device: {error}");
        let program = std::env::current_exe().map_err(failed)?;
        let mut command = Command::new(program);
        command
            .args(["device", "--name", &identity.name])
            .args(["--account", &identity.account])
            .args(["--workspace", &identity.workspace])
            .arg("--file")
            .arg(&identity.file);
        if identity.normal {
            command.arg("--normal");
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log(&identity.file.with_extension("log")).map_err(failed)?)
            .spawn()
            .map_err(failed)?;
        let (Some(orders), Some(lines)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("a device has no pipes".to_owned());
        };
        let (sender, replies) = channel();
        std::thread::spawn(move || {
            let lines = BufReader::new(lines).lines().map_while(Result::ok);
            // The last line of a killed process may be half a line: what it said is then unsaid.
            for reply in lines.map_while(|line| serde_json::from_str(&line).ok()) {
                if sender.send(reply).is_err() {
                    return;
                }
            }
        });
        Ok(Process {
            child,
            orders,
            replies,
        })
    }

    /// Gives an order without waiting. A process that is gone does not hear it; its end is found out
    /// where it is waited for.
    pub(crate) fn say(&mut self, order: &Order) -> Result<(), String> {
        let mut line = serde_json::to_vec(order).map_err(|error| error.to_string())?;
        line.push(b'\n');
        let _ = self.orders.write_all(&line);
        Ok(())
    }

    /// The next reply; `None` when the process has ended by itself.
    pub(crate) fn hear(&mut self) -> Result<Option<Reply>, String> {
        match self.replies.recv_timeout(PATIENCE * 2) {
            Ok(reply) => Ok(Some(reply)),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => {
                Err(format!("it said nothing for {} s", PATIENCE.as_secs() * 2))
            }
        }
    }

    /// Kills it (SIGKILL) and returns whether it was alive until then, and everything it had said.
    pub(crate) fn kill(mut self) -> Result<(bool, Vec<Reply>), String> {
        let _ = self.child.kill();
        let status = self
            .child
            .wait()
            .map_err(|error| format!("a device got lost: {error}"))?;
        let killed = status.signal() == Some(9);
        Ok((killed, self.replies.iter().collect()))
    }

    /// Waits for the end of a device that was told to close; whether it ended well.
    pub(crate) fn wait(self) -> Result<bool, String> {
        let Process {
            mut child, orders, ..
        } = self;
        drop(orders);
        let status = child
            .wait()
            .map_err(|error| format!("a device got lost: {error}"))?;
        Ok(status.success())
    }
}

/// The server, in one of its lives.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
}

/// What the server is started with, every time.
pub(crate) struct ServerFiles {
    pub(crate) driftline: PathBuf,
    pub(crate) schema: PathBuf,
    pub(crate) data: PathBuf,
    pub(crate) secret: PathBuf,
    pub(crate) log: PathBuf,
}

impl ServerFiles {
    pub(crate) fn prepare(
        driftline: &Path,
        directory: &Path,
        secret: &[u8],
    ) -> Result<ServerFiles, String> {
        let files = ServerFiles {
            driftline: driftline.to_owned(),
            schema: directory.join("schema.toml"),
            data: directory.join("data"),
            secret: directory.join("secret.txt"),
            log: directory.join("server.log"),
        };
        let unwritable = |error| format!("cannot write to {}: {error}", directory.display());
        std::fs::write(&files.schema, SCHEMA).map_err(unwritable)?;
        std::fs::write(&files.secret, secret).map_err(unwritable)?;
        std::fs::create_dir_all(&files.data).map_err(unwritable)?;
        Ok(files)
    }

    /// Starts a server and waits until it says where it listens.
    pub(crate) fn start(&self) -> Result<Server, String> {
        let failed =
            |error: std::io::Error| format!("cannot start {}: {error}", self.driftline.display());
        let mut child = Command::new(&self.driftline)
            .args(["--json", "serve", "--listen", "127.0.0.1:0"])
            .args(["--create-workspaces", "--until-stdin-closes"])
            .args(["--requests-per-second", "5000", "--burst", "5000"])
            .arg("--schema")
            .arg(&self.schema)
            .arg("--data")
            .arg(&self.data)
            .arg("--hs256-secret-file")
            .arg(&self.secret)
            .env("RUST_LOG", "warn")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log(&self.log).map_err(failed)?)
            .spawn()
            .map_err(failed)?;
        match child.stdout.take().and_then(first_address) {
            Some(address) => Ok(Server { child, address }),
            None => {
                let _ = child.kill();
                let _ = child.wait();
                Err(format!(
                    "the server did not start; see {}",
                    self.log.display()
                ))
            }
        }
    }
}

impl Server {
    /// Kills it (SIGKILL); whether it was alive until then.
    pub(crate) fn kill(mut self) -> Result<bool, String> {
        let _ = self.child.kill();
        let status = self.child.wait();
        let status = status.map_err(|error| format!("the server got lost: {error}"))?;
        Ok(status.signal() == Some(9))
    }

    /// Ends it as a supervisor would; whether it ended well.
    pub(crate) fn stop(mut self) -> Result<bool, String> {
        drop(self.child.stdin.take());
        let status = self.child.wait();
        let status = status.map_err(|error| format!("the server got lost: {error}"))?;
        Ok(status.success())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn log(path: &Path) -> std::io::Result<File> {
    File::options().create(true).append(true).open(path)
}

/// The address in the first line.
fn first_address(stdout: impl Read) -> Option<SocketAddr> {
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).ok()?;
    let said: serde_json::Value = serde_json::from_str(&line).ok()?;
    let url = said.get("listening")?.as_str()?;
    url.strip_prefix("http://")?.parse().ok()
}
