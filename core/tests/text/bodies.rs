//! Editing, hearing of edits, offsets, positions, undo.

use driftline_core::text::{
    Attributes, BodyLimits, Delta, OffsetUnit, Side, TextBody, TextChange, TextError,
};
use serde_json::json;

use crate::random::Random;
use crate::world::{Device, change, follow, insert, place, writer};

/// Devices that edit together, every update at every device in one order, own ones at once.
fn together(seed: u64, rounds: u32, each: &mut dyn FnMut(&mut [Device])) {
    let mut random = Random::new(seed);
    let mut devices: Vec<Device> = (1..=3).map(|n| Device::new(writer(n))).collect();
    let mut log: Vec<(u64, Vec<u8>)> = Vec::new();
    let mut queues: Vec<Vec<Vec<u8>>> = vec![Vec::new(); 3];
    for _ in 0..rounds {
        let n = random.below(3) as usize;
        match random.below(4) {
            0 | 1 => {
                let device = &mut devices[n];
                let change = change(&mut device.body, &mut random);
                if let Some(edited) = device.edit(&[change]) {
                    queues[n].push(edited.update);
                }
            }
            2 => {
                for update in queues[n].drain(..) {
                    log.push((devices[n].writer, update));
                }
            }
            _ => hear(&mut devices[n], &log),
        }
        each(&mut devices);
    }
    for (device, queue) in devices.iter().zip(&mut queues) {
        log.extend(queue.drain(..).map(|update| (device.writer, update)));
    }
    devices.iter_mut().for_each(|device| hear(device, &log));
    let content = devices[0].body.content().unwrap();
    for device in &devices {
        assert_eq!(device.body.content().unwrap(), content, "seed {seed}");
    }
    each(&mut devices);
}

fn hear(device: &mut Device, log: &[(u64, Vec<u8>)]) {
    for (by, update) in &log[device.cursor..] {
        let before = device.body.text().unwrap();
        let change = device.hear(update, *by);
        assert_eq!(follow(&before, &change), device.body.text().unwrap());
    }
    device.cursor = log.len();
}

#[test]
fn devices_that_hear_in_one_order_show_the_same() {
    for seed in 0..60 {
        together(seed, 60, &mut |_| {});
    }
}

#[test]
fn what_is_shown_is_what_yrs_holds() {
    for seed in 100..115 {
        together(seed, 40, &mut |devices| {
            for device in devices {
                let reread = device.reread();
                assert_eq!(device.body.content().unwrap(), reread.content().unwrap());
                assert_eq!(device.body.text().unwrap(), reread.text().unwrap());
            }
        });
    }
}

fn hello() -> Device {
    let mut device = Device::new(writer(1));
    device.edit(&[insert(0, "a😀é"), insert(1, "b")]).unwrap();
    assert_eq!(device.body.text().unwrap(), "ab😀é");
    device
}

fn refused(device: &mut Device, changes: &[TextChange], unit: OffsetUnit) -> TextError {
    let (before, state) = (device.body.content().unwrap(), device.body.state().unwrap());
    let error = device.body.edit(changes, unit).unwrap_err();
    assert_eq!(device.body.content().unwrap(), before);
    assert_eq!(device.body.state().unwrap(), state);
    error
}

#[test]
fn offsets_are_checked_in_both_units_and_a_refused_edit_changes_nothing() {
    use OffsetUnit::{Utf8, Utf16};
    let mut device = hello();
    let delete = |at, len| TextChange::Delete { at, len };
    for (changes, unit, error) in [
        (vec![insert(3, "x")], Utf16, TextError::InsideCharacter),
        (vec![insert(6, "x")], Utf16, TextError::OutOfRange),
        (vec![insert(3, "x")], Utf8, TextError::InsideCharacter),
        (vec![insert(7, "x")], Utf8, TextError::InsideCharacter),
        (vec![insert(9, "x")], Utf8, TextError::OutOfRange),
        (vec![delete(0, 3)], Utf16, TextError::InsideCharacter),
        (vec![delete(3, 1)], Utf16, TextError::InsideCharacter),
        (vec![delete(0, 6)], Utf16, TextError::OutOfRange),
        (vec![delete(4, u32::MAX)], Utf16, TextError::OutOfRange),
        (
            vec![insert(0, "kept?"), delete(0, 99)],
            Utf16,
            TextError::OutOfRange,
        ),
        (vec![insert(0, "a\0b")], Utf16, TextError::Nul),
    ] {
        assert_eq!(refused(&mut device, &changes, unit), error, "{changes:?}");
    }
    let edited = device.body.edit(&[insert(6, "c"), delete(2, 4)], Utf8);
    device.own(&edited.unwrap().unwrap());
    assert_eq!(device.body.text().unwrap(), "abcé");
    assert_eq!(device.body.to_utf16(5, Utf8), Ok(4));
    assert_eq!(device.body.from_utf16(4, Utf8), Ok(5));
    assert_eq!(
        device.body.to_utf16(4, Utf8),
        Err(TextError::InsideCharacter)
    );
}

