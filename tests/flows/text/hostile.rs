//! Bytes that no honest device makes, by every way into the product: the endpoint, the socket, a server
//! that lies, an export that was tampered with. Each is refused by a word, and changes nothing.

#[path = "../../../core/tests/text/bytes.rs"]
#[allow(dead_code)]
mod bytes;
#[path = "../../../core/tests/text/corpus/mod.rs"]
#[allow(dead_code)]
mod corpus;

/// What the corpus is written against.
mod world {
    pub(crate) use super::op_of as op;
}

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine;
use driftline::transport::{BuiltinTransport, TlsRoots};
use driftline::{Cause, SyncConfig};
use driftline_core::id::{DocumentId, OpId};
use driftline_core::op::{Change, ChangeKind, TextEdit, Update, refusal};
use driftline_core::protocol::{OpResult, Outcome, SentOp};
use driftline_core::text::guard::Refused;
use driftline_core::text::{
    BodyLimits, ListBody, ListChange, OffsetUnit, TextBody, TextChange, TextKind,
};

use super::forger::{Forger, Network};
use super::{agree, go_on, newcomer, settle, story, until};
use crate::support::device::WORKSPACE;
use crate::support::{Client, Device, SCHEMA, Server};
use corpus::{Fixture, ME, OTHER, corpus};

const NOTES: u16 = 1;
const STORY: u16 = 7;
const STEPS: u16 = 8;

#[allow(dead_code)]
pub(crate) fn op_of(n: u64) -> OpId {
    OpId::next(n, [7; 10], None)
}

fn field_of(kind: TextKind) -> u16 {
    match kind {
        TextKind::RichText => STORY,
        TextKind::List => STEPS,
    }
}

/// The first update of a writer: so many characters, or elements.
fn first(kind: TextKind, writer: u64, clocks: u32) -> Vec<u8> {
    let limits = BodyLimits::default();
    match kind {
        TextKind::RichText => {
            let insert = TextChange::Insert {
                at: 0,
                text: "x".repeat(clocks as usize),
                attributes: None,
            };
            let edited = TextBody::new(writer, limits).edit(&[insert], OffsetUnit::Utf16);
            edited.unwrap().unwrap().update
        }
        TextKind::List => {
            let values = (0..clocks).map(serde_json::Value::from).collect();
            let insert = ListChange::Insert { at: 0, values };
            ListBody::new(writer, limits)
                .edit(&[insert])
                .unwrap()
                .unwrap()
        }
    }
}

/// What writer 5 says next in a field of the corpus.
fn next(kind: TextKind, n: u32) -> Vec<u8> {
    let start = corpus::mine();
    match (kind, n % 3) {
        (TextKind::RichText, 0) => start.right_of(4, OTHER, 19).counted("words é").end(),
        (TextKind::RichText, 1) => start
            .right_of(4, ME, 3)
            .counted("😀 more")
            .deleted(OTHER, &[(0, 2), (5, 9)]),
        (TextKind::RichText, _) => start.in_text(6).counted("bold").counted("true").end(),
        (TextKind::List, _) => start
            .in_list(8)
            .number(2)
            .element(ME, 10, "[1,{\"a\":null}]")
            .element(OTHER, 3, "\"moved\"")
            .end(),
    }
}

fn edit(
    document: &str,
    kind: TextKind,
    writer: u64,
    update: Vec<u8>,
    after: Option<OpId>,
) -> Change {
    let document = DocumentId::new(document).unwrap();
    let mut change = Change::new(NOTES, document, ChangeKind::Update);
    let edit = TextEdit {
        writer,
        update: Update(update),
        after,
    };
    change.texts.insert(field_of(kind), edit);
    change
}

fn id_of(op: &SentOp) -> OpId {
    match op {
        SentOp::Full { id, .. } => *id,
        _ => unreachable!("nothing else is sent here"),
    }
}

/// Ops that write a note in which both fields are as the corpus expects them, and writer 5's last.
fn note(client: &mut Client, document: &str) -> (Vec<SentOp>, OpId) {
    let id = DocumentId::new(document).unwrap();
    let mut insert = Change::new(NOTES, id, ChangeKind::Insert);
    insert.registers.insert(1, document.into());
    let both = |writer, clocks| {
        let kinds = [TextKind::RichText, TextKind::List];
        kinds.map(|kind| edit(document, kind, writer, first(kind, writer, clocks), None))
    };
    let join = |changes: [Change; 2]| {
        let [mut one, two] = changes;
        one.texts.extend(two.texts);
        one
    };
    let ops: Vec<SentOp> = [insert, join(both(ME, 10)), join(both(OTHER, 20))]
        .map(|change| client.op(vec![change]))
        .into();
    let last = id_of(&ops[1]);
    (ops, last)
}

