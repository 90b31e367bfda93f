//! Edits that show before they are committed, while others write.

use driftline_core::text::{OffsetUnit, Step, TextChange};

use crate::random::Random;
use crate::world::{Device, change, follow, writer};

/// Two devices stage and commit as they like, and hear of each other in one order.
fn play(seed: u64) {
    let mut random = Random::new(seed);
    let mut devices: Vec<Device> = (1..=2).map(|n| Device::new(writer(n))).collect();
    devices.iter_mut().for_each(|d| d.body.keep_history());
    let mut log: Vec<(u64, Vec<u8>)> = Vec::new();
    for step in 0..60 {
        let n = random.below(2) as usize;
        let device = &mut devices[n];
        let before = device.body.text().unwrap();
        match if step < 50 { random.below(5) } else { 3 } {
            0..=2 => {
                let one = change(&mut device.body, &mut random);
                let changes = device.body.stage(&[one], OffsetUnit::Utf16).unwrap();
                let after = changes.iter().fold(before, |text, by| follow(&text, by));
                assert_eq!(device.body.text().unwrap(), after, "seed {seed}");
            }
            _ => {
                // All that was committed goes before what is staged.
                for (by, update) in &log[device.cursor..] {
                    let before = device.body.text().unwrap();
                    let told = device.hear(update, *by);
                    let after = device.body.text().unwrap();
                    assert_eq!(follow(&before, &told), after, "seed {seed}: what is told");
                }
                if let Some(edited) = device.body.commit().unwrap() {
                    device.own(&edited);
                    log.push((device.writer, edited.update));
                }
                device.cursor = log.len();
                assert!(!device.body.is_staged());
                let shown = device.body.content().unwrap();
                assert_eq!(device.reread().content().unwrap(), shown, "seed {seed}");
            }
        }
    }
    for device in &mut devices {
        let missed: Vec<_> = log[device.cursor..].to_vec();
        for (by, update) in &missed {
            device.hear(update, *by);
        }
    }
    // What is still staged shows on one device only; committed in turn it reaches the other.
    for (one, other) in [(0, 1), (1, 0)] {
        if let Some(edited) = devices[one].body.commit().unwrap() {
            devices[one].own(&edited);
            let by = devices[one].writer;
            devices[other].hear(&edited.update, by);
        }
    }
    let content = devices[0].body.content().unwrap();
    assert_eq!(devices[1].body.content().unwrap(), content, "seed {seed}");
}

#[test]
fn staged_edits_move_along_with_what_others_write() {
    (0..300).for_each(play);
}

/// Two people begin at one place, and each goes on where his own words end; a word takes a frame, and is
/// heard while the other's next word shows already.
#[test]
fn words_of_two_who_begin_at_one_place_do_not_alternate() {
    for (first, second) in [(1, 2), (2, 1)] {
        let mut devices = [Device::new(writer(first)), Device::new(writer(second))];
        let mut carets = [0, 0];
        let mut log: Vec<(u64, Vec<u8>)> = Vec::new();
        for word in 0..8 {
            for (n, letter) in ["a", "b"].into_iter().enumerate() {
                let change = TextChange::Insert {
                    at: carets[n],
                    text: format!("{letter}{word} "),
                    attributes: None,
                };
                devices[n].body.stage(&[change], OffsetUnit::Utf16).unwrap();
                carets[n] += 3;
            }
            for n in 0..2 {
                let device = &mut devices[n];
                for (by, update) in &log[device.cursor..] {
                    let told = device.hear(update, *by);
                    // The caret stays before what comes right there.
                    if told.steps().first().is_none_or(
                        |step| !matches!(step, Step::Retain { len, .. } if *len >= carets[n]),
                    ) {
                        carets[n] += 3;
                    }
                }
                let edited = device.body.commit().unwrap().unwrap();
                device.own(&edited);
                log.push((device.writer, edited.update));
                device.cursor = log.len();
            }
        }
        let text = devices[1].body.text().unwrap();
        let letters: String = text.chars().filter(|c| c.is_alphabetic()).collect();
        let mut runs: Vec<char> = letters.chars().collect();
        runs.dedup();
        assert_eq!(runs.len(), 2, "{text}");
    }
}

#[test]
fn an_edit_that_is_refused_leaves_what_is_staged() {
    let mut device = Device::new(writer(1));
    let mut insert = |at, text: &str| {
        let change = TextChange::Insert {
            at,
            text: text.to_owned(),
            attributes: None,
        };
        device.body.stage(&[change], OffsetUnit::Utf16).map(drop)
    };
    insert(0, "ab").unwrap();
    assert!(insert(9, "x").is_err());
    assert!(insert(0, &"x".repeat(2 << 20)).is_err());
    insert(1, "-").unwrap();
    assert_eq!(device.body.text().unwrap(), "a-b");
    let edited = device.body.commit().unwrap().unwrap();
    assert_eq!(edited.changes.len(), 2);
    assert_eq!(device.body.text().unwrap(), "a-b");
    assert_eq!(device.body.commit().unwrap(), None);
}
