//! The decision about a whole op: the first answer is the answer.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::document::{Effect, Incoming, merge};
use super::{Difference, DocumentState, History, Linked, Seen, echo};
use crate::id::{CollectionId, DocumentId, OpId, Version};
use crate::ledger::Lost;
use crate::op::{Change, ChangeKind, FieldMap, Op, Refusal, Update, admit, refusal};
use crate::protocol::limits::MAX_VERSION;
use crate::protocol::{DocumentResult, encode_cbor};
use crate::schema::Schema;
use crate::time::Stamp;

/// The answer to an op; recorded with it and never changed, but for a rejected op whose retry is
/// accepted later.
#[derive(
    Clone, Debug, PartialEq, Eq, Serialize, Deserialize, minicbor::Encode, minicbor::Decode,
)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is this version of the workspace.
    #[n(0)]
    Accepted(#[n(0)] Version),
    /// It has no effect.
    #[n(1)]
    Rejected(#[n(0)] Refusal),
}

/// What is kept of a decided op.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Whose it is.
    pub account: String,
    /// The answer.
    pub verdict: Verdict,
    /// The ops it stands for: covered ones, and the first id of what it tried again.
    pub covers: Vec<OpId>,
    /// Its links, one for each document.
    pub links: Vec<Link>,
}

/// One op's link on one document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, minicbor::Encode, minicbor::Decode)]
pub struct Link {
    /// The collection.
    #[n(0)]
    pub collection: CollectionId,
    /// The document.
    #[n(1)]
    pub document: DocumentId,
    /// The op's `prev` there.
    #[n(2)]
    pub prev: Option<OpId>,
    /// The opener of the generation it opened or landed in, where that is not itself.
    #[n(3)]
    pub landed: Option<OpId>,
}

impl Link {
    fn is_on(&self, other: &Link) -> bool {
        self.collection == other.collection && self.document == other.document
    }
}

impl Record {
    /// The record as a [`History`] answers it.
    pub fn linked(&self, op: OpId, collection: CollectionId, document: &DocumentId) -> Linked {
        let link = self
            .links
            .iter()
            .find(|l| l.collection == collection && l.document == *document);
        let accepted = match self.verdict {
            Verdict::Accepted(version) => Some(version),
            Verdict::Rejected(_) => None,
        };
        Linked {
            prev: link.and_then(|l| l.prev),
            covers: self.covers.clone(),
            accepted,
            landed: accepted.map(|_| link.and_then(|l| l.landed).unwrap_or(op)),
        }
    }
}

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
}

