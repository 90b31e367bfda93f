//! The server of a small world: a log, documents by version, chain cursors and verdicts, in memory.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use driftline_core::id::{CollectionId, DocumentId, OpId, Version};
use driftline_core::merge::{
    Decision, DocumentState, History, Linked, Record, Touched, Verdict, Workspace, decide,
};
use driftline_core::op::{FieldMap, Op, Refusal, Update, refusal};
use driftline_core::protocol::Cursor;
use driftline_core::schema::Schema;
use driftline_core::text::Mark;
use driftline_core::time::{Contact, Reading, Stamp};

use super::typing::{self, Texts};
use super::{Key, Rules, TEXT};

/// Documents by place.
pub(crate) type Documents = BTreeMap<Key, DocumentState>;

/// One version of the log.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) names: Vec<OpId>,
    pub(crate) parts: Vec<Part>,
    /// The opener each document of the op was in afterwards.
    pub(crate) landed: Vec<(Key, OpId)>,
}

/// What a version did to a document.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) key: Key,
    pub(crate) whole: bool,
    pub(crate) state: DocumentState,
    pub(crate) texts: FieldMap<Update>,
}

/// The state of the server.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) log: Vec<Arc<Entry>>,
    pub(crate) documents: Vec<Arc<Documents>>,
    pub(crate) texts: Vec<Arc<Texts>>,
    pub(crate) cursors: Vec<Cursor>,
    pub(crate) records: BTreeMap<OpId, Arc<Record>>,
}

/// One entry of a request.
#[derive(Clone, Debug)]
pub(crate) enum Sent {
    Full(Op),
    Named(OpId),
}

/// What a device sends.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) cursor: Cursor,
    pub(crate) now: Reading,
    pub(crate) ops: Vec<Sent>,
}

/// What the server says about one entry.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    Decided(Verdict),
    RetryLater,
    Rebase,
    Unknown,
}

/// A decision, with everything the watcher of the world wants to know about it.
pub(crate) struct Decided {
    pub(crate) op: Op,
    pub(crate) before: Arc<Documents>,
    pub(crate) decision: Decision,
}

/// The server lost the history that the cursor belongs to.
pub(crate) struct HistoryChanged;

const ACCOUNT: &str = "one";

struct View<'a> {
    documents: &'a Documents,
    records: &'a BTreeMap<OpId, Arc<Record>>,
}

impl History for View<'_> {
    type Error = Infallible;
    fn linked(
        &mut self,
        op: OpId,
        collection: CollectionId,
        document: &DocumentId,
    ) -> Result<Option<Linked>, Infallible> {
        Ok(self
            .records
            .get(&op)
            .map(|record| record.linked(op, collection, document)))
    }
}

impl Workspace for View<'_> {
    fn document(
        &mut self,
        collection: CollectionId,
        document: &DocumentId,
    ) -> Result<Option<DocumentState>, Infallible> {
        Ok(self.documents.get(&(collection, document.clone())).cloned())
    }

    fn record(&mut self, op: OpId) -> Result<Option<Record>, Infallible> {
        Ok(self.records.get(&op).map(|record| (**record).clone()))
    }

    fn writer(&mut self, _: u64) -> Result<Option<String>, Infallible> {
        // All files of these worlds are of one account.
        Ok(Some(ACCOUNT.to_owned()))
    }
}

impl Server {
    pub(crate) fn new() -> Server {
        Server {
            log: Vec::new(),
            documents: vec![Arc::default()],
            texts: vec![Arc::default()],
            cursors: vec![Cursor::seed(&[7; 16])],
            records: BTreeMap::new(),
        }
    }

    pub(crate) fn head(&self) -> Version {
        self.log.len() as Version
    }

    pub(crate) fn cursor(&self) -> Cursor {
        self.cursors[self.log.len()]
    }

    pub(crate) fn now(&self) -> &Arc<Documents> {
        &self.documents[self.log.len()]
    }

    pub(crate) fn texts_now(&self) -> &Arc<Texts> {
        &self.texts[self.log.len()]
    }

    /// Whether the cursor is a place in this history.
    pub(crate) fn knows(&self, cursor: &Cursor) -> bool {
        self.cursors.get(cursor.version as usize) == Some(cursor)
    }

