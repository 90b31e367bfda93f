//! Lists: moved, removed, opened again, written again under a new writer.

use std::collections::BTreeSet;

use driftline_core::text::author::{Pending, Rewritten, again};
use driftline_core::text::guard::check_state;
use driftline_core::text::{
    BodyLimits, ElementId, ListBody, ListChange, Mark, Side, TextError, TextKind, Which,
};
use serde_json::{Value, json};

use crate::random::Random;
use crate::world::{LIMITS, admit, writer};

struct Lists {
    body: ListBody,
    marks: Vec<Mark>,
}

impl Lists {
    fn new(by: u64) -> Lists {
        Lists {
            body: ListBody::new(by, BodyLimits::default()),
            marks: Vec::new(),
        }
    }

    fn reread(&self, by: u64) -> Lists {
        let state = self.body.state().unwrap();
        let checked = check_state(&state, TextKind::List, &self.marks, &LIMITS).unwrap();
        Lists {
            body: ListBody::load(by, checked, BodyLimits::default()).unwrap(),
            marks: self.marks.clone(),
        }
    }

    fn hear(&mut self, update: &[u8], by: u64) {
        use driftline_core::text::guard::{Check, check};
        let answer = check(update, by, TextKind::List, &self.marks, &LIMITS).unwrap();
        if let Check::Fits(checked) = answer {
            self.body.apply(&checked).unwrap();
            admit(update, by, TextKind::List, &mut self.marks).unwrap();
        }
    }

    fn values(&mut self) -> Vec<u32> {
        serde_json::from_str(&self.body.json().unwrap()).unwrap()
    }

    /// One random edit: its update, and the values it puts in or moves.
    fn edit(&mut self, counter: &mut u32, random: &mut Random) -> Option<(Vec<u8>, BTreeSet<u32>)> {
        let before = self.values();
        let len = before.len() as u32;
        let change = match random.below(4) {
            0 if len > 0 => ListChange::Remove {
                element: Which::At(random.below(len)),
            },
            1 if len > 0 => ListChange::Move {
                element: Which::At(random.below(len)),
                to: random.below(len),
            },
            _ => ListChange::Insert {
                at: random.below(len + 1),
                values: (0..=random.below(2))
                    .map(|_| {
                        *counter += 1;
                        json!(*counter)
                    })
                    .collect(),
            },
        };
        let by = self.body.writer();
        let update = self.body.edit(std::slice::from_ref(&change)).unwrap()?;
        assert_eq!(
            admit(&update, by, TextKind::List, &mut self.marks),
            Ok(true)
        );
        let put = match change {
            ListChange::Move {
                element: Which::At(at),
                ..
            } => BTreeSet::from([before[at as usize]]),
            _ => {
                let new = |value: &u32| !before.contains(value);
                self.values().into_iter().filter(new).collect()
            }
        };
        Some((update, put))
    }
}

#[test]
fn lists_are_written_again_element_by_element() {
    (0..300).for_each(|seed| is_written_again(&[], seed));
}

/// What refers to own elements under another writer, whose clocks somebody took, does not mean theirs.
#[test]
fn a_list_of_several_own_writers_hits_nobody_elses() {
    (300..600).for_each(|seed| is_written_again(&[writer(5), writer(6)], seed));
}

