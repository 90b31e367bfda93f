//! The session at the end of `docs/protocol.md`: its requests, put to the merge by a server of a
//! hundred lines that keeps everything in memory, get its answers.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;

use driftline_core::id::{CollectionId, DocumentId, OpId};
use driftline_core::merge::{
    Accepted, DocumentState, History, Linked, Record, Touched, Verdict, Workspace, decide,
};
use driftline_core::op::Op;
use driftline_core::protocol::{
    Cursor, Form, OpResult, Outcome, SentOp, SyncRequest, SyncResponse, VersionEntry, decode,
    encode_cbor,
};
use driftline_core::schema::Schema;
use driftline_core::time::{Contact, Reading};

use crate::page;

/// A request and its answer, as files.
pub(crate) struct Step {
    pub(crate) request: &'static str,
    pub(crate) answer: &'static str,
    account: &'static str,
}

macro_rules! step {
    ($n:literal, $account:literal) => {
        Step {
            request: include_str!(concat!("../golden/session_", $n, "_request.json")),
            answer: include_str!(concat!("../golden/session_", $n, "_answer.json")),
            account: $account,
        }
    };
}

pub(crate) const STEPS: [Step; 4] = [
    step!(1, "ana@example.org"),
    step!(2, "ben@example.org"),
    step!(3, "ben@example.org"),
    step!(4, "ana@example.org"),
];

#[derive(Default)]
struct Rows {
    documents: BTreeMap<(CollectionId, DocumentId), DocumentState>,
    records: HashMap<OpId, Record>,
}

impl History for Rows {
    type Error = Infallible;

    fn linked(
        &mut self,
        op: OpId,
        collection: CollectionId,
        document: &DocumentId,
    ) -> Result<Option<Linked>, Infallible> {
        let record = self.records.get(&op);
        Ok(record.map(|record| record.linked(op, collection, document)))
    }
}

impl Workspace for Rows {
    fn document(
        &mut self,
        collection: CollectionId,
        document: &DocumentId,
    ) -> Result<Option<DocumentState>, Infallible> {
        Ok(self.documents.get(&(collection, document.clone())).cloned())
    }

    fn record(&mut self, op: OpId) -> Result<Option<Record>, Infallible> {
        Ok(self.records.get(&op).cloned())
    }

    fn writer(&mut self, _: u64) -> Result<Option<String>, Infallible> {
        // Nobody writes text in these sessions.
        Ok(None)
    }
}

struct Server {
    schema: Schema,
    rows: Rows,
    /// The cursor behind each version, and the version.
    log: Vec<(Cursor, VersionEntry)>,
    beginning: Cursor,
    now: i64,
}

impl Server {
    fn head(&self) -> Cursor {
        self.log
            .last()
            .map_or(self.beginning, |(cursor, _)| *cursor)
    }

    fn answer(&mut self, account: &str, request: SyncRequest) -> SyncResponse {
        self.now += 60_000;
        let known = request.cursor == Cursor::START
            || request.cursor == self.beginning
            || self.log.iter().any(|(cursor, _)| *cursor == request.cursor);
        assert!(
            known,
            "no cursor of this history, whose head is {:?}",
            self.head()
        );
        let mut echoes = BTreeMap::new();
        let contact = Contact {
            device: request.now,
            server: self.now,
        };
        let results = request.ops.into_iter().map(|entry| {
            let SentOp::Full { id, when, body } = entry else {
                panic!("the session asks for no fates");
            };
            let stamp = when.place(&contact);
            let mut op = Op {
                id,
                written: Reading::default(),
                body,
            };
            let version = self.head().version + 1;
            let decision = decide(
                &self.schema,
                &mut self.rows,
                account,
                &mut op,
                stamp,
                version,
                None,
            );
            let Ok(decision) = decision;
            self.rows.records.extend(decision.records);
            if let Some(accepted) = decision.accepted {
                if let Some(echo) = accepted.echo {
                    echoes.insert(version, echo);
                }
                self.append(version, accepted);
            }
            let outcome = match decision.verdict {
                Some(Verdict::Accepted(version)) => Outcome::Accepted { version },
                Some(Verdict::Rejected(refusal)) => Outcome::Rejected { refusal },
                None => Outcome::Rebase,
            };
            OpResult { id, outcome }
        });
        let results = results.collect();
        let page = self
            .log
            .iter()
            .filter(|(cursor, _)| cursor.version > request.cursor.version);
        let versions = page.map(|(_, entry)| match echoes.get(&entry.version) {
            Some(echo) => VersionEntry {
                documents: Vec::new(),
                echo: Some(*echo),
                ..entry.clone()
            },
            None => entry.clone(),
        });
        SyncResponse {
            results,
            versions: versions.collect(),
            losses: Vec::new(),
            cursor: self.head(),
            has_more: false,
            server_time: self.now,
            account: account.to_owned(),
            take_snapshot: false,
            quota: None,
            tag: request.tag,
        }
    }

