//! Texts and lists in a transaction.

use driftline_core::text::{ListChange, OffsetUnit, TextChange, TextError, TextKind, Which};

use super::{ElementId, ListElement, Offsets, RichText, TextEdit, failed, place_of};
use crate::error::Result;
use crate::storage::LocalWrite;
use crate::storage::text::TextPlace;
use crate::transaction::Transaction;

/// A rich text of a live document, in a transaction. It shows what the transaction has done to it; all
/// of that becomes one edit for others.
pub struct OpenRichText<'x, 't> {
    write: &'x mut LocalWrite<'t>,
    place: TextPlace,
    unit: OffsetUnit,
}

/// A list of a live document, in a transaction.
pub struct OpenList<'x, 't> {
    write: &'x mut LocalWrite<'t>,
    place: TextPlace,
}

impl<'t> Transaction<'t> {
    /// Opens a field of kind `rich_text`. Offsets count UTF-16 units unless told otherwise by
    /// [`OpenRichText::with_offsets`].
    ///
    /// # Errors
    /// No live document of that id, a field that is no rich text.
    pub fn rich_text(
        &mut self,
        collection: &str,
        id: &str,
        field: &str,
    ) -> Result<OpenRichText<'_, 't>> {
        let place = self.text_place(collection, id, field, TextKind::RichText)?;
        Ok(OpenRichText {
            write: self.local_write(),
            place,
            unit: OffsetUnit::Utf16,
        })
    }

    /// Opens a field of kind `list`.
    ///
    /// # Errors
    /// No live document of that id, a field that is no list.
    pub fn list(&mut self, collection: &str, id: &str, field: &str) -> Result<OpenList<'_, 't>> {
        let place = self.text_place(collection, id, field, TextKind::List)?;
        Ok(OpenList {
            write: self.local_write(),
            place,
        })
    }

    fn text_place(
        &mut self,
        collection: &str,
        id: &str,
        field: &str,
        kind: TextKind,
    ) -> Result<TextPlace> {
        let schema = std::sync::Arc::clone(self.local_write().schema());
        let place = place_of(&schema, (collection, id, field), kind)?;
        self.expect_live_document(&schema, &place)?;
        Ok(place)
    }
}

impl OpenRichText<'_, '_> {
    /// The same with offsets and lengths that count something else.
    #[must_use]
    pub fn with_offsets(mut self, offsets: Offsets) -> Self {
        self.unit = offsets.unit();
        self
    }

    /// Puts text at an offset, with the formats of what stands left of it.
    ///
    /// # Errors
    /// An offset beyond the end or inside a character, NUL in the text, the field's limit.
    pub fn insert(&mut self, at: u32, text: &str) -> Result<()> {
        self.edit([TextEdit::insert(at, text)])
    }

    /// Takes `len` away from `at` on.
    ///
    /// # Errors
    /// A range that ends beyond the end or begins or ends inside a character.
    pub fn delete(&mut self, at: u32, len: u32) -> Result<()> {
        self.edit([TextEdit::delete(at, len)])
    }

    /// Makes several edits in order, each on what the one before left: all of them or none.
    ///
    /// # Errors
    /// The first that does not fit.
    pub fn edit(&mut self, edits: impl IntoIterator<Item = TextEdit>) -> Result<()> {
        let mut changes: Vec<TextChange> = Vec::new();
        for edit in edits {
            edit.changes(&mut changes)?;
        }
        Ok(self.write.edit_text(&self.place, &changes, self.unit)?)
    }

    /// What it holds now.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn read(&mut self) -> Result<RichText> {
        Ok(RichText::of(self.write.content_of(&self.place)?))
    }

    /// Its length.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn len(&mut self) -> Result<u32> {
        let unit = self.unit;
        Ok(self.write.read_text(&self.place, |body| {
            let units = body.units()?;
            body.from_utf16(units, unit)
        })?)
    }

    /// Whether it is empty.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn is_empty(&mut self) -> Result<bool> {
        Ok(self.len()? == 0)
    }
}

impl OpenList<'_, '_> {
    /// Puts values, given as JSON, in before the element at `at` (or at the end). Returns their names.
    ///
    /// # Errors
    /// An index beyond the end, text that is no JSON, an element that is too large or too deep, a list
    /// that would be too long.
    pub fn insert<J: AsRef<str>>(
        &mut self,
        at: u32,
        values: impl IntoIterator<Item = J>,
    ) -> Result<Vec<ElementId>> {
        let parsed = values
            .into_iter()
            .map(|json| serde_json::from_str(json.as_ref()));
        let values: std::result::Result<Vec<serde_json::Value>, _> = parsed.collect();
        let values = values.map_err(|_| failed(TextError::NotJson))?;
        let (from, count) = (at as usize, values.len());
        self.write
            .edit_list(&self.place, vec![ListChange::Insert { at, values }])?;
        let elements = self.read()?.into_iter().skip(from).take(count);
        Ok(elements.map(|element| element.id).collect())
    }

    /// Takes an element out, wherever it is.
    ///
    /// # Errors
    /// There is no such element, or no longer.
    pub fn remove(&mut self, element: ElementId) -> Result<()> {
        let element = Which::Element(element.0);
        Ok(self
            .write
            .edit_list(&self.place, vec![ListChange::Remove { element }])?)
    }

    /// Moves an element so that its index is `to` afterwards. Others who move it at the same time move
    /// the same element: it is there once.
    ///
    /// # Errors
    /// There is no such element, an index beyond the end.
    pub fn move_to(&mut self, element: ElementId, to: u32) -> Result<()> {
        let element = Which::Element(element.0);
        Ok(self
            .write
            .edit_list(&self.place, vec![ListChange::Move { element, to }])?)
    }

    /// Its elements in order.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn read(&mut self) -> Result<Vec<ListElement>> {
        let elements = self.write.elements_of(&self.place)?.into_iter();
        Ok(elements.map(ListElement::of).collect())
    }
}

impl std::fmt::Debug for OpenRichText<'_, '_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OpenRichText")
    }
}

impl std::fmt::Debug for OpenList<'_, '_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OpenList")
    }
}
