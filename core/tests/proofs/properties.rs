//! Properties of the pieces, on random documents, values and histories.

use std::collections::BTreeMap;

use driftline_core::fold::BaseImage;
use driftline_core::id::{DocumentId, OpId, PENDING};
use driftline_core::merge::{
    Difference, DocumentState, Generation, Life, Register, Reopened, SetState, Write, echo,
};
use driftline_core::op::{Change, ChangeKind, FieldMap};
use driftline_core::order_key;
use driftline_core::time::Stamp;
use driftline_core::value::Value;
use minicbor::{Decoder, Encoder};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use crate::world::server::Documents;
use crate::world::{Action::*, FIELDS, FIELDS_UPDATE_WINS, World, Write::*, X, Z, schema};

fn op() -> impl Strategy<Value = OpId> {
    any::<[u8; 16]>().prop_map(OpId)
}

fn write() -> impl Strategy<Value = Write> {
    let version = prop_oneof![0..1u64 << 53, Just(PENDING)];
    (op(), 0..1u64 << 60, version).prop_map(|(op, stamp, version)| Write {
        op,
        stamp: Stamp(stamp),
        version,
    })
}

/// Values that JSON carries without knowing the field's kind.
fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Boolean),
        (-(1i64 << 53) + 1..1 << 53).prop_map(Value::Integer),
        (-1e12..1e12f64).prop_map(Value::Real),
        "\\PC{0,12}".prop_map(Value::Text),
    ]
}

fn fields<V: std::fmt::Debug>(of: impl Strategy<Value = V>) -> impl Strategy<Value = FieldMap<V>> {
    btree_map(0..6u16, of, 0..5).prop_map(|pairs| pairs.into_iter().collect())
}

fn tags() -> impl Strategy<Value = Vec<(OpId, u64)>> {
    vec((op(), 0..1u64 << 53), 1..3)
}

fn state() -> impl Strategy<Value = DocumentState> {
    let life = prop_oneof![Just(Life::Alive), write().prop_map(Life::Deleted)];
    let reopened = proptest::option::of((op(), op(), 0..1u64 << 53).prop_map(
        |(generation, delete, v)| Reopened {
            generation,
            delete,
            delete_version: v,
        },
    ));
    let set = btree_map("[a-c]", tags(), 1..3).prop_map(|elements| SetState { elements });
    let content = (
        fields((value(), write()).prop_map(|(value, write)| Register { value, write })),
        fields(any::<i64>()),
        fields(set),
        vec((op(), 0..1u64 << 53), 0..3),
    );
    (op(), 0..1u64 << 53, life, reopened, 0..9u64, content).prop_map(
        |(opener, version, life, reopened, clock, (registers, counters, sets, updates))| {
            DocumentState {
                life,
                reopened,
                clock,
                registers,
                counters,
                sets,
                updates,
                generation: Generation { opener, version },
                updates_forgotten: clock,
                ..DocumentState::opened(opener, version)
            }
        },
    )
}

/// A document and a later form of it: the same provenance where nothing changed.
fn two_states() -> impl Strategy<Value = (DocumentState, DocumentState)> {
    (state(), state(), vec(any::<bool>(), 6)).prop_map(|(one, mut other, same)| {
        for (field, register) in one.registers.iter() {
            if same[usize::from(field)] {
                other.registers.insert(field, register.clone());
            }
        }
        for (field, set) in one.sets.iter() {
            if same[usize::from(field)] {
                other.sets.insert(field, set.clone());
            }
        }
        (one, other)
    })
}

