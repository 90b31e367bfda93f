//! Names and numbers that say the same in two ways, or somebody else's.

use driftline_core::text::TextKind::RichText;
use driftline_core::text::guard::Why;

use super::super::bytes::{Bytes, TOO_LARGE};
use super::*;

pub(super) fn impostors() -> Vec<Fixture> {
    let other = Bytes::section(OTHER, 20, 1).text("not mine").end();
    let two = Bytes::default()
        .number(2)
        .number(1)
        .number(OTHER)
        .number(20)
        .text("x")
        .number(1)
        .number(ME)
        .number(10)
        .text("y")
        .end();
    vec![
        invalid("under another's name", RichText, Why::Author, other),
        invalid("under two names", RichText, Why::Author, two),
        invalid(
            "a writer of 54 bits",
            RichText,
            Why::Number,
            Bytes::section(TOO_LARGE | ME, 10, 1).text("x").end(),
        ),
        invalid(
            "a writer of ten bytes",
            RichText,
            Why::Number,
            vec![
                1, 1, 0x85, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1, 10,
            ],
        ),
        invalid(
            "a writer in a longer form",
            RichText,
            Why::Number,
            [&[1, 1, 0x85, 0][..], &mine().text("x").end()[3..]].concat(),
        ),
        invalid(
            "a count in a longer form",
            RichText,
            Why::Number,
            [&[1, 0x81, 0][..], &mine().text("x").end()[2..]].concat(),
        ),
        invalid(
            "something after the end",
            RichText,
            Why::Trailing,
            Bytes(mine().text("x").end()).byte(0).0,
        ),
    ]
}