/// What to answer, and what to store before answering.
#[derive(Clone, Debug)]
pub struct Decision {
    /// The answer.
    pub verdict: Verdict,
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
            whole: self.whole || self.before.is_none(),
            state: self.part(),
            texts: self.texts.clone(),
        }
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
    if let Some(known) = workspace.record(op.id)? {
        let verdict = match known.account == account {
            true => known.verdict,
            false => Verdict::Rejected(id_taken()),
        };
        return Ok(Decision {
            verdict,
            records: Vec::new(),
            accepted: None,
        });
    }
    if names_of_others(workspace, account, op)? {
        // Nothing is recorded: a version names every id of its op, and the op of somebody else
        // that it named would leave their queue unsent.
        let verdict = Verdict::Rejected(id_taken());
        return Ok(Decision {
            verdict,
            records: Vec::new(),
            accepted: None,
        });
    }
    if let Some(first) = op.body.retry_of.filter(|_| !op.body.withdraw)
        && let Some(known) = workspace.record(first)?
        && matches!(known.verdict, Verdict::Accepted(_))
    {
        let records = vec![(op.id, answered(op, first, &known))];
        return Ok(Decision {
            verdict: known.verdict,
            records,
            accepted: None,
        });
    }
    let outcome = if op.body.withdraw {
        Err(Refusal::new(refusal::WITHDRAWN, "taken back by its author"))
    } else {
        match refused.map_or_else(|| admit(schema, &mut op.body), Err) {
            Ok(()) => apply_all(schema, workspace, op, stamp, version)?,
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
        verdict,
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

type Landings = Vec<(CollectionId, DocumentId, OpId)>;

fn apply_all<W: Workspace>(
    schema: &Schema,
    workspace: &mut W,
    op: &Op,
    stamp: Stamp,
    version: Version,
) -> Result<Result<(Accepted, Landings), Refusal>, W::Error> {
    let name = op.body.retry_of.unwrap_or(op.id);
    let mut touched: Vec<Touched> = Vec::new();
    let mut at: HashMap<(CollectionId, &DocumentId), usize> = HashMap::new();
    let mut landings: Landings = Vec::new();
    let mut lost = Vec::new();
    let mut echoed: Option<Stamp> = None;
    let mut plain = true;
    for change in &op.body.changes {
        let Some(collection) = schema.collection_by_id(change.collection) else {
            return Ok(Err(Refusal::new(
                refusal::UNKNOWN_COLLECTION,
                format!("collection {}", change.collection),
            )));
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
                Err(refusal) => return Ok(Err(refusal)),
            };
        let prev = op.body.prev_on(change.collection, &change.document);
        let behind = op.body.stands_for().into_iter().chain(prev).collect();
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
        let merged = match merge(before.clone(), change, collection, &incoming) {
            Ok(merged) => merged,
            Err(refusal) => return Ok(Err(refusal)),
        };
        if let Err(refusal) = within_limits(schema, collection.name.as_str(), &merged.after) {
            return Ok(Err(refusal));
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
                && echo(
                    before.as_ref(),
                    change,
                    collection,
                    (op.id, name),
                    effective,
                    version,
                )
                .as_ref()
                    == Some(&merged.after);
            echoed = Some(effective);
        }
        match known {
            Some(i) => {
                touched[i].after = merged.after;
                touched[i].whole |= merged.whole;
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
                    texts: FieldMap::default(),
                });
            }
        }
    }
    if let Err(refusal) = fits_a_page(&touched) {
        return Ok(Err(refusal));
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
        names,
        documents: touched,
        lost,
        echo: echoed.filter(|_| plain),
    };
    Ok(Ok((accepted, landings)))
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

fn within_limits(schema: &Schema, collection: &str, after: &DocumentState) -> Result<(), Refusal> {
    let limits = &schema.limits;
    let size = after.size();
    if size > limits.max_document as usize {
        let message = format!(
            "{size} bytes in one document of {collection}; at most {}",
            limits.max_document
        );
        return Err(Refusal::new(refusal::DOCUMENT_TOO_LARGE, message));
    }
    match after
        .sets
        .iter()
        .find(|(_, set)| set.elements.len() > limits.max_set_elements as usize)
    {
        None => Ok(()),
        Some((field, _)) => {
            let message = format!(
                "{collection} field {field}: at most {} elements",
                limits.max_set_elements
            );
            Err(Refusal::new(refusal::SET_TOO_LARGE, message))
        }
    }
}

/// The op's own record and those of the ids it answers for.
///
/// A covered id that a copy of the file had sent and seen rejected becomes accepted with its
/// coverer, and so does the first id of an accepted retry: their holders learn it by name, and
/// followers that name them as openers are mapped to where this op landed.
fn records<W: Workspace>(
    workspace: &mut W,
    account: &str,
    op: &Op,
    verdict: &Verdict,
    landings: Option<&Landings>,
) -> Result<Vec<(OpId, Record)>, W::Error> {
    let record = |id: OpId, covers: Vec<OpId>| Record {
        account: account.to_owned(),
        verdict: verdict.clone(),
        covers,
        links: links(op, id, landings),
    };
    let mut all = vec![(op.id, record(op.id, op.body.stands_for()))];
    let mut before: Option<OpId> = None;
    for id in op.body.stands_for() {
        match workspace.record(id)? {
            _ if id == op.id => {}
            // One covered op leads to the next: a list of all before it, for each, would grow with
            // the square of what a long session covers.
            None => all.push((id, record(id, before.into_iter().collect()))),
            Some(mut known)
                if landings.is_some() && matches!(known.verdict, Verdict::Rejected(_)) =>
            {
                known.verdict = verdict.clone();
                for link in links(op, id, landings) {
                    match known.links.iter_mut().find(|l| l.is_on(&link)) {
                        Some(there) => there.landed = link.landed,
                        None => known.links.push(Link { prev: None, ..link }),
                    }
                }
                all.push((id, known));
            }
            Some(_) => {}
        }
        before = Some(id);
    }
    Ok(all)
}

/// The record of a retry whose first id was accepted meanwhile: the first answer, for what the
/// first id did.
fn answered(op: &Op, first: OpId, known: &Record) -> Record {
    let landings: Landings = (op.body.changes.iter())
        .filter_map(|change| {
            let there = known.linked(first, change.collection, &change.document);
            Some((change.collection, change.document.clone(), there.landed?))
        })
        .collect();
    Record {
        covers: op.body.stands_for(),
        links: links(op, op.id, Some(&landings)),
        ..known.clone()
    }
}

/// The op's links as the record of `id` keeps them.
fn links(op: &Op, id: OpId, landings: Option<&Landings>) -> Vec<Link> {
    let mut links: Vec<Link> = Vec::new();
    for change in &op.body.changes {
        let landed = landings.and_then(|all| {
            let here = |(c, d, _): &&(CollectionId, DocumentId, OpId)| change.is_on(*c, d);
            all.iter().rev().find(here).map(|(_, _, landed)| *landed)
        });
        let link = Link {
            collection: change.collection,
            document: change.document.clone(),
            prev: change.prev,
            landed: landed.filter(|landed| *landed != id),
        };
        let says = link.prev.is_some() || link.landed.is_some();
        if says && !links.iter().any(|l| l.is_on(&link)) {
            links.push(link);
        }
    }
    links
}