/// The device may go on under each of `others`, one after the other.
fn is_written_again(others: &[u64], seed: u64) {
    let mut others = others.iter();
    let mut random = Random::new(seed);
    let (me, other) = (writer(1), writer(2));
    // Whether a copy of the file wrote under the same clocks first.
    let copied_file = random.one_in(2);
    let leave_out = random.one_in(2);
    let mut counter = 0;
    let (mut device, mut base) = (Lists::new(me), Lists::new(other));
    for _ in 0..random.below(8) + 1 {
        if let Some((update, _)) = base.edit(&mut counter, &mut random) {
            device.hear(&update, other);
        }
        if let Some((update, _)) = device.edit(&mut counter, &mut random) {
            base.hear(&update, me);
        }
    }
    let mut copy = device.reread(me);
    let (mut updates, mut kept) = (Vec::new(), Vec::new());
    let mut left_out_values = BTreeSet::new();
    for _ in 0..random.below(8) + 1 {
        if others.len() > 0
            && random.one_in(3)
            && let Some(other) = others.next()
        {
            device = device.reread(*other);
        }
        let by = device.body.writer();
        let before: BTreeSet<u32> = device.values().into_iter().collect();
        if let Some((update, put)) = device.edit(&mut counter, &mut random) {
            let after: BTreeSet<u32> = device.values().into_iter().collect();
            let keep = !leave_out || random.one_in(2);
            if keep {
                // A move beats a removal that had not seen it, but brings nothing back that
                // was put in by what is left out.
                kept.push((&put - &left_out_values, &before - &after));
            } else {
                left_out_values.extend(&after - &before);
            }
            updates.push((update, by, keep));
        }
    }
    let mut copied = BTreeSet::new();
    if copied_file {
        for _ in 0..random.below(3) + 1 {
            if let Some((update, put)) = copy.edit(&mut counter, &mut random) {
                base.hear(&update, me);
                copied.extend(put);
            }
        }
    }
    let pending: Vec<Pending<'_>> = updates
        .iter()
        .map(|(update, by, keep)| Pending {
            update,
            writer: *by,
            keep: *keep,
            retried: false,
        })
        .collect();
    let state = base.body.state().unwrap();
    let checked = check_state(&state, TextKind::List, &base.marks, &LIMITS).unwrap();
    let new = writer(77);
    let rewritten = again(checked, &pending, new, BodyLimits::default()).unwrap();
    let held: BTreeSet<u32> = base.values().into_iter().collect();
    let mut expected = held.clone();
    for (put, gone) in kept {
        expected.extend(put);
        expected.retain(|value| !gone.contains(value));
    }
    // What the copy moved it moved away from under the removal.
    expected.extend(&copied & &held);
    let mut result = base.reread(writer(4));
    for update in rewritten {
        if let Rewritten::Update(update) = update {
            result.hear(&update, new);
        }
    }
    let found = result.values();
    assert_eq!(found.len(), expected.len(), "seed {seed}");
    assert_eq!(
        found.iter().copied().collect::<BTreeSet<u32>>(),
        expected,
        "seed {seed}"
    );
    if !copied_file && !leave_out {
        assert_eq!(found, device.values(), "seed {seed}");
    }
}

impl Lists {
    fn make(&mut self, change: ListChange) -> Vec<u8> {
        let by = self.body.writer();
        let update = self.body.edit(&[change]).unwrap().unwrap();
        admit(&update, by, TextKind::List, &mut self.marks).unwrap();
        update
    }

    fn id_of(&mut self, value: u32) -> ElementId {
        let at = self.values().iter().position(|held| *held == value);
        self.body.elements().unwrap()[at.unwrap()].0
    }
}

fn insert(at: u32, values: &[u32]) -> ListChange {
    let values = values.iter().map(|value| json!(value)).collect();
    ListChange::Insert { at, values }
}

/// Two devices with `[1, 2, 3, 4]`.
fn two() -> (Lists, Lists) {
    let (mut one, mut two) = (Lists::new(writer(1)), Lists::new(writer(2)));
    let update = one.make(insert(0, &[1, 2, 3, 4]));
    two.hear(&update, writer(1));
    (one, two)
}

#[test]
fn an_element_moved_by_two_shows_once_and_keeps_its_name() {
    let (mut one, mut two) = two();
    let name = one.id_of(2);
    let element = Which::Element(name);
    let first = one.make(ListChange::Move { element, to: 3 });
    let second = two.make(ListChange::Move { element, to: 0 });
    one.hear(&second, writer(2));
    two.hear(&first, writer(1));
    assert_eq!(one.values(), two.values());
    let mut sorted = one.values();
    sorted.sort_unstable();
    assert_eq!(sorted, [1, 2, 3, 4]);
    assert_eq!(one.id_of(2), name);
    // Whoever moves it next takes both out.
    let third = one.make(ListChange::Move { element, to: 1 });
    two.hear(&third, writer(1));
    assert_eq!(one.values(), [1, 2, 3, 4]);
    assert_eq!(two.values(), [1, 2, 3, 4]);
    let gone = two.make(ListChange::Remove { element });
    one.hear(&gone, writer(2));
    assert_eq!(one.values(), [1, 3, 4]);
    assert_eq!(one.reread(writer(3)).values(), [1, 3, 4]);
}

