//! Results the author can work out itself.
//!
//! Most ops do to a document exactly what they say. For those the server answers their author with
//! the effective stamp alone instead of sending every value back; it answers so only when this very
//! function gives the state it decided on.

use super::{DocumentState, Register, Seen, SetState, Write, set, text};
use crate::id::{OpId, Version};
use crate::op::{Change, ChangeKind};
use crate::schema::{Collection, DeletePolicy, MergePolicy};
use crate::time::Stamp;

/// The document after `change` took effect as written, all of it with `stamp`.
///
/// `name` is the id followers know the op by. `None` where the change is of a kind that is always
/// answered in full.
pub fn echo(
    before: Option<&DocumentState>,
    change: &Change,
    collection: &Collection,
    (op, name): (OpId, OpId),
    stamp: Stamp,
    version: Version,
) -> Option<DocumentState> {
    if collection.merge == MergePolicy::Document || !change.removes.is_empty() {
        return None;
    }
    let write = Write { op, stamp, version };
    let seen = Seen::nothing(op);
    let mut state = match (change.kind, before) {
        (ChangeKind::Insert, _) => DocumentState::opened(name, version),
        (ChangeKind::Update, Some(before))
            if change.adds.is_empty() && change.increments.is_empty() =>
        {
            before.clone()
        }
        _ => return None,
    };
    for (field, value) in change.registers.iter() {
        state.registers.insert(
            field,
            Register {
                value: value.clone(),
                write,
            },
        );
    }
    for (field, delta) in change.increments.iter() {
        state.counters.insert(field, *delta);
    }
    for (field, elements) in change.adds.iter() {
        let into = state.sets.entry(field, SetState::default);
        elements
            .iter()
            .for_each(|element| set::add(into, element, op, version, &seen));
    }
    for (field, edit) in change.texts.iter() {
        // Its author's base is what the server decided on, so what fitted there fits here.
        text::write(&mut state, field, edit, collection, (op, version)).ok()?;
    }
    state.drop_empty_sets();
    state.version = version;
    if collection.on_conflict_delete == DeletePolicy::UpdateWins
        && change.kind == ChangeKind::Update
    {
        // The usual case: its author had seen all updates before it.
        state.updates = vec![(op, version)];
    }
    Some(state)
}
