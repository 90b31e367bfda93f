//! Text and lists that people write together: edited in a transaction, or by an editor that keeps one
//! open.

mod content;
mod edit;
mod editors;
mod element;
mod open;
mod session;
pub(crate) mod showing;
mod state;
mod transaction;
mod untold;

use driftline_core::id::DocumentId;
use driftline_core::schema::{FieldKind, Schema};
use driftline_core::text::{TextError, TextKind};

pub use content::RichText;
pub use edit::{Offsets, TextEdit};
pub(crate) use editors::Editors;
pub use element::{ElementId, ListElement};
pub use session::{TextNews, TextSession};
pub use transaction::{OpenList, OpenRichText};

use crate::error::{Error, Result};
use crate::storage::StorageError;
use crate::storage::text::TextPlace;

/// The place of a field that must be of `kind`.
pub(crate) fn place_of(
    schema: &Schema,
    (collection, document, field): (&str, &str, &str),
    kind: TextKind,
) -> Result<TextPlace> {
    let document = DocumentId::new(document)?;
    let declared = schema
        .collection(collection)
        .ok_or_else(|| Error::unknown_collection(collection))?;
    let field = declared
        .field(field)
        .ok_or_else(|| Error::unknown_field(collection, field))?;
    let expected = match kind {
        TextKind::RichText => FieldKind::RichText,
        TextKind::List => FieldKind::List,
    };
    if field.kind != expected {
        return Err(Error::wrong_kind(
            &declared.name,
            &field.name,
            field.kind,
            expected,
        ));
    }
    Ok(TextPlace {
        collection: declared.id,
        document,
        field: field.id,
    })
}

/// A text's own words for what went wrong.
pub(crate) fn failed(error: TextError) -> Error {
    StorageError::from(error).into()
}
