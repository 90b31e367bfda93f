//! The decision about a whole op: the first answer is the answer.

use std::collections::HashMap;

use super::document::{Effect, Incoming, Merged, Unmerged, merge};
use super::record::{Record, Verdict, answered, records};
use super::{Difference, DocumentState, History, Seen, echo};
use crate::id::{CollectionId, DocumentId, FieldId, OpId, Version};
use crate::ledger::Lost;
use crate::mutant::{Mutant, planted};
use crate::op::{Change, ChangeKind, FieldMap, Op, Refusal, Update, admit, refusal};
use crate::protocol::limits::MAX_VERSION;
use crate::protocol::{DocumentResult, encode_cbor};
use crate::schema::{Collection, FieldKind, Schema};
use crate::time::Stamp;

/// The server's state of one workspace, as far as a decision reads it.
pub trait Workspace: History {
    /// A document, live or deleted.
    ///
    /// # Errors
    /// What the store says.
    fn document(
        &mut self,
        collection: CollectionId,
        document: &DocumentId,
    ) -> Result<Option<DocumentState>, Self::Error>;

    /// What was decided about an op.
    ///
    /// # Errors
    /// What the store says.
    fn record(&mut self, op: OpId) -> Result<Option<Record>, Self::Error>;

    /// The account that first wrote under a writer; `None` if nobody did.
    ///
    /// # Errors
    /// What the store says.
    fn writer(&mut self, writer: u64) -> Result<Option<String>, Self::Error>;

    /// Bytes that [`TextState::bytes`](super::TextState::bytes) counts, as the edit at `version`
    /// left it, and that were found to be deleted again. They are taken off with the next edit.
    ///
    /// # Errors
    /// What the store says.
    fn deleted_bytes(
        &mut self,
        _collection: CollectionId,
        _document: &DocumentId,
        _field: FieldId,
        _version: Version,
    ) -> Result<u64, Self::Error> {
        Ok(0)
    }

    /// Whether no more is going to be found deleted in a text as the edit at `version` left it. Asked
    /// where a text seems to be too large.
    ///
    /// # Errors
    /// What the store says.
    fn is_counted(
        &mut self,
        _collection: CollectionId,
        _document: &DocumentId,
        _field: FieldId,
        _version: Version,
    ) -> Result<bool, Self::Error> {
        Ok(true)
    }
}

/// What to answer, and what to store before answering.
#[derive(Clone, Debug)]
pub struct Decision {
    /// The answer; `None` where nothing is decided. Text of the op does not fit what its field
    /// contains, and its author writes it again; or the op is put off.
    pub verdict: Option<Verdict>,
    /// Whether the op is to be sent again as it is: it may be too large for a text only because what
    /// was deleted from that still counts.
    pub put_off: bool,
    /// Records to write, the op's own first; empty if it had been answered before.
    pub records: Vec<(OpId, Record)>,
    /// The new version, if there is one.
    pub accepted: Option<Accepted>,
}

/// A new version of the workspace.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// Every id the version answers to: the op's, those it covers, and a retry's first id.
    pub names: Vec<OpId>,
    /// The documents it changed.
    pub documents: Vec<Touched>,
    /// What was lost.
    pub lost: Vec<(CollectionId, DocumentId, Lost)>,
    /// Set where the op did exactly what it says: its effective stamp.
    pub echo: Option<Stamp>,
    /// Writers that wrote for the first time, and so belong to the op's account from now on.
    pub new_writers: Vec<u64>,
}

/// One document changed by a version.
#[derive(Clone, Debug)]
pub struct Touched {
    /// The collection.
    pub collection: CollectionId,
    /// The document.
    pub document: DocumentId,
    /// The state before.
    pub before: Option<DocumentState>,
    /// The state after.
    pub after: DocumentState,
    /// Whether results carry all of it.
    pub whole: bool,
    /// The updates that texts and lists in it took.
    pub texts: FieldMap<Update>,
}

