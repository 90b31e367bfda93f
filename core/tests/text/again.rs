//! Text written again under a new writer.
//!
//! Every character in these histories is unique, so that what is there, how often and
//! in which order says everything.

use std::collections::BTreeSet;

use driftline_core::text::author::{Pending, Rewritten, again};
use driftline_core::text::guard::{Why, check_state};
use driftline_core::text::{
    Attributes, BodyLimits, OffsetUnit, Step, TextBody, TextChange, TextKind,
};
use serde_json::json;

use crate::random::Random;
use crate::world::{self, Device, LIMITS, writer};

/// What happened between the device and the server.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Story {
    /// Nothing: some op was rejected, or taken back.
    Plain,
    /// A copy of the file wrote under the same clocks first.
    Copy,
    /// The server was restored and lacks the file's last named update.
    Gap,
}

/// Gives out characters that nobody else writes.
struct Letters(u32);

impl Letters {
    fn word(&mut self, random: &mut Random) -> String {
        let mut letter = || {
            self.0 += 1;
            // Some of two UTF-16 units.
            let code = if self.0.is_multiple_of(5) {
                0x1f300
            } else {
                0x4e00
            } + self.0;
            char::from_u32(code).unwrap()
        };
        (0..=random.below(3)).map(|_| letter()).collect()
    }

    fn change(&mut self, body: &mut TextBody, random: &mut Random) -> TextChange {
        match world::change(body, random) {
            TextChange::Insert { at, attributes, .. } => TextChange::Insert {
                at,
                text: self.word(random),
                attributes,
            },
            // Histories that mostly grow say more.
            TextChange::Delete { .. } if random.one_in(2) => TextChange::Insert {
                at: 0,
                text: self.word(random),
                attributes: None,
            },
            other => other,
        }
    }
}

struct Op {
    update: Vec<u8>,
    by: u64,
    keep: bool,
    /// What it put in and took away, as its author saw it.
    put: BTreeSet<char>,
    gone: BTreeSet<char>,
}

fn letters(text: &str) -> BTreeSet<char> {
    text.chars().collect()
}

fn write(
    device: &mut Device,
    letters_: &mut Letters,
    random: &mut Random,
    keep: bool,
) -> Option<Op> {
    let before = letters(&device.body.text().unwrap());
    let change = letters_.change(&mut device.body, random);
    let update = device.edit(&[change])?.update;
    let after = letters(&device.body.text().unwrap());
    Some(Op {
        update,
        by: device.writer,
        keep,
        put: &after - &before,
        gone: &before - &after,
    })
}

struct History {
    base: Device,
    /// What the device showed before.
    shown: TextBody,
    ops: Vec<Op>,
}

fn history(story: Story, leave_out: bool, random: &mut Random) -> History {
    history_by(&[], story, leave_out, random)
}

/// The device may go on under each of `others`, one after the other.
fn history_by(others: &[u64], story: Story, leave_out: bool, random: &mut Random) -> History {
    let mut others = others.iter();
    let mut letters = Letters(0);
    let (me, other) = (writer(1), writer(2));
    let (mut device, mut friend) = (Device::new(me), Device::new(other));
    let mut base = Device::new(writer(3));
    // What all have.
    for _ in 0..random.below(12) + 2 {
        let (by, from, to) = if random.one_in(2) {
            (me, &mut device, &mut friend)
        } else {
            (other, &mut friend, &mut device)
        };
        if let Some(op) = write(from, &mut letters, random, true) {
            to.hear(&op.update, by);
            base.hear(&op.update, by);
        }
    }
    let mut copy = Device::new(me);
    copy.body = device.reread();
    copy.marks = device.marks.clone();
    if story == Story::Gap {
        // Named by a page of the server as it was; not there any more.
        write(&mut device, &mut letters, random, true);
        write(&mut device, &mut letters, random, true);
    }
    let mut ops = Vec::new();
    for _ in 0..random.below(10) + 1 {
        if random.one_in(3)
            && let Some(op) = write(&mut friend, &mut letters, random, true)
        {
            base.hear(&op.update, other);
            if random.one_in(2) || story == Story::Plain {
                // In order: the device hears all or none of what is left.
                device.hear(&op.update, other);
            } else {
                break;
            }
        }
        if others.len() > 0
            && random.one_in(3)
            && let Some(other) = others.next()
        {
            device.body = device.reread_as(*other);
            device.writer = *other;
        }
        let keep = !leave_out || random.one_in(2);
        ops.extend(write(&mut device, &mut letters, random, keep));
    }
    if story == Story::Copy {
        for _ in 0..random.below(4) + 1 {
            if let Some(op) = write(&mut copy, &mut letters, random, true) {
                base.hear(&op.update, me);
            }
        }
    }
    History {
        base,
        shown: device.body,
        ops,
    }
}

