//! Editing, hearing of edits, offsets, positions, undo.

use driftline_core::text::{
    Attributes, BodyLimits, Delta, OffsetUnit, Side, TextBody, TextChange, TextError,
};
use serde_json::json;

use crate::random::Random;
use crate::world::{Device, change, follow, place, writer};

fn insert(at: u32, text: &str) -> TextChange {
    TextChange::Insert {
        at,
        text: text.into(),
        attributes: None,
    }
}

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
                let changes: Vec<_> = (0..=random.below(2))
                    .map(|_| change(&mut device.body, &mut random))
                    .take(1)
                    .collect();
                if let Some(edited) = device.edit(&changes) {
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
