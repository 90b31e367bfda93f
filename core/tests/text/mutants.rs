//! Honest updates with bytes changed: refused, or taken by Yrs without harm.

use std::time::{Duration, Instant};

use driftline_core::text::guard::{Check, check, check_state};
use driftline_core::text::{BodyLimits, ListBody, ListChange, Mark, TextBody, TextKind};
use serde_json::{Value, json};

use crate::random::Random;
use crate::world::{LIMITS, Open, admit, writer};

/// Mutants a kind of field; 10 000 together.
const MUTANTS: u32 = 5_000;

/// A field as the server has it: who wrote what, in order.
struct Field {
    kind: TextKind,
    marks: Vec<Mark>,
    state: Vec<u8>,
}

impl Field {
    /// What three people wrote, each knowing all before.
    fn written(kind: TextKind, random: &mut Random) -> Field {
        let mut field = Field {
            kind,
            marks: Vec::new(),
            state: vec![0, 0],
        };
        for _ in 0..random.below(12) + 1 {
            let by = writer(u64::from(random.below(3)) + 1);
            if let Some(update) = field.honest(by, random) {
                field.take(&update, by);
            }
        }
        field
    }

    fn open(&self, by: u64) -> Open {
        Open::load(by, self.kind, &self.state, &self.marks)
    }

    /// One more update by `by`, of one to three edits.
    fn honest(&self, by: u64, random: &mut Random) -> Option<Vec<u8>> {
        self.open(by).edit(random)
    }

    fn take(&mut self, update: &[u8], by: u64) {
        let mut open = self.open(by);
        let Ok(Check::Fits(checked)) = check(update, by, self.kind, &self.marks, &LIMITS) else {
            panic!("an honest update was refused");
        };
        open.apply(&checked);
        self.state = open.state();
        admit(update, by, self.kind, &mut self.marks).unwrap();
    }
}

fn mutate(bytes: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    for _ in 0..if random.one_in(3) { 3 } else { 1 } {
        if bytes.is_empty() {
            bytes.push(0);
        }
        let at = random.below(bytes.len() as u32) as usize;
        match random.below(9) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = *random.of(&[0, 1, 2, 0x7f, 0x80, 0xff, 0x40, 5, 77]),
            2 => bytes[at] = random.next() as u8,
            3 => bytes.insert(at, random.next() as u8),
            4 => drop(bytes.remove(at)),
            5 => {
                let end = (at + 1 + random.below(12) as usize).min(bytes.len());
                let copy = bytes[at..end].to_vec();
                let to = random.below(bytes.len() as u32 + 1) as usize;
                bytes.splice(to..to, copy);
            }
            6 if !other.is_empty() => {
                let from = random.below(other.len() as u32) as usize;
                let end = (from + 1 + random.below(24) as usize).min(other.len());
                bytes.splice(at..at, other[from..end].iter().copied());
            }
            7 => bytes.truncate(at),
            _ => bytes[at] = bytes[at].wrapping_add(1),
        }
    }
}

/// Feeds a mutant that passed to Yrs, and goes on working with the result.
fn swallow(field: &Field, mutant: &[u8], by: u64, random: &mut Random, seed: u64) {
    let Ok(Check::Fits(checked)) = check(mutant, by, field.kind, &field.marks, &LIMITS) else {
        unreachable!("it passed before");
    };
    // What it says is what happens: no hole, nothing parked, the clocks as told, or `apply` fails.
    let mut open = field.open(writer(9));
    open.apply(&checked);
    // What was seen of the change is what Yrs made of it.
    if let Open::Text(body) = &open {
        let Open::Text(mut quiet) = field.open(writer(9)) else {
            unreachable!("the same kind");
        };
        quiet.apply(&checked).unwrap();
        assert_eq!(
            body.content().unwrap(),
            quiet.content().unwrap(),
            "seed {seed}"
        );
    }
    let mut marks = field.marks.clone();
    admit(mutant, by, field.kind, &mut marks).unwrap();
    let after = Field {
        kind: field.kind,
        state: open.state(),
        marks,
    };
    // Read anew from its state it may show another order: the mutant may say that it stands left of
    // what stands left of it.
    let mut reread = after.open(writer(9));
    let sorted = |open: &mut Open| {
        let mut content: Vec<char> = open.content().chars().collect();
        content.sort_unstable();
        content
    };
    // Work goes on, on both.
    let update = open.edit(random);
    if let Some(update) = update {
        match check(&update, writer(9), field.kind, &after.marks, &LIMITS) {
            Ok(Check::Fits(checked)) => reread.apply(&checked),
            other => panic!("an honest update after a mutant: {other:?}, seed {seed}"),
        }
    }
    if field.kind == TextKind::List {
        assert_eq!(sorted(&mut reread), sorted(&mut open), "seed {seed}");
    }
}

