//! Answers of the server: verdicts on own ops, and versions that move base.
//!
//! One answer is one transaction: results and page come from one snapshot of the server, and cursor,
//! contact, losses and data move together or not at all. Results go first: the ledger rows of a
//! rejected op then hold what its author had before it, not what the page brings.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use driftline_core::id::{CollectionId, DocumentId, OpId};
use driftline_core::ledger::Loss;
use driftline_core::op::{Refusal, refusal};
use driftline_core::protocol::{Cursor, Outcome, VersionEntry};
use driftline_core::time::{Contact, Stamp};
use rusqlite::Connection;

pub(super) use super::answer::check_span;
pub(crate) use super::answer::{Applied, Page, PageError, Verdicts};
use super::error::Result;
use super::history::Leaving;
use super::queued::{OpState, QueuedOp};
use super::rebase::Rebase;
use super::write::WriteTx;
use super::{attach, ledger, plain, repeal, stage};
use driftline_core::mutant::{Mutant, planted};

/// Applies a whole answer. `contact` is the request's readings and the server's time in the answer.
/// If this fails the transaction must not be committed.
pub(crate) fn apply_answer(
    tx: &WriteTx<'_>,
    verdicts: Verdicts<'_>,
    page: Option<Page<'_>>,
    losses: &[Loss],
    contact: Option<&Contact>,
) -> std::result::Result<Applied, PageError> {
    let standing = tx.cursor()?;
    if let Some(page) = &page {
        check(tx, page, standing)?;
    }
    if let Some(contact) = contact {
        note_contact(tx, contact)?;
    }
    if let Some(page) = page.as_ref().filter(|_| tx.storage().is_attaching()) {
        // What is still the guest's would be taken for base.
        let documents = page.versions.iter().flat_map(|entry| &entry.documents);
        for result in documents {
            attach::turn_at(tx, result.collection, &result.document)?;
        }
    }
    if let Some(page) = page.as_ref().filter(|_| planted(Mutant::CursorApart)) {
        tx.set_cursor(page.to)?;
        tx.conn().execute_batch("COMMIT; BEGIN IMMEDIATE")?;
    }
    let mut applying = Applying::new(tx)?;
    let versions = page.as_ref().map_or(&[][..], |page| page.versions);
    let settled = applying.settle_inserts(verdicts, versions)?;
    applying.verdicts(verdicts.behind(settled), standing)?;
    applying.versions(versions.get(settled..).unwrap_or_default())?;
    let mut applied = applying.finish()?;
    applied.versions = versions.len();
    if let Some(page) = page.filter(|page| page.to != standing) {
        tx.set_cursor(page.to)?;
    }
    applied.losses = ledger::keep(tx, losses)?;
    Ok(applied)
}

/// Remembers a contact, unless a later one is known: answers may come out of order.
pub(super) fn note_contact(tx: &WriteTx<'_>, contact: &Contact) -> Result<()> {
    let later = |known: &Contact| {
        known.device.boot == contact.device.boot && known.device.mono > contact.device.mono
    };
    match tx.contact()? {
        Some(known) if later(&known) => Ok(()),
        _ => tx.set_contact(contact),
    }
}

/// Applies versions alone: a frame of the live socket.
pub(crate) fn apply_page(
    tx: &WriteTx<'_>,
    page: Page<'_>,
) -> std::result::Result<Applied, PageError> {
    // Most frames name none of the ops that wait, which then need not be counted again.
    tx.notes_queue();
    apply_answer(
        tx,
        Verdicts {
            asked_at: page.from,
            results: &[],
        },
        Some(page),
        &[],
        None,
    )
}

/// Applies verdicts alone: the page with them does not follow the cursor any more, or a bootstrap is
/// under way.
pub(crate) fn apply_results(
    tx: &WriteTx<'_>,
    verdicts: Verdicts<'_>,
    losses: &[Loss],
    contact: Option<&Contact>,
) -> std::result::Result<Applied, PageError> {
    apply_answer(tx, verdicts, None, losses, contact)
}

fn check(
    tx: &WriteTx<'_>,
    page: &Page<'_>,
    standing: Cursor,
) -> std::result::Result<(), PageError> {
    if stage::is_under_way(tx.conn())? {
        return Err(PageError::Bootstrapping);
    }
    if page.from != standing && !planted(Mutant::StaleFrameApplied) {
        return Err(PageError::NotAtCursor);
    }
    check_span(page.from, page.to, page.versions)
}

/// One answer being applied.
struct Applying<'t, 'c> {
    tx: &'t WriteTx<'c>,
    rebase: Rebase<'t, 'c>,
    names: Names,
    staging: bool,
    applied: Applied,
}

impl<'t, 'c> Applying<'t, 'c> {
    fn new(tx: &'t WriteTx<'c>) -> Result<Applying<'t, 'c>> {
        Ok(Applying {
            tx,
            rebase: Rebase::new(tx)?,
            names: Names::of(tx.conn())?,
            staging: stage::is_under_way(tx.conn())?,
            applied: Applied::default(),
        })
    }

