//! Writes the seeds that are made by the engine itself into `fuzz/corpus`: `cargo run -p
//! driftline-fuzz-targets --example seeds`. The others (schemas, SQL, claims) are files of text.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use driftline_core::protocol::compress;
use driftline_fuzz_targets::mutate::Random;
use driftline_fuzz_targets::{text, token};

fn main() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus");
    let write = |target: &str, name: &str, bytes: &[u8]| {
        let folder = corpus.join(target);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(name), bytes).unwrap();
    };
    fields(&write);
    updates(&write);
    streams(&write);
    writes(&write);
    write("jwt", "token", token::good().as_bytes());
}

/// Scripts with an honest update behind them, of every kind of edit, in both kinds of field.
fn fields(write: &dyn Fn(&str, &str, &[u8])) {
    let mut random = Random::new(7);
    for number in 0..48 {
        let steps = random.below(12);
        let mut script: Vec<u8> = (0..steps * 4).map(|_| random.draw() as u8).collect();
        // The kind of field alternates; who writes the update is drawn.
        match script.last_mut() {
            Some(last) => *last = (*last & !1) | (number & 1) as u8,
            None => continue,
        }
        for what in 0..6 {
            let step = [
                0,
                what + 16 * (number as u8 % 4),
                random.draw() as u8,
                random.draw() as u8,
            ];
            if let Some(input) = text::honest(&script, step) {
                write("guard_yrs", &format!("field-{number:02}-{what}"), &input);
                break;
            }
        }
    }
}

/// Updates by hand, for the field that the guard's target knows: writer 5 stands at 10, writer 9
/// at 20.
fn updates(write: &dyn Fn(&str, &str, &[u8])) {
    let (text, list) = (0b100, 0b101);
    let word = [&[text, 1, 1, 5, 10, 4, 1, 1, b't', 6][..], b"Gentoo", &[0]].concat();
    write("guard", "insert", &word);
    write(
        "guard",
        "insert-right-of",
        &[text, 1, 1, 5, 10, 0x84, 9, 3, 2, b'h', b'i', 0],
    );
    write(
        "guard",
        "insert-between",
        &[text, 1, 1, 5, 10, 0xc4, 9, 3, 9, 4, 2, b'h', b'i', 0],
    );
    write(
        "guard",
        "two-blocks",
        &[
            text, 1, 2, 5, 10, 4, 1, 1, b't', 1, b'a', 0x84, 5, 10, 1, b'b', 0,
        ],
    );
    write("guard", "delete", &[text, 0, 1, 9, 1, 3, 2]);
    write(
        "guard",
        "delete-two-authors",
        &[text, 0, 2, 9, 1, 3, 2, 5, 2, 0, 1, 4, 1],
    );
    write(
        "guard",
        "insert-and-delete",
        &[text, 1, 1, 5, 10, 4, 1, 1, b't', 1, b'x', 1, 9, 1, 0, 1],
    );
    write(
        "guard",
        "contained",
        &[text, 1, 1, 5, 2, 4, 1, 1, b't', 1, b'x', 0],
    );
    let format = [
        &[text, 1, 1, 5, 10, 6, 1, 1, b't', 4][..],
        b"bold",
        &[4],
        b"true",
        &[0],
    ]
    .concat();
    write("guard", "format", &format);
    for (name, json) in [
        ("number", "17"),
        ("text", "\"Adelie\""),
        ("object", "{\"a\":[null,2.5]}"),
    ] {
        let slot = [&[5, 10][..], json.as_bytes()].concat();
        let head = [list, 1, 1, 5, 10, 8, 1, 1, b'l', 1, 116, slot.len() as u8];
        write(
            "guard",
            &format!("element-{name}"),
            &[&head[..], &slot, &[0]].concat(),
        );
    }
    write(
        "guard",
        "first-writer",
        &[0, 1, 1, 5, 0, 4, 1, 1, b't', 1, b'x', 0],
    );
    write("guard", "empty-state", &[0x20, 0, 0]);
    write("guard", "state", &[&[0x20][..], &[0, 0]].concat());
}

fn streams(write: &dyn Fn(&str, &str, &[u8])) {
    let text = "Gentoo, 3 chicks. ".repeat(60);
    write("zstd", "nothing", &compress(b""));
    write("zstd", "text", &compress(text.as_bytes()));
    write("zstd", "bytes", &compress(&(0..=255).collect::<Vec<u8>>()));
    let mut random = Random::new(3);
    let noise: Vec<u8> = (0..3_000).map(|_| random.draw() as u8).collect();
    write("zstd", "noise", &compress(&noise));
    write(
        "zstd",
        "two-frames",
        &[compress(b"one"), compress(b"two")].concat(),
    );
    write("zstd", "plain", b"{\"protocol\":1}");
}

/// An id's length, the id, eight bytes of numbers, a text.
fn writes(write: &dyn Fn(&str, &str, &[u8])) {
    let input = |id: &str, number: i64, text: &str| {
        [
            &[id.len() as u8][..],
            id.as_bytes(),
            &number.to_le_bytes(),
            text.as_bytes(),
        ]
        .concat()
    };
    let real = |number: f64| number.to_bits().cast_signed();
    write("export", "plain", &input("note-1", 42, "Gentoo"));
    write(
        "export",
        "signs",
        &input(
            "a \"b\" \\c\n\u{1f427}",
            -1,
            "line\nline\t\u{0}\u{7f}\u{2028}\"",
        ),
    );
    write("export", "real", &input("r", real(2.5), "{\"a\":1}"));
    write("export", "smallest", &input("s", real(5e-324), ""));
    write("export", "largest", &input("l", i64::MAX, "\u{10ffff}"));
    write("export", "not-finite", &input("n", real(f64::NAN), "x"));
    write("export", "no-id", &input("", 1, "x"));
}