fn run(kind: TextKind) {
    let (mut mutants, mut passed, mut seed) = (0, 0, 0);
    let mut slowest = Duration::ZERO;
    while mutants < MUTANTS {
        seed += 1;
        let mut random = Random::new(seed);
        let field = Field::written(kind, &mut random);
        let by = writer(u64::from(random.below(3)) + 1);
        let Some(honest) = field.honest(by, &mut random) else {
            continue;
        };
        for _ in 0..20 {
            mutants += 1;
            let mut mutant = honest.clone();
            mutate(&mut mutant, &field.state, &mut random);
            if mutant == honest {
                continue;
            }
            let answer = check(&mutant, by, kind, &field.marks, &LIMITS);
            if matches!(answer, Ok(Check::Fits(_))) {
                passed += 1;
                let start = Instant::now();
                swallow(&field, &mutant, by, &mut random, seed);
                slowest = slowest.max(start.elapsed());
            }
            // A state changed in the same way is refused or loads as it says.
            if random.one_in(10) {
                mutate_state(&field, &mut random);
            }
        }
    }
    println!("{kind:?}: {mutants} mutants, {passed} passed the guard, slowest {slowest:?}");
    // Enough of them get through for the test to say something.
    assert!(passed > MUTANTS / 200, "only {passed} passed");
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
}

fn mutate_state(field: &Field, random: &mut Random) {
    let mut state = field.state.clone();
    mutate(&mut state, &[], random);
    let Ok(checked) = check_state(&state, field.kind, &field.marks, &LIMITS) else {
        return;
    };
    // Two authors' blocks may wait for each other in a forged state: then loading fails.
    let limits = BodyLimits::default();
    match field.kind {
        TextKind::RichText => drop(TextBody::load(1, checked, limits).map(|body| body.content())),
        TextKind::List => drop(ListBody::load(1, checked, limits).map(|mut body| body.json())),
    }
}

#[test]
fn mutants_of_rich_text_do_no_harm() {
    run(TextKind::RichText);
}

#[test]
fn mutants_of_lists_do_no_harm() {
    run(TextKind::List);
}

#[test]
fn honest_updates_are_never_refused() {
    for seed in 0..150 {
        let mut random = Random::new(seed);
        for kind in [TextKind::RichText, TextKind::List] {
            // `written` panics where one is.
            let field = Field::written(kind, &mut random);
            assert!(check_state(&field.state, kind, &field.marks, &LIMITS).is_ok());
        }
    }
}

#[test]
fn list_values_come_back_as_they_were_put_in() {
    let mut body = ListBody::new(writer(1), BodyLimits::default());
    let values = vec![
        json!(2.0),
        json!(u64::MAX),
        json!({"b": 1, "a": "\u{0}é😀"}),
        Value::Null,
    ];
    let insert = ListChange::Insert {
        at: 0,
        values: values.clone(),
    };
    body.edit(&[insert]).unwrap();
    let read: Vec<Value> = serde_json::from_str(&body.json().unwrap()).unwrap();
    assert_eq!(read, values);
}
