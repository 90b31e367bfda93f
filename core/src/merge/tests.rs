//! Single decisions, by a server in memory. All schedules of small worlds are in `tests/proofs`.

mod changes;
mod deletes;
mod texts;
mod verdicts;
mod whole;

use std::collections::BTreeMap;
use std::convert::Infallible;

use super::*;
use crate::id::{CollectionId, DocumentId, OpId, Version};
use crate::ledger::{LossRule, LostPart};
use crate::op::{Change, ChangeKind, Op, OpBody, Refusal, refusal};
use crate::schema::Schema;
use crate::time::{Reading, Stamp};
use crate::value::Value;

const FIELDS: CollectionId = 1;
const UPDATE_WINS: CollectionId = 2;
const WHOLE: CollectionId = 3;

fn schema() -> Schema {
    let fields = "a = { id = 1, kind = \"integer\" }\nb = { id = 2, kind = \"integer\" }\n";
    let more = "n = { id = 3, kind = \"counter\" }\ns = { id = 4, kind = \"set\" }\n\
                t = { id = 5, kind = \"rich_text\" }\n\
                u = { id = 6, kind = \"rich_text\", max_bytes = 8 }\nl = { id = 7, kind = \"list\" }\n";
    Schema::parse(&format!(
        "[schema]\nname = \"t\"\nversion = 1\n[limits]\nmax_set_elements = 2\n\
         [collections.f]\nid = 1\n[collections.f.fields]\n{fields}{more}\
         [collections.u]\nid = 2\non_conflict_delete = \"update_wins\"\n\
         [collections.u.fields]\n{fields}{more}\
         [collections.w]\nid = 3\nmerge = \"document\"\n[collections.w.fields]\n{fields}"
    ))
    .unwrap()
}

const fn id(n: u8) -> OpId {
    OpId([n; 16])
}

/// A server in memory.
struct Server {
    schema: Schema,
    documents: BTreeMap<(CollectionId, DocumentId), DocumentState>,
    records: BTreeMap<OpId, Record>,
    writers: BTreeMap<u64, String>,
    deleted_bytes: u64,
    counted: bool,
    version: Version,
}

impl History for Server {
    type Error = Infallible;
    fn linked(
        &mut self,
        op: OpId,
        c: CollectionId,
        d: &DocumentId,
    ) -> Result<Option<Linked>, Infallible> {
        Ok(self.records.get(&op).map(|record| record.linked(op, c, d)))
    }
}

impl Workspace for Server {
    fn document(
        &mut self,
        c: CollectionId,
        d: &DocumentId,
    ) -> Result<Option<DocumentState>, Infallible> {
        Ok(self.documents.get(&(c, d.clone())).cloned())
    }
    fn record(&mut self, op: OpId) -> Result<Option<Record>, Infallible> {
        Ok(self.records.get(&op).cloned())
    }
    fn writer(&mut self, writer: u64) -> Result<Option<String>, Infallible> {
        Ok(self.writers.get(&writer).cloned())
    }
    fn deleted_bytes(
        &mut self,
        _: CollectionId,
        _: &DocumentId,
        _: u16,
        _: Version,
    ) -> Result<u64, Infallible> {
        Ok(self.deleted_bytes)
    }
    fn is_counted(
        &mut self,
        _: CollectionId,
        _: &DocumentId,
        _: u16,
        _: Version,
    ) -> Result<bool, Infallible> {
        Ok(self.counted)
    }
}

impl Server {
    fn new() -> Server {
        Server {
            schema: schema(),
            documents: BTreeMap::new(),
            records: BTreeMap::new(),
            writers: BTreeMap::new(),
            deleted_bytes: 0,
            counted: true,
            version: 0,
        }
    }

    fn decide_for(&mut self, account: &str, op: &Op, refused: Option<Refusal>) -> Decision {
        let schema = self.schema.clone();
        let stamp = Stamp::at(op.written.wall);
        let mut op = op.clone();
        let Ok(decision) = decide(
            &schema,
            self,
            account,
            &mut op,
            stamp,
            self.version + 1,
            refused,
        );
        self.records.extend(decision.records.iter().cloned());
        if let Some(accepted) = &decision.accepted {
            self.version += 1;
            for writer in &accepted.new_writers {
                self.writers.insert(*writer, account.to_owned());
            }
            for touched in &accepted.documents {
                self.documents.insert(
                    (touched.collection, touched.document.clone()),
                    touched.after.clone(),
                );
            }
        }
        decision
    }

    fn decide(&mut self, op: &Op) -> Decision {
        self.decide_for("one", op, None)
    }

    fn accepts(&mut self, op: &Op) -> Accepted {
        let decision = self.decide(op);
        assert_eq!(decision.verdict, Some(Verdict::Accepted(self.version)));
        decision.accepted.unwrap()
    }

    fn refuses(&mut self, op: &Op) -> String {
        match self.decide(op).verdict {
            Some(Verdict::Rejected(why)) => why.code,
            other => panic!("not refused: {other:?}"),
        }
    }

    fn state(&self, collection: CollectionId) -> &DocumentState {
        &self.documents[&(collection, document())]
    }
}

fn document() -> DocumentId {
    DocumentId::new("d").unwrap()
}

fn change(collection: CollectionId, kind: ChangeKind) -> Change {
    Change::new(collection, document(), kind)
}

fn set(collection: CollectionId, kind: ChangeKind, fields: &[(u16, i64)]) -> Change {
    let registers = fields
        .iter()
        .map(|(field, n)| (*field, Value::Integer(*n)))
        .collect();
    let clock = u64::from(collection == WHOLE);
    Change {
        registers,
        clock,
        ..change(collection, kind)
    }
}

/// An op that had seen everything up to `base`, written at second `n`.
fn op(n: u8, base: Version, changes: Vec<Change>) -> Op {
    let written = Reading {
        wall: i64::from(n) * 1_000,
        ..Reading::default()
    };
    Op {
        id: id(n),
        written,
        body: OpBody {
            base,
            schema: 1,
            changes,
            ..OpBody::default()
        },
    }
}

fn insert(n: u8, collection: CollectionId) -> Op {
    op(
        n,
        0,
        vec![set(collection, ChangeKind::Insert, &[(1, n.into())])],
    )
}

fn aimed(generation: u8, change: Change) -> Change {
    Change {
        generation: Some(id(generation)),
        ..change
    }
}

fn retry(of: &Op, n: u8, base: Version) -> Op {
    let mut again = op(n, base, of.body.changes.clone());
    again.body.retry_of = Some(of.id);
    again
}
