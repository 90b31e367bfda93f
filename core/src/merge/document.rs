//! One change against one document: which generation it means, and what deletes do.

use super::fields::{remember_update, write_fields};
use super::{DocumentState, Life, Reopened, Seen, Write, text};
use crate::id::{OpId, Version};
use crate::ledger::{LossRule, Lost, LostPart};
use crate::mutant::{Mutant, planted};
use crate::op::{Change, ChangeKind, FieldMap, Refusal, Update, refusal};
use crate::schema::{Collection, DeletePolicy};
use crate::text::guard::Why;
use crate::time::Stamp;

/// The op a change belongs to, as far as the merge needs it.
#[derive(Clone, Debug)]
pub struct Incoming<'a> {
    /// Its id.
    pub op: OpId,
    /// The id its followers know it by: the first id of a retried op, else its own.
    pub name: OpId,
    /// Where it was placed in time.
    pub stamp: Stamp,
    /// Its version; [`crate::id::PENDING`] in a device's prediction.
    pub version: Version,
    /// What it had seen of the document.
    pub seen: &'a Seen,
    /// The generation it means, mapped to where its opener landed.
    pub generation: Option<OpId>,
}

/// Whether a change took effect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// It did, as far as its fields won.
    Applied,
    /// It came for a generation that is gone, or a delete was cancelled: see the ledger.
    Ledgered,
}

/// Why a change was not merged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unmerged {
    /// It can't be taken: that is the answer for good.
    Rejected(Refusal),
    /// Its text was written on something else than the field contains. Nothing is decided; its
    /// author writes the text again, under a new writer.
    Rebase(Why),
}

impl From<Refusal> for Unmerged {
    fn from(refusal: Refusal) -> Unmerged {
        Unmerged::Rejected(refusal)
    }
}

/// A document after a change.
#[derive(Clone, Debug)]
pub struct Merged {
    /// The document.
    pub after: DocumentState,
    /// Whether the change took effect.
    pub effect: Effect,
    /// The opener of the generation it opened or landed in.
    pub landed: OpId,
    /// What was lost by it or because of it.
    pub lost: Vec<Lost>,
    /// Whether the document's generation changed, so that results must carry all of it.
    pub whole: bool,
    /// The updates that its texts and lists take, to be kept beside it.
    pub texts: FieldMap<Update>,
}

/// Merges `change` into the document as it is `before`.
///
/// # Errors
/// An update, delete or restore of a document that never was; a counter out of range; text that is
/// invalid or does not fit.
pub fn merge(
    before: Option<DocumentState>,
    change: &Change,
    collection: &Collection,
    cx: &Incoming<'_>,
) -> Result<Merged, Unmerged> {
    let Some(before) = before else {
        return match change.kind {
            ChangeKind::Insert => open(
                DocumentState::opened(cx.name, cx.version),
                change,
                collection,
                cx,
            ),
            _ => Err(Refusal::new(
                refusal::NOT_FOUND,
                format!(
                    "{} has no such document to {}",
                    collection.name,
                    change.kind.name()
                ),
            )
            .into()),
        };
    };
    match (change.kind, before.is_alive()) {
        (ChangeKind::Insert, true) => {
            let mut merged = write_fields(before, change, collection, cx)?;
            if collection.on_conflict_delete == DeletePolicy::UpdateWins {
                // Joined to a document that is there, it is as good as an update: a delete that
                // had not seen it does not take its content away.
                remember_update(&mut merged.after, cx);
            }
            Ok(merged)
        }
        (ChangeKind::Insert, false) => open(
            DocumentState::opened(cx.name, cx.version),
            change,
            collection,
            cx,
        ),
        (ChangeKind::Restore, true) => Ok(applied(before)),
        (ChangeKind::Restore, false) => Ok(reopen(before, cx, None)),
        (ChangeKind::Update | ChangeKind::Delete, _) => aimed(before, change, collection, cx),
    }
}

/// An update or delete: it means one generation.
fn aimed(
    before: DocumentState,
    change: &Change,
    collection: &Collection,
    cx: &Incoming<'_>,
) -> Result<Merged, Unmerged> {
    let update_wins = collection.on_conflict_delete == DeletePolicy::UpdateWins;
    let current = cx
        .generation
        .is_none_or(|meant| meant == before.generation.opener);
    if !current && !planted(Mutant::GenerationIgnored) {
        // A late op that had not seen the delete which an update undid still applies (K13).
        let undone = before.reopened.filter(|r| {
            Some(r.generation) == cx.generation && !cx.seen.has(r.delete, r.delete_version)
        });
        if undone.is_none() || !before.is_alive() {
            return Ok(ledgered(
                before,
                (change, collection),
                cx,
                LossRule::GenerationGone,
            ));
        }
    }
    match (change.kind, before.life) {
        (ChangeKind::Delete, Life::Deleted(_)) => Ok(applied(before)),
        (ChangeKind::Delete, Life::Alive) => Ok(delete(before, (change, collection), cx)),
        (_, Life::Alive) => write_fields(before, change, collection, cx),
        (_, Life::Deleted(by))
            if planted(Mutant::UpdateRevivesDeleted)
                || update_wins && !cx.seen.has(by.op, by.version) =>
        {
            let undone = Reopened {
                generation: before.generation.opener,
                delete: by.op,
                delete_version: by.version,
            };
            open(
                reopen(before, cx, Some(undone)).after,
                change,
                collection,
                cx,
            )
        }
        (_, Life::Deleted(_)) => Ok(ledgered(
            before,
            (change, collection),
            cx,
            LossRule::Deleted,
        )),
    }
}

