//! One value of every message, in the words of the schema that `docs/protocol.md` uses throughout.

use driftline_core::id::{BootId, DocumentId, OpId};
use driftline_core::ledger::{Loss, LossRule};
use driftline_core::merge::{
    DocumentState, Generation, Life, Link, Register, Reopened, SetState, TextState, Write,
};
use driftline_core::op::{
    Change, ChangeKind, FieldMap, OpBody, Refusal, TextEdit, Update, refusal,
};
use driftline_core::protocol::failure::code;
use driftline_core::protocol::{
    Announcement, ChainHash, Cursor, Device, DocumentResult, Failure, LiveFrame, OpResult, Outcome,
    Quota, SentOp, SnapshotFrame, SyncRequest, SyncResponse, VersionEntry, Versions, When,
};
use driftline_core::text::Mark;
use driftline_core::time::{Reading, Stamp};
use driftline_core::value::Value;

pub(crate) const BIRDS: u16 = 1;
pub(crate) const TEAMS: u16 = 2;

pub(crate) const SPECIES: u16 = 1;
pub(crate) const TAGGED: u16 = 2;
pub(crate) const MASS: u16 = 3;
pub(crate) const FLIPPER: u16 = 4;
pub(crate) const OBSERVED: u16 = 5;
pub(crate) const CHIP: u16 = 6;
pub(crate) const NEST: u16 = 7;
pub(crate) const RAW: u16 = 8;
pub(crate) const PLACE: u16 = 9;
pub(crate) const SIGHTINGS: u16 = 10;
pub(crate) const MARKS: u16 = 11;
pub(crate) const NOTES: u16 = 12;

/// 15 July 2024, 12:00:00 UTC.
const NOON: i64 = 1_721_044_800_000;

pub(crate) fn op(n: u8) -> OpId {
    let mut id = [
        0x01, 0x90, 0xb6, 0x5c, 0x4e, 0x00, 0x70, 0, 0x80, 0, 0, 0, 0, 0, 0, 0,
    ];
    id[15] = n;
    OpId(id)
}

pub(crate) fn document(n: u8) -> DocumentId {
    DocumentId::new(format!("0190b65c-0000-7000-8000-0000000000{n:02x}")).unwrap()
}

pub(crate) fn named(id: &str) -> DocumentId {
    DocumentId::new(id).unwrap()
}

pub(crate) fn stamp(seconds: i64) -> Stamp {
    Stamp::at(NOON + 1_000 * seconds)
}

fn cursor(version: u64) -> Cursor {
    Cursor {
        version,
        hash: ChainHash([0x5a, 0x1f, 0x00, 0x9c, 0x77, 0xe3, 0x04, version as u8]),
    }
}

fn device() -> Device {
    Device {
        id: "a3f0c2d1-torgersen".into(),
        label: "Torgersen, tablet 2".into(),
        writer: 4_503_599_627_370_495,
    }
}

fn now() -> Reading {
    Reading {
        wall: NOON + 2_820_000,
        boot: BootId(3_735_928_559),
        mono: 86_400_123,
    }
}

pub(crate) fn sync_request_minimal() -> SyncRequest {
    SyncRequest {
        protocol: 1,
        schema_version: 1,
        account: String::new(),
        device: Device {
            id: "a3f0c2d1-torgersen".into(),
            ..Device::default()
        },
        cursor: Cursor::START,
        losses_ack: 0,
        now: Reading::default(),
        ops: Vec::new(),
        page_bytes: 0,
        tag: 0,
    }
}

