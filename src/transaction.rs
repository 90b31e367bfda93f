//! A write in the making: what the closure given to `Database::write` works with.

use driftline_core::id::{DocumentId, InvalidDocumentId};
use driftline_core::op::{Change, ChangeKind, Refusal, admit_register, refusal};
use driftline_core::order_key;
use driftline_core::schema::{Collection, Field, FieldKind, Schema};
use driftline_core::value::Value;

use crate::document::Document;
use crate::error::{Error, Result};
use crate::query::{self, Params, Rows};
use crate::storage::LocalWrite;
use crate::storage::text::TextPlace;

/// One transaction. It sees what it has written, and becomes one op: others get all of it or nothing.
///
/// A call that fails changes nothing, and the transaction may go on. Returning an error from the
/// closure abandons all of it.
pub struct Transaction<'t> {
    write: LocalWrite<'t>,
    query_timeout: i64,
    /// Whether an id was drawn.
    drawn: bool,
    /// Random bytes for ids to come.
    random: Vec<[u8; 10]>,
}

impl<'t> Transaction<'t> {
    pub(crate) fn new(write: LocalWrite<'t>, query_timeout: i64) -> Transaction<'t> {
        Transaction {
            write,
            query_timeout,
            drawn: false,
            random: Vec::new(),
        }
    }

    pub(crate) fn into_write(self) -> LocalWrite<'t> {
        self.write
    }

    /// Bytes written so far, as the limit of a transaction counts them.
    pub fn size(&self) -> usize {
        self.write.size()
    }

    /// Inserts a document under a new id (a UUIDv7) and returns that.
    ///
    /// Fields that are not given hold their default; counters start at 0 and sets empty. An
    /// `order_key` that is not given is drawn, so that documents stand in the order they were
    /// written.
    ///
    /// # Errors
    /// An unknown collection or field, a value that does not fit, a required field that is missing, a
    /// limit.
    pub fn insert<N, V>(
        &mut self,
        collection: &str,
        fields: impl IntoIterator<Item = (N, V)>,
    ) -> Result<DocumentId>
    where
        N: AsRef<str>,
        V: Into<Value>,
    {
        let number = self.collection(collection)?.id;
        let id = self.new_id()?;
        self.write.expect_new(number, &id);
        self.insert_as(collection, id.clone(), fields)?;
        Ok(id)
    }

    /// Inserts a document under an id of one's own: 1 to 255 bytes of text. A live document of that
    /// id is merged into; a deleted one begins anew.
    ///
    /// # Errors
    /// Like [`Transaction::insert`], and an id that is none.
    pub fn insert_with_id<N, V>(
        &mut self,
        collection: &str,
        id: &str,
        fields: impl IntoIterator<Item = (N, V)>,
    ) -> Result<()>
    where
        N: AsRef<str>,
        V: Into<Value>,
    {
        self.insert_as(collection, document_id(id)?, fields)
    }

    fn insert_as<N, V>(
        &mut self,
        collection: &str,
        id: DocumentId,
        fields: impl IntoIterator<Item = (N, V)>,
    ) -> Result<()>
    where
        N: AsRef<str>,
        V: Into<Value>,
    {
        let schema = std::sync::Arc::clone(self.write.schema());
        let declared = schema
            .collection(collection)
            .ok_or_else(|| Error::unknown_collection(collection))?;
        let mut change = Change::new(declared.id, id, ChangeKind::Insert);
        let fields = fields.into_iter();
        let few = declared.fields.len();
        change.registers.reserve(fields.size_hint().0.min(few));
        for (at, (name, value)) in fields.enumerate() {
            // Mostly fields are given in the order in which they are declared.
            let usual = declared.fields.get(at);
            let field = match usual.filter(|field| field.name == name.as_ref()) {
                Some(field) => field,
                None => field_of(declared, name.as_ref())?,
            };
            change.registers.insert(field.id, value.into());
        }
        self.draw_order_keys(declared, &mut change)?;
        Ok(self.write.apply(change)?)
    }

    /// Gives a new document a place behind those before it, in every order it is not placed in.
    fn draw_order_keys(&mut self, declared: &Collection, change: &mut Change) -> Result<()> {
        let is_order = |field: &&Field| field.kind == FieldKind::OrderKey;
        for field in declared.fields.iter().filter(is_order) {
            if change.registers.get(field.id).is_some() {
                continue;
            }
            let there = self.write.shown(declared.id, &change.document)?;
            if there.is_some_and(|shown| shown.is_alive()) {
                return Ok(());
            }
            let key = order_key::between(None, None, self.write.order_key_id()?)?;
            change.registers.insert(field.id, Value::Text(key));
        }
        Ok(())
    }

