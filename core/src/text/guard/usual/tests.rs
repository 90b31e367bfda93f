//! The glance beside the pass: over honest updates, and over what chance makes of them.

use super::super::{Check, Reader, check_in_full};
use super::*;
use crate::id::OpId;
use crate::text::{BodyLimits, OffsetUnit, TextBody, TextChange};

const LIMITS: GuardLimits = GuardLimits {
    max_update: 512 << 10,
    max_pieces: 1 << 15,
    max_state: 64 << 20,
    max_format_key: 64,
    max_format_value: 2048,
    max_element: 64 << 10,
    max_depth: 32,
};
/// Names of one byte, of two and of eight.
const WRITERS: [u64; 3] = [5, 300, 0x1c_d3b8_21f6_94a7];

/// Repeatable chance (SplitMix64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound.max(1) as u64) as usize
    }
}

/// What the glance says is what the pass says. Returns whether it said yes.
fn same(update: &[u8], writer: u64, marks: &[Mark], limits: &GuardLimits) -> bool {
    let mark = Mark::next_of(marks, writer);
    let glance = fits(update, (writer, mark), TextKind::RichText, marks, limits);
    if let Some(checked) = glance {
        let in_full = check_in_full(update, writer, TextKind::RichText, marks, limits);
        assert_eq!(in_full, Ok(Check::Fits(checked)), "{update:?}");
    }
    glance.is_some()
}

/// What three people write who hear each other at once, and the marks that each update was written on.
fn written(chance: &mut Chance) -> Vec<(Vec<u8>, u64, Vec<Mark>)> {
    let mut bodies = WRITERS.map(|writer| TextBody::new(writer, BodyLimits::default()));
    let (mut marks, mut updates): (Vec<Mark>, Vec<_>) = (Vec::new(), Vec::new());
    for _ in 0..40 {
        let by = chance.below(3);
        for _ in 0..chance.below(5) + 1 {
            let change = change(bodies[by].units().unwrap(), chance);
            // It may halve a character.
            let _ = bodies[by].stage(&[change], OffsetUnit::Utf16);
        }
        let Some(edited) = bodies[by].commit().unwrap() else {
            continue;
        };
        let (update, writer) = (edited.update, WRITERS[by]);
        let found = check_in_full(&update, writer, TextKind::RichText, &marks, &LIMITS);
        let Ok(Check::Fits(checked)) = found else {
            panic!("an honest update was refused: {found:?}");
        };
        for body in bodies.iter_mut().filter(|body| body.writer() != writer) {
            body.apply(&checked).unwrap();
        }
        let mark = Mark {
            writer,
            next: checked.next(),
            last: OpId::ZERO,
            version: 1,
        };
        updates.push((update.clone(), writer, marks.clone()));
        Mark::put(&mut marks, mark);
    }
    updates
}

fn change(units: u32, chance: &mut Chance) -> TextChange {
    let at = chance.below(units as usize + 1) as u32;
    let len = (chance.below(6) as u32).min(units - at);
    match chance.below(8) {
        0..2 => TextChange::Delete { at, len },
        2 => TextChange::Format {
            at,
            len,
            attributes: [("bold".to_owned(), true.into())].into(),
        },
        n => TextChange::Insert {
            at,
            text: ["a", "bc ", "d\u{e9}f", "\u{1f600}", "lorem ipsum dolor "][n - 3]
                .repeat(chance.below(9) + 1),
            attributes: None,
        },
    }
}

fn mutate(bytes: &mut Vec<u8>, chance: &mut Chance) {
    for _ in 0..chance.below(3) + 1 {
        let at = chance.below(bytes.len());
        let byte = chance.below(256) as u8;
        match chance.below(6) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << chance.below(8),
            1 if !bytes.is_empty() => {
                bytes[at] = [0, 1, 4, 0x7f, 0x80, 0x84, 0xc4, 0xff][chance.below(8)]
            }
            2 if !bytes.is_empty() => bytes[at] = bytes[at].wrapping_add(1),
            3 if !bytes.is_empty() => drop(bytes.remove(at)),
            4 => bytes.truncate(at),
            _ => bytes.insert(at, byte),
        }
    }
}

#[test]
fn a_glance_lets_through_what_the_pass_lets_through_and_nothing_else() {
    let mut chance = Chance(1);
    let (mut honest, mut usual, mut mutants, mut passed) = (0, 0, 0, 0);
    for _ in 0..60 {
        for (update, writer, marks) in written(&mut chance) {
            honest += 1;
            usual += u32::from(same(&update, writer, &marks, &LIMITS));
            for most in 0..6 {
                // With few pieces, or another author, it is another question.
                let tight = GuardLimits {
                    max_pieces: most,
                    ..LIMITS
                };
                same(&update, writer, &marks, &tight);
                let by = WRITERS[chance.below(3)];
                let mut mutant = update.clone();
                mutate(&mut mutant, &mut chance);
                mutants += 1;
                passed += u32::from(same(&mutant, by, &marks, &LIMITS));
            }
        }
    }
    let seen = format!("{usual} of {honest} honest updates, {passed} of {mutants} mutants");
    // Otherwise it would say nothing.
    assert!(usual * 2 > honest && mutants > 10_000, "{seen}");
    assert!(passed * 200 > mutants, "{seen}");
}

#[test]
fn numbers_are_read_as_the_pass_reads_them() {
    let mut chance = Chance(2);
    for _ in 0..200_000 {
        let mut bytes = [0u8; 9];
        for byte in &mut bytes {
            *byte = (chance.below(256) as u8) | [0, 0x80][chance.below(2)];
        }
        let bytes = &bytes[..chance.below(10)];
        let (mut rest, mut reader) = (Rest(bytes), Reader::new(bytes));
        let (at_once, one_by_one) = (rest.number(), reader.number());
        assert_eq!(
            at_once.map(|number| number.value),
            one_by_one.ok(),
            "{bytes:?}"
        );
        if one_by_one.is_ok() {
            assert_eq!(rest.0.len(), reader.left());
        }
    }
}
