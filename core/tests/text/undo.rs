//! Undo and redo of one's own edits.

use driftline_core::text::{Attributes, Delta, Step, TextChange};

use crate::random::Random;
use crate::world::{Device, change, insert, place, writer};

#[test]
fn undo_takes_back_ones_own_edits_only() {
    let (mut device, mut other) = (Device::new(writer(1)), Device::new(writer(2)));
    device.body.keep_history();
    let first = device.edit(&[insert(0, "hello ")]).unwrap();
    other.hear(&first.update, device.writer);
    device.body.close_undo_step();
    let second = device.edit(&[insert(6, "world")]).unwrap();
    let theirs = other
        .edit(&[insert(0, "[theirs] "), insert(12, "<mid>")])
        .unwrap();
    device.hear(&theirs.update, other.writer);
    other.hear(&second.update, device.writer);
    let shown = device.body.text().unwrap();
    assert!(
        shown.contains("[theirs] ") && shown.contains("<mid>"),
        "{shown}"
    );

    let mut updates = Vec::new();
    for wanted in ["[theirs] hel<mid>lo ", "[theirs] <mid>"] {
        let edited = device.body.undo().unwrap().unwrap();
        device.own(&edited);
        updates.push(edited.update);
        assert_eq!(device.body.text().unwrap(), wanted);
    }
    assert_eq!(device.body.undo(), Ok(None));
    for wanted in ["[theirs] hel<mid>lo ", shown.as_str()] {
        let edited = device.body.redo().unwrap().unwrap();
        device.own(&edited);
        updates.push(edited.update);
        assert_eq!(device.body.text().unwrap(), wanted);
    }
    assert_eq!(device.body.redo(), Ok(None));
    for update in &updates {
        other.hear(update, device.writer);
    }
    assert_eq!(
        other.body.content().unwrap(),
        device.body.content().unwrap()
    );
}

#[test]
fn undoing_everything_leaves_what_others_wrote() {
    for seed in 0..60 {
        let mut random = Random::new(seed);
        let (mut device, mut other) = (Device::new(writer(1)), Device::new(writer(2)));
        device.body.keep_history();
        for n in 0..25 {
            if random.one_in(3) {
                // The other one writes capital letters and takes nothing away.
                let at = place(&mut other.body, &mut random);
                let text = char::from(b'A' + n).to_string();
                let edited = other.edit(&[TextChange::Insert {
                    at,
                    text,
                    attributes: Some(Attributes::new()),
                }]);
                device.hear(&edited.unwrap().update, other.writer);
            } else {
                let edit = change(&mut device.body, &mut random);
                let takes = matches!(edit, TextChange::Delete { .. });
                if random.one_in(2) {
                    device.body.close_undo_step();
                }
                if !takes && let Some(edited) = device.edit(&[edit]) {
                    other.hear(&edited.update, device.writer);
                }
            }
        }
        let end = device.body.content().unwrap();
        let theirs: String = end.steps().iter().map(letters).collect();
        let mut steps = 0;
        while device.body.can_undo() {
            let edited = device.body.undo().unwrap().unwrap();
            device.own(&edited);
            other.hear(&edited.update, device.writer);
            steps += 1;
        }
        assert_eq!(device.body.undo(), Ok(None), "seed {seed}");
        assert_eq!(device.body.text().unwrap(), theirs, "seed {seed}");
        assert_eq!(
            other.body.content().unwrap(),
            device.body.content().unwrap()
        );
        for _ in 0..steps {
            assert!(device.body.can_redo(), "seed {seed}");
            let edited = device.body.redo().unwrap().unwrap();
            device.own(&edited);
        }
        assert_eq!(device.body.text().unwrap(), plain(&end), "seed {seed}");
        assert!(!device.body.can_redo(), "seed {seed}");
    }
}

fn letters(step: &Step) -> String {
    let text = plain_step(step);
    text.chars().filter(char::is_ascii_uppercase).collect()
}

fn plain(content: &Delta) -> String {
    content.steps().iter().map(plain_step).collect()
}

fn plain_step(step: &Step) -> String {
    match step {
        Step::Insert { text, .. } => text.clone(),
        _ => String::new(),
    }
}