#[test]
fn a_move_beats_a_removal_that_had_not_seen_it() {
    let (mut one, mut two) = two();
    let element = Which::At(0);
    let moved = one.make(ListChange::Move { element, to: 3 });
    let gone = two.make(ListChange::Remove { element });
    one.hear(&gone, writer(2));
    two.hear(&moved, writer(1));
    assert_eq!(one.values(), [2, 3, 4, 1]);
    assert_eq!(two.values(), [2, 3, 4, 1]);
}

#[test]
fn an_edit_that_does_not_fit_changes_nothing() {
    let (mut one, _) = two();
    let tight = BodyLimits {
        max_bytes: 8,
        ..BodyLimits::default()
    };
    let deep = (0..33).fold(json!(1), |value, _| json!([value]));
    let long = json!("x".repeat(64 << 10));
    let stranger = Which::Element(ElementId {
        writer: 5,
        clock: 0,
    });
    let put = |value: Value| ListChange::Insert {
        at: 0,
        values: vec![value],
    };
    let state = one.body.state().unwrap();
    for (change, error) in [
        (insert(5, &[9]), TextError::OutOfRange),
        (
            ListChange::Remove {
                element: Which::At(4),
            },
            TextError::OutOfRange,
        ),
        (
            ListChange::Remove { element: stranger },
            TextError::NoSuchElement,
        ),
        (
            ListChange::Move {
                element: Which::At(0),
                to: 4,
            },
            TextError::OutOfRange,
        ),
        (put(deep), TextError::ElementSize),
        (put(long), TextError::ElementSize),
    ] {
        // What stands before it in the batch is not made either.
        let batch = [insert(0, &[7]), change.clone()];
        let shifted = matches!(error, TextError::OutOfRange);
        let batch = if shifted { &batch[1..] } else { &batch[..] };
        assert_eq!(one.body.edit(batch), Err(error), "{change:?}");
        assert_eq!(one.body.state().unwrap(), state);
        assert_eq!(one.values(), [1, 2, 3, 4]);
    }
    let mut small = ListBody::new(writer(1), tight);
    assert_eq!(
        small.edit(&[insert(0, &[1, 2, 3, 4, 5])]),
        Err(TextError::TooLong)
    );
    assert_eq!(small.edit(&[insert(0, &[])]), Ok(None));
    let many = vec![json!([0, 0, 0, 0, 0, 0, 0]); 5000];
    let insert = ListChange::Insert {
        at: 0,
        values: many,
    };
    assert_eq!(one.body.edit(&[insert]), Err(TextError::TooLarge));
    assert_eq!(one.values(), [1, 2, 3, 4]);
}

#[test]
fn positions_stay_between_their_elements() {
    let (mut one, mut two) = two();
    let left = one.body.position(2, Side::Left).unwrap();
    let right = one.body.position(2, Side::Right).unwrap();
    let end = one.body.position(4, Side::Right).unwrap();
    for (at, value) in [(0, 7), (3, 8), (3, 9)] {
        let update = two.make(insert(at, &[value]));
        one.hear(&update, writer(2));
    }
    assert_eq!(one.values(), [7, 1, 2, 9, 8, 3, 4]);
    assert_eq!(one.body.resolve(&left), Ok(3));
    assert_eq!(one.body.resolve(&right), Ok(5));
    assert_eq!(one.body.resolve(&end), Ok(7));
    assert_eq!(one.body.resolve(&[9, 9]), Err(TextError::NotAPosition));
    assert_eq!(one.body.position(8, Side::Left), Err(TextError::OutOfRange));
}
