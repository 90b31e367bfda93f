//! A real server process.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use driftline_server::auth::Role;
use driftline_server::auth::mint::{self, Minted};
use tempfile::TempDir;

/// A `driftline serve` process over its own folder; killed when dropped.
pub struct Server {
    child: Option<Child>,
    folder: TempDir,
    pub url: String,
    listen: String,
    /// Flags beside the usual ones.
    pub flags: Vec<String>,
    /// How much it logs (`RUST_LOG`), if anybody wants to read that.
    pub logging: Option<&'static str>,
}

pub const BINARY: &str = env!("CARGO_BIN_EXE_driftline");

#[allow(dead_code)]
impl Server {
    /// Starts one with `schema`.
    pub fn start(schema: &str) -> Server {
        let mut server = Server::prepare(schema);
        server.run();
        server
    }

    /// One that is yet to run.
    pub fn prepare(schema: &str) -> Server {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("schema.toml"), schema).unwrap();
        std::fs::write(
            folder.path().join("secret"),
            "0123456789abcdef0123456789abcdef-test-secret",
        )
        .unwrap();
        Server {
            child: None,
            folder,
            url: String::new(),
            listen: "127.0.0.1:0".to_owned(),
            flags: Vec::new(),
            logging: None,
        }
    }

    /// Starts the process (again); it keeps its address.
    pub fn run(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let mut child = Command::new(BINARY)
                .arg("serve")
                .args([
                    "--schema".as_ref(),
                    self.folder.path().join("schema.toml").as_os_str(),
                ])
                .args(["--data".as_ref(), self.data().as_os_str()])
                .args(["--hs256-secret-file".as_ref(), self.secret().as_os_str()])
                .args(["--listen", &self.listen, "--create-workspaces"])
                .args(&self.flags)
                .env("RUST_LOG", self.logging.unwrap_or("off"))
                .stdout(Stdio::piped())
                .stderr(self.log_file())
                .spawn()
                .unwrap();
            let mut line = String::new();
            BufReader::new(child.stdout.take().unwrap())
                .read_line(&mut line)
                .unwrap();
            if let Some(at) = line.find("http://") {
                self.url = line[at..].trim().to_owned();
                self.listen = self.url.trim_start_matches("http://").to_owned();
                self.child = Some(child);
                return;
            }
            // The old port may still be closing.
            let _ = child.wait();
            assert!(
                Instant::now() < deadline,
                "the server does not start: {line}"
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// All that it has logged, every process of it.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    fn log_file(&self) -> Stdio {
        if self.logging.is_none() {
            return Stdio::null();
        }
        let mut file = std::fs::OpenOptions::new();
        let file = file.create(true).append(true);
        file.open(self.folder.path().join("log")).unwrap().into()
    }

    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn secret(&self) -> PathBuf {
        self.folder.path().join("secret")
    }

    /// Kills the process (SIGKILL): it has no chance to end well.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Another secret for the next start: every token minted so far is refused then.
    pub fn replace_secret(&self) {
        std::fs::write(self.secret(), "another-secret-of-at-least-32-bytes").unwrap();
    }

    /// A writer's token that this server takes for so many seconds more, and then answers with 401.
    pub fn token_ending_in(&self, account: &str, workspace: &str, seconds: i64) -> String {
        /// What the server allows clocks to differ by.
        const LEEWAY: i64 = 60;
        const LIFETIME: i64 = 3_600;
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let now = i64::try_from(now.unwrap().as_secs()).unwrap();
        let minted = Minted {
            account: account.to_owned(),
            workspaces: [(workspace.to_owned(), Role::Writer)].into(),
            issued: now + seconds - LEEWAY - LIFETIME,
            lifetime: LIFETIME,
            audience: None,
            issuer: None,
        };
        mint::hs256(&std::fs::read(self.secret()).unwrap(), &minted).unwrap()
    }

    /// The most memory that the running process has had at once, in KiB; `None` where the system does
    /// not tell.
    pub fn peak_memory(&self) -> Option<u64> {
        let id = self.child.as_ref()?.id();
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
        let peak = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))?;
        peak.trim().trim_end_matches("kB").trim().parse().ok()
    }

    /// Another schema for the next start.
    pub fn replace_schema(&self, schema: &str) {
        std::fs::write(self.folder.path().join("schema.toml"), schema).unwrap();
    }

    /// Copies the data of the stopped server.
    pub fn backup(&self, into: &Path) {
        copy_folder(&self.data(), into);
    }

    /// Puts a backup in place of the data of the stopped server.
    pub fn restore(&self, from: &Path) {
        std::fs::remove_dir_all(self.data()).unwrap();
        copy_folder(from, &self.data());
    }

    /// A token for `account` with a role in one workspace.
    pub fn token(&self, account: &str, workspace: &str, role: &str, ttl: &str) -> String {
        let output = Command::new(BINARY)
            .arg("token")
            .args(["--secret-file".as_ref(), self.secret().as_os_str()])
            .args([
                "--account",
                account,
                "--workspace",
                &format!("{workspace}={role}"),
                "--ttl",
                ttl,
            ])
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