proptest! {
    #[test]
    fn a_difference_leads_from_one_state_to_the_other((from, to) in two_states()) {
        let mut gone = from.clone();
        Difference::between(&from, &to).apply(&mut gone);
        prop_assert_eq!(&gone, &to);
        let image = BaseImage::between(Some(&from), &to);
        if let Some(image) = &image {
            let bytes = minicbor::to_vec(image).unwrap();
            prop_assert_eq!(&minicbor::decode::<BaseImage>(&bytes).unwrap(), image);
        }
        prop_assert_eq!(BaseImage::base(image, to), Some(from));
    }

    #[test]
    fn what_one_version_carries_can_be_applied_twice((from, to) in two_states()) {
        let part = Difference::between(&from, &to).part;
        let mut once = from;
        once.take(part.clone());
        let mut twice = once.clone();
        twice.take(part);
        prop_assert_eq!(once, twice);
    }

    #[test]
    fn a_document_survives_cbor_and_json(state in state()) {
        let bytes = minicbor::to_vec(&state).unwrap();
        prop_assert_eq!(&minicbor::decode::<DocumentState>(&bytes).unwrap(), &state);
        let json = serde_json::to_string(&state).unwrap();
        prop_assert_eq!(&serde_json::from_str::<DocumentState>(&json).unwrap(), &state);
    }

    #[test]
    fn values_may_stand_in_columns(state in state(), columns in vec(any::<bool>(), 6)) {
        let elsewhere = |field: u16| columns[usize::from(field)];
        let mut bytes = Vec::new();
        state.encode_provenance(&mut Encoder::new(&mut bytes), &elsewhere).unwrap();
        let mut value = |field: u16| state.registers.get(field).unwrap().value.clone();
        let back = DocumentState::decode_provenance(&mut Decoder::new(&bytes), &mut value).unwrap();
        prop_assert_eq!(back, state);
    }

    #[test]
    fn cut_or_changed_bytes_are_an_error_or_a_document(state in state(), at: prop::sample::Index, byte: u8) {
        let mut bytes = minicbor::to_vec(&state).unwrap();
        let at = at.index(bytes.len());
        prop_assert!(minicbor::decode::<DocumentState>(&bytes[..at]).is_err());
        bytes[at] = byte;
        let _ = minicbor::decode::<DocumentState>(&bytes);
    }

    #[test]
    fn a_field_map_is_a_map(pairs in vec((0..9u16, any::<i32>()), 0..20), gone in 0..9u16) {
        let mut map: FieldMap<i32> = pairs.iter().copied().collect();
        let mut model: BTreeMap<u16, i32> = pairs.into_iter().collect();
        prop_assert_eq!(map.remove(gone), model.remove(&gone));
        prop_assert_eq!(map.entry(4, || 7), model.entry(4).or_insert(7));
        prop_assert!(map.iter().eq(model.iter().map(|(field, value)| (*field, value))));
        prop_assert_eq!(map.len(), model.len());
        let bytes = minicbor::to_vec(&map).unwrap();
        prop_assert_eq!(minicbor::decode::<FieldMap<i32>>(&bytes).unwrap(), map);
    }

    #[test]
    fn an_order_key_sorts_between_its_neighbours(mut ops in vec(op(), 2..40), places in vec(any::<prop::sample::Index>(), 40)) {
        ops.dedup();
        let mut list: Vec<String> = Vec::new();
        for (op, place) in ops.into_iter().zip(places) {
            let at = place.index(list.len() + 1);
            let before = at.checked_sub(1).map(|at| list[at].as_str());
            let key = order_key::between(before, list.get(at).map(String::as_str), op).unwrap();
            prop_assert!(order_key::is_valid(&key));
            list.insert(at, key);
        }
        prop_assert!(list.windows(2).all(|pair| pair[0] < pair[1]), "{:?}", list);
    }

    /// Two devices insert at the same place without seeing each other: the keys differ, and a third
    /// finds room before, between and behind.
    #[test]
    fn equal_places_leave_room(one in op(), other in op(), third in op()) {
        prop_assume!(one != other);
        let mut keys = [one, other].map(|op| order_key::between(None, None, op).unwrap());
        keys.sort();
        let before = order_key::between(None, Some(&keys[0]), third).unwrap();
        let behind = order_key::between(Some(&keys[1]), None, third).unwrap();
        prop_assert!(before < keys[0] && keys[0] < keys[1] && keys[1] < behind);
    }
}

/// A random history of two devices, all of it pushed.
fn history(collection: u16, steps: Vec<(u8, bool)>) -> World {
    let mut world = World::new(collection, true, usize::MAX);
    let writes = [
        SetA, SetB, SetBoth, Count, Add, Remove, Delete, Insert, Restore, Same,
    ];
    for (step, first) in steps {
        let file = if first { X } else { Z };
        let action = match usize::from(step) % 14 {
            10 | 11 => Push(file),
            12 | 13 => Pull(file),
            write => Write(file, writes[write]),
        };
        world = world.step(action).unwrap_or(world);
    }
    world
}

