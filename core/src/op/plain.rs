//! A glance at a queued op: whether it is the usual one, without taking in what it says.

use minicbor::decode::{self, Decoder};

use super::ChangeKind;
use crate::id::{CollectionId, DocumentId, FieldId};

/// The document that an op brings into being, if it does that with registers and nothing else, under its
/// own id and with no op before it. Their fields go into `fields`, in order.
///
/// `None` says only that more of the op has to be looked at; it may be damaged, too.
pub fn plain_insert(body: &[u8], fields: &mut Vec<FieldId>) -> Option<(CollectionId, DocumentId)> {
    fields.clear();
    let found = of_op(&mut Decoder::new(body), fields).ok().flatten();
    let in_order = fields.is_sorted_by(|a, b| a < b);
    found.filter(|_| in_order && !fields.is_empty())
}

/// Members that such an op does not have end the glance: they are left out where they say nothing.
fn of_op(
    d: &mut Decoder<'_>,
    fields: &mut Vec<FieldId>,
) -> Result<Option<(CollectionId, DocumentId)>, decode::Error> {
    let mut found = None;
    for _ in 0..d.map()?.unwrap_or(0) {
        match d.u32()? {
            // Base and schema version.
            0 | 1 => d.skip()?,
            2 if found.is_none() && d.array()? == Some(1) => {
                found = of_change(d, fields)?;
                if found.is_none() {
                    return Ok(None);
                }
            }
            _ => return Ok(None),
        }
    }
    Ok(found)
}

fn of_change(
    d: &mut Decoder<'_>,
    fields: &mut Vec<FieldId>,
) -> Result<Option<(CollectionId, DocumentId)>, decode::Error> {
    let (mut collection, mut document, mut inserts) = (None, None, false);
    for _ in 0..d.map()?.unwrap_or(0) {
        match d.u32()? {
            0 => collection = Some(d.u16()?),
            1 => document = Some(d.decode()?),
            2 => inserts = d.decode::<ChangeKind>()? == ChangeKind::Insert,
            5 => {
                for _ in 0..d.map()?.unwrap_or(0) {
                    fields.push(d.u16()?);
                    d.skip()?;
                }
            }
            _ => return Ok(None),
        }
    }
    Ok(collection.zip(document).filter(|_| inserts))
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

    fn glance(body: &OpBody) -> (Option<(CollectionId, DocumentId)>, Vec<FieldId>) {
        let mut fields = vec![77];
        let found = plain_insert(&minicbor::to_vec(body).unwrap(), &mut fields);
        (found, fields)
    }

    #[test]
    fn an_insert_of_registers_is_known_by_its_document_and_fields() {
        let (found, fields) = glance(&body(vec![insert()]));
        assert_eq!(found, Some((3, insert().document)));
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
        let mut fields = Vec::new();
        for end in 0..whole.len() {
            assert_eq!(plain_insert(&whole[..end], &mut fields), None);
        }
        // The same field twice.
        let twice: Vec<u8> = whole.iter().map(|b| if *b == 9 { 2 } else { *b }).collect();
        assert_eq!(plain_insert(&twice, &mut fields), None);
    }
}
