//! Own values that met others', told as they come in. The ledger is the record; this is the news.

use std::collections::BTreeSet;
use std::rc::Rc;

use driftline_core::id::{CollectionId, DocumentId, FieldId};
use driftline_core::merge::DocumentState;
use driftline_core::value::Value;

use super::history::{Leaving, QueuedOp};

/// A value of this device that met one of another device, neither having seen the other.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Conflict {
    pub(crate) collection: CollectionId,
    pub(crate) document: DocumentId,
    pub(crate) field: FieldId,
    /// What this device had written.
    pub(crate) local: Value,
    /// What came from the server.
    pub(crate) remote: Value,
    /// What is shown now.
    pub(crate) winner: Value,
}

/// Adds a conflict for each register that others wrote (`remote`, in their order) and own ops, that
/// are folded or leave now, wrote as well.
pub(super) fn add_conflicts(
    conflicts: &mut Vec<Conflict>,
    (collection, document): (CollectionId, &DocumentId),
    (before, after): (Option<&DocumentState>, &DocumentState),
    remote: &[(FieldId, Value)],
    (folded, leaving): (&[Rc<QueuedOp>], &[Rc<Leaving>]),
) {
    let leaving = leaving
        .iter()
        .map(|leaving| &leaving.op)
        .filter(|op| op.is_folded());
    let own: BTreeSet<FieldId> = folded
        .iter()
        .chain(leaving)
        .flat_map(|op| op.changes_on(collection, document))
        .flat_map(|change| change.registers.iter().map(|(field, _)| field))
        .collect();
    let value = |state: Option<&DocumentState>, field| {
        state
            .and_then(|state| state.value(field))
            .cloned()
            .unwrap_or_default()
    };
    for (at, (field, theirs)) in remote.iter().enumerate() {
        let superseded = remote.iter().skip(at + 1).any(|(later, _)| later == field);
        let local = value(before, *field);
        if own.contains(field) && !superseded && local != *theirs {
            conflicts.push(Conflict {
                collection,
                document: document.clone(),
                field: *field,
                local,
                remote: theirs.clone(),
                winner: value(Some(after), *field),
            });
        }
    }
}
