//! What becomes of the ops of one request, in their order, within a transaction.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use driftline_core::id::{CollectionId, DocumentId, OpId, Version};
use driftline_core::merge::{
    self, Accepted, Decision, DocumentState, History, Link, Linked, Record, Verdict,
};
use driftline_core::op::{Change, Op, OpBody, Refusal, refusal};
use driftline_core::protocol::{
    Cursor, DocumentResult, Encoded, OpResult, Outcome, SentOp, VersionEntry, When,
};
use driftline_core::schema::{DeletePolicy, Schema};
use driftline_core::time::{Contact, Reading, Stamp};

use super::losses::Losses;
use super::page::{self, Echoes};
use super::{Answer, Asked, Common, materialise};
use crate::auth::Role;
use crate::problem::Problem;
use crate::store::{
    Author, AuthorNumbers, Head, NewDocument, NewVersion, Snapshot, StoreError, Touch, Transaction,
};

/// The merge's decision about one op.
pub(super) type Decide = fn(
    &Schema,
    &mut Rows<'_>,
    &str,
    &mut Op,
    Stamp,
    Version,
    Option<Refusal>,
) -> Result<Decision, StoreError>;

/// The decision as [`driftline_core::merge::decide`] makes it.
pub(super) fn by_core(
    schema: &Schema,
    rows: &mut Rows<'_>,
    account: &str,
    op: &mut Op,
    stamp: Stamp,
    version: Version,
    refused: Option<Refusal>,
) -> Result<Decision, StoreError> {
    merge::decide(schema, rows, account, op, stamp, version, refused)
}

/// The stored rows as a decision reads them.
pub(super) struct Rows<'a>(pub(super) &'a mut (dyn Snapshot + 'a));

impl History for Rows<'_> {
    type Error = StoreError;

    fn linked(
        &mut self,
        op: OpId,
        collection: CollectionId,
        document: &DocumentId,
    ) -> Result<Option<Linked>, StoreError> {
        Ok(self
            .0
            .record(op)?
            .map(|record| record.linked(op, collection, document)))
    }
}

impl merge::Workspace for Rows<'_> {
    fn document(
        &mut self,
        collection: CollectionId,
        document: &DocumentId,
    ) -> Result<Option<DocumentState>, StoreError> {
        self.0.document(collection, document)
    }

    fn record(&mut self, op: OpId) -> Result<Option<Record>, StoreError> {
        self.0.record(op)
    }
}

/// What was decided about ops that are only named.
pub(super) fn fates(
    snapshot: &mut dyn Snapshot,
    asked: &Asked,
) -> Result<Vec<OpResult>, StoreError> {
    asked
        .request
        .ops
        .iter()
        .map(|op| fate(snapshot, &asked.account, op.id()))
        .collect()
}

fn fate(snapshot: &mut dyn Snapshot, account: &str, id: OpId) -> Result<OpResult, StoreError> {
    let outcome = match snapshot.record(id)? {
        None => Outcome::Unknown,
        Some(record) if record.account == account => said(record.verdict),
        Some(_) => said(Verdict::Rejected(Refusal::new(
            refusal::ID_TAKEN,
            "this op id belongs to another account",
        ))),
    };
    Ok(OpResult { id, outcome })
}

fn said(verdict: Verdict) -> Outcome {
    match verdict {
        Verdict::Accepted(version) => Outcome::Accepted { version },
        Verdict::Rejected(refusal) => Outcome::Rejected { refusal },
    }
}

/// One request's part of a transaction.
pub(super) struct Batch<'t> {
    tx: &'t mut (dyn Transaction + 't),
    common: &'t Common,
    asked: &'t Asked,
    decide: Decide,
    now: i64,
    head: Head,
    author: AuthorNumbers,
    echoes: Echoes,
    versions: Vec<Encoded>,
    held: Held,
    losses: Losses,
}

/// What a batch leaves behind: the answer, and its versions for those who listen.
pub(super) struct Done {
    pub(super) answer: Answer,
    pub(super) versions: Vec<Encoded>,
    pub(super) head: Cursor,
}