    /// Settles the usual inserts that an answer begins with. Returns how many.
    fn settle_inserts(&mut self, verdicts: Verdicts<'_>, page: &[VersionEntry]) -> Result<usize> {
        // A retry is named by its first id as well, and there is no page while a bootstrap is under way.
        if !self.names.retries.is_empty() || self.staging {
            return Ok(0);
        }
        plain::settle_inserts(&mut self.rebase, verdicts.results, page)
    }

    fn verdicts(&mut self, verdicts: Verdicts<'_>, standing: Cursor) -> Result<()> {
        // A verdict about versions says something about base only if both speak of one cursor.
        let in_base = match self.staging || verdicts.asked_at != standing {
            true => 0,
            false => standing.version,
        };
        let ids = verdicts.results.iter().map(|result| result.id);
        self.rebase.ops.read_ahead(ids)?;
        for result in verdicts.results {
            if self.staging {
                let version = match result.outcome {
                    Outcome::Accepted { version } => Some(version),
                    _ => None,
                };
                stage::note_fate(self.tx.conn(), result.id, version, &[])?;
            }
            let Some(op) = self.rebase.ops.get(result.id)? else {
                continue;
            };
            match &result.outcome {
                Outcome::Accepted { version }
                    if *version <= in_base || planted(Mutant::VerdictEarly) =>
                {
                    let landed = Leaving::landings(&op, *version, |c, d| self.rebase.base(c, d))?;
                    if op.authored_again {
                        self.rebase.leave_older(&op);
                    }
                    let accepted = Some(*version);
                    let leaving = Leaving {
                        op,
                        accepted,
                        names: Vec::new(),
                        landed,
                    };
                    self.leave(leaving, false)?;
                }
                Outcome::Accepted { version } => self.applied.accepted.push((result.id, *version)),
                Outcome::Rejected { .. }
                    if op.body.withdraw || planted(Mutant::RejectedForgotten) =>
                {
                    self.leave(Leaving::unnamed(op), false)?;
                }
                Outcome::Rejected { refusal } => self.quarantine(&op, refusal)?,
                Outcome::RetryLater { after } => self.applied.retry_later.push((result.id, *after)),
                Outcome::Rebase => {
                    self.rebase.author_anew(&op)?;
                    self.applied.rebase.push(result.id);
                }
                Outcome::Unknown => self.applied.unknown.push(result.id),
            }
        }
        Ok(())
    }

    fn quarantine(&mut self, op: &Rc<QueuedOp>, refused: &Refusal) -> Result<()> {
        if op.state == OpState::Quarantined {
            return Ok(());
        }
        let refused = match op.state {
            OpState::Withdrawing if refused.code == refusal::WITHDRAWN => repeal::undeliverable(),
            _ => refused.clone(),
        };
        for (collection, document) in op.documents() {
            let base = self.rebase.base(collection, document)?;
            ledger::keep_rejected(self.tx, op, (collection, document), base.as_ref())?;
        }
        repeal::set_quarantined(self.tx, op.id, &refused)?;
        if !planted(Mutant::RejectedShown) {
            self.rebase.leave_out(op);
            self.rebase.refold(op.id)?;
        }
        self.applied.quarantined.push((op.id, refused));
        Ok(())
    }

    fn versions(&mut self, versions: &[VersionEntry]) -> std::result::Result<(), PageError> {
        let named = versions.iter().flat_map(|entry| self.names.among(entry));
        self.rebase.ops.read_ahead(named)?;
        for entry in versions {
            self.version(entry)?;
        }
        Ok(())
    }

    fn version(&mut self, entry: &VersionEntry) -> std::result::Result<(), PageError> {
        let mut named = Vec::new();
        for id in self.names.among(entry) {
            named.extend(self.rebase.ops.get(id)?);
        }
        let in_order = match entry.echo {
            Some(stamp) => self.echoed(entry, stamp)?,
            None => {
                for result in &entry.documents {
                    self.rebase.take(result, entry.version, !named.is_empty())?;
                }
                None
            }
        };
        for op in named {
            if planted(Mutant::NamedStays) && entry.echo.is_none() {
                continue;
            }
            let in_order = in_order == Some(op.id);
            if entry.echo.is_none() && !brings_as_here(entry, &op) {
                self.rebase.leave_older(&op);
            }
            let leaving = Leaving {
                op,
                accepted: Some(entry.version),
                names: entry.ids.clone(),
                landed: landings(entry),
            };
            self.leave(leaving, in_order)?;
        }
        Ok(())
    }

