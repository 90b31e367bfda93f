//! Lists that two devices change: elements are put in, taken out and moved by name.

use driftline::ListElement;

use super::{agree, newcomer, settle};
use crate::support::{Device, SCHEMA, Server};

fn steps(device: &Device, id: &str) -> Vec<ListElement> {
    device.db.list("notes", id, "steps").unwrap().unwrap()
}

fn values(device: &Device, id: &str) -> Vec<String> {
    let elements = steps(device, id).into_iter();
    elements.map(|element| element.json).collect()
}

#[test]
fn two_devices_change_one_list() {
    let server = Server::start(SCHEMA);
    let (a, b) = (Device::new("a"), Device::new("b"));
    let id = a.note("a plan");
    let names =
        a.db.write(|tx| {
            tx.list("notes", &id, "steps")?
                .insert(0, ["\"wake\"", "\"eat\"", "\"walk\"", "{\"sleep\":8}"])
        })
        .unwrap();
    a.connect(&server);
    b.connect(&server);
    settle(&[&a, &b]);
    assert_eq!(steps(&b, &id), steps(&a, &id), "names and values");

    // Both move one element, one takes another out that the other one moves, both put in.
    a.db.write(|tx| {
        let mut list = tx.list("notes", &id, "steps")?;
        list.move_to(names[3], 0)?;
        list.remove(names[1])?;
        list.insert(1, ["\"by a\""]).map(drop)
    })
    .unwrap();
    b.db.write(|tx| {
        let mut list = tx.list("notes", &id, "steps")?;
        list.move_to(names[3], 1)?;
        list.move_to(names[1], 3)?;
        list.insert(4, ["\"by b\"", "\"by b too\""]).map(drop)
    })
    .unwrap();
    settle(&[&a, &b]);
    let third = newcomer(&server);
    agree(&[&a, &b, &third], &id);
    assert_eq!(steps(&a, &id), steps(&b, &id));
    assert_eq!(steps(&a, &id), steps(&third, &id));
    let mut found = values(&a, &id);
    found.sort();
    let moved_and_removed = found.iter().filter(|v| *v == "\"eat\"").count();
    assert!(moved_and_removed <= 1);
    found.retain(|value| value != "\"eat\"");
    assert_eq!(
        found,
        [
            "\"by a\"",
            "\"by b too\"",
            "\"by b\"",
            "\"wake\"",
            "\"walk\"",
            "{\"sleep\":8}"
        ],
        "each is there once"
    );
    // Names hold on every device, over the merge.
    third
        .db
        .write(|tx| {
            let mut list = tx.list("notes", &id, "steps")?;
            list.move_to(names[0], 0)?;
            list.remove(names[2])
        })
        .unwrap();
    settle(&[&third, &a, &b]);
    agree(&[&a, &b, &third], &id);
    assert_eq!(
        values(&a, &id).first().map(String::as_str),
        Some("\"wake\"")
    );
    assert!(!values(&a, &id).contains(&"\"walk\"".to_owned()));
}

/// Every element that any of three devices put in is there once, whatever was moved meanwhile.
#[test]
fn many_moves_lose_and_double_no_element() {
    let server = Server::start(SCHEMA);
    let devices = ["a", "b", "c"].map(Device::new);
    let id = devices[0].note("a plan");
    devices[0].connect(&server);
    devices[0].sync();
    for device in &devices[1..] {
        device.connect(&server);
        device.sync();
    }
    let mut expected = Vec::new();
    let mut random = 7u64;
    let mut draw = |below: usize| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (random >> 33) as usize % below
    };
    for round in 0..8 {
        for (at, device) in devices.iter().enumerate() {
            let value = format!("\"{at}-{round}\"");
            device
                .db
                .write(|tx| {
                    let mut list = tx.list("notes", &id, "steps")?;
                    let elements = list.read()?;
                    list.insert(draw(elements.len() + 1) as u32, [&value])?;
                    let elements = list.read()?;
                    let moved = elements[draw(elements.len())].id;
                    list.move_to(moved, draw(elements.len()) as u32)
                })
                .unwrap();
            expected.push(value);
        }
        devices[round % 3].sync();
    }
    settle(&devices.each_ref());
    let third = newcomer(&server);
    agree(&[&devices[0], &devices[1], &devices[2], &third], &id);
    let mut found = values(&third, &id);
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
}