    fn append(&mut self, version: u64, accepted: Accepted) {
        assert!(accepted.lost.is_empty(), "nothing is lost in the session");
        let results = accepted.documents.iter().map(Touched::result);
        let entry = VersionEntry {
            version,
            ids: accepted.names.clone(),
            documents: results.collect(),
            echo: None,
            landed: Vec::new(),
        };
        self.log
            .push((self.head().next(&encode_cbor(&entry)), entry));
        for touched in accepted.documents {
            self.rows
                .documents
                .insert((touched.collection, touched.document), touched.after);
        }
    }
}

/// What the steps are answered with.
pub(crate) fn answers() -> Vec<String> {
    let mut server = Server {
        schema: Schema::parse(page::fence("toml")).unwrap(),
        rows: Rows::default(),
        log: Vec::new(),
        beginning: Cursor::seed(&[0x11; 16]),
        now: 1_721_044_800_000,
    };
    let answers = STEPS.iter().map(|step| {
        let request = decode(Form::Json, step.request.as_bytes()).unwrap();
        let answer = server.answer(step.account, request);
        serde_json::to_string_pretty(&answer).unwrap() + "\n"
    });
    answers.collect()
}

#[test]
fn the_session_is_what_a_server_answers() {
    for (n, (step, answer)) in STEPS.iter().zip(answers()).enumerate() {
        assert_eq!(answer, step.answer, "session_{}_answer.json", n + 1);
    }
}

/// Sent again, everything is answered as before and nothing is added.
#[test]
fn the_session_repeated_changes_nothing() {
    let mut server = Server {
        schema: Schema::parse(page::fence("toml")).unwrap(),
        rows: Rows::default(),
        log: Vec::new(),
        beginning: Cursor::seed(&[0x11; 16]),
        now: 1_721_044_800_000,
    };
    let mut first = Vec::new();
    for round in 0..3 {
        for (n, step) in STEPS.iter().enumerate() {
            let request = decode(Form::Json, step.request.as_bytes()).unwrap();
            let results = server.answer(step.account, request).results;
            match round {
                0 => first.push(results),
                _ => assert_eq!(results, first[n]),
            }
        }
        assert_eq!(server.head().version, 2);
    }
}

/// A version has to fit an answer, also where a small op brings back large documents.
#[test]
fn an_op_cannot_bring_back_more_than_an_answer_holds() {
    use driftline_core::op::{Change, ChangeKind, OpBody};
    use driftline_core::protocol::limits::MAX_VERSION;
    use driftline_core::time::Stamp;
    let schema = Schema::parse(page::fence("toml")).unwrap();
    let mut rows = Rows::default();
    let mut n = 0;
    let mut decided = |changes: Vec<Change>| {
        n += 1;
        let body = OpBody {
            base: n,
            schema: 1,
            changes,
            ..OpBody::default()
        };
        let id = OpId::next(n, [0; 10], None);
        let mut op = Op {
            id,
            written: Reading::default(),
            body,
        };
        let Ok(decision) = decide(
            &schema,
            &mut rows,
            "ana",
            &mut op,
            Stamp::at(n as i64),
            n,
            None,
        );
        for touched in decision
            .accepted
            .into_iter()
            .flat_map(|accepted| accepted.documents)
        {
            rows.documents
                .insert((touched.collection, touched.document), touched.after);
        }
        rows.records.extend(decision.records);
        decision.verdict
    };
    let document = |n: usize| DocumentId::new(format!("bird {n}")).unwrap();
    let megabyte = "x".repeat(1 << 20);
    let count = MAX_VERSION >> 20;
    for n in 0..count {
        let mut insert = Change::new(1, document(n), ChangeKind::Insert);
        insert.registers.insert(1, megabyte.as_str().into());
        assert!(matches!(decided(vec![insert]), Some(Verdict::Accepted(_))));
        let delete = Change::new(1, document(n), ChangeKind::Delete);
        assert!(matches!(decided(vec![delete]), Some(Verdict::Accepted(_))));
    }
    let restore = |n| Change::new(1, document(n), ChangeKind::Restore);
    let Some(Verdict::Rejected(refusal)) = decided((0..count).map(restore).collect()) else {
        panic!("a version larger than any answer");
    };
    assert_eq!(refusal.code, "group_too_large");
    let fewer = decided((1..count).map(restore).collect());
    assert!(matches!(fewer, Some(Verdict::Accepted(_))), "{fewer:?}");
}
