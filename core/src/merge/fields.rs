//! What a change writes into a live document, field by field or as a whole.

use super::document::{Effect, Incoming, Merged, Unmerged};
use super::register::{Contest, contest};
use super::{DocumentState, Register, SetState, Write, counter, set, text};
use crate::id::FieldId;
use crate::ledger::{LossRule, Lost, LostPart};
use crate::mutant::{Mutant, planted};
use crate::op::{Change, ChangeKind};
use crate::schema::{Collection, DeletePolicy, MergePolicy};
use crate::value::Value;

/// How many updates that had not seen each other are remembered one by one where updates cancel
/// deletes. Older ones count as unseen by a delete that was written before them: that keeps too
/// much, never too little.
const UPDATES_KEPT: usize = 64;

/// Writes what the change says of registers, counters, sets and texts.
pub(super) fn write_fields(
    mut state: DocumentState,
    change: &Change,
    collection: &Collection,
    cx: &Incoming<'_>,
) -> Result<Merged, Unmerged> {
    let mut lost = Vec::new();
    match collection.merge {
        MergePolicy::Field | MergePolicy::Document
            if collection.merge == MergePolicy::Field || planted(Mutant::DocumentMergedByField) =>
        {
            if state.registers.is_empty() {
                state.registers.reserve(change.registers.len());
            }
            for (field, value) in change.registers.iter() {
                let current = state.registers.get(field).map(|r| r.write);
                let outcome = contest(cx.op, cx.stamp, current, cx.seen);
                settle(&mut state, (field, value), outcome, current, cx, &mut lost);
            }
        }
        MergePolicy::Document if !change.registers.is_empty() => {
            let current = newest_write(&state);
            let outcome = contest_document(&mut state, change.clock, current, cx);
            for (field, value) in change.registers.iter() {
                settle(&mut state, (field, value), outcome, current, cx, &mut lost);
            }
        }
        _ => {}
    }
    for (field, delta) in change.increments.iter() {
        let sum = counter::add(state.counters.get(field).copied(), *delta)?;
        state.counters.insert(field, sum);
    }
    // Removes first: an op that removes and adds one element means it to be there.
    for (field, elements) in change.removes.iter() {
        let set = state.sets.entry(field, SetState::default);
        elements
            .iter()
            .for_each(|element| set::remove(set, element, cx.seen));
    }
    for (field, elements) in change.adds.iter() {
        let set = state.sets.entry(field, SetState::default);
        elements
            .iter()
            .for_each(|element| set::add(set, element, cx.op, cx.version, cx.seen));
    }
    state.drop_empty_sets();
    let texts = text::write_all(&mut state, change, collection, cx)?;
    state.version = cx.version;
    if collection.on_conflict_delete == DeletePolicy::UpdateWins
        && change.kind == ChangeKind::Update
    {
        remember_update(&mut state, cx);
    }
    let landed = state.generation.opener;
    Ok(Merged {
        after: state,
        effect: Effect::Applied,
        landed,
        lost,
        whole: false,
        texts,
    })
}

/// Carries out what became of one register; `current` is the write it was compared with.
fn settle(
    state: &mut DocumentState,
    (field, value): (FieldId, &Value),
    outcome: Contest,
    current: Option<Write>,
    cx: &Incoming<'_>,
    lost: &mut Vec<Lost>,
) {
    let mut write = Write {
        op: cx.op,
        stamp: cx.stamp,
        version: cx.version,
    };
    let there = state.registers.get(field);
    match outcome {
        Contest::Follows(stamp) | Contest::Beats(stamp) => {
            write.stamp = stamp;
            // Of a document that is won as a whole, a field may hold what an older write left there: seen
            // or unseen by itself.
            let follows = matches!(outcome, Contest::Follows(_));
            let judged = |old: &Register| follows && Some(old.write) == current;
            let unseen =
                |old: &&Register| !judged(old) && !cx.seen.has(old.write.op, old.write.version);
            let replaced = there.filter(|old| old.value != *value).filter(unseen);
            lost.extend(replaced.map(|old| Lost {
                part: LostPart::Register(field, old.value.clone()),
                loser: old.write,
                winner: write,
                rule: LossRule::Overwritten,
            }));
        }
        Contest::Loses => {
            // Of a document that loses as a whole, the winner need not have had this field.
            let equal = there.is_some_and(|there| there.value == *value);
            let winner = there.map(|there| there.write).or(current);
            lost.extend(winner.filter(|_| !equal).map(|winner| Lost {
                part: LostPart::Register(field, value.clone()),
                loser: write,
                winner,
                rule: LossRule::TooLate,
            }));
            return;
        }
    }
    state.registers.insert(
        field,
        Register {
            value: value.clone(),
            write,
        },
    );
}

/// The write that a document-merged document stands by.
fn newest_write(state: &DocumentState) -> Option<Write> {
    let writes = state.registers.iter().map(|(_, register)| register.write);
    writes.max_by_key(|write| (write.version, write.stamp, write.op))
}

/// The whole document as one register: the greater revision clock, then stamp, then op id.
///
/// A clock is capped by what its author could know: one above the current for the op itself and one
/// for each own op behind it. Uncapped, one broken device would win for ever.
fn contest_document(
    state: &mut DocumentState,
    clock: u64,
    current: Option<Write>,
    cx: &Incoming<'_>,
) -> Contest {
    let Some(current) = current else {
        state.clock = clock.min(1 + cx.seen.own_before());
        return Contest::Follows(cx.stamp);
    };
    let clock = clock.min(
        state
            .clock
            .saturating_add(1)
            .saturating_add(cx.seen.own_before()),
    );
    if cx.seen.has(current.op, current.version) {
        state.clock = clock.max(state.clock.saturating_add(1));
        return Contest::Follows(cx.stamp.max(current.stamp.after()));
    }
    if (clock, cx.stamp, cx.op) > (state.clock, current.stamp, current.op) {
        state.clock = clock;
        return Contest::Beats(cx.stamp);
    }
    Contest::Loses
}

/// Remembers the update for deletes to come. Whoever has seen it has seen what it had seen, so only
/// updates that had not seen each other are kept: mostly one.
pub(super) fn remember_update(state: &mut DocumentState, cx: &Incoming<'_>) {
    state
        .updates
        .retain(|(op, version)| !cx.seen.has(*op, *version));
    state.updates.push((cx.op, cx.version));
    if state.updates.len() > UPDATES_KEPT {
        let (_, version) = state.updates.remove(0);
        state.updates_forgotten = state.updates_forgotten.max(version);
    }
}