/// Writes the history again and answers the text, checked by the guard update by update.
fn rewrite(history: &History) -> TextBody {
    let base = &history.base;
    let state = base.body.state().unwrap();
    let checked = check_state(&state, TextKind::RichText, &base.marks, &LIMITS).unwrap();
    let pending: Vec<Pending<'_>> = history
        .ops
        .iter()
        .map(|op| Pending {
            update: &op.update,
            writer: op.by,
            keep: op.keep,
            retried: false,
        })
        .collect();
    let new = writer(77);
    let updates = again(checked, &pending, new, BodyLimits::default()).unwrap();
    assert_eq!(updates.len(), pending.len());
    let mut reader = Device::new(writer(4));
    reader.body = base.reread_as(writer(4));
    reader.marks = base.marks.clone();
    for (update, op) in updates.iter().zip(&history.ops) {
        match update {
            Rewritten::Update(update) => {
                assert!(op.keep);
                reader.hear(update, new);
            }
            Rewritten::Nothing => {}
            Rewritten::Unreadable(why) => panic!("{why}"),
        }
    }
    reader.body
}

fn check_letters(history: &History, story: Story, text: &str, seed: u64) {
    let what = format!("{story:?}, seed {seed}");
    let mut expected = letters(&history.base.body.text().unwrap());
    for op in history.ops.iter().filter(|op| op.keep) {
        expected.extend(&op.put);
        expected.retain(|letter| !op.gone.contains(letter));
    }
    // Formats may bring U+FFFD nowhere: nothing is halved.
    let found: Vec<char> = text.chars().collect();
    assert_eq!(
        found.len(),
        expected.len(),
        "{what}: something is doubled or lost"
    );
    assert_eq!(letters(text), expected, "{what}");
    // What both show stands in the same order; but where everything beside it is missing, there is
    // no telling where a word stood.
    if story == Story::Gap {
        return;
    }
    let shown = history.shown.text().unwrap();
    let both = |text: &str, other: &str| -> String {
        let other = letters(other);
        text.chars()
            .filter(|letter| other.contains(letter))
            .collect()
    };
    assert_eq!(
        both(text, &shown),
        both(&shown, text),
        "{what}: out of order"
    );
}

#[test]
fn with_nothing_left_out_the_text_looks_as_before() {
    for seed in 0..150 {
        let history = history(Story::Plain, false, &mut Random::new(seed));
        let body = rewrite(&history);
        assert_eq!(
            body.content().unwrap(),
            history.shown.content().unwrap(),
            "seed {seed}"
        );
    }
}

#[test]
fn the_words_of_every_kept_op_appear_once() {
    for story in [Story::Plain, Story::Copy, Story::Gap] {
        for seed in 0..150 {
            let history = history(story, true, &mut Random::new(seed));
            let text = rewrite(&history).text().unwrap();
            check_letters(&history, story, &text, seed);
        }
    }
}

#[test]
fn pending_text_that_does_not_continue_base_is_not_lost() {
    for story in [Story::Copy, Story::Gap] {
        for seed in 1000..1150 {
            let history = history(story, false, &mut Random::new(seed));
            let text = rewrite(&history).text().unwrap();
            check_letters(&history, story, &text, seed);
        }
    }
}

/// What refers to own text under another writer, whose clocks somebody took, does not mean theirs.
#[test]
fn text_of_several_own_writers_hits_nobody_elses() {
    for leave_out in [false, true] {
        for seed in 2000..2300 {
            let others = [writer(5), writer(6)];
            let mut random = Random::new(seed);
            let history = history_by(&others, Story::Copy, leave_out, &mut random);
            let text = rewrite(&history).text().unwrap();
            check_letters(&history, Story::Copy, &text, seed);
        }
    }
}

