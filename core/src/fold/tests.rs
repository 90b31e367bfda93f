//! Single folds. All schedules of small worlds are in `tests/proofs`.

use std::collections::BTreeMap;
use std::convert::Infallible;

use super::*;
use crate::merge::{Register, Write};
use crate::op::{ChangeKind, TextEdit, Update};
use crate::schema::Schema;
use crate::value::Value;

const fn id(n: u8) -> OpId {
    OpId([n; 16])
}

#[derive(Default)]
struct Links(BTreeMap<OpId, Linked>);

impl History for Links {
    type Error = Infallible;
    fn linked(
        &mut self,
        op: OpId,
        _: CollectionId,
        _: &DocumentId,
    ) -> Result<Option<Linked>, Infallible> {
        Ok(self.0.get(&op).cloned())
    }
}

fn schema() -> Schema {
    Schema::parse(
        "[schema]\nname = \"t\"\nversion = 1\n[collections.c]\nid = 1\n\
         on_conflict_delete = \"update_wins\"\n[collections.c.fields]\n\
         a = { id = 1, kind = \"integer\" }\nn = { id = 2, kind = \"counter\" }\n\
         t = { id = 3, kind = \"rich_text\" }\n",
    )
    .unwrap()
}

fn change(kind: ChangeKind, prev: Option<u8>) -> Change {
    Change {
        prev: prev.map(id),
        ..Change::new(1, DocumentId::new("d").unwrap(), kind)
    }
}

fn set(value: i64, prev: Option<u8>) -> Change {
    let mut change = change(ChangeKind::Update, prev);
    change.registers.insert(1, Value::Integer(value));
    change
}

fn pending(n: u8, base: Version, changes: Vec<Change>) -> Pending {
    Pending {
        id: id(n),
        name: id(n),
        stamp: Stamp::at(1),
        base,
        covers: Vec::new(),
        changes,
    }
}

fn base() -> DocumentState {
    let mut state = DocumentState::opened(id(1), 1);
    let write = Write {
        op: id(1),
        stamp: Stamp::at(900),
        version: 1,
    };
    state.registers.insert(
        1,
        Register {
            value: Value::Integer(0),
            write,
        },
    );
    state
}

fn folded(base: Option<DocumentState>, pending: &[Pending], links: &mut Links) -> Folded {
    let Ok(folded) = fold_telling(schema().collection_by_id(1).unwrap(), base, pending, links);
    folded
}

#[test]
fn nothing_pending_shows_base() {
    let folded = folded(Some(base()), &[], &mut Links::default());
    assert_eq!(
        folded,
        Folded {
            shown: Some(base()),
            refused: Vec::new(),
            rebase: Vec::new()
        }
    );
}

#[test]
fn an_op_of_several_changes_is_shown_whole_or_not_at_all() {
    let mut overflow = change(ChangeKind::Update, None);
    overflow.increments.insert(2, i64::MAX);
    let both = vec![set(5, None), overflow.clone(), overflow];
    let folded = folded(
        Some(base()),
        &[pending(2, 1, both), pending(3, 1, vec![set(6, None)])],
        &mut Links::default(),
    );
    assert_eq!(folded.refused, [id(2)]);
    assert_eq!(folded.shown.unwrap().value(1), Some(&Value::Integer(6)));
}

#[test]
fn an_update_of_nothing_is_refused() {
    let folded = folded(
        None,
        &[pending(2, 0, vec![set(5, None)])],
        &mut Links::default(),
    );
    assert_eq!(
        folded,
        Folded {
            shown: None,
            refused: vec![id(2)],
            rebase: Vec::new()
        }
    );
}

/// An older op of the queue may be rejected by a server whose answer was lost, while the one between
/// was accepted and is in base: the chain must not end there.
#[test]
fn a_prediction_follows_the_chain_beyond_its_base_version() {
    let mut counts = change(ChangeKind::Update, None);
    counts.increments.insert(2, 1);
    let queue = [
        pending(2, 1, vec![counts]),
        pending(4, 2, vec![change(ChangeKind::Delete, Some(3))]),
    ];
    let between = Linked {
        prev: Some(id(2)),
        accepted: Some(2),
        ..Linked::default()
    };
    let folded = folded(
        Some(base()),
        &queue,
        &mut Links(BTreeMap::from([(id(3), between)])),
    );
    assert!(
        !folded.shown.unwrap().is_alive(),
        "the count was seen and does not cancel the delete"
    );
}

