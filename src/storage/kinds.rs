//! Whether what a server says fits the columns it goes to.

use driftline_core::id::CollectionId;
use driftline_core::merge::DocumentState;
use driftline_core::schema::FieldKind as Kind;
use driftline_core::text::TextKind;
use driftline_core::value::Value;

use super::apply::PageError;
use super::tables::Layout;

/// A value that its column cannot hold must not get there: the row could not be read again.
pub(super) fn check_kinds(
    layout: &Layout,
    collection: CollectionId,
    state: &DocumentState,
) -> std::result::Result<(), PageError> {
    let Some(table) = layout.table(collection) else {
        return Ok(());
    };
    let kind = |field| match table.text_kind(field) {
        Some(TextKind::RichText) => Some(Kind::RichText),
        Some(TextKind::List) => Some(Kind::List),
        None => table.column(field).map(|column| column.kind),
    };
    for (field, register) in state.registers.iter() {
        let Some(kind) = kind(field) else { continue };
        let fits = match (kind, &register.value) {
            (kind, _) if !kind.is_register() => false,
            (_, Value::Null)
            | (Kind::Boolean, Value::Boolean(_))
            | (Kind::Integer | Kind::Timestamp, Value::Integer(_))
            | (Kind::Bytes, Value::Bytes(_))
            | (Kind::Text | Kind::Uuid | Kind::Json | Kind::OrderKey, Value::Text(_)) => true,
            (Kind::Real, Value::Real(x)) => x.is_finite(),
            _ => false,
        };
        if !fits {
            return Err(PageError::malformed(format!(
                "collection {collection} field {field} holds another kind"
            )));
        }
    }
    let counters = state
        .counters
        .iter()
        .map(|(field, _)| (field, Kind::Counter));
    let sets = state.sets.iter().map(|(field, _)| (field, Kind::Set));
    for (field, _) in state.texts.iter() {
        if kind(field).is_some_and(|kind| !kind.is_text()) {
            let message = format!("collection {collection} field {field} is no text");
            return Err(PageError::malformed(message));
        }
    }
    match counters
        .chain(sets)
        .find(|(field, meant)| kind(*field).is_some_and(|kind| kind != *meant))
    {
        None => Ok(()),
        Some((field, meant)) => Err(PageError::malformed(format!(
            "collection {collection} field {field} is no {}",
            meant.name()
        ))),
    }
}