fn all_accepted(results: &[OpResult]) {
    for result in results {
        assert!(
            matches!(result.outcome, Outcome::Accepted { .. }),
            "{result:?}"
        );
    }
}

/// Catches up, and says at which version the server stands.
fn version(client: &mut Client) -> u64 {
    while client.sync(Vec::new()).has_more {}
    client.cursor.version
}

fn answered(fixture: &Fixture, result: &OpResult) {
    match (&result.outcome, fixture.answer) {
        (Outcome::Rejected { refusal }, Refused::Invalid(_)) => {
            let known = [refusal::INVALID_TEXT, refusal::VALUE_TOO_LARGE];
            assert!(
                known.contains(&refusal.code.as_str()),
                "{}: {refusal:?}",
                fixture.name
            );
        }
        (Outcome::Rebase, Refused::Rebase(_)) => {}
        (other, _) => panic!("{}: {other:?}", fixture.name),
    }
}

#[test]
fn the_hostile_corpus_is_refused_by_the_endpoint_and_the_socket() {
    let server = Server::start(SCHEMA);
    let mut client = Client::new(&server);
    let (ops, last) = note(&mut client, "n");
    all_accepted(&client.sync(ops).results);
    let before = version(&mut client);
    for fixture in corpus() {
        let bytes = fixture.bytes.clone();
        let op = client.op(vec![edit("n", fixture.kind, ME, bytes, Some(last))]);
        let answer = client.sync(vec![op]);
        answered(&fixture, &answer.results[0]);
    }
    let mut socket = client.live();
    for fixture in corpus() {
        let bytes = fixture.bytes.clone();
        let op = edit("n", fixture.kind, ME, bytes, Some(last));
        let op = socket.client().op(vec![op]);
        let answer = socket.sync(vec![op]);
        answered(&fixture, &answer.results[0]);
    }
    drop(socket);
    assert_eq!(version(&mut client), before, "nothing changed");
    // An honest one passes where they did not.
    let honest = edit(
        "n",
        TextKind::RichText,
        ME,
        next(TextKind::RichText, 0),
        Some(last),
    );
    let op = client.op(vec![honest]);
    all_accepted(&client.sync(vec![op]).results);
    let device = newcomer(&server);
    assert_eq!(story(&device.db, "n").matches("words é").count(), 1);
}

/// Mutants sent at once, and how often.
const AT_ONCE: usize = 250;
const ROUNDS: usize = 40;

#[test]
fn mutations_of_honest_updates_do_the_server_and_its_devices_no_harm() {
    mutations_do_no_harm(17, |client, ops| client.sync(ops).results);
}

#[test]
fn mutations_of_honest_updates_through_the_socket_do_no_harm_either() {
    mutations_do_no_harm(18, |client, ops| client.live().sync(ops).results);
}

/// 10 000 mutations of honest updates: refused, or taken like honest ones; everybody can read what
/// they made, and writes on.
fn mutations_do_no_harm(seed: u64, send: impl Fn(&mut Client, Vec<SentOp>) -> Vec<OpResult>) {
    let server = Server::start(SCHEMA);
    let mut client = Client::new(&server);
    let mut random = Random(seed);
    let (mut notes, mut taken, mut refused) = (0, 0, 0);
    // Fields that are still as the corpus expects them. One that took a mutant is used no more.
    let mut fresh: Vec<(String, OpId)> = Vec::new();
    for round in 0..ROUNDS {
        let mut ops = Vec::new();
        while fresh.len() < AT_ONCE {
            let document = format!("n{notes}");
            let (written, last) = note(&mut client, &document);
            ops.extend(written);
            fresh.push((document, last));
            notes += 1;
        }
        all_accepted(&client.sync(ops).results);
        let kind = [TextKind::RichText, TextKind::List][round % 2];
        let mutants: Vec<SentOp> = fresh
            .iter()
            .map(|(document, last)| {
                let mut update = next(kind, random.below(3) as u32);
                mutate(&mut update, &mut random);
                client.op(vec![edit(document, kind, ME, update, Some(*last))])
            })
            .collect();
        let results = send(&mut client, mutants);
        assert_eq!(results.len(), AT_ONCE);
        let mut results = results.iter();
        fresh.retain(|_| match &results.next().unwrap().outcome {
            Outcome::Accepted { .. } => {
                taken += 1;
                false
            }
            Outcome::Rejected { refusal } => {
                assert_eq!(refusal.code, refusal::INVALID_TEXT, "{refusal:?}");
                refused += 1;
                true
            }
            Outcome::Rebase => {
                refused += 1;
                true
            }
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(taken + refused, AT_ONCE * ROUNDS);
    println!("{} mutants, {taken} taken", AT_ONCE * ROUNDS);
    assert!(taken > 100, "some pass, or this says little: {taken}");
    let accepted = (3 * notes + taken) as u64;
    assert_eq!(version(&mut client), accepted, "nothing else changed");
    // A device reads all of it, by a snapshot and by the log, and writes on.
    let (a, b) = (newcomer(&server), Device::new("b"));
    b.connect(&server);
    b.sync();
    assert_eq!(a.count("notes"), notes as i64);
    for n in 0..notes {
        let id = format!("n{n}");
        assert_eq!(story(&a.db, &id), story(&b.db, &id));
        a.db.list("notes", &id, "steps").unwrap();
    }
    go_on(&a.db, "n7", " and on");
    settle(&[&a, &b]);
    assert!(agree(&[&a, &b], "n7").contains(" and on"));
}

fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(2) {
        let at = random.below(bytes.len().max(1));
        match random.below(6) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            1 if at < bytes.len() => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][random.below(5)],
            2 if at < bytes.len() => drop(bytes.remove(at)),
            3 => bytes.truncate(at),
            4 => {
                let piece: Vec<u8> = bytes.iter().skip(at).take(8).copied().collect();
                bytes.splice(at..at, piece);
            }
            _ => bytes.insert(at.min(bytes.len()), random.below(256) as u8),
        }
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) as usize % end
    }
}