impl Touched {
    /// What a version's entry says of it.
    pub fn result(&self) -> DocumentResult {
        DocumentResult {
            collection: self.collection,
            document: self.document.clone(),
            whole: self.is_told_whole(),
            state: self.part(),
            texts: self.texts.clone(),
        }
    }

    /// Whether results carry all of the document.
    pub fn is_told_whole(&self) -> bool {
        self.whole && !planted(Mutant::WholeForgotten) || self.before.is_none()
    }

    /// Forgets edits of a text that the same op then replaced, by deleting and inserting anew.
    fn forget_other_texts(&mut self, op: OpId) {
        let after = &self.after;
        let stands = |field| after.texts.get(field).is_some_and(|text| text.last == op);
        self.texts.retain(|field, _| stands(field));
    }

    /// What a page carries of it.
    pub fn part(&self) -> DocumentState {
        match &self.before {
            Some(before) if !self.whole => Difference::between(before, &self.after).part,
            _ => self.after.clone(),
        }
    }
}

/// Decides `op`, placed at `stamp`, as the workspace's next `version`.
///
/// `refused` lets the caller reject for reasons of its own (role, quota) in the same recorded way.
///
/// # Errors
/// What the store says; an op that can't be taken is a verdict, not an error.
pub fn decide<W: Workspace>(
    schema: &Schema,
    workspace: &mut W,
    account: &str,
    op: &mut Op,
    stamp: Stamp,
    version: Version,
    refused: Option<Refusal>,
) -> Result<Decision, W::Error> {
    let known = workspace.record(op.id)?;
    if let Some(known) = known.filter(|_| !planted(Mutant::DuplicateDecidedAgain)) {
        let verdict = match known.account == account {
            true => known.verdict,
            false => Verdict::Rejected(id_taken()),
        };
        return Ok(Decision::without_record(Some(verdict)));
    }
    if names_of_others(workspace, account, op)? {
        // Nothing is recorded: a version names every id of its op, and the op of somebody else
        // that it named would leave their queue unsent.
        let verdict = Verdict::Rejected(id_taken());
        return Ok(Decision::without_record(Some(verdict)));
    }
    if let Some(first) = op
        .body
        .retry_of
        .filter(|_| !op.body.withdraw && !planted(Mutant::RetryDecidedAgain))
        && let Some(known) = workspace.record(first)?
        && matches!(known.verdict, Verdict::Accepted(_))
    {
        let records = vec![(op.id, answered(op, first, &known))];
        return Ok(Decision {
            verdict: Some(known.verdict),
            put_off: false,
            records,
            accepted: None,
        });
    }
    let outcome = if op.body.withdraw {
        Err(Refusal::new(refusal::WITHDRAWN, "taken back by its author"))
    } else {
        match refused.map_or_else(|| admit(schema, &mut op.body), Err) {
            Ok(()) => match apply_all(schema, workspace, account, op, stamp, version)? {
                Ok(applied) => Ok(applied),
                Err(Undone::Rejected(refusal)) => Err(refusal),
                Err(Undone::Rebase) => return Ok(Decision::without_record(None)),
                Err(Undone::PutOff) => {
                    return Ok(Decision {
                        put_off: true,
                        ..Decision::without_record(None)
                    });
                }
            },
            Err(refusal) => Err(refusal),
        }
    };
    let (verdict, accepted) = match outcome {
        Ok(accepted) => (Verdict::Accepted(version), Some(accepted)),
        Err(refusal) => (Verdict::Rejected(refusal), None),
    };
    let (accepted, landings) = accepted.unzip();
    let records = records(workspace, account, op, &verdict, landings.as_ref())?;
    Ok(Decision {
        verdict: Some(verdict),
        put_off: false,
        records,
        accepted,
    })
}