    /// Changes fields of a live document. What holds the value already is left alone; if all do,
    /// nothing is written. Returns whether anything was.
    ///
    /// # Errors
    /// No live document of that id (`not_found`), and what [`Transaction::insert`] refuses.
    pub fn update<N, V>(
        &mut self,
        collection: &str,
        id: &str,
        fields: impl IntoIterator<Item = (N, V)>,
    ) -> Result<bool>
    where
        N: AsRef<str>,
        V: Into<Value>,
    {
        let (schema, id) = (std::sync::Arc::clone(self.write.schema()), document_id(id)?);
        let declared = schema
            .collection(collection)
            .ok_or_else(|| Error::unknown_collection(collection))?;
        self.expect_live(declared, &id, "update")?;
        let mut change = Change::new(declared.id, id.clone(), ChangeKind::Update);
        for (name, value) in fields {
            let field = field_of(declared, name.as_ref())?;
            let value = admit_register(
                declared,
                field,
                &schema.limits,
                value.into(),
                ChangeKind::Update,
            )?;
            if !self.holds(declared, &id, field, &value)? {
                change.registers.insert(field.id, value);
            } else {
                change.registers.remove(field.id);
            }
        }
        if change.registers.is_empty() {
            return Ok(false);
        }
        self.write.apply(change)?;
        Ok(true)
    }

    /// Deletes a document. Returns whether it was there.
    ///
    /// # Errors
    /// An unknown collection, an id that is none.
    pub fn delete(&mut self, collection: &str, id: &str) -> Result<bool> {
        let (number, id) = (self.collection(collection)?.id, document_id(id)?);
        if !self
            .write
            .shown(number, &id)?
            .is_some_and(|shown| shown.is_alive())
        {
            return Ok(false);
        }
        self.write
            .apply(Change::new(number, id, ChangeKind::Delete))?;
        Ok(true)
    }

    /// Brings a deleted document back with the content it had. Returns whether it was deleted.
    ///
    /// # Errors
    /// A document that never was, or whose content is kept no longer (`not_found`).
    pub fn restore(&mut self, collection: &str, id: &str) -> Result<bool> {
        let schema = std::sync::Arc::clone(self.write.schema());
        let declared = schema
            .collection(collection)
            .ok_or_else(|| Error::unknown_collection(collection))?;
        let id = document_id(id)?;
        match self.write.shown(declared.id, &id)? {
            None => return Err(not_found(declared, "restore")),
            Some(shown) if shown.is_alive() => return Ok(false),
            Some(_) => {}
        }
        self.write
            .apply(Change::new(declared.id, id, ChangeKind::Restore))?;
        Ok(true)
    }

    /// Adds `delta` to a counter of a live document. Concurrent increments add up.
    ///
    /// # Errors
    /// No live document of that id, a field that is no counter, a sum beyond 64 bits.
    pub fn increment(&mut self, collection: &str, id: &str, field: &str, delta: i64) -> Result<()> {
        let mut change = self.change_of(collection, id, field, FieldKind::Counter)?;
        if delta != 0 {
            change.1.increments.insert(change.0, delta);
            self.write.apply(change.1)?;
        }
        Ok(())
    }

    /// Adds elements to a set of a live document. One that is in it already is added anew: a remove by
    /// somebody who had not seen this add does not take it away.
    ///
    /// # Errors
    /// No live document of that id, a field that is no set, a limit.
    pub fn add_to_set<E>(
        &mut self,
        collection: &str,
        id: &str,
        field: &str,
        elements: impl IntoIterator<Item = E>,
    ) -> Result<()>
    where
        E: Into<String>,
    {
        let (number, mut change) = self.change_of(collection, id, field, FieldKind::Set)?;
        // One that is there already is added anew: who removes what they saw of the older add must
        // not take this one away.
        let mut new: Vec<String> = elements.into_iter().map(Into::into).collect();
        new.sort_unstable();
        new.dedup();
        if !new.is_empty() {
            change.adds.insert(number, new);
            self.write.apply(change)?;
        }
        Ok(())
    }

    /// Removes elements from a set of a live document. An element that somebody else adds meanwhile
    /// stays.
    ///
    /// # Errors
    /// No live document of that id, a field that is no set.
    pub fn remove_from_set<E>(
        &mut self,
        collection: &str,
        id: &str,
        field: &str,
        elements: impl IntoIterator<Item = E>,
    ) -> Result<()>
    where
        E: Into<String>,
    {
        let (number, mut change) = self.change_of(collection, id, field, FieldKind::Set)?;
        let mut old = self.present(&change, number, elements)?;
        old.sort_unstable();
        old.dedup();
        if !old.is_empty() {
            change.removes.insert(number, old);
            self.write.apply(change)?;
        }
        Ok(())
    }

    /// A key that sorts between two others (`None`: the list's start or end), for an `order_key`
    /// field.
    ///
    /// # Errors
    /// A neighbour that is no key, neighbours that are not in order, or no room between them.
    pub fn order_key_between(
        &mut self,
        before: Option<&str>,
        after: Option<&str>,
    ) -> Result<String> {
        Ok(order_key::between(
            before,
            after,
            self.write.order_key_id()?,
        )?)
    }