impl<'t> Batch<'t> {
    /// Begins; nothing is decided for a device whose cursor belongs to another history.
    pub(super) fn begin(
        tx: &'t mut (dyn Transaction + 't),
        common: &'t Common,
        asked: &'t Asked,
        decide: Decide,
        now: i64,
    ) -> Result<Batch<'t>, Problem> {
        page::check_cursor(tx, asked.request.cursor)?;
        let device = &asked.request.device;
        let author = tx.author(&Author {
            account: &asked.account,
            device: &device.id,
            label: &device.label,
            writer: device.writer,
        })?;
        tx.see(&asked.sighting(now))?;
        let head = tx.head()?;
        let losses = Losses::new(author.device, now);
        Ok(Batch {
            tx,
            common,
            asked,
            decide,
            now,
            head,
            author,
            echoes: Echoes::default(),
            versions: Vec::new(),
            held: Held::default(),
            losses,
        })
    }

    /// Decides `ops` in their order and reads the page behind the request's cursor.
    pub(super) fn run(mut self, ops: Vec<SentOp>) -> Result<Done, Problem> {
        let mut results = Vec::with_capacity(ops.len());
        for op in ops {
            results.push(match op {
                SentOp::Full { id, when, body } => self.full(id, when, body)?,
                SentOp::Named(id) => self.named(id)?,
            });
        }
        if !self.versions.is_empty() {
            self.tx.set_size(self.head.documents, self.head.bytes)?;
        }
        let answer = page::answer(
            self.tx,
            self.common,
            self.asked,
            self.head,
            results,
            &self.echoes,
            self.now,
        )?;
        Ok(Done {
            answer,
            versions: self.versions,
            head: self.head.cursor,
        })
    }

    fn named(&mut self, id: OpId) -> Result<OpResult, Problem> {
        let result = fate(self.tx, &self.asked.account, id)?;
        if result.outcome == Outcome::Unknown {
            self.held.hold(id, &[]);
        }
        Ok(result)
    }

    fn full(&mut self, id: OpId, when: When, body: OpBody) -> Result<OpResult, Problem> {
        if let Some(after) = self.held.waits_for(&body)
            && self.tx.record(id)?.is_none()
        {
            self.held.hold(id, &body.changes);
            return Ok(OpResult {
                id,
                outcome: Outcome::RetryLater { after: Some(after) },
            });
        }
        let contact = Contact {
            device: self.asked.request.now,
            server: self.now,
        };
        let stamp = when.place(&contact);
        let mut op = Op {
            id,
            written: Reading {
                wall: stamp.millis(),
                ..contact.device
            },
            body,
        };
        let refused = (self.asked.role == Role::Reader)
            .then(|| Refusal::new(refusal::READ_ONLY, "the token's role is reader"));
        let mut decision = self.decision(&mut op, stamp, refused)?;
        if decision
            .accepted
            .as_ref()
            .is_some_and(|accepted| self.exceeds_quota(accepted))
        {
            let refused = Refusal::new(refusal::QUOTA, "the workspace is full");
            decision = self.decision(&mut op, stamp, Some(refused))?;
        }
        for (id, record) in &decision.records {
            self.tx.put_record(*id, self.author.account, record)?;
        }
        if let Some(accepted) = decision.accepted {
            let links = decision
                .records
                .first()
                .map(|(_, record)| record.links.as_slice())
                .unwrap_or_default();
            self.accept(&op, stamp, accepted, links)?;
        }
        Ok(OpResult {
            id,
            outcome: said(decision.verdict),
        })
    }

    fn decision(
        &mut self,
        op: &mut Op,
        stamp: Stamp,
        refused: Option<Refusal>,
    ) -> Result<Decision, Problem> {
        let version = self.head.cursor.version + 1;
        let mut rows = Rows(self.tx);
        let decide = || {
            (self.decide)(
                &self.common.schema,
                &mut rows,
                &self.asked.account,
                op,
                stamp,
                version,
                refused,
            )
        };
        match catch_unwind(AssertUnwindSafe(decide)) {
            Ok(decision) => Ok(decision?),
            // The device finds the op that does this by halving its requests.
            Err(_) => {
                tracing::error!("an op made the merge panic; its request is undone");
                Err(Problem::Internal)
            }
        }
    }

    fn exceeds_quota(&self, accepted: &Accepted) -> bool {
        let Some(quota) = self.common.schema.limits.quota else {
            return false;
        };
        let (before, after) = sizes(accepted);
        after > before && self.head.bytes.saturating_sub(before).saturating_add(after) > quota
    }

    fn accept(
        &mut self,
        op: &Op,
        stamp: Stamp,
        accepted: Accepted,
        links: &[Link],
    ) -> Result<(), Problem> {
        let version = self.head.cursor.version + 1;
        self.losses.find(
            self.tx,
            &accepted,
            op,
            version,
            &self.asked.request.device.label,
        )?;
        let (before, after) = sizes(&accepted);
        self.head.bytes = self.head.bytes.saturating_sub(before).saturating_add(after);
        self.head.documents += accepted
            .documents
            .iter()
            .filter(|touched| touched.before.is_none())
            .count() as u64;
        for touched in &accepted.documents {
            let collection = self.common.schema.collection_by_id(touched.collection);
            let body =
                collection.and_then(|collection| materialise::body(collection, &touched.after));
            let state = encoded(&touched.after)?;
            self.tx.put_document(&NewDocument {
                collection: touched.collection,
                document: &touched.document,
                state: &state,
                body: body.as_deref(),
                version,
            })?;
        }
        let touched = touches(&op.body.changes, &accepted);
        let landed = landed(&self.common.schema, &op.body.changes, links);
        let echo = accepted.echo.map(|echo| VersionEntry {
            version,
            ids: accepted.names.clone(),
            documents: Vec::new(),
            echo: Some(echo),
            landed: landed.clone(),
        });
        let documents = accepted.documents.iter().map(|touched| DocumentResult {
            collection: touched.collection,
            document: touched.document.clone(),
            whole: touched.whole || touched.before.is_none(),
            state: touched.part(),
        });
        let entry = VersionEntry {
            version,
            ids: accepted.names.clone(),
            documents: documents.collect(),
            echo: None,
            landed,
        };
        let entry = encoded(&entry)?;
        self.head.cursor = self.head.cursor.next(&entry);
        self.tx.append(&NewVersion {
            cursor: self.head.cursor,
            op: op.id,
            author: self.author,
            base: op.body.base,
            schema: op.body.schema,
            written: stamp.millis(),
            at: self.now,
            touched: &touched,
            entry: &entry,
        })?;
        if let Some(echo) = echo {
            self.echoes.insert(version, encoded(&echo)?);
        }
        self.versions.push(Encoded(entry));
        Ok(())
    }
}

