//! The usual decision: an insert of registers that fits the schema, of a document that nobody knows.
//!
//! What [`decide`](super::decide) makes of such an op follows from the op alone. Decoding it, building
//! that state and forgetting both was half of what a server did for it. Whoever meets anything else
//! here, be it a value that has to be validated, asks [`decide`](super::decide), whose answer to a plain
//! op would be the same: a test of the server's compares them.

use minicbor::encode::{self, Encoder, Write as Output};

use super::codec::encode_whole;
use super::{Workspace, Write};
use crate::id::{FieldId, OpId};
use crate::op::{PlainInsert, is_small_enough};
use crate::schema::{Collection, Field, MergePolicy, Schema};
use crate::value::ValueRef;

/// An insert that a schema admits as it is, its values where they stand in the op's bytes.
#[derive(Clone, Debug)]
pub struct Plain<'s, 'b> {
    /// What it says beside its values.
    pub insert: PlainInsert,
    /// The document's collection.
    pub collection: &'s Collection,
    values: Vec<(FieldId, ValueRef<'b>)>,
    size: usize,
}

impl<'s, 'b> Plain<'s, 'b> {
    /// Looks at the bytes of an op's body. `None` says only that more has to be looked at.
    pub fn read(schema: &'s Schema, body: &'b [u8]) -> Option<Plain<'s, 'b>> {
        let mut values: Vec<(FieldId, ValueRef<'b>)> = Vec::with_capacity(8);
        let insert = PlainInsert::glance(body, |field, d| {
            values.push((field, d.decode()?));
            Ok(())
        })?;
        let collection = schema.collection_by_id(insert.collection)?;
        let size = values.iter().map(|(_, value)| value.size()).sum();
        let plain = Plain {
            insert,
            collection,
            values,
            size,
        };
        plain.is_admitted(schema).then_some(plain)
    }

    /// Whether [`admit`](crate::op::admit) takes it and changes nothing.
    fn is_admitted(&self, schema: &Schema) -> bool {
        let limits = &schema.limits;
        let fits = |(field, value): &(FieldId, ValueRef<'_>)| {
            let Some(field) = self.collection.field_by_id(*field) else {
                return false;
            };
            let most = field.max_bytes.unwrap_or(limits.max_value);
            value.is_plainly(field.kind)
                && !(*value == ValueRef::Null && field.required)
                && value.size() <= most.min(limits.max_value) as usize
                && field.kind.is_register()
        };
        let is_there = |field: &Field| {
            !(field.required && field.default.is_none() && field.kind.is_register())
                || self.value(field.id).is_some()
        };
        let size = self.insert.document.as_str().len() + self.size;
        self.insert.schema <= schema.version
            && self.collection.merge == MergePolicy::Field
            && is_small_enough(limits, size, self.values.len())
            && self.values.iter().all(fits)
            && self.collection.fields.iter().all(is_there)
    }

    /// Whether neither the op nor its document is known: only then is it decided as it stands.
    ///
    /// # Errors
    /// What the store says.
    pub fn is_new<W: Workspace>(&self, workspace: &mut W, op: OpId) -> Result<bool, W::Error> {
        let (collection, document) = (self.insert.collection, &self.insert.document);
        Ok(workspace.record(op)?.is_none() && workspace.document(collection, document)?.is_none())
    }

    /// What the document takes, as [`DocumentState::size`](super::DocumentState::size) counts it.
    pub fn size(&self) -> usize {
        self.size
    }

    /// What a field holds; `None` where the op does not say.
    pub fn value(&self, field: FieldId) -> Option<ValueRef<'b>> {
        // Mostly fields are numbered from 1 without a gap, and all are there.
        let usual = usize::from(field).checked_sub(1);
        match usual.and_then(|at| self.values.get(at)) {
            Some((there, value)) if *there == field => return Some(*value),
            _ => {}
        }
        let found = self.values.iter().find(|(there, _)| *there == field);
        found.map(|(_, value)| *value)
    }

    /// Encodes the state of the document that it opens, as the write `by`.
    ///
    /// # Errors
    /// What the output says.
    pub fn encode_state<W: Output>(
        &self,
        e: &mut Encoder<W>,
        by: &Write,
    ) -> Result<(), encode::Error<W::Error>> {
        encode_whole(e, by, &self.values)
    }
}