pub(crate) fn insert() -> Change {
    let mut change = Change::new(BIRDS, document(1), ChangeKind::Insert);
    change.registers = [
        (SPECIES, "Adélie".into()),
        (TAGGED, true.into()),
        (MASS, 3_750.into()),
        (FLIPPER, 18.1.into()),
        (OBSERVED, NOON.into()),
        (CHIP, "6f9619ff-8b86-4011-b42d-00c04fc964ff".into()),
        (NEST, r#"{"row":3,"eggs":[1,2]}"#.into()),
        (PLACE, Value::Null),
    ]
    .into_iter()
    .collect();
    change.increments.insert(SIGHTINGS, 1);
    change
        .adds
        .insert(MARKS, vec!["banded".into(), "left-handed".into()]);
    change
}

fn update() -> Change {
    let mut change = Change::new(BIRDS, document(2), ChangeKind::Update);
    change.generation = Some(op(1));
    change.prev = Some(op(2));
    change.registers.insert(TAGGED, false.into());
    change.increments.insert(SIGHTINGS, -2);
    change.adds.insert(MARKS, vec!["moulting".into()]);
    change.removes.insert(MARKS, vec!["banded".into()]);
    change
}

/// What the JSON form cannot carry as a number, or not at all without base64.
fn wide_values() -> Change {
    let mut change = Change::new(BIRDS, named("adelie/N1A1"), ChangeKind::Update);
    change.registers = [
        (MASS, i64::MIN.into()),
        (OBSERVED, 9_007_199_254_740_993_i64.into()),
        (RAW, vec![0x00, 0xff, 0x10].into()),
    ]
    .into_iter()
    .collect();
    change.increments.insert(SIGHTINGS, i64::MAX);
    change
}

fn revision() -> Change {
    let mut change = Change::new(TEAMS, document(3), ChangeKind::Update);
    change.generation = Some(op(3));
    change.registers.insert(1, "Dream".into());
    change.clock = 7;
    change
}

fn aimed(kind: ChangeKind, n: u8) -> Change {
    let mut change = Change::new(BIRDS, document(n), kind);
    if kind == ChangeKind::Delete {
        change.generation = Some(op(4));
    }
    change
}

pub(crate) fn body(changes: Vec<Change>) -> OpBody {
    OpBody {
        base: 41,
        schema: 1,
        changes,
        ..OpBody::default()
    }
}

fn full(n: u8, when: When, body: OpBody) -> SentOp {
    SentOp::Full {
        id: op(n),
        when,
        body,
    }
}

/// "hi" by writer 7 at the beginning of a text: the update as Yrs writes it.
pub(crate) fn typed() -> Update {
    Update(b"\x01\x01\x07\x00\x04\x01\x01t\x02hi\x00".to_vec())
}

fn text_edit() -> Change {
    let mut change = Change::new(BIRDS, document(2), ChangeKind::Update);
    change.generation = Some(op(1));
    change.texts.insert(
        NOTES,
        TextEdit {
            writer: 7,
            update: typed(),
            after: Some(op(15)),
        },
    );
    change
}

pub(crate) fn sync_request_full() -> SyncRequest {
    let covering = OpBody {
        covers: vec![op(7), op(8)],
        ..body(vec![update()])
    };
    let retry = OpBody {
        base: 0,
        retry_of: Some(op(6)),
        ..body(vec![wide_values(), revision()])
    };
    let withdrawal = OpBody {
        covers: vec![op(7)],
        ..body(vec![update()])
    }
    .withdrawn();
    SyncRequest {
        account: "ana@example.org".into(),
        device: device(),
        cursor: cursor(41),
        losses_ack: 12,
        now: now(),
        ops: vec![
            full(9, When::Age(1_500), body(vec![insert()])),
            full(10, When::Age(0), covering),
            full(
                11,
                When::Wall(NOON - 86_400_000),
                body(vec![aimed(ChangeKind::Delete, 4)]),
            ),
            full(
                12,
                When::Age(3),
                body(vec![
                    aimed(ChangeKind::Restore, 5),
                    aimed(ChangeKind::Delete, 6),
                ]),
            ),
            full(13, When::Age(2), retry),
            full(14, When::Wall(-1), withdrawal),
            full(16, When::Age(1), body(vec![text_edit()])),
            SentOp::Named(op(15)),
        ],
        page_bytes: 65_536,
        tag: 3,
        ..sync_request_minimal()
    }
}

/// One boolean of a document known by packed UUIDs, with numbers as an app in use has them.
pub(crate) fn one_boolean() -> SentOp {
    let mut change = Change::new(12, document(1), ChangeKind::Update);
    change.generation = Some(op(1));
    change.registers.insert(30, true.into());
    let body = OpBody {
        base: 70_000,
        schema: 3,
        changes: vec![change],
        ..OpBody::default()
    };
    full(2, When::Age(3_600_000), body)
}

pub(crate) fn sync_request_one_boolean() -> SyncRequest {
    SyncRequest {
        account: "ana@example.org".into(),
        cursor: cursor(41),
        now: now(),
        ops: vec![one_boolean()],
        ..sync_request_minimal()
    }
}

pub(crate) fn sync_response_minimal() -> SyncResponse {
    SyncResponse {
        results: Vec::new(),
        versions: Vec::new(),
        losses: Vec::new(),
        cursor: cursor(41),
        has_more: false,
        server_time: NOON,
        account: String::new(),
        take_snapshot: false,
        quota: None,
        tag: 0,
    }
}

pub(crate) fn outcomes() -> Vec<OpResult> {
    let all = [
        Outcome::Accepted { version: 42 },
        Outcome::Rejected {
            refusal: Refusal::new(refusal::REQUIRED, "birds.species is required (insert)"),
        },
        Outcome::RetryLater { after: Some(op(9)) },
        Outcome::RetryLater { after: None },
        Outcome::Rebase,
        Outcome::Unknown,
    ];
    (9..)
        .zip(all)
        .map(|(n, outcome)| OpResult { id: op(n), outcome })
        .collect()
}

pub(crate) fn sync_response_outcomes() -> SyncResponse {
    SyncResponse {
        results: outcomes(),
        cursor: cursor(42),
        account: "ana@example.org".into(),
        ..sync_response_minimal()
    }
}

pub(crate) fn loss(number: u64, rule: LossRule) -> Loss {
    Loss {
        number,
        collection: BIRDS,
        document: document(2),
        field: Some(MASS),
        value: 3_800.into(),
        base_value: 3_750.into(),
        winner_value: 3_900.into(),
        op: op(10),
        winner: op(16),
        stamp: stamp(1),
        winner_stamp: stamp(2),
        winner_device: "Biscoe, tablet 1".into(),
        rule,
        at: NOON + 9_000,
        removed: false,
    }
}

fn losses() -> Vec<Loss> {
    let rules = [
        LossRule::Overwritten,
        LossRule::TooLate,
        LossRule::Deleted,
        LossRule::GenerationGone,
        LossRule::DeleteCancelled,
        LossRule::Rejected,
    ];
    let mut losses: Vec<Loss> = (13..).zip(rules).map(|(n, rule)| loss(n, rule)).collect();
    losses[2].winner_value = Value::Null;
    losses[4].field = None;
    losses[4].value = Value::Null;
    losses[4].base_value = Value::Null;
    losses[3].field = Some(MARKS);
    losses[3].value = r#"["banded"]"#.into();
    losses[3].removed = true;
    losses
}

pub(crate) fn version_entry() -> VersionEntry {
    let mut part = DocumentState::opened(op(1), 17);
    part.version = 42;
    part.registers
        .insert(MASS, register(3_900.into(), 16, 2, 42));
    part.counters.insert(SIGHTINGS, 9_007_199_254_740_993);
    part.sets
        .insert(MARKS, set(&[("banded", &[]), ("moulting", &[(16, 42)])]));
    part.texts.insert(NOTES, text(42, &[(7, 2, 16, 42)]));
    VersionEntry {
        version: 42,
        ids: vec![op(16)],
        documents: vec![DocumentResult {
            collection: BIRDS,
            document: document(2),
            whole: false,
            state: part,
            texts: [(NOTES, typed())].into_iter().collect(),
        }],
        echo: None,
        landed: Vec::new(),
    }
}

pub(crate) fn landed_entry() -> VersionEntry {
    VersionEntry {
        version: 44,
        ids: vec![op(9), op(7), op(8)],
        documents: vec![DocumentResult {
            collection: BIRDS,
            document: document(1),
            whole: true,
            state: document_full(),
            texts: FieldMap::default(),
        }],
        echo: None,
        landed: vec![Link {
            collection: BIRDS,
            document: document(1),
            prev: None,
            landed: Some(op(1)),
        }],
    }
}

fn echo_entry() -> VersionEntry {
    VersionEntry {
        version: 43,
        ids: vec![op(10)],
        documents: Vec::new(),
        echo: Some(stamp(3)),
        landed: Vec::new(),
    }
}

pub(crate) fn quota() -> Quota {
    Quota {
        used: 419_430_401,
        limit: 524_288_000,
    }
}

pub(crate) fn sync_response_full() -> SyncResponse {
    SyncResponse {
        results: vec![OpResult {
            id: op(10),
            outcome: Outcome::Accepted { version: 43 },
        }],
        versions: vec![version_entry(), echo_entry(), landed_entry()],
        losses: losses(),
        cursor: cursor(44),
        has_more: true,
        account: "ana@example.org".into(),
        quota: Some(quota()),
        tag: 3,
        ..sync_response_minimal()
    }
}

pub(crate) fn sync_response_take_snapshot() -> SyncResponse {
    SyncResponse {
        take_snapshot: true,
        account: "ana@example.org".into(),
        ..sync_response_minimal()
    }
}

pub(crate) fn versions() -> Versions {
    Versions {
        from: cursor(41),
        to: cursor(42),
        versions: vec![version_entry()],
        server_time: NOON,
    }
}

pub(crate) fn live_versions() -> LiveFrame {
    LiveFrame::Versions(versions())
}

pub(crate) fn live_request() -> LiveFrame {
    LiveFrame::Request(SyncRequest {
        tag: 8,
        ..sync_request_one_boolean()
    })
}

pub(crate) fn live_response() -> LiveFrame {
    LiveFrame::Response(SyncResponse {
        tag: 8,
        results: vec![OpResult {
            id: op(2),
            outcome: Outcome::Accepted { version: 42 },
        }],
        versions: vec![VersionEntry {
            version: 42,
            ids: vec![op(2)],
            documents: Vec::new(),
            echo: Some(stamp(4)),
            landed: Vec::new(),
        }],
        cursor: cursor(42),
        ..sync_response_minimal()
    })
}

pub(crate) fn live_failed() -> LiveFrame {
    LiveFrame::Failed {
        status: 429,
        failure: failure(),
        tag: 8,
    }
}

pub(crate) fn live_behind() -> LiveFrame {
    LiveFrame::Behind
}

pub(crate) fn snapshot_begin() -> SnapshotFrame {
    SnapshotFrame::Begin {
        cursor: cursor(41),
        documents: 344,
    }
}

pub(crate) fn snapshot_documents() -> SnapshotFrame {
    let whole = |n, state| DocumentResult {
        collection: BIRDS,
        document: document(n),
        whole: true,
        state,
        texts: FieldMap::default(),
    };
    SnapshotFrame::Documents {
        documents: vec![whole(1, document_plain()), whole(2, document_tombstone())],
    }
}

pub(crate) fn snapshot_end() -> SnapshotFrame {
    SnapshotFrame::End
}

pub(crate) fn failure() -> Failure {
    Failure {
        retry_after: Some(1_500),
        ..Failure::new(code::RATE_LIMITED, "too many requests from this device")
    }
}

pub(crate) fn failure_history_changed() -> Failure {
    Failure::new(
        code::HISTORY_CHANGED,
        "the cursor belongs to another history",
    )
}

pub(crate) fn announcement() -> Announcement {
    Announcement {
        protocols: vec![1],
        server: "0.1.0".into(),
        schema: "field-notes".into(),
        schema_version: 1,
        schema_fingerprint: "9d5e3a0c41b7f286".into(),
    }
}

pub(crate) fn cursor_start() -> Cursor {
    Cursor::START
}

pub(crate) fn cursor_wide() -> Cursor {
    Cursor {
        version: 9_007_199_254_740_993,
        hash: ChainHash([0xff; 8]),
    }
}

fn write(by: u8, seconds: i64, version: u64) -> Write {
    Write {
        op: op(by),
        stamp: stamp(seconds),
        version,
    }
}

fn register(value: Value, by: u8, seconds: i64, version: u64) -> Register {
    Register {
        value,
        write: write(by, seconds, version),
    }
}

fn set(elements: &[(&str, &[(u8, u64)])]) -> SetState {
    let tags = |held: &[(u8, u64)]| held.iter().map(|(by, at)| (op(*by), *at)).collect();
    SetState {
        elements: elements
            .iter()
            .map(|(element, held)| ((*element).to_owned(), tags(held)))
            .collect(),
    }
}

/// A text with these marks: writer, next, last op and its version.
fn text(version: u64, marks: &[(u64, u32, u8, u64)]) -> TextState {
    let mark = |(writer, next, last, version): &(u64, u32, u8, u64)| Mark {
        writer: *writer,
        next: *next,
        last: op(*last),
        version: *version,
    };
    let marks: Vec<Mark> = marks.iter().map(mark).collect();
    TextState {
        root: op(1),
        last: marks.last().map_or(OpId::ZERO, |mark| mark.last),
        version,
        bytes: marks.iter().map(|mark| u64::from(mark.next)).sum(),
        marks,
    }
}

pub(crate) fn document_plain() -> DocumentState {
    let mut state = DocumentState::opened(op(1), 17);
    state.registers = [
        (SPECIES, register("Adélie".into(), 1, 0, 17)),
        (TAGGED, register(true.into(), 1, 0, 17)),
        (MASS, register(3_900.into(), 16, 2, 42)),
    ]
    .into_iter()
    .collect();
    state.version = 42;
    state
}

pub(crate) fn document_full() -> DocumentState {
    let mut state = document_plain();
    state.clock = 7;
    state.version = 44;
    state
        .registers
        .insert(FLIPPER, register(18.1.into(), 9, 4, 44));
    state
        .registers
        .insert(RAW, register(vec![0x00, 0xff].into(), 9, 4, 44));
    state
        .registers
        .insert(PLACE, register(Value::Null, 9, 4, 44));
    state.counters = [(SIGHTINGS, -3)].into_iter().collect::<FieldMap<i64>>();
    state.sets.insert(
        MARKS,
        set(&[("banded", &[(1, 17), (16, 42)]), ("moulting", &[(9, 44)])]),
    );
    state.texts.insert(
        NOTES,
        text(44, &[(7, 2, 16, 42), (4_503_599_627_370_495, 1_200, 9, 44)]),
    );
    state.updates = vec![(op(16), 42), (op(9), 44)];
    state.updates_forgotten = 16;
    state
}

pub(crate) fn document_tombstone() -> DocumentState {
    let mut state = document_plain();
    state.life = Life::Deleted(write(11, 5, 45));
    state.version = 45;
    state
}

pub(crate) fn document_reopened() -> DocumentState {
    let mut state = document_plain();
    state.generation = Generation {
        opener: op(12),
        version: 46,
    };
    state.reopened = Some(Reopened {
        generation: op(1),
        delete: op(11),
        delete_version: 45,
    });
    state.version = 46;
    state
}
