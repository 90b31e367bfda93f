//! Joining updates that nobody has seen yet: a field saved at every keystroke is one op.

use super::{Change, ChangeKind, Op, OpBody};
use crate::id::OpId;
use crate::mutant::{Mutant, planted};
use crate::protocol::limits::MAX_COVERS;

/// Whether `later`, the file's next op on the document, makes `earlier` superfluous: both update
/// only that document, with registers alone, and every register of the earlier is written again.
///
/// The caller also knows that no page changed those registers between the two; joining across a
/// page let an old value beat a newer one (K3).
pub fn absorbs(later: &OpBody, earlier: &OpBody) -> bool {
    let (Some(new), Some(old)) = (only_registers(later), only_registers(earlier)) else {
        return false;
    };
    new.is_on(old.collection, &old.document)
        // An hour of typing offline must not make one op that carries ten thousand ids.
        && earlier.covers.len() + later.covers.len() + 1 < MAX_COVERS
        && new.generation == old.generation
        && later.schema == earlier.schema
        && old
            .registers
            .iter()
            .all(|(field, _)| new.registers.get(field).is_some() || planted(Mutant::JoinsInPart))
}

/// Lets `later` stand for `earlier` as well. It keeps its id and content, takes over the earlier
/// op's place in the chain and names it.
pub fn take_over(later: &mut OpBody, earlier: Op) {
    let mut covers: Vec<OpId> = earlier.body.covers;
    covers.extend(earlier.body.retry_of);
    covers.push(earlier.id);
    covers.append(&mut later.covers);
    later.covers = covers;
    if let (Some(new), Some(old)) = (
        later.changes.first_mut(),
        earlier.body.changes.into_iter().next(),
    ) {
        new.prev = old.prev;
    }
}

/// The one change of a body that updates one document with registers and does nothing else.
fn only_registers(body: &OpBody) -> Option<&Change> {
    let [change] = body.changes.as_slice() else {
        return None;
    };
    let plain = change.kind == ChangeKind::Update
        && change.increments.is_empty()
        && change.adds.is_empty()
        && change.removes.is_empty()
        // An edit builds on the one before it: leaving that out would leave a gap.
        && change.texts.is_empty()
        && !change.registers.is_empty()
        && !body.withdraw
        && body.retry_of.is_none();
    plain.then_some(change)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::DocumentId;
    use crate::op::TextEdit;
    use crate::time::Reading;
    use crate::value::Value;

    fn update(fields: &[u16]) -> OpBody {
        let mut change = Change::new(1, DocumentId::new("d").unwrap(), ChangeKind::Update);
        change.registers = fields.iter().map(|f| (*f, Value::Integer(1))).collect();
        OpBody {
            schema: 1,
            changes: vec![change],
            ..OpBody::default()
        }
    }

    #[test]
    fn only_a_later_op_that_writes_every_register_again_absorbs() {
        assert!(absorbs(&update(&[1, 2]), &update(&[1])));
        assert!(!absorbs(&update(&[1]), &update(&[1, 2])));
        let mut counted = update(&[1]);
        counted.changes[0].increments.insert(3, 1);
        assert!(!absorbs(&update(&[1]), &counted));
        let mut typed = update(&[1]);
        typed.changes[0].texts.insert(4, TextEdit::default());
        assert!(!absorbs(&update(&[1]), &typed) && !absorbs(&typed, &update(&[1])));
        let mut elsewhere = update(&[1]);
        elsewhere.changes[0].document = DocumentId::new("e").unwrap();
        assert!(!absorbs(&update(&[1]), &elsewhere));
        let mut deleted = update(&[1]);
        deleted.changes[0].kind = ChangeKind::Delete;
        assert!(!absorbs(&update(&[1]), &deleted));
    }

    #[test]
    fn an_op_stands_for_a_bounded_number_of_others() {
        let mut earlier = update(&[1]);
        earlier.covers = vec![OpId([1; 16]); MAX_COVERS - 2];
        assert!(absorbs(&update(&[1]), &earlier));
        earlier.covers.push(OpId([1; 16]));
        assert!(!absorbs(&update(&[1]), &earlier));
    }

    #[test]
    fn the_later_op_takes_the_place_and_names_everything_it_stands_for() {
        let id = |n: u8| OpId([n; 16]);
        let mut first = Op {
            id: id(2),
            written: Reading::default(),
            body: update(&[1]),
        };
        first.body.covers = vec![id(1)];
        first.body.changes[0].prev = Some(id(9));
        let mut later = update(&[1]);
        later.changes[0].prev = Some(id(2));
        take_over(&mut later, first);
        assert_eq!(later.covers, [id(1), id(2)]);
        assert_eq!(later.changes[0].prev, Some(id(9)));
    }
}