    /// A live document, as this transaction has left it.
    ///
    /// # Errors
    /// An unknown collection, an id that is none, a file that cannot be read.
    pub fn get(&mut self, collection: &str, id: &str) -> Result<Option<Document>> {
        let (schema, id) = (std::sync::Arc::clone(self.write.schema()), document_id(id)?);
        let declared = schema
            .collection(collection)
            .ok_or_else(|| Error::unknown_collection(collection))?;
        let Some(table) = self.write.tx().layout().table(declared.id).cloned() else {
            return Ok(None);
        };
        let texts = self.write.texts_of(declared.id, &id)?;
        let shown = self
            .write
            .shown(declared.id, &id)?
            .filter(|shown| shown.is_alive());
        Ok(shown.map(|shown| Document::of_state(id.clone(), declared, &table, shown, texts)))
    }

    /// Runs SQL over the views; it sees what this transaction has written.
    ///
    /// # Errors
    /// What `Database::query` refuses.
    pub fn query(&mut self, sql: &str, params: impl Into<Params>) -> Result<Rows> {
        self.write.flush()?;
        Ok(query::run(
            self.write.tx().gated(),
            sql,
            &params.into(),
            self.query_timeout,
        )?)
    }

    fn collection(&self, name: &str) -> Result<&Collection> {
        self.write
            .schema()
            .collection(name)
            .ok_or_else(|| Error::unknown_collection(name))
    }

    pub(crate) fn local_write(&mut self) -> &mut LocalWrite<'t> {
        &mut self.write
    }

    /// Refuses unless the document of a text is there.
    pub(crate) fn expect_live_document(
        &mut self,
        schema: &Schema,
        place: &TextPlace,
    ) -> Result<()> {
        match schema.collection_by_id(place.collection) {
            Some(collection) => self.expect_live(collection, &place.document, "edit"),
            None => Ok(()),
        }
    }

    fn expect_live(&mut self, collection: &Collection, id: &DocumentId, what: &str) -> Result<()> {
        match self.write.shown(collection.id, id)? {
            Some(shown) if shown.is_alive() => Ok(()),
            _ => Err(not_found(collection, what)),
        }
    }

    /// Whether a register shows `value` already.
    fn holds(
        &mut self,
        collection: &Collection,
        id: &DocumentId,
        field: &Field,
        value: &Value,
    ) -> Result<bool> {
        let default = field.default.clone().unwrap_or_default();
        let shown = self.write.shown(collection.id, id)?;
        Ok(shown
            .and_then(|shown| shown.value(field.id))
            .unwrap_or(&default)
            == value)
    }

    /// An empty update of a live document, and the number of a field of `kind`.
    fn change_of(
        &mut self,
        collection: &str,
        id: &str,
        field: &str,
        kind: FieldKind,
    ) -> Result<(u16, Change)> {
        let (schema, id) = (std::sync::Arc::clone(self.write.schema()), document_id(id)?);
        let declared = schema
            .collection(collection)
            .ok_or_else(|| Error::unknown_collection(collection))?;
        let field = field_of(declared, field)?;
        if field.kind != kind {
            return Err(Error::wrong_kind(
                &declared.name,
                &field.name,
                field.kind,
                kind,
            ));
        }
        self.expect_live(declared, &id, "update")?;
        Ok((field.id, Change::new(declared.id, id, ChangeKind::Update)))
    }

    /// Those of `elements` that the set shows.
    fn present<E: Into<String>>(
        &mut self,
        change: &Change,
        field: u16,
        elements: impl IntoIterator<Item = E>,
    ) -> Result<Vec<String>> {
        let shown = self.write.shown(change.collection, &change.document)?;
        let set = shown.and_then(|shown| shown.sets.get(field));
        let contains = |element: &String| set.is_some_and(|set| set.elements.contains_key(element));
        Ok(elements
            .into_iter()
            .map(Into::into)
            .filter(contains)
            .collect())
    }

    /// A UUIDv7 above the one before it, so that documents sort as inserted.
    fn new_id(&mut self) -> Result<DocumentId> {
        let tx = self.write.tx();
        if self.random.is_empty() {
            // One document is the rule; where there is a second there are often many.
            let count = if self.drawn { 64 } else { 1 };
            self.random.resize(count, [0; 10]);
            tx.storage()
                .environment()
                .ids
                .fill(self.random.as_flattened_mut());
        }
        let random = self.random.pop().unwrap_or_default();
        let millis = u64::try_from(tx.now().wall).unwrap_or(0);
        let id = tx.storage().draw_document_id(millis, random);
        self.drawn = true;
        Ok(document_id(&id.to_string())?)
    }
}

impl std::fmt::Debug for Transaction<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transaction")
            .field("size", &self.size())
            .finish_non_exhaustive()
    }
}

fn document_id(text: &str) -> std::result::Result<DocumentId, InvalidDocumentId> {
    DocumentId::new(text)
}

fn field_of<'s>(collection: &'s Collection, name: &str) -> Result<&'s Field> {
    collection
        .field(name)
        .ok_or_else(|| Error::unknown_field(&collection.name, name))
}

fn not_found(collection: &Collection, what: &str) -> Error {
    let message = format!("{} has no such document to {what}", collection.name);
    Refusal::new(refusal::NOT_FOUND, message).into()
}
