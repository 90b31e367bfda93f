//! The decision about a whole op: the first answer is the answer.

use std::collections::HashMap;

use super::decision::{Accepted, Decision, Touched};
use super::document::{Effect, Incoming, Merged, Unmerged, merge};
use super::echo::is_echo;
use super::limits::{fits_a_page, is_counted, recount, within_limits};
use super::record::{Record, Verdict, answered, records};
use super::{DocumentState, History, Seen};
use crate::id::{CollectionId, DocumentId, FieldId, OpId, Version};
use crate::mutant::{Mutant, planted};
use crate::op::{Change, ChangeKind, Op, Refusal, admit, admit_covers, refusal};
use crate::schema::Schema;
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
    let covers = admit_covers(&op.body);
    if covers.is_ok() && names_of_others(workspace, account, op)? {
        // Nothing is recorded: a version names every id of its op, and the op of somebody else
        // that it named would leave their queue unsent.
        let verdict = Verdict::Rejected(id_taken());
        return Ok(Decision::without_record(Some(verdict)));
    }
    if let Some(first) = op
        .body
        .retry_of
        .filter(|_| covers.is_ok() && !op.body.withdraw && !planted(Mutant::RetryDecidedAgain))
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
    let outcome = if let Err(refusal) = covers {
        Err(refusal)
    } else if op.body.withdraw {
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

/// Where an op's changes landed: for each document, the opener of its generation behind the last change.
/// Looked through one by one for each change, a group of 8,000 documents took half a second.
pub(super) type Landings<'o> = HashMap<(CollectionId, &'o DocumentId), OpId>;

fn apply_all<'o, W: Workspace>(
    schema: &Schema,
    workspace: &mut W,
    account: &str,
    op: &'o Op,
    stamp: Stamp,
    version: Version,
) -> Result<Result<(Accepted, Landings<'o>), Undone>, W::Error> {
    let name = op.body.retry_of.unwrap_or(op.id);
    let mut touched: Vec<Touched> = Vec::new();
    let mut at: HashMap<(CollectionId, &DocumentId), usize> = HashMap::new();
    let mut links: HashMap<(CollectionId, &DocumentId), Option<OpId>> = HashMap::new();
    let mut landings = Landings::new();
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
        let before = match known.and_then(|i| touched.get(i)) {
            Some(earlier) => Some(earlier.after.clone()),
            None => workspace.document(change.collection, &change.document)?,
        };
        let generation =
            match meant_generation(workspace, change, before.as_ref(), name, &landings)? {
                Ok(generation) => generation,
                Err(_) if planted(Mutant::GroupHalfApplied) && !touched.is_empty() => break,
                Err(refusal) => return Ok(Err(refusal.into())),
            };
        // The first change of a document links it.
        let prev = match op.body.changes.len() {
            1 => change.prev,
            _ => *links.entry(key).or_insert(change.prev),
        };
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
        landings.insert(key, merged.landed);
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
                    || is_echo(
                        before.as_ref(),
                        change,
                        collection,
                        (op.id, name),
                        (effective, version),
                        &merged.after,
                    ));
            echoed = Some(effective);
        }
        match known.and_then(|i| touched.get_mut(i)) {
            Some(earlier) => {
                earlier.after = merged.after;
                earlier.whole |= merged.whole;
                earlier.texts.extend(merged.texts);
            }
            None if before.as_ref() == Some(&merged.after) => {}
            None => {
                // Only a later change asks.
                if op.body.changes.len() > 1 {
                    at.insert(key, touched.len());
                }
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
    if planted(Mutant::GroupCutShort) && touched.len() > 2 {
        touched.pop();
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

/// The generation a change means, mapped to where its opener landed.
fn meant_generation<W: Workspace>(
    workspace: &mut W,
    change: &Change,
    before: Option<&DocumentState>,
    name: OpId,
    landings: &Landings<'_>,
) -> Result<Result<Option<OpId>, Refusal>, W::Error> {
    let Some(opener) = change.generation.filter(|_| !change.kind.is_opener()) else {
        return Ok(Ok(None));
    };
    if before.is_some_and(|b| b.generation.opener == opener) {
        return Ok(Ok(Some(opener)));
    }
    if opener == name {
        let here = landings.get(&(change.collection, &change.document));
        return Ok(Ok(Some(here.copied().unwrap_or(opener))));
    }
    match workspace.linked(opener, change.collection, &change.document)? {
        Some(known) if known.accepted.is_none() => {
            let message = format!(
                "the {} it builds on was rejected ({opener})",
                ChangeKind::Insert.name()
            );
            Ok(Err(Refusal::new(refusal::BLOCKED_BY, message)))
        }
        Some(known) => Ok(Ok(known.landed)),
        None => Ok(Ok(Some(opener))),
    }
}
