//! What is kept of a decided op: its answer, and the links that later ops' chains run through.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::Linked;
use super::decide::{Landings, Workspace};
use crate::id::{CollectionId, DocumentId, OpId, Version};
use crate::op::{Op, Refusal, admit_covers};

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

impl Record {
    /// The record as a [`History`](super::History) answers it.
    pub fn linked(&self, op: OpId, collection: CollectionId, document: &DocumentId) -> Linked {
        let link = self
            .links
            .iter()
            .find(|l| l.collection == collection && l.document == *document);
        self.linked_by(op, link)
    }

    /// The same, once the record's link on the document was found.
    pub fn linked_by(&self, op: OpId, link: Option<&Link>) -> Linked {
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

    /// Where the op landed that is accepted in this one's place.
    fn take_up(&mut self, links: Vec<Link>) {
        let place = |link: &Link| (link.collection, link.document.clone());
        let at = self.links.iter().enumerate();
        let at: HashMap<_, _> = at.map(|(at, link)| (place(link), at)).collect();
        for link in links {
            let there = at.get(&place(&link)).and_then(|at| self.links.get_mut(*at));
            match there {
                Some(there) => there.landed = link.landed,
                None => self.links.push(Link { prev: None, ..link }),
            }
        }
    }
}

/// The op's own record and those of the ids it answers for.
///
/// A covered id may have been sent by a copy of the file and rejected: it becomes accepted with the op
/// that covers it. So does the first id of a retry that is accepted. Whoever holds such an id learns of it
/// by name, and ops that name it as their opener are mapped to where this op landed.
pub(super) fn records<W: Workspace>(
    workspace: &mut W,
    account: &str,
    op: &Op,
    verdict: &Verdict,
    landings: Option<&Landings<'_>>,
) -> Result<Vec<(OpId, Record)>, W::Error> {
    if admit_covers(&op.body).is_err() {
        // Nothing it claims to stand for is kept.
        let refused = Record {
            account: account.to_owned(),
            verdict: verdict.clone(),
            covers: Vec::new(),
            links: Vec::new(),
        };
        return Ok(vec![(op.id, refused)]);
    }
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
                known.take_up(links(op, id, landings));
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
pub(super) fn answered(op: &Op, first: OpId, known: &Record) -> Record {
    let there: HashMap<_, _> = (known.links.iter())
        .filter_map(|link| Some(((link.collection, &link.document), link.landed?)))
        .collect();
    let accepted = matches!(known.verdict, Verdict::Accepted(_));
    let landings: Landings<'_> = (op.body.changes.iter().filter(|_| accepted))
        .map(|change| (change.collection, &change.document))
        .map(|place| (place, there.get(&place).copied().unwrap_or(first)))
        .collect();
    Record {
        covers: op.body.stands_for(),
        links: links(op, op.id, Some(&landings)),
        ..known.clone()
    }
}

/// The op's links as the record of `id` keeps them.
fn links(op: &Op, id: OpId, landings: Option<&Landings<'_>>) -> Vec<Link> {
    let mut links: Vec<Link> = Vec::new();
    let mut linked: HashSet<(CollectionId, &DocumentId)> = HashSet::new();
    for change in &op.body.changes {
        let place = (change.collection, &change.document);
        let landed = landings.and_then(|all| all.get(&place).copied());
        let landed = landed.filter(|landed| *landed != id);
        let says = change.prev.is_some() || landed.is_some();
        if says && linked.insert(place) {
            links.push(Link {
                collection: change.collection,
                document: change.document.clone(),
                prev: change.prev,
                landed,
            });
        }
    }
    links
}