impl Decision {
    /// One that leaves nothing behind: the op was answered before, or is not decided.
    fn without_record(verdict: Option<Verdict>) -> Decision {
        Decision {
            verdict,
            put_off: false,
            records: Vec::new(),
            accepted: None,
        }
    }
}

fn id_taken() -> Refusal {
    Refusal::new(refusal::ID_TAKEN, "this op id belongs to another account")
}

/// Whether the op claims to stand for an op of another account.
fn names_of_others<W: Workspace>(
    workspace: &mut W,
    account: &str,
    op: &Op,
) -> Result<bool, W::Error> {
    for id in op.body.stands_for() {
        if workspace
            .record(id)?
            .is_some_and(|known| known.account != account)
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Why an op has no effect, or none yet.
enum Undone {
    Rejected(Refusal),
    /// Its author writes its text again.
    Rebase,
    /// It is decided once its texts have been counted.
    PutOff,
}

impl From<Refusal> for Undone {
    fn from(refusal: Refusal) -> Undone {
        Undone::Rejected(refusal)
    }
}

impl From<Unmerged> for Undone {
    fn from(unmerged: Unmerged) -> Undone {
        match unmerged {
            Unmerged::Rejected(refusal) => Undone::Rejected(refusal),
            Unmerged::Rebase(_) => Undone::Rebase,
        }
    }
}

pub(super) type Landings = Vec<(CollectionId, DocumentId, OpId)>;

fn apply_all<W: Workspace>(
    schema: &Schema,
    workspace: &mut W,
    account: &str,
    op: &Op,
    stamp: Stamp,
    version: Version,
) -> Result<Result<(Accepted, Landings), Undone>, W::Error> {
    let name = op.body.retry_of.unwrap_or(op.id);
    let mut touched: Vec<Touched> = Vec::new();
    let mut at: HashMap<(CollectionId, &DocumentId), usize> = HashMap::new();
    let mut landings: Landings = Vec::new();
    let mut lost = Vec::new();
    let mut echoed: Option<Stamp> = None;
    let mut plain = true;
    let mut new_writers = Vec::new();
    for change in &op.body.changes {
        let Some(collection) = schema.collection_by_id(change.collection) else {
            return Ok(Err(Refusal::new(
                refusal::UNKNOWN_COLLECTION,
                format!("collection {}", change.collection),
            )
            .into()));
        };
        let key = (change.collection, &change.document);
        let known = at.get(&key).copied();
        let before = match known {
            Some(i) => Some(touched[i].after.clone()),
            None => workspace.document(change.collection, &change.document)?,
        };
        let generation =
            match meant_generation(workspace, change, before.as_ref(), name, &landings)? {
                Ok(generation) => generation,
                Err(_) if planted(Mutant::GroupHalfApplied) && !touched.is_empty() => break,
                Err(refusal) => return Ok(Err(refusal.into())),
            };
        let prev = op.body.prev_on(change.collection, &change.document);
        let behind = op.body.stands_for().into_iter().chain(prev);
        let behind = behind.filter(|_| !planted(Mutant::OwnEarlierOpUnseen));
        let behind = behind.collect();
        let meets = (change, collection);
        let seen = Seen::of_change(
            workspace,
            op.id,
            op.body.base,
            behind,
            meets,
            before.as_ref(),
        )?;
        let incoming = Incoming {
            op: op.id,
            name,
            stamp,
            version,
            seen: &seen,
            generation,
        };
        let mut start = before.clone();
        recount(workspace, change, start.as_mut())?;
        let merged = match merge(start, change, collection, &incoming) {
            Ok(merged) => merged,
            Err(_) if planted(Mutant::GroupHalfApplied) && !touched.is_empty() => break,
            Err(unmerged) => return Ok(Err(unmerged.into())),
        };
        if let Err(refusal) = within_limits(schema, collection, before.as_ref(), &merged.after) {
            return Ok(Err(match is_counted(workspace, change, before, version)? {
                true => refusal.into(),
                false => Undone::PutOff,
            }));
        }
        if !claim_writers(workspace, account, change, &merged, &mut new_writers)? {
            return Ok(Err(Undone::Rebase));
        }
        lost.extend(
            merged
                .lost
                .into_iter()
                .map(|l| (change.collection, change.document.clone(), l)),
        );
        landings.push((change.collection, change.document.clone(), merged.landed));
        plain &= known.is_none() && merged.effect == Effect::Applied;
        if plain {
            let effective = merged
                .after
                .registers
                .iter()
                .find(|(_, r)| r.write.op == op.id)
                .map_or(stamp, |(_, r)| r.write.stamp);
            plain = echoed.is_none_or(|e| e == effective)
                && (planted(Mutant::EchoUnchecked)
                    || echo(
                        before.as_ref(),
                        change,
                        collection,
                        (op.id, name),
                        effective,
                        version,
                    )
                    .as_ref()
                        == Some(&merged.after));
            echoed = Some(effective);
        }
        match known {
            Some(i) => {
                touched[i].after = merged.after;
                touched[i].whole |= merged.whole;
                touched[i].texts.extend(merged.texts);
            }
            None if before.as_ref() == Some(&merged.after) => {}
            None => {
                at.insert(key, touched.len());
                touched.push(Touched {
                    collection: change.collection,
                    document: change.document.clone(),
                    before,
                    after: merged.after,
                    whole: merged.whole,
                    texts: merged.texts,
                });
            }
        }
    }
    if let Err(refusal) = fits_a_page(&touched) {
        return Ok(Err(refusal.into()));
    }
    for touched in &mut touched {
        touched.forget_other_texts(op.id);
    }
    let mut names = vec![op.id];
    names.extend(op.body.retry_of);
    names.extend(
        op.body
            .covers
            .iter()
            .filter(|c| **c != op.id && Some(**c) != op.body.retry_of),
    );
    let accepted = Accepted {
        names: names_told(names),
        documents: touched,
        lost,
        echo: echoed.filter(|_| plain),
        new_writers,
    };
    Ok(Ok((accepted, landings)))
}

fn names_told(mut names: Vec<OpId>) -> Vec<OpId> {
    if planted(Mutant::NamesForgotten) {
        names.truncate(1);
    }
    names
}

/// Takes off what the texts about to be edited count although it was deleted again.
fn recount<W: Workspace>(
    workspace: &mut W,
    change: &Change,
    state: Option<&mut DocumentState>,
) -> Result<(), W::Error> {
    let Some(state) = state else { return Ok(()) };
    for (field, _) in change.texts.iter() {
        if let Some(text) = state.texts.get_mut(field) {
            let deleted = workspace.deleted_bytes(
                change.collection,
                &change.document,
                field,
                text.version,
            )?;
            text.bytes = text.bytes.saturating_sub(deleted);
        }
    }
    Ok(())
}

/// Whether the texts that `change` edits are as large as they count.
fn is_counted<W: Workspace>(
    workspace: &mut W,
    change: &Change,
    before: Option<DocumentState>,
    version: Version,
) -> Result<bool, W::Error> {
    let Some(before) = before else {
        return Ok(true);
    };
    for (field, _) in change.texts.iter() {
        // What this op itself has written so far nobody is going to count before it is decided.
        if let Some(text) = before.texts.get(field).filter(|t| t.version != version)
            && !workspace.is_counted(change.collection, &change.document, field, text.version)?
        {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether the writers of the edits that took effect are the account's own: a new one becomes it.
fn claim_writers<W: Workspace>(
    workspace: &mut W,
    account: &str,
    change: &Change,
    merged: &Merged,
    new_writers: &mut Vec<u64>,
) -> Result<bool, W::Error> {
    let edits = merged
        .texts
        .iter()
        .filter_map(|(field, _)| change.texts.get(field));
    for edit in edits {
        if new_writers.contains(&edit.writer) {
            continue;
        }
        match workspace.writer(edit.writer)? {
            None => new_writers.push(edit.writer),
            Some(owner) if owner == account || planted(Mutant::ForeignWriterAccepted) => {}
            Some(_) => return Ok(false),
        }
    }
    Ok(true)
}

/// What an op writes is as large as the op, but what it brings back is not: a version that no device
/// could receive would stop them all.
fn fits_a_page(touched: &[Touched]) -> Result<(), Refusal> {
    let brought_back = touched
        .iter()
        .filter(|t| t.whole && t.before.is_some())
        .map(|t| encode_cbor(&t.after).len());
    let bytes: usize = brought_back.sum();
    if bytes <= MAX_VERSION {
        return Ok(());
    }
    let message = format!("it brings back {bytes} bytes of documents; at most {MAX_VERSION}");
    Err(Refusal::new(refusal::GROUP_TOO_LARGE, message))
}

/// The generation a change means, mapped to where its opener landed.
fn meant_generation<W: Workspace>(
    workspace: &mut W,
    change: &Change,
    before: Option<&DocumentState>,
    name: OpId,
    landings: &Landings,
) -> Result<Result<Option<OpId>, Refusal>, W::Error> {
    let Some(opener) = change.generation.filter(|_| !change.kind.is_opener()) else {
        return Ok(Ok(None));
    };
    if before.is_some_and(|b| b.generation.opener == opener) {
        return Ok(Ok(Some(opener)));
    }
    if opener == name {
        let here = landings
            .iter()
            .rev()
            .find(|(c, d, _)| *c == change.collection && *d == change.document);
        return Ok(Ok(Some(here.map_or(opener, |(_, _, landed)| *landed))));
    }
    match workspace.record(opener)? {
        Some(Record {
            verdict: Verdict::Rejected(_),
            ..
        }) => {
            let message = format!(
                "the {} it builds on was rejected ({opener})",
                ChangeKind::Insert.name()
            );
            Ok(Err(Refusal::new(refusal::BLOCKED_BY, message)))
        }
        Some(record) => Ok(Ok(record
            .linked(opener, change.collection, &change.document)
            .landed)),
        None => Ok(Ok(Some(opener))),
    }
}

fn within_limits(
    schema: &Schema,
    collection: &Collection,
    before: Option<&DocumentState>,
    after: &DocumentState,
) -> Result<(), Refusal> {
    let limits = &schema.limits;
    let name = &collection.name;
    let size = after.size();
    if size > limits.max_document as usize {
        let message = format!(
            "{size} bytes in one document of {name}; at most {}",
            limits.max_document
        );
        return Err(Refusal::new(refusal::DOCUMENT_TOO_LARGE, message));
    }
    for (field, text) in after.texts.iter() {
        // Of a list it bounds each element.
        let declared = collection.field_by_id(field);
        let declared = declared.filter(|f| f.kind != FieldKind::List);
        let declared = declared.and_then(|f| f.max_bytes);
        let most = u64::from(declared.unwrap_or(limits.max_value));
        // What makes it smaller is welcome also where a limit was lowered.
        let was = before.and_then(|before| before.texts.get(field));
        if text.bytes > most && was.is_none_or(|was| text.bytes > was.bytes) {
            let place = collection.place_of(field);
            let message = format!("{place}: {} bytes; at most {most}", text.bytes);
            return Err(Refusal::new(refusal::VALUE_TOO_LARGE, message));
        }
    }
    match after
        .sets
        .iter()
        .find(|(_, set)| set.elements.len() > limits.max_set_elements as usize)
    {
        None => Ok(()),
        Some((field, _)) => {
            let message = format!(
                "{}: at most {} elements",
                collection.place_of(field),
                limits.max_set_elements
            );
            Err(Refusal::new(refusal::SET_TOO_LARGE, message))
        }
    }
}