/// A word is rejected, what was typed behind it is written again without it, and then it is tried again.
#[test]
fn what_is_tried_again_stands_in_front_of_what_was_typed_behind_it() {
    // As a heading: bold, and a space that is not.
    let insert = |device: &mut Device, word: &str| {
        let at = device.body.units().unwrap();
        let bold = Attributes::from([("bold".to_owned(), json!(true))]);
        let put = |at, text: &str, attributes| TextChange::Insert {
            at,
            text: text.to_owned(),
            attributes: Some(attributes),
        };
        let heading = put(at, word, bold);
        let space = put(at + word.len() as u32, " ", Attributes::new());
        device.edit(&[heading, space]).unwrap().update
    };
    // Yrs puts what stands at one place in the order of the writers.
    for (first, second, third) in [(1, 2, 3), (3, 1, 2), (2, 3, 1), (3, 2, 1), (2, 1, 3)] {
        let (first, second, third) = (first * 1000, second * 1000, third * 1000);
        let (mut device, mut base) = (Device::new(first), Device::new(9));
        base.hear(&insert(&mut device, "one"), first);
        let words = ["two", "three", "four"].map(|word| insert(&mut device, word));
        let pending = |update, keep, retried| Pending {
            update,
            writer: first,
            keep,
            retried,
        };
        let [two, three, four] = words.each_ref();
        let without = [
            pending(two, false, false),
            pending(three, true, false),
            pending(four, true, false),
        ];
        write_again(&mut base, &without, second);
        assert_eq!(base.body.text().unwrap(), "one three four ");
        write_again(&mut base, &[pending(two, true, true)], third);
        let told = base.body.content().unwrap();
        let typed = device.body.content().unwrap();
        assert_eq!(told, typed, "{first} {second} {third}");
    }
}

/// Where all is missing that its words stood at, there is no telling where they stood; their order is known.
#[test]
fn words_of_one_update_stay_in_order_where_nothing_is_left_beside_them() {
    let put = |at, text: &str| TextChange::Insert {
        at,
        text: text.to_owned(),
        attributes: None,
    };
    let mut device = Device::new(writer(1));
    device.edit(&[put(0, "ab")]).unwrap();
    let update = device.edit(&[put(1, "first "), put(8, "second ")]);
    let pending = Pending {
        update: &update.unwrap().update,
        writer: writer(1),
        keep: true,
        retried: false,
    };
    let mut base = Device::new(writer(2));
    write_again(&mut base, &[pending], writer(3));
    assert_eq!(base.body.text().unwrap(), "first second ");
}

/// Puts a heading between two others: a bold word and a space that is not.
fn write_heading(device: &mut Device, number: &mut u32, random: &mut Random) -> Vec<u8> {
    let text = device.body.text().unwrap();
    let behind_spaces = text.match_indices(' ').map(|(at, _)| at as u32 + 1);
    let gaps: Vec<u32> = std::iter::once(0).chain(behind_spaces).collect();
    let at = gaps[random.below(gaps.len() as u32) as usize];
    *number += 1;
    let word = format!("w{number}");
    let put = |at, text: &str, attributes| TextChange::Insert {
        at,
        text: text.to_owned(),
        attributes: Some(attributes),
    };
    let bold = Attributes::from([("bold".to_owned(), json!(true))]);
    let end = at + word.len() as u32;
    let changes = [
        put(at, &word, bold.clone()),
        put(end, " ", Attributes::new()),
    ];
    if random.one_in(2) {
        return device.edit(&changes).unwrap().update;
    }
    // Stroke by stroke, with a slip that is taken back.
    let slip = [
        put(end, "slip", bold),
        TextChange::Delete { at: end, len: 4 },
    ];
    for stroke in [&changes[..1], &slip[..1], &slip[1..], &changes[1..]] {
        device.body.stage(stroke, OffsetUnit::Utf16).unwrap();
    }
    let edited = device.body.commit().unwrap().unwrap();
    device.own(&edited);
    edited.update
}

