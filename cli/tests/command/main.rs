//! The command from outside: what it prints where, and how it ends.

#![allow(clippy::unwrap_used, missing_docs)]

mod follow;
mod serve;

use std::path::Path;
use std::process::{Command, Output, Stdio};

pub(crate) const SCHEMA: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../examples/palmer-penguins/schema.toml"
);

pub(crate) fn driftline() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_driftline"));
    command
        .env_remove("RUST_LOG")
        .env_remove("NO_COLOR")
        .env_remove("CLICOLOR_FORCE");
    command
}

pub(crate) fn run(arguments: &[&str]) -> Output {
    driftline().args(arguments).output().unwrap()
}

pub(crate) fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

pub(crate) fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

pub(crate) fn objects(output: &Output) -> Vec<serde_json::Value> {
    out(output)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

pub(crate) fn secret(directory: &Path) -> String {
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
            "400d",
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