    /// Answers a request's ops, one after the other.
    ///
    /// An op that follows one without a verdict in the same request waits for it (K18).
    pub(crate) fn handle(
        &mut self,
        rules: &Rules,
        schema: &Schema,
        request: &Request,
        time: i64,
        refuse: &dyn Fn(OpId) -> bool,
        watch: &mut dyn FnMut(Decided),
    ) -> Result<Vec<(OpId, Outcome)>, HistoryChanged> {
        if !self.knows(&request.cursor) {
            return Err(HistoryChanged);
        }
        let contact = Contact {
            device: request.now,
            server: time,
        };
        let mut undecided: Vec<OpId> = Vec::new();
        let mut outcomes = Vec::new();
        for sent in &request.ops {
            let (id, outcome) = match sent {
                Sent::Named(id) => {
                    let known = self
                        .records
                        .get(id)
                        .map(|r| Outcome::Decided(r.verdict.clone()));
                    (*id, known.unwrap_or(Outcome::Unknown))
                }
                Sent::Full(op) => {
                    let waits = op.body.changes.iter().any(|c| {
                        c.prev
                            .into_iter()
                            .chain(c.generation)
                            .any(|id| undecided.contains(&id))
                    });
                    if waits && rules.hold {
                        (op.id, Outcome::RetryLater)
                    } else {
                        let stamp = driftline_core::protocol::When::of(op.written, request.now)
                            .place(&contact);
                        let decided = self.decide(rules, schema, op.clone(), stamp, refuse(op.id));
                        let verdict = decided.decision.verdict.clone();
                        watch(decided);
                        let outcome = verdict.map_or(Outcome::Rebase, Outcome::Decided);
                        (op.id, outcome)
                    }
                }
            };
            if !matches!(outcome, Outcome::Decided(_)) {
                undecided.push(id);
            }
            outcomes.push((id, outcome));
        }
        Ok(outcomes)
    }

    /// Decides one op and stores what follows.
    pub(crate) fn decide(
        &mut self,
        rules: &Rules,
        schema: &Schema,
        mut op: Op,
        stamp: Stamp,
        refuse: bool,
    ) -> Decided {
        let before = Arc::clone(self.now());
        let version = self.head() + 1;
        let refused = refuse.then(|| Refusal::new(refusal::QUOTA, "the world says no"));
        if !rules.once {
            self.records.remove(&op.id);
        }
        if !rules.seen {
            op.body.base = 0;
            op.body
                .changes
                .iter_mut()
                .for_each(|change| change.prev = None);
        }
        if !rules.after {
            for change in &mut op.body.changes {
                let there = before.get(&(change.collection, change.document.clone()));
                let text = there.and_then(|state| state.texts.get(TEXT));
                for (_, edit) in change.texts.iter_mut() {
                    let mark = text.and_then(|text| Mark::of(&text.marks, edit.writer));
                    edit.after = mark.map(|mark| mark.last);
                }
            }
        }
        let mut view = View {
            documents: &before,
            records: &self.records,
        };
        let Ok(decision) = decide(schema, &mut view, ACCOUNT, &mut op, stamp, version, refused);
        for (at, (id, record)) in decision.records.iter().enumerate() {
            if at == 0 || rules.covered {
                self.records.insert(*id, Arc::new(record.clone()));
            }
        }
        if let Some(accepted) = &decision.accepted {
            self.append(rules, &op, accepted.names.clone(), &accepted.documents);
        }
        Decided {
            op,
            before,
            decision,
        }
    }

    fn append(&mut self, rules: &Rules, op: &Op, mut names: Vec<OpId>, touched: &[Touched]) {
        if !rules.names {
            names.truncate(1);
        }
        let mut documents = Documents::clone(self.now());
        let mut texts = Texts::clone(self.texts_now());
        let mut parts = Vec::new();
        for touched in touched {
            let key = (touched.collection, touched.document.clone());
            let part = Part {
                key: key.clone(),
                whole: touched.whole,
                state: touched.part(),
                texts: touched.texts.clone(),
            };
            typing::take(&mut texts, &part);
            documents.insert(key, touched.after.clone());
            parts.push(part);
        }
        let record = &self.records[&op.id];
        let landed = op.body.changes.iter().filter_map(|change| {
            let linked = record.linked(op.id, change.collection, &change.document);
            Some(((change.collection, change.document.clone()), linked.landed?))
        });
        let entry = Entry {
            names,
            landed: landed.collect(),
            parts,
        };
        let mut bytes = Vec::new();
        entry
            .names
            .iter()
            .for_each(|name| bytes.extend_from_slice(&name.0));
        for part in &entry.parts {
            bytes.extend(minicbor::to_vec((&part.state, &part.texts)).unwrap());
        }
        let cursor = if rules.chain {
            self.cursor().next(&bytes)
        } else {
            self.cursor().next(&[])
        };
        self.cursors.push(cursor);
        self.documents.push(Arc::new(documents));
        self.texts.push(Arc::new(texts));
        self.log.push(Arc::new(entry));
    }

    /// Whether an id has been named, and where each of its documents landed.
    pub(crate) fn named(&self, id: OpId) -> Option<(Version, &Entry)> {
        let at = self
            .log
            .iter()
            .position(|entry| entry.names.contains(&id))?;
        Some((at as Version + 1, &self.log[at]))
    }
}