#[test]
fn formats_of_wrong_types_and_sizes_are_refused() {
    let mut device = hello();
    let format = |name: &str, value| TextChange::Format {
        at: 0,
        len: 2,
        attributes: Attributes::from([(name.to_owned(), value)]),
    };
    for (change, error) in [
        (format("bold", json!([])), TextError::FormatValue),
        (format("bold", json!({"a": 1})), TextError::FormatValue),
        (
            format("bold", json!("x".repeat(2048))),
            TextError::FormatValue,
        ),
        (format("", json!(true)), TextError::FormatName),
        (format(&"x".repeat(65), json!(true)), TextError::FormatName),
    ] {
        assert_eq!(refused(&mut device, &[change], OffsetUnit::Utf16), error);
    }
    // Whole numbers come back as what they were put in as, on every device.
    device.edit(&[format("size", json!(2.0))]).unwrap();
    device.edit(&[format("ratio", json!(0.1))]).unwrap();
    device.edit(&[format("big", json!(u64::MAX))]).unwrap();
    let content = device.reread().content().unwrap();
    assert_eq!(device.body.content().unwrap(), content);
}

#[test]
fn a_text_beyond_its_limit_is_refused_and_one_that_is_too_long_may_shrink() {
    let limits = BodyLimits {
        max_bytes: 10,
        ..BodyLimits::default()
    };
    let mut body = TextBody::new(writer(1), limits);
    body.edit(&[insert(0, "123456789é")], OffsetUnit::Utf8)
        .unwrap_err();
    body.edit(&[insert(0, "12345678é")], OffsetUnit::Utf8)
        .unwrap();
    assert_eq!(
        body.edit(&[insert(0, "x")], OffsetUnit::Utf16),
        Err(TextError::TooLong)
    );
    body.edit(
        &[TextChange::Delete { at: 0, len: 1 }, insert(0, "x")],
        OffsetUnit::Utf16,
    )
    .unwrap();
    assert_eq!(body.text().unwrap(), "x2345678é");
}

