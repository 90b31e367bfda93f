//! What becomes of the ops of one request, in their order, within a transaction.

use std::panic::{AssertUnwindSafe, catch_unwind};

use driftline_core::id::{OpId, Version};
use driftline_core::merge::{self, Accepted, Decision, Link, Record};
use driftline_core::op::{Op, OpBody, Refusal, refusal};
use driftline_core::protocol::{Cursor, Encoded, OpResult, Outcome, SentOp, VersionEntry, When};
use driftline_core::schema::Schema;
use driftline_core::time::{Contact, Reading, Stamp};

use super::entry::{encoded, encoded_short, entry_of, landed, sizes, touches};
use super::held::Held;
use super::losses::{Incoming, Losses};
use super::page::{self, Decided, DecidedVersion};
use super::recent::Recent;
use super::rows::{Rows, fate, said};
use super::{Answer, Asked, Common, Ops, materialise};
use crate::auth::Role;
use crate::problem::Problem;
use crate::store::{
    Author, AuthorNumbers, Head, NewDocument, NewEdit, NewVersion, StoreError, TextPlace, Touch,
    Transaction,
};
use driftline_core::mutant::{Mutant, planted};

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

/// One request's part of a transaction.
pub(super) struct Batch<'t> {
    pub(super) tx: &'t mut (dyn Transaction + 't),
    pub(super) common: &'t Common,
    pub(super) asked: &'t Asked,
    decide: Decide,
    pub(super) now: i64,
    pub(super) head: Head,
    pub(super) author: AuthorNumbers,
    decided: Decided,
    pub(super) held: Held,
    losses: Losses,
    pub(super) recent: Recent,
    typed: bool,
}

/// What the log says of an op beside its entry.
pub(super) struct Wrote<'o> {
    pub(super) op: OpId,
    pub(super) base: Version,
    pub(super) schema: u32,
    pub(super) stamp: Stamp,
    pub(super) touched: &'o [Touch<'o>],
}