/// Writes `pending` again on what `base` has, and lets it hear of that.
fn write_again(base: &mut Device, pending: &[Pending<'_>], by: u64) {
    let state = base.body.state().unwrap();
    let checked = check_state(&state, TextKind::RichText, &base.marks, &LIMITS).unwrap();
    for update in again(checked, pending, by, BodyLimits::default()).unwrap() {
        match update {
            Rewritten::Update(update) => drop(base.hear(&update, by)),
            Rewritten::Nothing => {}
            Rewritten::Unreadable(why) => panic!("{why}"),
        }
    }
}

/// Where a format begins and ends is written beside the words, and others write at the same place: text
/// written again must not come between.
#[test]
fn every_format_stays_with_its_words() {
    for seed in 0..1_000 {
        let mut random = Random::new(seed);
        let (me, other) = (writer(1), writer(2));
        let (mut device, mut friend) = (Device::new(me), Device::new(other));
        let (mut base, mut words) = (Device::new(writer(3)), 0);
        for _ in 0..random.below(4) + 1 {
            let update = write_heading(&mut device, &mut words, &mut random);
            friend.hear(&update, me);
            base.hear(&update, me);
        }
        let mut copy = Device::new(me);
        copy.body = device.reread();
        copy.marks = device.marks.clone();
        let mut ops: Vec<(Vec<u8>, bool)> = Vec::new();
        for _ in 0..random.below(5) + 1 {
            let update = write_heading(&mut device, &mut words, &mut random);
            ops.push((update, random.one_in(2)));
            if random.one_in(2) {
                let update = write_heading(&mut friend, &mut words, &mut random);
                base.hear(&update, other);
            }
        }
        if random.one_in(2) {
            // A copy of the file took the same clocks first.
            let update = write_heading(&mut copy, &mut words, &mut random);
            base.hear(&update, me);
            ops.iter_mut().for_each(|(_, keep)| *keep = true);
        } else {
            // What comes before the first that is rejected is taken as it is.
            let taken = ops.iter().take_while(|(_, keep)| *keep).count();
            for (update, _) in ops.drain(..taken) {
                base.hear(&update, me);
            }
        }
        let first = ops.iter().map(|(update, keep)| Pending {
            update,
            writer: me,
            keep: *keep,
            retried: false,
        });
        write_again(&mut base, &first.collect::<Vec<_>>(), writer(77));
        let rejected = ops.iter().filter(|(_, keep)| !keep);
        for (by, (update, _)) in (78..).map(writer).zip(rejected) {
            let retried = Pending {
                update,
                writer: me,
                keep: true,
                retried: true,
            };
            write_again(&mut base, &[retried], by);
        }
        let content = base.body.content().unwrap();
        let mut found = 0;
        for step in content.steps() {
            let Step::Insert { text, attributes } = step else {
                panic!("seed {seed}: {step:?}");
            };
            let is_word = text.starts_with('w') && !text.contains(' ');
            assert!(is_word || text == " ", "seed {seed}: {content:?}");
            assert_eq!(is_word, !attributes.is_empty(), "seed {seed}: {content:?}");
            found += u32::from(is_word);
        }
        assert_eq!(found, words, "seed {seed}: {content:?}");
    }
}

#[test]
fn an_update_that_cannot_be_read_stops_no_other() {
    let mut history = history(Story::Plain, false, &mut Random::new(3));
    let base = &mut history.base;
    let state = base.body.state().unwrap();
    let marks = base.marks.clone();
    let checked = check_state(&state, TextKind::RichText, &marks, &LIMITS).unwrap();
    let mut pending: Vec<Pending<'_>> = history
        .ops
        .iter()
        .map(|op| Pending {
            update: &op.update,
            writer: writer(1),
            keep: true,
            retried: false,
        })
        .collect();
    pending.insert(
        0,
        Pending {
            update: &[1, 2, 3],
            writer: writer(1),
            keep: true,
            retried: false,
        },
    );
    let updates = again(checked, &pending, writer(77), BodyLimits::default()).unwrap();
    assert_eq!(updates[0], Rewritten::Unreadable(Why::Truncated));
    assert!(
        updates[1..]
            .iter()
            .any(|update| matches!(update, Rewritten::Update(_)))
    );
}

#[test]
fn formats_written_again_are_the_same() {
    let bold = Attributes::from([("bold".to_owned(), json!(true))]);
    let mut device = Device::new(writer(1));
    let first = device.edit(&[TextChange::Insert {
        at: 0,
        text: "plain bold".into(),
        attributes: None,
    }]);
    let second = device.edit(&[TextChange::Format {
        at: 6,
        len: 4,
        attributes: bold,
    }]);
    let third = device.body.edit(
        &[TextChange::Insert {
            at: 10,
            text: "er".into(),
            attributes: None,
        }],
        OffsetUnit::Utf16,
    );
    let updates = [first.unwrap(), second.unwrap(), third.unwrap().unwrap()];
    let checked = check_state(&[0, 0], TextKind::RichText, &[], &LIMITS).unwrap();
    let pending = updates.each_ref().map(|edited| Pending {
        update: &edited.update,
        writer: writer(1),
        keep: true,
        retried: false,
    });
    let rewritten = again(checked, &pending, writer(2), BodyLimits::default()).unwrap();
    let mut reader = Device::new(writer(3));
    for update in &rewritten {
        let Rewritten::Update(update) = update else {
            panic!("{update:?}");
        };
        reader.hear(update, writer(2));
    }
    assert_eq!(
        serde_json::to_string(&reader.body.content().unwrap()).unwrap(),
        r#"[{"insert":"plain "},{"insert":"bolder","attributes":{"bold":true}}]"#
    );
}