fn replay(documents: &mut Documents, world: &World, from: usize) {
    for entry in &world.server.log[from..] {
        for part in &entry.parts {
            match documents.get_mut(&part.key) {
                Some(document) if !part.whole => document.take(part.state.clone()),
                _ => {
                    documents.insert(part.key.clone(), part.state.clone());
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    /// What makes fuzzy snapshots right: documents as they were at any later version each, and all
    /// versions from the pin on replayed over them, end at the server's state.
    #[test]
    fn a_fuzzy_snapshot_and_a_replay_end_at_the_servers_state(
        wins: bool,
        steps in vec((any::<u8>(), any::<bool>()), 5..50),
        pin: prop::sample::Index,
        reads in vec(any::<prop::sample::Index>(), 2),
    ) {
        let collection = if wins { FIELDS_UPDATE_WINS } else { FIELDS };
        let world = history(collection, steps).healed().well();
        let head = world.server.log.len();
        let pin = pin.index(head + 1);
        let mut fuzzy = Documents::new();
        for (key, read) in [world.key(), world.other_key()].into_iter().zip(reads) {
            let at = pin + read.index(head - pin + 1);
            if let Some(document) = world.server.documents[at].get(&key) {
                fuzzy.insert(key, document.clone());
            }
        }
        replay(&mut fuzzy, &world, pin);
        prop_assert_eq!(&fuzzy, &**world.server.now());
    }

    /// Replaying versions over a state that has them already changes nothing in the end.
    #[test]
    fn a_replay_over_the_end_ends_there(
        steps in vec((any::<u8>(), any::<bool>()), 5..50),
        from: prop::sample::Index,
    ) {
        let world = history(FIELDS, steps).healed().well();
        let mut documents = Documents::clone(world.server.now());
        replay(&mut documents, &world, from.index(world.server.log.len()));
        prop_assert_eq!(&documents, &**world.server.now());
    }

    /// The fold is a function: the same file shows the same, however often it is asked.
    #[test]
    fn a_fold_is_deterministic(steps in vec((any::<u8>(), any::<bool>()), 5..40)) {
        let world = history(FIELDS_UPDATE_WINS, steps);
        let again = world.clone();
        for file in [X, Z] {
            let shown = |w: &World| w.file(file).shown(schema(), &w.key(), w.time);
            prop_assert_eq!(shown(&world), shown(&again));
            prop_assert_eq!(shown(&world), shown(&world));
        }
    }
}

/// Whatever an author works out from the stamp alone is the state the server decided on.
#[test]
fn an_echo_is_the_servers_result() {
    let mut echoed = Vec::new();
    for collection in [FIELDS, FIELDS_UPDATE_WINS] {
        for write in [SetA, SetBoth, Count, Add, Remove, Delete] {
            for unseen in [false, true] {
                let mut world = World::new(collection, true, usize::MAX);
                world = if unseen {
                    world.after(&[Write(X, write), Write(Z, SetB), Push(Z)])
                } else {
                    world.after(&[Write(Z, SetB), Push(Z), Pull(X), Write(X, write)])
                };
                let queued = world.file(X).queue[0].op.clone();
                let mut server = (*world.server).clone();
                let stamp = Stamp::at(world.time);
                let decided = server.decide(&world.rules, schema(), queued.clone(), stamp, false);
                let accepted = decided.decision.accepted.unwrap();
                let Some(stamp) = accepted.echo else { continue };
                let before = decided.before.get(&world.key());
                let rules = schema().collection_by_id(collection).unwrap();
                let change = &queued.body.changes[0];
                let id = queued.id;
                let version = server.log.len() as u64;
                let state = echo(before, change, rules, (id, id), stamp, version);
                assert_eq!(state.as_ref(), server.now().get(&world.key()));
                echoed.push((collection, write, unseen));
            }
        }
    }
    // Register updates are echoed; but not where B was contested, nor where an update that the
    // author had not seen has to be remembered beside this one.
    let expected = [
        (FIELDS, SetA, false),
        (FIELDS, SetA, true),
        (FIELDS, SetBoth, false),
        (FIELDS_UPDATE_WINS, SetA, false),
        (FIELDS_UPDATE_WINS, SetBoth, false),
    ];
    assert_eq!(echoed, expected);
}

/// An insert is echoed with everything in it; a document-merged write and a removal never are.
#[test]
fn an_echo_of_an_insert_has_every_kind_of_field() {
    let rules = schema().collection_by_id(FIELDS).unwrap();
    let mut change = Change::new(FIELDS, DocumentId::new("n").unwrap(), ChangeKind::Insert);
    change.registers.insert(1, Value::Integer(5));
    change.increments.insert(3, 7);
    change.adds.insert(4, vec!["e".to_owned()]);
    let id = OpId([3; 16]);
    let state = echo(None, &change, rules, (id, id), Stamp::at(9), 4).unwrap();
    assert_eq!(
        (state.value(1), state.counters.get(3)),
        (Some(&Value::Integer(5)), Some(&7))
    );
    assert_eq!(state.sets.get(4).unwrap().elements["e"], [(id, 4)]);
    change.removes.insert(4, vec!["f".to_owned()]);
    assert!(echo(None, &change, rules, (id, id), Stamp::at(9), 4).is_none());
}
