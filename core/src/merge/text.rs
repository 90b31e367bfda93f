//! Texts and lists: what people write together is never in conflict, it only has to fit.
//!
//! The merge moves marks; the updates themselves it hands on, to be kept apart from the document's
//! state. The guard has seen each before it leaves here.

use super::{DocumentState, Incoming, TextState, Unmerged, Write};
use crate::id::{FieldId, OpId};
use crate::ledger::{LossRule, Lost, LostPart};
use crate::mutant::{Mutant, planted};
use crate::op::{Change, FieldMap, Refusal, TextEdit, Update, refusal};
use crate::schema::{Collection, Field};
use crate::text::guard::{self, Check, GuardLimits, Refused, Why};
use crate::text::{Mark, TextKind};
use crate::time::Stamp;

/// Merges the edits of `change`; answers the updates that each field takes.
pub(super) fn write_all(
    state: &mut DocumentState,
    change: &Change,
    collection: &Collection,
    cx: &Incoming<'_>,
) -> Result<FieldMap<Update>, Unmerged> {
    let mut taken = FieldMap::default();
    for (field, edit) in change.texts.iter() {
        write(state, field, edit, collection, (cx.op, cx.version))?;
        taken.insert(field, edit.update.clone());
    }
    Ok(taken)
}

/// Lets `edit` follow what the field contains.
///
/// Clocks alone would let the update of a copied file follow one of the original that took the same
/// clocks (K16), so it must also name the op that the writer's mark names.
pub(super) fn write(
    state: &mut DocumentState,
    field: FieldId,
    edit: &TextEdit,
    collection: &Collection,
    (op, version): (OpId, u64),
) -> Result<(), Unmerged> {
    let root = state.generation.opener;
    let declared = collection.field_by_id(field);
    let Some((declared, kind)) = declared.and_then(|f| Some((f, TextKind::of(f.kind)?))) else {
        let message = format!("{} has no text {field}", collection.name);
        return Err(Refusal::new(refusal::UNKNOWN_FIELD, message).into());
    };
    let marks = state.texts.get(field).map_or(&[][..], |text| &text.marks);
    let limits = limits_of(declared, kind);
    let checked = match guard::check(&edit.update.0, edit.writer, kind, marks, &limits) {
        Ok(Check::Fits(checked)) => checked,
        Ok(Check::Contained) => return Err(Unmerged::Rebase(Why::Overlap)),
        Err(Refused::Rebase(why)) => return Err(Unmerged::Rebase(why)),
        Err(Refused::Invalid(why)) => return Err(invalid(collection, declared, why).into()),
    };
    let last = Mark::of(marks, edit.writer).map(|mark| mark.last);
    if last != edit.after && !planted(Mutant::TextGapAccepted) {
        return Err(Unmerged::Rebase(Why::Gap));
    }
    let text = state
        .texts
        .entry(field, || TextState::empty(root, op, version));
    text.last = op;
    text.version = version;
    text.bytes = text.bytes.saturating_add(checked.inserted_bytes());
    let mark = Mark {
        writer: edit.writer,
        next: checked.next(),
        last: op,
        version,
    };
    Mark::put(&mut text.marks, mark);
    Ok(())
}

/// Whether every edit of `change` is one that a device can have written, whatever its field contains.
/// Whether it fits there is another question, and one that writing it again can answer.
///
/// # Errors
/// `invalid_text`, as a server would say.
pub fn admit_texts(collection: &Collection, change: &Change) -> Result<(), Refusal> {
    for (field, edit) in change.texts.iter() {
        let declared = collection.field_by_id(field);
        let Some((declared, kind)) = declared.and_then(|f| Some((f, TextKind::of(f.kind)?))) else {
            continue;
        };
        let limits = limits_of(declared, kind);
        if let Err(Refused::Invalid(why)) =
            guard::check(&edit.update.0, edit.writer, kind, &[], &limits)
        {
            return Err(invalid(collection, declared, why));
        }
    }
    Ok(())
}

fn limits_of(field: &Field, kind: TextKind) -> GuardLimits {
    let mut limits = GuardLimits::default();
    if let (TextKind::List, Some(most)) = (kind, field.max_bytes) {
        limits.max_element = limits.max_element.min(most as usize);
    }
    limits
}

fn invalid(collection: &Collection, field: &Field, why: Why) -> Refusal {
    let message = format!("{}.{}: {why}", collection.name, field.name);
    Refusal::new(refusal::INVALID_TEXT, message)
}

/// What the edits of a change without effect would have brought. One that only deletes or formats
/// brings nothing that could be shown.
pub fn unapplied_texts<'c>(
    change: &'c Change,
    collection: &'c Collection,
) -> impl Iterator<Item = LostPart> + 'c {
    change.texts.iter().filter_map(|(field, edit)| {
        let kind = TextKind::of(collection.field_by_id(field)?.kind)?;
        let text = guard::inserted(&edit.update.0, kind, &GuardLimits::default());
        (!text.is_empty()).then_some(LostPart::Text(field, text))
    })
}

/// What the writers of a document's texts lose by `delete`, which had not seen all of it.
pub(super) fn unseen<'s>(
    state: &'s DocumentState,
    delete: Write,
    cx: &'s Incoming<'_>,
) -> impl Iterator<Item = Lost> + 's {
    let marks = (state.texts.iter())
        .flat_map(|(field, text)| text.marks.iter().map(move |mark| (field, mark)));
    let unseen = marks.filter(|(_, mark)| !cx.seen.has(mark.last, mark.version));
    unseen.map(move |(field, mark)| Lost {
        part: LostPart::Typed(field, mark.writer),
        loser: Write {
            op: mark.last,
            stamp: Stamp::ZERO,
            version: mark.version,
        },
        winner: delete,
        rule: LossRule::Deleted,
    })
}