#[test]
fn a_new_op_names_what_the_file_opened_last() {
    let shown = base();
    assert_eq!(named_generation(&shown, &[]), id(1));
    assert_eq!(
        named_generation(&shown, &[pending(2, 1, vec![set(1, None)])]),
        id(1)
    );
    let mut retried = pending(4, 1, vec![change(ChangeKind::Insert, None)]);
    retried.name = id(3);
    assert_eq!(
        named_generation(&shown, &[retried, pending(5, 1, vec![set(1, None)])]),
        id(3)
    );
    let mut reopened = shown;
    reopened.generation.opener = id(5);
    let opens = [
        pending(4, 1, vec![change(ChangeKind::Restore, None)]),
        pending(5, 1, vec![set(1, None)]),
    ];
    assert_eq!(
        named_generation(&reopened, &opens),
        id(5),
        "an update that reopened it"
    );
}

#[test]
fn ops_that_name_a_departed_opener_are_led_to_where_it_landed() {
    let named = Change {
        generation: Some(id(7)),
        ..set(5, None)
    };
    let landed = Linked {
        landed: Some(id(1)),
        ..Linked::default()
    };
    let mut links = Links(BTreeMap::from([(id(7), landed)]));
    let shown = folded(
        Some(base()),
        &[pending(8, 1, vec![named.clone()])],
        &mut links,
    )
    .shown
    .unwrap();
    assert_eq!(shown.value(1), Some(&Value::Integer(5)));
    let unknown = folded(
        Some(base()),
        &[pending(8, 1, vec![named])],
        &mut Links::default(),
    )
    .shown
    .unwrap();
    assert_eq!(
        unknown.value(1),
        Some(&Value::Integer(0)),
        "a generation nobody knows is not this one"
    );
}

#[test]
fn the_way_back_to_nothing_is_nothing() {
    let image = BaseImage::between(None, &base());
    assert_eq!(image, Some(BaseImage::Absent));
    let bytes = minicbor::to_vec(BaseImage::Absent).unwrap();
    assert_eq!(
        minicbor::decode::<BaseImage>(&bytes).unwrap(),
        BaseImage::Absent
    );
    assert_eq!(BaseImage::base(image, base()), None);
    assert_eq!(BaseImage::between(Some(&base()), &base()), None);
}

/// `a` is set, and one character typed by writer 7 at the beginning of the text.
fn types(from: u8, after: Option<u8>, prev: Option<u8>) -> Change {
    let mut change = set(from.into(), prev);
    let edit = TextEdit {
        writer: 7,
        update: Update(vec![1, 1, 7, from, 4, 1, 1, b't', 1, b'x', 0]),
        after: after.map(id),
    };
    change.texts.insert(3, edit);
    change
}

#[test]
fn text_that_does_not_go_on_where_base_ends_is_told_and_the_rest_is_shown() {
    let queue = [
        pending(2, 1, vec![types(0, None, None)]),
        pending(3, 1, vec![types(1, Some(2), Some(2))]),
        pending(4, 1, vec![types(3, Some(3), Some(3))]),
        pending(5, 1, vec![types(2, Some(3), Some(4))]),
    ];
    let links = || Links::default();
    let told = folded(Some(base()), &queue, &mut links());
    assert_eq!((told.refused, told.rebase), (vec![], vec![id(4)]));
    let shown = told.shown.unwrap();
    let text = shown.texts.get(3).unwrap();
    assert_eq!(
        (text.last, text.version, text.marks[0].next),
        (id(5), PENDING, 3)
    );
    assert_eq!(shown.value(1), Some(&Value::Integer(2)));
    // A copy of the file was faster: base has other text under the same clocks.
    let mut taken = base();
    taken = folded(Some(taken), &queue[..1], &mut links())
        .shown
        .unwrap();
    let mut others = pending(9, 1, vec![types(0, None, None)]);
    others.changes[0].registers = FieldMap::default();
    let told = folded(Some(taken), &[others], &mut links());
    assert_eq!(told.rebase, [id(9)]);
    assert_eq!(told.shown.unwrap().texts.get(3).unwrap().last, id(2));
    // What is malformed the server rejects whole.
    let mut broken = types(0, None, None);
    broken
        .texts
        .iter_mut()
        .for_each(|(_, edit)| edit.update.0.push(0));
    let told = folded(Some(base()), &[pending(2, 1, vec![broken])], &mut links());
    assert_eq!((told.refused, told.rebase), (vec![id(2)], vec![]));
    assert_eq!(told.shown, Some(base()));
}
