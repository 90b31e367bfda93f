//! Small histories and files, made by hand.

use std::rc::Rc;

use driftline_core::id::{DocumentId, OpId};
use driftline_core::merge::{DocumentState, Life, Register, SetState, Write};
use driftline_core::op::{Change, ChangeKind, OpBody, TextEdit};
use driftline_core::protocol::{ChainHash, Cursor, DocumentResult, VersionEntry};
use driftline_core::time::Stamp;
use driftline_core::value::Value;

use super::{FileView, Histories, LogRow, QueueState, Queued};

/// A collection of the worlds' schema.
pub(super) const COLLECTION: u16 = 1;

pub(super) fn id(n: u8) -> OpId {
    OpId([n; 16])
}

/// When the op of that number was written.
pub(super) fn moment(n: u8) -> i64 {
    1_000 + i64::from(n)
}

fn write(n: u8, version: u64) -> Write {
    Write {
        op: id(n),
        stamp: Stamp::at(moment(n)),
        version,
    }
}

/// Op `n` sets a document's title.
pub(super) struct Wrote(u8, &'static str, &'static str);

pub(super) fn wrote(n: u8, document: &'static str, title: &'static str) -> Wrote {
    Wrote(n, document, title)
}

/// The version that it becomes.
pub(super) fn row(version: u64, Wrote(n, document, title): Wrote) -> LogRow {
    let mut state = DocumentState::opened(id(1), 1);
    state.version = version;
    let register = Register {
        value: Value::Text(title.to_owned()),
        write: write(n, version),
    };
    state.registers.insert(1, register);
    let result = DocumentResult {
        collection: COLLECTION,
        document: DocumentId::new(document).unwrap_or_else(|_| unreachable!("short")),
        whole: version == 1,
        state,
        texts: Default::default(),
    };
    LogRow {
        cursor: Cursor {
            version,
            hash: ChainHash([n; 8]),
        },
        op: id(n),
        base: 0,
        written: moment(n),
        at: moment(n),
        account: 1,
        label: String::new(),
        entry: VersionEntry {
            version,
            ids: vec![id(n)],
            documents: vec![result],
            echo: None,
            landed: Vec::new(),
        },
    }
}

pub(super) fn histories(wrote: &[Wrote]) -> Histories {
    let mut histories = Histories::default();
    for (at, Wrote(n, document, title)) in wrote.iter().enumerate() {
        let again = histories
            .current
            .append(row(at as u64 + 1, Wrote(*n, document, title)));
        assert_eq!(again, []);
    }
    histories
}

/// A file that stands there.
pub(super) fn at(histories: &Histories, version: u64) -> FileView {
    let base = histories.current.documents_at(version);
    let seen = histories.current.version(version);
    FileView {
        cursor: seen.map_or(Cursor::START, |seen| seen.row.cursor),
        shown: base.clone(),
        base,
        ..FileView::default()
    }
}

fn body(document: &str, kind: ChangeKind) -> OpBody {
    let document = DocumentId::new(document).unwrap_or_else(|_| unreachable!("short"));
    OpBody {
        changes: vec![Change::new(COLLECTION, document, kind)],
        ..OpBody::default()
    }
}

pub(super) fn insert(document: &str, title: &str) -> OpBody {
    let mut body = body(document, ChangeKind::Insert);
    body.changes[0]
        .registers
        .insert(1, Value::Text(title.to_owned()));
    body
}

pub(super) fn update(document: &str, title: &str) -> OpBody {
    let mut body = body(document, ChangeKind::Update);
    body.changes[0]
        .registers
        .insert(1, Value::Text(title.to_owned()));
    body
}

pub(super) fn counting(document: &str, delta: i64) -> OpBody {
    let mut body = body(document, ChangeKind::Update);
    body.changes[0].increments.insert(3, delta);
    body
}

pub(super) fn covering(mut body: OpBody, n: u8) -> OpBody {
    body.covers.push(id(n));
    body
}

/// Text under a writer.
pub(super) fn typed(document: &str, writer: u64) -> OpBody {
    let mut body = body(document, ChangeKind::Update);
    let edit = TextEdit {
        writer,
        ..TextEdit::default()
    };
    body.changes[0].texts.insert(2, edit);
    body
}

/// A file with a queue.
pub(super) fn view_with(queue: &[(u8, OpBody)]) -> FileView {
    let queued = |(n, body): &(u8, OpBody)| Queued {
        id: id(*n),
        state: QueueState::Pending,
        body: Rc::new(body.clone()),
    };
    FileView {
        queue: queue.iter().map(queued).collect(),
        ..FileView::default()
    }
}

/// A document with a title by op `n`.
pub(super) fn title(title: &str, n: u8) -> Rc<DocumentState> {
    let mut state = DocumentState::opened(id(1), 1);
    let register = Register {
        value: Value::Text(title.to_owned()),
        write: write(n, u64::from(n)),
    };
    state.registers.insert(1, register);
    Rc::new(state)
}

/// A document with a counter.
pub(super) fn count(count: i64) -> Rc<DocumentState> {
    let mut state = DocumentState::opened(id(1), 1);
    state.counters.insert(3, count);
    Rc::new(state)
}

/// A document with an element that op `n` added at a version.
pub(super) fn holding(element: &str, n: u8, version: u64) -> Rc<DocumentState> {
    let mut state = DocumentState::opened(id(1), 1);
    let mut set = SetState::default();
    set.elements
        .insert(element.to_owned(), vec![(id(n), version)]);
    state.sets.insert(4, set);
    Rc::new(state)
}

/// The same, deleted.
pub(super) fn deleted(state: Rc<DocumentState>) -> Rc<DocumentState> {
    let mut state = (*state).clone();
    state.life = Life::Deleted(write(9, 9));
    Rc::new(state)
}