/// A server that lies, or somebody between: what it says is refused whole, again and again, and once it
/// speaks the truth the device goes on where it was.
#[test]
fn the_hostile_corpus_in_a_page_changes_nothing_on_a_device() {
    let server = Server::start(SCHEMA);
    let mut client = Client::new(&server);
    let (ops, last) = note(&mut client, "n");
    all_accepted(&client.sync(ops).results);
    let forger = Arc::new(Forger {
        inner: BuiltinTransport::new(&TlsRoots::default()).unwrap(),
        next: Mutex::default(),
        forged: AtomicUsize::new(0),
    });
    let device = Device::new("lied to");
    let token = server.token("ada", WORKSPACE, "writer", "1h");
    let mut config = SyncConfig::new(&server.url, move || Ok(token.clone()));
    config.transport = Some(Arc::new(Network(forger.clone())));
    config.settings.live = false;
    let sync = device.db.connect(config).unwrap();
    device.sync();
    for kind in [TextKind::RichText, TextKind::List] {
        let honest = edit("n", kind, ME, next(kind, 0), Some(last));
        let op = client.op(vec![honest]);
        all_accepted(&client.sync(vec![op]).results);
        let (stands, shown) = (sync.status().version, shows(&device));
        // What only lacks something before it is no lie: base may be wrong, and the device fetches it anew.
        let lies = corpus()
            .into_iter()
            .filter(|lie| lie.kind == kind && matches!(lie.answer, Refused::Invalid(_)));
        for lie in lies {
            *forger.next.lock().unwrap() = Some((field_of(kind), lie.bytes));
            let told = forger.forged.load(Ordering::SeqCst);
            sync.sync_now();
            until(lie.name, || forger.forged.load(Ordering::SeqCst) > told);
            until(lie.name, || sync.status().cause == Cause::NotDriftline);
            assert_eq!(sync.status().version, stands, "{}", lie.name);
            assert_eq!(shows(&device), shown, "{}", lie.name);
        }
        *forger.next.lock().unwrap() = None;
        device.sync();
        assert_eq!(sync.status().version, stands + 1);
        assert_ne!(shows(&device), shown);
    }
}

fn shows(device: &Device) -> (String, usize) {
    let steps = device.db.list("notes", "n", "steps").unwrap().unwrap();
    (story(&device.db, "n"), steps.len())
}

/// An op as a line of an export.
fn exported(op: &SentOp) -> String {
    let SentOp::Full { id, body, .. } = op else {
        unreachable!("nothing else is made here");
    };
    let body = base64::engine::general_purpose::STANDARD.encode(minicbor::to_vec(body).unwrap());
    let line = serde_json::json!({"id": id.to_string(), "op": {"account": "ada",
        "workspace": WORKSPACE, "body": body, "wall": 1, "boot": 1, "mono": 1}});
    line.to_string()
}

