//! What devices and the server send.

use driftline_core::ledger::{Loss, LossRule};
use driftline_core::merge::{DocumentState, Link};
use driftline_core::op::{ChangeKind, FieldMap, OpBody, Refusal, refusal};
use driftline_core::protocol::failure::code;
use driftline_core::protocol::{
    Announcement, ChainHash, Cursor, Device, DocumentResult, Failure, LiveFrame, OpResult, Outcome,
    Quota, SentOp, SnapshotFrame, SyncRequest, SyncResponse, VersionEntry, Versions, When,
};
use driftline_core::time::Reading;
use driftline_core::value::Value;

use super::documents::{register, set, text};
use super::ops::{aimed, full, revision, text_edit, update, wide_values};
use super::*;

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
