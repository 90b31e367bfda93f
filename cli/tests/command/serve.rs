//! The server's process: where it listens, what it is given, how it ends.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use driftline_server::ServerLimits;

use crate::{SCHEMA, code, driftline, err, objects, out, run, secret};

struct Served {
    child: Child,
    address: String,
}

impl Served {
    fn start(directory: &Path, more: &[&str]) -> Served {
        let mut child = driftline()
            .args([
                "serve",
                "--schema",
                SCHEMA,
                "--listen",
                "127.0.0.1:0",
                "--create-workspaces",
            ])
            .arg("--data")
            .arg(directory.join("data"))
            .arg("--hs256-secret-file")
            .arg(secret(directory))
            .args(more)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let address = match line.strip_prefix("listening on http://") {
            Some(address) => address.trim().to_owned(),
            None => {
                let told: serde_json::Value = serde_json::from_str(&line).unwrap();
                told["listening"]
                    .as_str()
                    .unwrap()
                    .strip_prefix("http://")
                    .unwrap()
                    .to_owned()
            }
        };
        Served { child, address }
    }

    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// What a sync with a token is answered.
    fn asked(&self, workspace: &str, token: &str) -> String {
        let body = r#"{"protocol":1,"schema_version":1,"device":{"id":"a"},"cursor":{"version":0,"hash":"0000000000000000"},"now":{"wall":0,"boot":0,"mono":0}}"#;
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(
            stream,
            "POST /v1/workspaces/{workspace}/sync HTTP/1.1\r\nhost: a\r\nconnection: close\r\nauthorization: Bearer {token}\r\n\
             content-type: application/json\r\naccept: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.get(..12).unwrap_or_default().to_owned()
    }

    /// Waits for the end, no longer than a supervisor would.
    fn ended(&mut self) -> Option<i32> {
        let deadline = Instant::now() + Duration::from_secs(20);
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        None
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_server_says_where_it_listens_and_ends_on_either_signal() {
    for (json, signal) in [(false, "TERM"), (true, "INT")] {
        let directory = tempfile::tempdir().unwrap();
        let mut served = Served::start(directory.path(), if json { &["--json"] } else { &[] });
        assert!(served.get("/healthz").starts_with("HTTP/1.1 200"));
        assert!(served.get("/v1/version").contains("palmer-penguins"));
        let pid = served.child.id().to_string();
        assert!(
            Command::new("kill")
                .args([&format!("-{signal}"), &pid])
                .status()
                .unwrap()
                .success()
        );
        assert_eq!(served.ended(), Some(0), "{signal}");
    }
}

#[test]
fn the_server_ends_with_whoever_started_it() {
    let directory = tempfile::tempdir().unwrap();
    let mut served = Served::start(directory.path(), &["--until-stdin-closes"]);
    drop(served.child.stdin.take());
    assert_eq!(served.ended(), Some(0));
}

#[test]
fn an_address_or_a_directory_in_use_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let served = Served::start(directory.path(), &[]);
    let secret = secret(directory.path());
    let other = directory.path().join("other").display().to_string();
    let same = directory.path().join("data").display().to_string();
    let serve = |data: &str, listen: &str| {
        run(&[
            "serve",
            "--schema",
            SCHEMA,
            "--data",
            data,
            "--listen",
            listen,
            "--hs256-secret-file",
            &secret,
        ])
    };
    let output = serve(&other, &served.address);
    assert_eq!(code(&output), 3);
    assert!(err(&output).contains(&served.address), "{}", err(&output));
    let output = serve(&same, "127.0.0.1:0");
    assert_eq!(code(&output), 4);
    assert!(err(&output).contains("cannot use"), "{}", err(&output));
}

#[test]
fn a_schema_that_changed_a_meaning_is_not_served() {
    let directory = tempfile::tempdir().unwrap();
    drop(Served::start(directory.path(), &[]));
    let text = std::fs::read_to_string(SCHEMA).unwrap();
    let schema = directory.path().join("schema.toml");
    std::fs::write(
        &schema,
        text.replace(
            "sightings = { id = 18, kind = \"counter\" }",
            "sightings = { id = 18, kind = \"set\" }",
        ),
    )
    .unwrap();
    let (schema, data) = (
        schema.display().to_string(),
        directory.path().join("data").display().to_string(),
    );
    let output = run(&[
        "serve",
        "--schema",
        &schema,
        "--data",
        &data,
        "--listen",
        "127.0.0.1:0",
        "--hs256-secret-file",
        &secret(directory.path()),
    ]);
    assert_eq!(code(&output), 4);
    assert!(err(&output).contains("schema.toml:38:"), "{}", err(&output));
}

#[test]
fn a_token_opens_its_workspace() {
    let directory = tempfile::tempdir().unwrap();
    let served = Served::start(directory.path(), &[]);
    let told = objects(&run(&[
        "--json",
        "token",
        "--secret-file",
        &secret(directory.path()),
        "--account",
        "ada",
        "--workspace",
        "garden=writer",
        "--ttl",
        "5m",
    ]));
    let token = told[0]["token"].as_str().unwrap();
    let ask = |workspace: &str, token: &str| served.asked(workspace, token);
    assert_eq!(ask("garden", token), "HTTP/1.1 200");
    assert_eq!(ask("other", token), "HTTP/1.1 404");
    assert_eq!(ask("garden", "forged"), "HTTP/1.1 401");
    let inspected = objects(&run(&[
        "--json",
        "inspect",
        "--server",
        &directory.path().join("data").display().to_string(),
    ]));
    assert_eq!(inspected[0]["facts"]["workspace"], "garden");
}

#[test]
fn help_names_every_limit_with_its_default() {
    let help = out(&run(&["serve", "--help"]));
    let limits = format!("{:?}", ServerLimits::default());
    let inside = limits
        .trim_start_matches("ServerLimits { ")
        .trim_end_matches(" }");
    let mut named = 0;
    for field in inside.split(", ") {
        let (name, value) = field.split_once(": ").unwrap();
        let (flag, default) = match name.strip_suffix("_ms") {
            Some(flag) => (flag, span(value.parse().unwrap())),
            None => (name, value.to_owned()),
        };
        let flag = format!("\n      --{} <", flag.replace('_', "-"));
        let (_, told) = help
            .split_once(&flag)
            .unwrap_or_else(|| panic!("{flag} in {help}"));
        let told = told.split("\n      --").next().unwrap();
        assert!(
            told.contains(&format!("[default: {default}]")),
            "{flag}: {told}"
        );
        named += 1;
    }
    assert!(named > 20, "{limits}");
    assert!(help.contains("--token-lifetime <TIME>") && help.contains("[default: 24h]"));
}

/// As the command writes it.
fn span(millis: u64) -> String {
    match millis {
        _ if millis.is_multiple_of(60_000) => format!("{}m", millis / 60_000),
        _ if millis.is_multiple_of(1_000) => format!("{}s", millis / 1_000),
        _ => format!("{millis}ms"),
    }
}

#[test]
fn a_token_lives_as_long_as_the_server_allows() {
    for (flags, allowed, refused) in [
        (&[][..], "24h", "25h"),
        (&["--token-lifetime", "30d"][..], "30d", "31d"),
        (&["--token-lifetime", "5m"][..], "5m", "301s"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let served = Served::start(directory.path(), flags);
        let minted = |ttl: &str| {
            let secret = secret(directory.path());
            let minted = run(&[
                "token",
                "--secret-file",
                &secret,
                "--account",
                "ada",
                "--workspace",
                "garden=writer",
                "--ttl",
                ttl,
            ]);
            out(&minted).trim().to_owned()
        };
        let token = minted(allowed);
        assert_eq!(served.asked("garden", &token), "HTTP/1.1 200", "{allowed}");
        assert_eq!(
            served.asked("garden", &minted(refused)),
            "HTTP/1.1 401",
            "{refused}"
        );
    }
}
