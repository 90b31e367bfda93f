//! The command from outside: what it prints where, and how it ends.

#![allow(clippy::unwrap_used, missing_docs)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const SCHEMA: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../examples/palmer-penguins/schema.toml"
);

fn driftline() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_driftline"));
    command
        .env_remove("RUST_LOG")
        .env_remove("NO_COLOR")
        .env_remove("CLICOLOR_FORCE");
    command
}

fn run(arguments: &[&str]) -> Output {
    driftline().args(arguments).output().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn objects(output: &Output) -> Vec<serde_json::Value> {
    out(output)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn secret(directory: &Path) -> String {
    let path = directory.join("secret.txt");
    std::fs::write(&path, "0123456789abcdef0123456789abcdef\n").unwrap();
    path.display().to_string()
}

#[test]
fn what_cannot_be_understood_ends_with_2() {
    for wrong in [
        &["frobnicate"][..],
        &[],
        &["serve", "--schema", SCHEMA, "--data", "x"],
        &[
            "serve",
            "--schema",
            SCHEMA,
            "--data",
            "x",
            "--hs256-secret-file",
            "a",
            "--public-key",
            "b",
        ],
        &[
            "serve",
            "--schema",
            SCHEMA,
            "--data",
            "x",
            "--hs256-secret-file",
            "a",
            "--listen",
            "nowhere",
        ],
        &[
            "token",
            "--secret-file",
            "a",
            "--account",
            "b",
            "--workspace",
            "c",
        ],
        &[
            "token",
            "--secret-file",
            "a",
            "--account",
            "",
            "--workspace",
            "c=reader",
        ],
        &[
            "token",
            "--secret-file",
            "a",
            "--account",
            "b",
            "--workspace",
            "c=reader",
            "--ttl",
            "2d",
        ],
        &["inspect", "a", "--workspace", "b"],
        &["--color", "purple", "version"],
    ] {
        let output = run(wrong);
        assert_eq!(code(&output), 2, "{wrong:?}");
        assert_eq!(out(&output), "", "{wrong:?}");
    }
}

#[test]
fn files_that_are_no_good_end_with_4_and_say_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path().display().to_string();
    let (missing, short) = (format!("{here}/missing"), format!("{here}/short"));
    std::fs::write(&short, "short").unwrap();
    let binary = format!("{here}/binary.toml");
    std::fs::write(&binary, [0xff, 0xfe, 0]).unwrap();
    for wrong in [
        &["schema", "check", missing.as_str()][..],
        &["schema", "check", binary.as_str()],
        &["inspect", missing.as_str()],
        &["inspect", short.as_str()],
        &["inspect", here.as_str()],
        &["inspect", "--server", here.as_str()],
        &[
            "token",
            "--secret-file",
            missing.as_str(),
            "--account",
            "a",
            "--workspace",
            "b=reader",
        ],
        &[
            "token",
            "--secret-file",
            short.as_str(),
            "--account",
            "a",
            "--workspace",
            "b=reader",
        ],
        &[
            "serve",
            "--schema",
            missing.as_str(),
            "--data",
            here.as_str(),
            "--hs256-secret-file",
            short.as_str(),
        ],
        &["demo", "--keep", here.as_str()],
    ] {
        let output = run(wrong);
        assert_eq!(code(&output), 4, "{wrong:?}: {}", err(&output));
        assert!(
            err(&output).starts_with("error: "),
            "{wrong:?}: {}",
            err(&output)
        );
        assert!(
            err(&output).contains("\n  try: "),
            "{wrong:?}: {}",
            err(&output)
        );
        let json = run(&[&["--json"], wrong].concat());
        let last = objects(&json).pop().unwrap();
        assert_eq!(last["error"]["exit"], 4, "{wrong:?}");
    }
}

#[test]
fn a_schema_is_checked_with_line_and_column() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("schema.toml");
    let text = std::fs::read_to_string(SCHEMA).unwrap();
    std::fs::write(
        &path,
        text.replace("kind = \"counter\"", "kind = \"couter\""),
    )
    .unwrap();
    let path = path.display().to_string();
    let output = run(&["schema", "check", &path]);
    assert_eq!(code(&output), 1);
    assert!(
        out(&output).contains(&format!("{path}:38:")),
        "{}",
        out(&output)
    );
    assert!(out(&output).ends_with("2 problems\n"), "{}", out(&output));
    let told = objects(&run(&["--json", "schema", "check", &path]));
    assert_eq!(
        (told.len(), &told[0]["line"], &told[2]["valid"]),
        (3, &38.into(), &false.into())
    );

    assert_eq!(code(&run(&["schema", "check", SCHEMA])), 0);
    let renumbered = text.replace(
        "sightings = { id = 18, kind = \"counter\" }",
        "sightings = { id = 18, kind = \"set\" }",
    );
    std::fs::write(&path, renumbered).unwrap();
    assert_eq!(
        code(&run(&["schema", "check", &path, "--against", SCHEMA])),
        1
    );
}

#[test]
fn colours_are_for_terminals() {
    assert!(!out(&run(&["schema", "check", SCHEMA])).contains('\u{1b}'));
    assert!(out(&run(&["--color", "always", "schema", "check", SCHEMA])).contains('\u{1b}'));
    assert!(!out(&run(&["--json", "--color", "always", "version"])).contains('\u{1b}'));
    let forced = driftline()
        .args(["schema", "check", SCHEMA])
        .env("CLICOLOR_FORCE", "1")
        .output()
        .unwrap();
    assert!(out(&forced).contains('\u{1b}'));
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let mut child = driftline()
        .args(["schema", "check", SCHEMA])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

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
    let ask = |workspace: &str, token: &str| {
        let body = r#"{"protocol":1,"schema_version":1,"device":{"id":"a"},"cursor":{"version":0,"hash":"0000000000000000"},"now":{"wall":0,"boot":0,"mono":0}}"#;
        let mut stream = TcpStream::connect(&served.address).unwrap();
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
    };
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
