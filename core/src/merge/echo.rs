//! Results the author can work out itself.
//!
//! Most ops do to a document exactly what they say. For those the server answers their author with
//! the effective stamp alone instead of sending every value back; it answers so only when this very
//! function gives the state it decided on.

use super::{DocumentState, Generation, Register, Seen, SetState, Write, set, text};
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

/// Whether [`echo`] gives `after`. Of the usual op, an insert of registers, nothing is made to find out.
pub(super) fn is_echo(
    before: Option<&DocumentState>,
    change: &Change,
    collection: &Collection,
    (op, name): (OpId, OpId),
    (stamp, version): (Stamp, Version),
    after: &DocumentState,
) -> bool {
    if change.inserts_registers_alone() && collection.merge != MergePolicy::Document {
        return is_inserted(after, change, (op, name), (stamp, version));
    }
    echo(before, change, collection, (op, name), stamp, version).as_ref() == Some(after)
}

fn is_inserted(
    after: &DocumentState,
    change: &Change,
    (op, name): (OpId, OpId),
    (stamp, version): (Stamp, Version),
) -> bool {
    let opener = name;
    let write = Write { op, stamp, version };
    let mut pairs = after.registers.iter().zip(change.registers.iter());
    after.is_of_registers_alone()
        && after.generation == Generation { opener, version }
        && after.version == version
        && after.registers.len() == change.registers.len()
        && pairs.all(|((field, register), (written, value))| {
            field == written && register.write == write && register.value == *value
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::DocumentId;
    use crate::value::Value;

    #[test]
    fn an_insert_is_its_own_echo_and_nothing_else_is() {
        let schema = crate::schema::Schema::parse(
            "[schema]\nname = \"t\"\nversion = 1\n[collections.c]\nid = 1\n[collections.c.fields]\n\
             a = { id = 1, kind = \"integer\" }\nb = { id = 2, kind = \"integer\" }\n",
        );
        let schema = schema.unwrap();
        let collection = schema.collection_by_id(1).unwrap();
        let document = DocumentId::new("d").unwrap();
        let mut change = Change::new(1, document, ChangeKind::Insert);
        change.registers.insert(1, Value::Integer(7));
        change.registers.insert(2, Value::Null);
        let by = (OpId([1; 16]), OpId([2; 16]));
        let at = (Stamp::at(5), 9);
        let told = |after: &DocumentState| is_echo(None, &change, collection, by, at, after);
        let echoed = echo(None, &change, collection, by, at.0, at.1).unwrap();
        assert!(told(&echoed));
        let others: [fn(&mut DocumentState); 9] = [
            |state| state.generation.opener = OpId([3; 16]),
            |state| state.generation.version = 8,
            |state| state.version = 8,
            |state| state.clock = 1,
            |state| _ = state.counters.insert(3, 1),
            |state| state.updates.push((OpId([1; 16]), 9)),
            |state| _ = state.registers.remove(2),
            |state| state.registers.get_mut(1).unwrap().value = Value::Integer(8),
            |state| state.registers.get_mut(1).unwrap().write.stamp = Stamp::at(6),
        ];
        for other in others {
            let mut state = echoed.clone();
            other(&mut state);
            assert!(!told(&state), "{state:?}");
        }
    }
}