fn encoded<T: minicbor::Encode<()>>(value: &T) -> Result<Vec<u8>, Problem> {
    // Writing to memory cannot fail; were it to, nothing may be stored.
    minicbor::to_vec(value).map_err(|_| Problem::Internal)
}

/// Bytes of the touched documents before and after, live ones only.
fn sizes(accepted: &Accepted) -> (u64, u64) {
    let size = |state: &DocumentState| {
        if state.is_alive() {
            state.size() as u64
        } else {
            0
        }
    };
    let before = accepted
        .documents
        .iter()
        .filter_map(|touched| touched.before.as_ref())
        .map(size)
        .sum();
    let after = accepted
        .documents
        .iter()
        .map(|touched| size(&touched.after))
        .sum();
    (before, after)
}

fn touches<'c>(changes: &'c [Change], accepted: &Accepted) -> Vec<Touch<'c>> {
    let previous = |change: &Change| {
        let touched = accepted
            .documents
            .iter()
            .find(|t| change.is_on(t.collection, &t.document))?;
        touched.before.as_ref().map(|before| before.version)
    };
    let touch = |change: &'c Change| Touch {
        collection: change.collection,
        document: &change.document,
        kind: change.kind,
        previous: previous(change),
    };
    changes.iter().map(touch).collect()
}

/// Where the op's followers find the generation they name by it: said where it is not their guess.
///
/// Followers name inserts and restores, and updates that their device expected to bring a document
/// back (`update_wins`); an update that landed where it was aimed needs no word.
fn landed(schema: &Schema, changes: &[Change], links: &[Link]) -> Vec<Link> {
    let may_be_named = |link: &Link| {
        let update_wins = schema
            .collection_by_id(link.collection)
            .is_some_and(|c| c.on_conflict_delete == DeletePolicy::UpdateWins);
        changes
            .iter()
            .filter(|change| change.is_on(link.collection, &link.document))
            .any(|change| {
                change.kind.is_opener() || (update_wins && link.landed != change.generation)
            })
    };
    let landed = links
        .iter()
        .filter(|link| link.landed.is_some() && may_be_named(link));
    landed
        .map(|link| Link {
            prev: None,
            ..link.clone()
        })
        .collect()
}

/// Ops of the request that are not decided, and what waits for them.
#[derive(Default)]
struct Held {
    ops: HashSet<OpId>,
    documents: Vec<(CollectionId, DocumentId, OpId)>,
}

impl Held {
    fn hold(&mut self, op: OpId, changes: &[Change]) {
        self.ops.insert(op);
        self.documents.extend(
            changes
                .iter()
                .map(|c| (c.collection, c.document.clone(), op)),
        );
    }

    /// The undecided op that this one follows on one of its documents.
    fn waits_for(&self, body: &OpBody) -> Option<OpId> {
        if self.ops.is_empty() {
            return None;
        }
        body.changes.iter().find_map(|change| {
            let named = [change.prev, change.generation]
                .into_iter()
                .flatten()
                .find(|id| self.ops.contains(id));
            let shared = || {
                self.documents
                    .iter()
                    .find(|(c, d, _)| change.is_on(*c, d))
                    .map(|(.., op)| *op)
            };
            named.or_else(shared)
        })
    }
}