/// What a batch leaves behind: the answer, and its versions for those who listen.
pub(super) struct Done {
    pub(super) answer: Answer,
    pub(super) versions: Vec<Encoded>,
    pub(super) head: Cursor,
    /// Whether texts were edited.
    pub(super) typed: bool,
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
            decided: Decided::default(),
            held: Held::default(),
            losses,
            recent: Recent::new(),
            typed: false,
        })
    }

    /// Decides `ops` in their order and reads the page behind the request's cursor.
    ///
    /// # Errors
    /// One of them cannot be read, among others: nothing of the request may be kept.
    pub(super) fn run(mut self, ops: Ops) -> Result<Done, Problem> {
        let mut results = Vec::with_capacity(ops.len());
        match ops {
            Ops::Read(ops) => {
                for op in ops {
                    results.push(self.sent(op)?);
                }
            }
            Ops::Unread { request, ops } => {
                for op in ops {
                    results.push(match self.plain(op.bytes(&request))? {
                        Some(result) => result,
                        None => self.sent(op.read(&request)?)?,
                    });
                }
            }
        }
        // First what needs no rows: a store may still be writing those of the last ops.
        let answer = page::answer(
            self.tx,
            self.common,
            self.asked,
            self.head,
            results,
            &self.decided,
            self.now,
        )?;
        if !self.decided.is_empty() {
            self.tx.set_size(self.head.documents, self.head.bytes)?;
        }
        Ok(Done {
            answer,
            versions: self.decided.into_entries(),
            head: self.head.cursor,
            typed: self.typed,
        })
    }

    fn sent(&mut self, op: SentOp) -> Result<OpResult, Problem> {
        match op {
            SentOp::Full { id, when, body } => self.full(id, when, body),
            SentOp::Named(id) => self.named(id),
        }
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
        let contact = self.contact();
        let stamp = when.place(&contact);
        let mut op = Op {
            id,
            written: Reading {
                wall: stamp.millis(),
                ..contact.device
            },
            body,
        };
        let refused = (self.asked.role == Role::Reader && !planted(Mutant::ReaderMayWrite))
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
        let Some(verdict) = decision.verdict else {
            // Later ops on its documents would overtake it.
            self.held.hold(id, &op.body.changes);
            let outcome = match decision.put_off {
                true => Outcome::RetryLater { after: None },
                false => Outcome::Rebase,
            };
            return Ok(OpResult { id, outcome });
        };
        for (id, record) in &decision.records {
            self.record(*id, record)?;
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
            outcome: said(verdict),
        })
    }

    /// The clocks of both sides.
    pub(super) fn contact(&self) -> Contact {
        Contact {
            device: self.asked.request.now,
            server: self.now,
        }
    }

    /// Keeps what was decided about an op.
    pub(super) fn record(&mut self, id: OpId, record: &Record) -> Result<(), Problem> {
        if !planted(Mutant::RecordNotKept) {
            self.tx.put_record(id, self.author.account, record)?;
            self.recent.decided(id);
        }
        Ok(())
    }

    fn decision(
        &mut self,
        op: &mut Op,
        stamp: Stamp,
        refused: Option<Refusal>,
    ) -> Result<Decision, Problem> {
        let version = self.head.cursor.version + 1;
        let mut rows = Rows {
            rows: self.tx,
            recent: &mut self.recent,
        };
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
        self.grows_beyond_quota(sizes(accepted))
    }

    /// Whether documents that grow from so many bytes to so many have no room.
    pub(super) fn grows_beyond_quota(&self, (before, after): (u64, u64)) -> bool {
        let quota = self.common.schema.limits.quota;
        let Some(quota) = quota.filter(|_| !planted(Mutant::QuotaIgnored)) else {
            return false;
        };
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
        if !accepted.lost.is_empty() && !planted(Mutant::LossForgotten) {
            let label = &self.asked.request.device.label;
            let incoming = Incoming::new(op, version, label);
            let schema = &self.common.schema;
            self.losses
                .find(self.tx, &mut self.recent, schema, &accepted, &incoming)?;
        }
        let new = accepted.documents.iter();
        let new = new.filter(|touched| touched.before.is_none()).count() as u64;
        self.grow(sizes(&accepted), new);
        let mut states = Vec::with_capacity(accepted.documents.len());
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
            states.push(Encoded(state));
        }
        self.texts(op, &accepted, version)?;
        let touched = touches(&op.body.changes, &accepted);
        let landed = landed(&self.common.schema, &op.body.changes, links);
        let echo = accepted.echo.map(|echo| VersionEntry {
            version,
            ids: accepted.names.clone(),
            documents: Vec::new(),
            echo: Some(echo),
            landed: landed.clone(),
        });
        let entry = entry_of(version, &accepted, states, &landed)?;
        let wrote = Wrote {
            op: op.id,
            base: op.body.base,
            schema: op.body.schema,
            stamp,
            touched: &touched,
        };
        self.append(&wrote, entry, echo)
    }

    /// Counts documents that were so large and are so large now, and how many of them are new.
    pub(super) fn grow(&mut self, (before, after): (u64, u64), new: u64) {
        self.head.bytes = self.head.bytes.saturating_sub(before).saturating_add(after);
        self.head.documents += new;
    }

    /// Appends the next version to the log, and keeps what is told of it.
    pub(super) fn append(
        &mut self,
        wrote: &Wrote<'_>,
        entry: Vec<u8>,
        echo: Option<VersionEntry>,
    ) -> Result<(), Problem> {
        self.head.cursor = self.head.cursor.next(&entry);
        self.tx.append(&NewVersion {
            cursor: self.head.cursor,
            op: wrote.op,
            author: self.author,
            base: wrote.base,
            schema: wrote.schema,
            written: wrote.stamp.millis(),
            at: self.now,
            touched: wrote.touched,
            entry: &entry,
        })?;
        let echo = echo
            .map(|echo| encoded_short(&echo).map(Encoded))
            .transpose()?;
        self.decided.push(DecidedVersion {
            cursor: self.head.cursor,
            entry: Encoded(entry),
            echo,
        });
        Ok(())
    }

    /// Stores what the op wrote in texts, beside their documents.
    fn texts(&mut self, op: &Op, accepted: &Accepted, version: Version) -> Result<(), Problem> {
        for writer in &accepted.new_writers {
            self.tx.put_writer(*writer, self.author.account)?;
        }
        for touched in &accepted.documents {
            let place = |field| TextPlace {
                collection: touched.collection,
                document: touched.document.clone(),
                field,
            };
            let before = touched.before.iter().flat_map(|before| before.texts.iter());
            for (field, text) in before {
                let now = touched.after.texts.get(field);
                if now.is_none_or(|now| now.root != text.root) {
                    self.tx.drop_text(&place(field))?;
                }
            }
            for (field, update) in touched.texts.iter() {
                let text = touched.after.texts.get(field);
                let mark = text.and_then(|text| text.marks.iter().find(|mark| mark.last == op.id));
                // Whoever brought an update has a mark.
                let writer = mark.ok_or(Problem::Internal)?.writer;
                let edit = NewEdit {
                    version,
                    op: op.id,
                    writer,
                    edit: update.as_ref(),
                };
                self.tx.append_edit(&place(field), &edit)?;
                self.typed = true;
            }
        }
        Ok(())
    }
}
