//! A transaction of an app, and a note of all that it was asked.

use driftline::{Document, ElementId, ListElement, Result, Schema, TextEdit, Transaction, Value};

use super::schema::LETTERS;
use crate::oracles::{Ask, Asked, Key};

/// The texts and lists of letters.
pub(super) const WORDS: (&str, u16) = ("words", 2);
const ITEMS: (&str, u16) = ("items", 3);

/// Hands every call on, and notes what it asked once it was done.
pub(super) struct Asking<'x, 't> {
    tx: &'x mut Transaction<'t>,
    schema: &'x Schema,
    asked: &'x mut Asked,
}

impl<'x, 't> Asking<'x, 't> {
    pub(super) fn new(
        tx: &'x mut Transaction<'t>,
        schema: &'x Schema,
        asked: &'x mut Asked,
    ) -> Asking<'x, 't> {
        // What a transaction asked that was begun again is asked anew.
        asked.clear();
        Asking { tx, schema, asked }
    }

    pub(super) fn get(&mut self, collection: &str, id: &str) -> Result<Option<Document>> {
        self.tx.get(collection, id)
    }

    pub(super) fn insert_with_id<V: Into<Value>>(
        &mut self,
        collection: &str,
        id: &str,
        fields: impl IntoIterator<Item = (&'static str, V)>,
    ) -> Result<()> {
        let fields = valued(fields);
        self.tx.insert_with_id(collection, id, fields.clone())?;
        let fields = self.numbered(collection, fields);
        self.note(collection, id, Ask::Insert(fields));
        Ok(())
    }

    pub(super) fn update<V: Into<Value>>(
        &mut self,
        collection: &str,
        id: &str,
        fields: impl IntoIterator<Item = (&'static str, V)>,
    ) -> Result<()> {
        let fields = valued(fields);
        if self.tx.update(collection, id, fields.clone())? {
            let fields = self.numbered(collection, fields);
            self.note(collection, id, Ask::Update(fields));
        }
        Ok(())
    }

    pub(super) fn increment(
        &mut self,
        collection: &str,
        id: &str,
        field: &str,
        by: i64,
    ) -> Result<()> {
        self.tx.increment(collection, id, field, by)?;
        let field = self.number(collection, field);
        self.note(collection, id, Ask::Increment(field, by));
        Ok(())
    }

    pub(super) fn add_to_set(
        &mut self,
        collection: &str,
        id: &str,
        field: &str,
        elements: Vec<String>,
    ) -> Result<()> {
        self.tx
            .add_to_set(collection, id, field, elements.clone())?;
        let field = self.number(collection, field);
        self.note(collection, id, Ask::Add(field, elements));
        Ok(())
    }

    /// Removes elements. Returns whether one of them was there.
    pub(super) fn remove_from_set(
        &mut self,
        collection: &str,
        id: &str,
        field: &str,
        mut elements: Vec<String>,
    ) -> Result<bool> {
        let document = self.tx.get(collection, id)?;
        let there = document.as_ref().and_then(|document| document.set(field));
        let there = there.unwrap_or_default().to_vec();
        self.tx
            .remove_from_set(collection, id, field, elements.clone())?;
        elements.retain(|element| there.contains(element));
        let any = !elements.is_empty();
        if any {
            let field = self.number(collection, field);
            self.note(collection, id, Ask::Remove(field, elements));
        }
        Ok(any)
    }

    pub(super) fn delete(&mut self, collection: &str, id: &str) -> Result<bool> {
        let was_there = self.tx.delete(collection, id)?;
        if was_there {
            self.note(collection, id, Ask::Delete);
        }
        Ok(was_there)
    }

    pub(super) fn restore(&mut self, collection: &str, id: &str) -> Result<bool> {
        let was_deleted = self.tx.restore(collection, id)?;
        if was_deleted {
            self.note(collection, id, Ask::Restore);
        }
        Ok(was_deleted)
    }

    pub(super) fn order_key_after(&mut self, before: Option<&str>) -> Result<String> {
        self.tx.order_key_between(before, None)
    }

    /// What a letter says.
    pub(super) fn words(&mut self, letter: &str) -> Result<String> {
        let mut text = self.tx.rich_text("letters", letter, WORDS.0)?;
        Ok(text.read()?.text().to_owned())
    }

    /// Puts a word in.
    pub(super) fn type_word(&mut self, letter: &str, at: usize, word: &str) -> Result<()> {
        let mut text = self.tx.rich_text("letters", letter, WORDS.0)?;
        text.insert(at as u32, word)?;
        self.note_edit(letter, WORDS, word);
        Ok(())
    }

    /// Takes a word out.
    pub(super) fn take_word(&mut self, letter: &str, at: usize, length: usize) -> Result<()> {
        let mut text = self.tx.rich_text("letters", letter, WORDS.0)?;
        text.delete(at as u32, length as u32)?;
        self.note_edit(letter, WORDS, "");
        Ok(())
    }

    /// Marks a word with a note.
    pub(super) fn mark_word(
        &mut self,
        letter: &str,
        (at, length): (usize, usize),
        note: &str,
    ) -> Result<()> {
        let mut text = self.tx.rich_text("letters", letter, WORDS.0)?;
        let formats = [("note", note)];
        text.edit([TextEdit::format(at as u32, length as u32, formats)])?;
        self.note_edit(letter, WORDS, note);
        Ok(())
    }

    /// What a letter's list holds.
    pub(super) fn items(&mut self, letter: &str) -> Result<Vec<ListElement>> {
        self.tx.list("letters", letter, ITEMS.0)?.read()
    }

    /// Puts a value in, given as JSON.
    pub(super) fn put_item(&mut self, letter: &str, at: usize, value: &str) -> Result<()> {
        let mut list = self.tx.list("letters", letter, ITEMS.0)?;
        list.insert(at as u32, [format!("\"{value}\"")])?;
        self.note_edit(letter, ITEMS, value);
        Ok(())
    }

    pub(super) fn remove_item(&mut self, letter: &str, item: ElementId) -> Result<()> {
        self.tx.list("letters", letter, ITEMS.0)?.remove(item)?;
        self.note_edit(letter, ITEMS, "");
        Ok(())
    }

    pub(super) fn move_item(&mut self, letter: &str, item: ElementId, to: usize) -> Result<()> {
        let mut list = self.tx.list("letters", letter, ITEMS.0)?;
        list.move_to(item, to as u32)?;
        self.note_edit(letter, ITEMS, "");
        Ok(())
    }

    fn note_edit(&mut self, letter: &str, (_, field): (&str, u16), said: &str) {
        let key: Key = (LETTERS, letter.to_owned());
        self.asked.push((key, Ask::Edit(field, said.to_owned())));
    }

    fn note(&mut self, collection: &str, id: &str, ask: Ask) {
        let declared = self.schema.collection(collection);
        let number = declared.map_or(0, |declared| declared.id);
        self.asked.push(((number, id.to_owned()), ask));
    }

    fn numbered(&self, collection: &str, fields: Vec<(&str, Value)>) -> Vec<(u16, Value)> {
        let numbered = fields.into_iter();
        let numbered = numbered.map(|(name, value)| (self.number(collection, name), value));
        numbered.collect()
    }

    fn number(&self, collection: &str, field: &str) -> u16 {
        let declared = self.schema.collection(collection);
        let field = declared.and_then(|declared| declared.field(field));
        field.map_or(0, |field| field.id)
    }
}

fn valued<V: Into<Value>>(
    fields: impl IntoIterator<Item = (&'static str, V)>,
) -> Vec<(&'static str, Value)> {
    let fields = fields.into_iter();
    fields.map(|(name, value)| (name, value.into())).collect()
}
