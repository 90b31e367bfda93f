//! What a server logs is about the server: nothing that people wrote, and nobody's names.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use driftline_core::id::DocumentId;
use driftline_core::op::{Change, ChangeKind, TextEdit, Update};
use driftline_core::protocol::{Outcome, SyncResponse};
use driftline_core::value::Value;

use crate::support::{Client, SCHEMA, Server};

/// In every name and value, and in nothing that the server says by itself.
const CANARY: &str = "canary";
const WRITER: u64 = 75;

fn change(document: &str, kind: ChangeKind, fields: &[(u16, Value)]) -> Change {
    let document = DocumentId::new(format!("{CANARY}-{document}")).unwrap();
    let mut change = Change::new(1, document, kind);
    change.registers = fields.iter().cloned().collect();
    change
}

fn said(what: &str) -> Value {
    format!("{CANARY} {what}").into()
}

/// A note whose story begins with these bytes.
fn story(document: &str, update: Vec<u8>) -> Change {
    let mut insert = change(document, ChangeKind::Insert, &[(1, said("title"))]);
    let edit = TextEdit {
        writer: WRITER,
        update: Update(update),
        after: None,
    };
    insert.texts.insert(7, edit);
    insert
}

fn outcomes(answer: &SyncResponse) -> Vec<&str> {
    let code = |outcome| match outcome {
        &Outcome::Accepted { .. } => "accepted",
        Outcome::Rejected { refusal } => refusal.code.as_str(),
        other => panic!("{other:?}"),
    };
    let results = answer.results.iter();
    results.map(|result| code(&result.outcome)).collect()
}

/// What is taken, and what is refused for every reason that looks at names or values.
fn ops(
    client: &mut Client,
    round: &str,
) -> (Vec<driftline_core::protocol::SentOp>, [&'static str; 7]) {
    let named = |what: &str| format!("{what}-{round}");
    let mut increment = change(&named("note"), ChangeKind::Update, &[]);
    increment.increments.insert(1, 1);
    let letters: Vec<u8> = format!("{CANARY} story").into_bytes();
    let typed = [&[1, 1, 75, 0, 4, 1, 1, b't', 12][..], &letters, &[0]].concat();
    let hostile = [&[1, 1, 75, 0, 4, 1, 1, b'x', 12][..], &letters, &[0]].concat();
    let title = |what: &str, value| change(&named(what), ChangeKind::Insert, &[(1, value)]);
    let changes = [
        title("note", said("title")),
        title("long", said(&"x".repeat(3_000))),
        change(
            &named("field"),
            ChangeKind::Insert,
            &[(1, said("")), (99, said("unknown"))],
        ),
        change(
            &named("missing"),
            ChangeKind::Update,
            &[(1, said("never was"))],
        ),
        increment,
        story(&named("story"), typed),
        story(&named("hostile"), hostile),
    ];
    let ops = changes.map(|change| client.op(vec![change])).into();
    let codes = [
        "accepted",
        "value_too_large",
        "unknown_field",
        "not_found",
        "wrong_kind",
        "accepted",
        "invalid_text",
    ];
    (ops, codes)
}

/// A request by hand, as nobody's library would send it; the status.
fn raw(server: &Server, method: &str, path: &str, token: &str, body: &str) -> u16 {
    let mut stream = TcpStream::connect(server.url.trim_start_matches("http://")).unwrap();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    // A snapshot is no text.
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    std::str::from_utf8(&answer[9..12])
        .unwrap()
        .parse()
        .unwrap()
}

fn log_of(level: &'static str, form: &[&str]) -> String {
    let mut server = Server::prepare(SCHEMA);
    server.logging = Some(level);
    server.flags = ["--fold-after", "1h"]
        .iter()
        .chain(form)
        .map(|flag| (*flag).to_owned())
        .collect();
    server.run();
    let (account, device) = (format!("{CANARY}-ada"), format!("{CANARY} pocket"));
    let mut client = Client::of(&server, &account, &device);
    let (sent, codes) = ops(&mut client, "posted");
    assert_eq!(outcomes(&client.sync(sent)), codes);
    let mut socket = client.live();
    let (sent, codes) = ops(socket.client(), "live");
    assert_eq!(outcomes(&socket.sync(sent)), codes);
    drop(socket);

    let token = server.token(&account, &format!("{CANARY}-place"), "writer", "1h");
    let sync = format!("/v1/workspaces/{CANARY}-place/sync");
    let request = |device: &str, ops: &str| {
        format!(r#"{{"protocol":1,"schema_version":1,"device":{{"id":"{device}"}},"ops":[{ops}]}}"#)
    };
    for (method, path, token, body, status) in [
        (
            "POST",
            sync.as_str(),
            token.as_str(),
            request(CANARY, ""),
            200,
        ),
        (
            "POST",
            &sync,
            &token,
            format!(r#"{{"protocol":"{CANARY}"}}"#),
            400,
        ),
        ("POST", &sync, &token, format!(r#"{{"{CANARY}":"#), 400),
        (
            "POST",
            &sync,
            &token,
            request(CANARY, &format!(r#"{{"id":"{CANARY}"}}"#)),
            400,
        ),
        ("POST", &sync, &token, request(&CANARY.repeat(100), ""), 422),
        (
            "POST",
            &sync,
            &format!("{CANARY}.{CANARY}.{CANARY}"),
            request(CANARY, ""),
            401,
        ),
        (
            "POST",
            &format!("/v1/workspaces/{CANARY}-other/sync"),
            &token,
            request(CANARY, ""),
            404,
        ),
        (
            "POST",
            &format!("/v1/workspaces/..{CANARY}/sync"),
            &token,
            request(CANARY, ""),
            404,
        ),
        ("GET", &format!("/v1/{CANARY}"), &token, String::new(), 404),
        (
            "GET",
            &format!("/v1/workspaces/{CANARY}-place/snapshot?after={CANARY}"),
            &token,
            String::new(),
            400,
        ),
        (
            "GET",
            &format!("/v1/workspaces/{CANARY}-place/snapshot"),
            &token,
            String::new(),
            200,
        ),
    ] {
        assert_eq!(
            raw(&server, method, path, token, &body),
            status,
            "{method} {path} {body}"
        );
    }

    // Texts that cannot be folded, one of each round.
    server.kill();
    let file = rusqlite::Connection::open(server.data().join("workspace-field.sqlite")).unwrap();
    let damaged = file.execute("UPDATE text_tail SET edit = x'0101470004'", []);
    assert_eq!(damaged, Ok(2));
    drop(file);
    server.flags[1] = "10ms".to_owned();
    server.run();
    let began = Instant::now();
    Client::of(&server, &account, &device).sync(Vec::new());
    while !server.log().contains("a text is set aside") {
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "{}",
            server.log()
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    let log = server.log();
    assert!(!log.contains(&token), "a token");
    log
}

#[test]
fn nothing_that_people_wrote_and_no_names_are_in_the_log() {
    // As it is run, and as much as there is of the server's own.
    for level in [
        "info",
        "driftline_server=trace,driftline_core=trace,driftline=trace,info",
    ] {
        let text = log_of(level, &[]);
        let json = log_of(level, &["--log-json"]);
        for line in json.lines() {
            let object: serde_json::Value = serde_json::from_str(line).unwrap();
            assert!(
                object["timestamp"].is_string() && object["level"].is_string(),
                "{line}"
            );
        }
        for log in [text, json] {
            assert!(log.lines().count() > 10 && log.contains("sync"), "{log}");
            for line in log.lines() {
                assert!(!line.contains(CANARY), "{line}");
            }
        }
    }
}