    /// Works out what an own op did that did exactly what it says. Returns its id if its documents
    /// need no folding any more.
    fn echoed(
        &mut self,
        entry: &VersionEntry,
        stamp: Stamp,
    ) -> std::result::Result<Option<OpId>, PageError> {
        let id = entry.ids.first().copied().unwrap_or(OpId::ZERO);
        let gone = PageError::EchoWithoutOp(id);
        // Of text authored again the server may have decided about other bytes.
        let same = |op: &QueuedOp| !op.body.withdraw && !op.authored_again;
        let Some(op) = self.rebase.ops.get(id)?.filter(|op| same(op)) else {
            return Err(gone);
        };
        let left = self.rebase.echo_inserts(&op, stamp, entry.version)?;
        if left.is_empty() {
            return Ok(Some(id));
        }
        match self.rebase.echo(&op, &left, stamp, entry.version)? {
            true => Ok(None),
            false => Err(gone),
        }
    }

    /// `in_order` says that its documents need no folding.
    fn leave(&mut self, leaving: Leaving, in_order: bool) -> Result<()> {
        let op = &leaving.op;
        if op.state == OpState::Quarantined {
            ledger::drop_rejected(self.tx.conn(), op.id)?;
        }
        if op.body.withdraw && leaving.accepted.is_some() {
            self.applied.discarded_too_late.push(op.id);
        }
        if in_order {
            self.rebase.leave_in_order(leaving);
            return Ok(());
        }
        self.rebase.leave(leaving)
    }

    fn finish(self) -> Result<Applied> {
        let mut applied = self.applied;
        applied.moved = self.rebase.finish()?;
        // What a page named in the same answer waits for nothing.
        if !applied.accepted.is_empty() {
            let left: HashSet<OpId> = applied.moved.left.iter().copied().collect();
            applied.accepted.retain(|(id, _)| !left.contains(id));
        }
        Ok(applied)
    }
}

/// Whether a version brings the text of `op`, which it names, as it is here. A copy of the file may have
/// had it written again.
fn brings_as_here(entry: &VersionEntry, op: &QueuedOp) -> bool {
    let mut changes = op.body.changes.iter();
    changes.all(|change| {
        let mut results = entry.documents.iter();
        let result = results.find(|result| {
            result.collection == change.collection && result.document == change.document
        });
        change.texts.iter().all(|(field, edit)| {
            result.is_some_and(|result| {
                let update = result.texts.get(field);
                let text = result.state.texts.get(field);
                let mut marks = text.iter().flat_map(|text| &text.marks);
                update == Some(&edit.update)
                    && marks.any(|mark| mark.writer == edit.writer && mark.version == entry.version)
            })
        })
    })
}

/// Where the openers of a version landed.
pub(super) fn landings(entry: &VersionEntry) -> Vec<(CollectionId, DocumentId, OpId)> {
    let landed = entry.landed.iter();
    landed
        .filter_map(|link| Some((link.collection, link.document.clone(), link.landed?)))
        .collect()
}

/// Which queued ops a version answers to, without asking the file for every id of every page.
pub(super) struct Names {
    span: Option<(OpId, OpId)>,
    retries: HashMap<OpId, Vec<OpId>>,
}

impl Names {
    pub(super) fn of(conn: &Connection) -> Result<Names> {
        let (least, greatest): (Option<[u8; 16]>, Option<[u8; 16]>) = conn
            .prepare_cached(
                "SELECT (SELECT op_id FROM _dl_outbox ORDER BY seq LIMIT 1), \
                 (SELECT op_id FROM _dl_outbox ORDER BY seq DESC LIMIT 1)",
            )?
            .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let span = least
            .zip(greatest)
            .map(|(least, greatest)| (OpId(least), OpId(greatest)));
        let mut retries: HashMap<OpId, Vec<OpId>> = HashMap::new();
        if span.is_some() {
            let mut statement = conn.prepare_cached(
                "SELECT retry_of, op_id FROM _dl_outbox WHERE retry_of IS NOT NULL",
            )?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                retries
                    .entry(OpId(row.get(0)?))
                    .or_default()
                    .push(OpId(row.get(1)?));
            }
        }
        Ok(Names { span, retries })
    }

    /// Whether `entry` may name a queued op.
    pub(super) fn may_answer(&self, entry: &VersionEntry) -> bool {
        let within = |id: &OpId| {
            self.span
                .is_some_and(|(least, greatest)| (least..=greatest).contains(id))
        };
        entry
            .ids
            .iter()
            .any(|id| within(id) || self.retries.contains_key(id))
    }

    /// Ids that may be queued ops named by `entry`: its own, and retries of them.
    pub(super) fn among(&self, entry: &VersionEntry) -> Vec<OpId> {
        let Some((least, greatest)) = self.span else {
            return Vec::new();
        };
        let mut named: Vec<OpId> = entry
            .ids
            .iter()
            .copied()
            .filter(|id| (least..=greatest).contains(id))
            .collect();
        if !self.retries.is_empty() {
            named.extend(
                entry
                    .ids
                    .iter()
                    .filter_map(|id| self.retries.get(id))
                    .flatten(),
            );
        }
        named
    }
}