#[test]
fn what_is_typed_takes_on_the_format_to_its_left() {
    let mut device = Device::new(writer(1));
    let bold = Attributes::from([("bold".to_owned(), json!(true))]);
    device.edit(&[TextChange::Insert {
        at: 0,
        text: "ab".into(),
        attributes: Some(bold.clone()),
    }]);
    device.edit(&[insert(2, "c"), insert(0, "-")]);
    device.edit(&[TextChange::Insert {
        at: 4,
        text: "d".into(),
        attributes: Some(Attributes::new()),
    }]);
    let wanted = Delta::new()
        .insert("-", Attributes::new())
        .insert("abc", bold)
        .insert("d", Attributes::new());
    assert_eq!(device.body.content().unwrap(), wanted);
    assert_eq!(device.reread().content().unwrap(), wanted);
    assert_eq!(
        serde_json::to_string(&wanted).unwrap(),
        r#"[{"insert":"-"},{"insert":"abc","attributes":{"bold":true}},{"insert":"d"}]"#
    );
    let read: Delta =
        serde_json::from_str(r#"[{"retain":2},{"delete":1},{"insert":"x"}]"#).unwrap();
    assert_eq!(
        read,
        Delta::new()
            .retain(2)
            .delete(1)
            .insert("x", Attributes::new())
    );
}

#[test]
fn positions_stay_with_what_they_stand_at() {
    for seed in 0..40 {
        let mut random = Random::new(seed);
        let (mut device, mut other) = (Device::new(writer(1)), Device::new(writer(2)));
        let edited = device.edit(&[insert(0, "one two |three four")]).unwrap();
        other.hear(&edited.update, device.writer);
        let left = device
            .body
            .position(8, OffsetUnit::Utf8, Side::Left)
            .unwrap();
        let right = device
            .body
            .position(8, OffsetUnit::Utf8, Side::Right)
            .unwrap();
        for _ in 0..10 {
            let at = place(&mut other.body, &mut random);
            if let Some(edited) = other.edit(&[insert(at, random.of::<&str>(&["x", "😀", "yy"]))])
            {
                device.hear(&edited.update, other.writer);
            }
        }
        let text = device.body.text().unwrap();
        let bar = text.find('|').unwrap() as u32;
        assert_eq!(device.body.resolve(&right, OffsetUnit::Utf8), Ok(bar));
        let end = text.find("two").unwrap_or(0);
        let at = device.body.resolve(&left, OffsetUnit::Utf8).unwrap();
        assert!(at as usize > end && at <= bar, "{text} {at}");
        assert_eq!(other.body.resolve(&right, OffsetUnit::Utf8), Ok(bar));
    }
}

#[test]
fn bytes_that_are_no_position_are_refused() {
    let mut device = hello();
    for bytes in [
        &[][..],
        &[4],
        &[0, 0],
        &[2],
        &[2, 1],
        &[3, 0xff, 0xff],
        &[2, 9, 9],
        &[3, 1, 0, 0],
    ] {
        let resolved = device.body.resolve(bytes, OffsetUnit::Utf16);
        assert_eq!(resolved, Err(TextError::NotAPosition), "{bytes:?}");
    }
    // One that names the second half of a character stands before it.
    let mut half = device
        .body
        .position(3, OffsetUnit::Utf16, Side::Right)
        .err();
    assert_eq!(half.take(), Some(TextError::InsideCharacter));
    let mut whole = device
        .body
        .position(2, OffsetUnit::Utf16, Side::Right)
        .unwrap();
    *whole.last_mut().unwrap() += 1;
    assert_eq!(device.body.resolve(&whole, OffsetUnit::Utf16), Ok(2));
}

/// What is typed around one place: characters, backspaces, deletions, a jump now and then.
fn typing(random: &mut Random, units: u32) -> Vec<TextChange> {
    let (mut at, mut units) = (random.below(units + 1), units);
    let mut changes = Vec::new();
    for _ in 0..random.below(16) + 2 {
        match random.below(8) {
            0 if at > 0 => {
                at -= 1;
                units -= 1;
                changes.push(TextChange::Delete { at, len: 1 });
            }
            1 if at < units => {
                units -= 1;
                changes.push(TextChange::Delete { at, len: 1 });
            }
            2 => at = at.saturating_sub(random.below(4)),
            3 => at = random.below(units + 1),
            4 if units > 0 => changes.push(TextChange::Format {
                at: at.min(units - 1),
                len: 1,
                attributes: Attributes::from([("bold".to_owned(), json!(random.one_in(2)))]),
            }),
            _ => {
                let text = *random.of(&["a", "é", "word"]);
                changes.push(insert(at, text));
                let len = text.encode_utf16().count() as u32;
                at += len;
                units += len;
            }
        }
    }
    changes
}

#[test]
fn a_batch_does_what_its_edits_do_one_by_one() {
    for seed in 0..200 {
        let mut random = Random::new(seed);
        let (mut batch, mut single) = (Device::new(writer(1)), Device::new(writer(1)));
        let mut reader = Device::new(writer(2));
        for _ in 0..6 {
            let units = batch.body.units().unwrap();
            let changes = typing(&mut random, units);
            for change in &changes {
                single.edit(std::slice::from_ref(change));
            }
            if let Some(edited) = batch.edit(&changes) {
                reader.hear(&edited.update, batch.writer);
            }
            let content = batch.body.content().unwrap();
            assert_eq!(content, single.body.content().unwrap(), "seed {seed}");
            assert_eq!(content, batch.reread().content().unwrap(), "seed {seed}");
            assert_eq!(content, reader.body.content().unwrap(), "seed {seed}");
        }
    }
}

#[test]
fn a_batch_of_typing_is_one_block() {
    let mut device = Device::new(writer(1));
    let typed: Vec<_> = (0..16).map(|at| insert(at, "x")).collect();
    let update = device.edit(&typed).unwrap().update;
    // 8 bytes of writer, 16 of text, a few of form.
    assert!(update.len() < 35, "{}", update.len());
    let nothing = device.edit(&[insert(3, "typo"), TextChange::Delete { at: 3, len: 4 }]);
    assert_eq!(nothing, None);
}

#[test]
fn an_edit_too_large_for_one_update_changes_nothing() {
    let limits = BodyLimits {
        max_bytes: 4 << 20,
        ..BodyLimits::default()
    };
    let mut body = TextBody::new(writer(1), limits);
    body.edit(&[insert(0, "kept")], OffsetUnit::Utf16).unwrap();
    let long = "x".repeat((512 << 10) + 1);
    let refused = body.edit(&[insert(0, &long)], OffsetUnit::Utf16);
    assert_eq!(refused, Err(TextError::TooLarge));
    assert_eq!(body.text().unwrap(), "kept");
    body.edit(&[insert(4, "!")], OffsetUnit::Utf16).unwrap();
    assert_eq!(body.text().unwrap(), "kept!");
}