fn delete(
    mut state: DocumentState,
    (change, collection): (&Change, &Collection),
    cx: &Incoming<'_>,
) -> Merged {
    let update_wins = collection.on_conflict_delete == DeletePolicy::UpdateWins;
    let unseen_update = (state.updates.iter().copied())
        .filter(|(op, version)| !cx.seen.has(*op, *version))
        .max_by_key(|(_, version)| *version);
    let unseen_forgotten =
        state.updates_forgotten > 0 && !cx.seen.has(OpId::ZERO, state.updates_forgotten);
    // A delete that was mapped here from a generation its author opened, not knowing of this one.
    let opener = state.generation;
    let unseen_opener = change
        .generation
        .is_some_and(|meant| meant != opener.opener)
        && !cx.seen.has(opener.opener, opener.version);
    let cancelled = unseen_update.is_some() || unseen_forgotten || unseen_opener;
    if update_wins && cancelled && !planted(Mutant::UpdateWinsForgotten) {
        // What cancelled it is what its author is shown; of forgotten updates nobody knows which.
        let (op, version) = unseen_update.unwrap_or((opener.opener, opener.version));
        let standing = Write {
            op,
            stamp: Stamp::ZERO,
            version,
        };
        let rule = LossRule::DeleteCancelled;
        return ledgered_by(state, (change, collection), cx, rule, standing);
    }
    let write = Write {
        op: cx.op,
        stamp: cx.stamp,
        version: cx.version,
    };
    let mut lost = Vec::new();
    for (field, register) in state.registers.iter() {
        if !cx.seen.has(register.write.op, register.write.version) && !register.value.is_null() {
            lost.push(Lost {
                part: LostPart::Register(field, register.value.clone()),
                loser: register.write,
                winner: write,
                rule: LossRule::Deleted,
            });
        }
    }
    for (field, set) in state.sets.iter() {
        for (element, tags) in &set.elements {
            for (op, version) in tags
                .iter()
                .filter(|(op, version)| !cx.seen.has(*op, *version))
            {
                let loser = Write {
                    op: *op,
                    stamp: Stamp::ZERO,
                    version: *version,
                };
                lost.push(Lost {
                    part: LostPart::Added(field, vec![element.clone()]),
                    loser,
                    winner: write,
                    rule: LossRule::Deleted,
                });
            }
        }
    }
    lost.extend(text::unseen(&state, write, cx));
    state.life = Life::Deleted(write);
    state.version = cx.version;
    let landed = state.generation.opener;
    Merged {
        after: state,
        effect: Effect::Applied,
        landed,
        lost,
        whole: false,
        texts: FieldMap::default(),
    }
}

/// A tombstone opens its next generation with the content it had.
fn reopen(mut state: DocumentState, cx: &Incoming<'_>, reopened: Option<Reopened>) -> Merged {
    if reopened.is_some() || !planted(Mutant::RestoredInPlace) {
        state.generation = super::Generation {
            opener: cx.name,
            version: cx.version,
        };
    }
    state.life = Life::Alive;
    state.reopened = reopened;
    state.version = cx.version;
    state.updates.clear();
    state.updates_forgotten = 0;
    Merged {
        after: state,
        effect: Effect::Applied,
        landed: cx.name,
        lost: Vec::new(),
        whole: true,
        texts: FieldMap::default(),
    }
}

fn open(
    state: DocumentState,
    change: &Change,
    collection: &Collection,
    cx: &Incoming<'_>,
) -> Result<Merged, Unmerged> {
    Ok(Merged {
        whole: true,
        ..write_fields(state, change, collection, cx)?
    })
}

fn applied(state: DocumentState) -> Merged {
    let landed = state.generation.opener;
    Merged {
        after: state,
        effect: Effect::Applied,
        landed,
        lost: Vec::new(),
        whole: false,
        texts: FieldMap::default(),
    }
}

/// The change has no effect; all it says goes to the ledger.
fn ledgered(
    state: DocumentState,
    (change, collection): (&Change, &Collection),
    cx: &Incoming<'_>,
    rule: LossRule,
) -> Merged {
    let standing = match state.life {
        Life::Deleted(by) => by,
        Life::Alive => Write {
            op: state.generation.opener,
            stamp: Stamp::ZERO,
            version: state.generation.version,
        },
    };
    ledgered_by(state, (change, collection), cx, rule, standing)
}

/// The same, where another write than the document's opener or its delete is why.
fn ledgered_by(
    state: DocumentState,
    (change, collection): (&Change, &Collection),
    cx: &Incoming<'_>,
    rule: LossRule,
    standing: Write,
) -> Merged {
    let loser = Write {
        op: cx.op,
        stamp: cx.stamp,
        version: cx.version,
    };
    let mut parts: Vec<LostPart> = change
        .registers
        .iter()
        .map(|(f, v)| LostPart::Register(f, v.clone()))
        .collect();
    parts.extend(
        change
            .increments
            .iter()
            .map(|(f, delta)| LostPart::Increment(f, *delta)),
    );
    parts.extend(
        change
            .adds
            .iter()
            .map(|(f, elements)| LostPart::Added(f, elements.clone())),
    );
    parts.extend(
        change
            .removes
            .iter()
            .map(|(f, elements)| LostPart::Removed(f, elements.clone())),
    );
    parts.extend(text::unapplied_texts(change, collection));
    if change.kind == ChangeKind::Delete {
        parts.push(LostPart::Delete);
    }
    let lost = parts
        .into_iter()
        .map(|part| Lost {
            part,
            loser,
            winner: standing,
            rule,
        })
        .collect();
    // Ops that name this one as their opener mean what it meant.
    let landed = cx.generation.unwrap_or(state.generation.opener);
    Merged {
        after: state,
        effect: Effect::Ledgered,
        landed,
        lost,
        whole: false,
        texts: FieldMap::default(),
    }
}
