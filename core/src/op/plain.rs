//! A glance at an op: whether it is the usual one, an insert of registers, without making anything of it.

use minicbor::decode::{self, Decoder};

use super::ChangeKind;
use crate::id::{CollectionId, DocumentId, FieldId, Version};

/// An op that brings a document into being, with registers and nothing else, under its own id and with
/// no op before it.
#[derive(Clone, Debug, PartialEq)]
pub struct PlainInsert {
    /// The cursor's version when the op was written.
    pub base: Version,
    /// The schema version it was written under.
    pub schema: u32,
    /// The document's collection.
    pub collection: CollectionId,
    /// The document.
    pub document: DocumentId,
}

impl PlainInsert {
    /// Looks at the bytes of an op's body. `value` is given each field, in the order of their numbers,
    /// with a decoder that stands before its value and has to be led behind it.
    ///
    /// `None` says only that more of the op has to be looked at; it may be damaged, too. `value` may have
    /// been given some fields then.
    pub fn glance<'b>(
        body: &'b [u8],
        value: impl FnMut(FieldId, &mut Decoder<'b>) -> Result<(), decode::Error>,
    ) -> Option<PlainInsert> {
        of_op(&mut Decoder::new(body), value).ok().flatten()
    }
}

/// A member that such an op does not have ends the glance, since an encoder leaves out what says nothing.
/// So does a member that is there twice.
fn of_op<'b>(
    d: &mut Decoder<'b>,
    mut value: impl FnMut(FieldId, &mut Decoder<'b>) -> Result<(), decode::Error>,
) -> Result<Option<PlainInsert>, decode::Error> {
    let (mut base, mut schema, mut change) = (None, None, None);
    for _ in 0..d.map()?.unwrap_or(0) {
        match d.u32()? {
            0 if base.is_none() => base = Some(d.u64()?),
            1 if schema.is_none() => schema = Some(d.u32()?),
            2 if change.is_none() && d.array()? == Some(1) => {
                change = of_change(d, &mut value)?;
                if change.is_none() {
                    return Ok(None);
                }
            }
            _ => return Ok(None),
        }
    }
    let found = schema.zip(change);
    Ok(found.map(|(schema, (collection, document))| PlainInsert {
        base: base.unwrap_or(0),
        schema,
        collection,
        document,
    }))
}

fn of_change<'b>(
    d: &mut Decoder<'b>,
    value: &mut impl FnMut(FieldId, &mut Decoder<'b>) -> Result<(), decode::Error>,
) -> Result<Option<(CollectionId, DocumentId)>, decode::Error> {
    let (mut collection, mut document, mut inserts) = (None, None, false);
    let mut last = None;
    for _ in 0..d.map()?.unwrap_or(0) {
        match d.u32()? {
            0 if collection.is_none() => collection = Some(d.u16()?),
            1 if document.is_none() => document = Some(d.decode()?),
            2 if !inserts => inserts = d.decode::<ChangeKind>()? == ChangeKind::Insert,
            5 if last.is_none() => {
                for _ in 0..d.map()?.unwrap_or(0) {
                    let field = d.u16()?;
                    if last.is_some_and(|last| last >= field) {
                        return Ok(None);
                    }
                    last = Some(field);
                    value(field, d)?;
                }
            }
            _ => return Ok(None),
        }
    }
    let found = collection.zip(document);
    Ok(found.filter(|_| inserts && last.is_some()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::OpId;
    use crate::op::{Change, OpBody};
    use crate::value::Value;

    fn insert() -> Change {
        let document = DocumentId::new("0190a3b4-0000-7000-8000-000000000001").unwrap();
        let mut change = Change::new(3, document, ChangeKind::Insert);
        change.registers.insert(2, Value::Text("two".to_owned()));
        change.registers.insert(9, Value::Null);
        change
    }

    fn body(changes: Vec<Change>) -> OpBody {
        OpBody {
            base: 70_000,
            schema: 2,
            changes,
            ..OpBody::default()
        }
    }

    fn glance(body: &OpBody) -> (Option<PlainInsert>, Vec<FieldId>) {
        at_bytes(&minicbor::to_vec(body).unwrap())
    }

    fn at_bytes(body: &[u8]) -> (Option<PlainInsert>, Vec<FieldId>) {
        let mut fields = Vec::new();
        let found = PlainInsert::glance(body, |field, d| {
            fields.push(field);
            d.skip()
        });
        (found, fields)
    }

    #[test]
    fn an_insert_of_registers_is_known_by_its_document_and_fields() {
        let (found, fields) = glance(&body(vec![insert()]));
        let expected = PlainInsert {
            base: 70_000,
            schema: 2,
            collection: 3,
            document: insert().document,
        };
        assert_eq!(found, Some(expected));
        assert_eq!(fields, [2, 9]);
    }

    #[test]
    fn whatever_says_more_is_looked_at_in_full() {
        let id = OpId([7; 16]);
        let mut others = vec![
            body(vec![]),
            body(vec![insert(), insert()]),
            body(vec![Change {
                registers: Default::default(),
                ..insert()
            }]),
        ];
        let changed: [fn(&mut Change); 9] = [
            |change| change.kind = ChangeKind::Update,
            |change| change.kind = ChangeKind::Restore,
            |change| change.generation = Some(OpId([1; 16])),
            |change| change.prev = Some(OpId([1; 16])),
            |change| _ = change.increments.insert(4, 1),
            |change| _ = change.adds.insert(4, vec!["x".to_owned()]),
            |change| _ = change.removes.insert(4, vec!["x".to_owned()]),
            |change| change.clock = 1,
            |change| _ = change.texts.insert(4, Default::default()),
        ];
        for changed in changed {
            let mut change = insert();
            changed(&mut change);
            others.push(body(vec![change]));
        }
        let whole: [fn(&mut OpBody, OpId); 3] = [
            |body, id| body.covers.push(id),
            |body, id| body.retry_of = Some(id),
            |body, _| body.withdraw = true,
        ];
        for changed in whole {
            let mut op = body(vec![insert()]);
            changed(&mut op, id);
            others.push(op);
        }
        for other in others {
            assert_eq!(glance(&other).0, None, "{other:?}");
        }
    }

    #[test]
    fn damaged_bytes_are_no_plain_insert() {
        let whole = minicbor::to_vec(body(vec![insert()])).unwrap();
        for end in 0..whole.len() {
            assert_eq!(at_bytes(&whole[..end]).0, None);
        }
        // The same field twice.
        let twice: Vec<u8> = whole.iter().map(|b| if *b == 9 { 2 } else { *b }).collect();
        assert_eq!(at_bytes(&twice).0, None);
    }
}