/// An export that somebody has tampered with: what no device writes is refused, with all that it stands
/// among; what only lacks something before it is taken, and does no harm.
#[test]
fn the_hostile_corpus_in_an_export_is_refused_or_harmless() {
    let server = Server::start(SCHEMA);
    let mut client = Client::new(&server);
    let (ops, last) = note(&mut client, "n");
    all_accepted(&client.sync(ops).results);
    let other = newcomer(&server);
    for fixture in corpus() {
        other.sync();
        let shown = story(&other.db, "n");
        let device = newcomer(&server);
        let change = edit("n", fixture.kind, ME, fixture.bytes.clone(), Some(last));
        let honest = Change::new(NOTES, DocumentId::new("n").unwrap(), ChangeKind::Delete);
        let lines = [vec![honest], vec![change]].map(|changes| exported(&client.op(changes)));
        let [_, line] = &lines;
        let outbox = device.db.outbox();
        match fixture.answer {
            Refused::Invalid(_) => {
                let before = all_of(&device.path);
                for tampered in [line.clone(), lines.join("\n")] {
                    let refused = outbox.import(&mut tampered.as_bytes()).unwrap_err();
                    let known = [refusal::INVALID_TEXT, refusal::VALUE_TOO_LARGE];
                    assert!(
                        known.contains(&refused.code()),
                        "{}: {refused:?}",
                        fixture.name
                    );
                }
                assert_eq!(all_of(&device.path), before, "{}", fixture.name);
            }
            Refused::Rebase(_) => {
                let taken = outbox.import(&mut line.as_bytes());
                assert_eq!(taken.unwrap(), 1, "{}", fixture.name);
                device.sync();
            }
        }
        // It goes on working.
        assert!(
            device
                .db
                .rich_text("notes", "n", "story")
                .unwrap()
                .is_some()
        );
        device.note("after it");
        device.sync();
        assert_eq!(device.pending(), 0, "{}", fixture.name);
        if matches!(fixture.answer, Refused::Invalid(_)) {
            other.sync();
            assert_eq!(story(&other.db, "n"), shown, "{}", fixture.name);
        }
    }
}

/// All that a device's file holds, but for the list of syncs, which its engine writes by itself.
fn all_of(path: &Path) -> Vec<String> {
    let file = rusqlite::Connection::open(path).unwrap();
    let tables = "SELECT name FROM sqlite_schema WHERE type = 'table' AND rootpage > 0 AND name <> '_dl_sync_runs'";
    let mut query = file.prepare(tables).unwrap();
    let names = query.query_map([], |row| row.get::<_, String>(0)).unwrap();
    let mut all = Vec::new();
    for name in names.map(Result::unwrap) {
        let mut query = file.prepare(&format!("SELECT * FROM {name}")).unwrap();
        let columns = query.column_count();
        let mut rows = query.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let values = (0..columns).map(|column| row.get_ref(column).unwrap());
            all.push(format!("{name} {:?}", values.collect::<Vec<_>>()));
        }
    }
    all
}

/// The same mutations in an export: a device takes none that no device writes, and is none the worse.
#[test]
fn mutations_of_honest_updates_in_an_export_are_refused_or_harmless() {
    let server = Server::start(SCHEMA);
    let mut client = Client::new(&server);
    let mut random = Random(19);
    let (ops, last) = note(&mut client, "n");
    all_accepted(&client.sync(ops).results);
    let device = newcomer(&server);
    let (sync, outbox) = (device.db.sync().unwrap(), device.db.outbox());
    // What is imported goes nowhere.
    sync.pause();
    let shown = shows(&device);
    let (mut refused, mut taken) = (0, 0);
    for n in 0..AT_ONCE * ROUNDS {
        let kind = [TextKind::RichText, TextKind::List][n % 2];
        let mut update = next(kind, random.below(3) as u32);
        mutate(&mut update, &mut random);
        let op = client.op(vec![edit("n", kind, ME, update, Some(last))]);
        match outbox.import(&mut exported(&op).as_bytes()) {
            Err(error) => {
                assert_eq!(error.code(), refusal::INVALID_TEXT, "{error}");
                assert_eq!(device.db.unsynced().unwrap(), 0, "mutant {n}: {error}");
                assert_eq!(shows(&device), shown, "mutant {n}: {error}");
                refused += 1;
            }
            Ok(queued) => {
                assert_eq!(queued, 1);
                // It is shown, or waits for the server's word; then it is taken back.
                shows(&device);
                assert_eq!(outbox.drop_all().unwrap(), 1);
                taken += 1;
            }
        }
    }
    println!("{refused} refused, {taken} taken");
    assert!(taken > 100 && refused > 5_000, "{taken} {refused}");
    assert_eq!(shows(&device), shown);
    sync.resume();
    go_on(&device.db, "n", " and on");
    device.sync();
    assert!(story(&device.db, "n").ends_with(" and on"));
}
