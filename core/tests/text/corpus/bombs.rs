//! Forms that make Yrs allocate, recurse, loop or panic.

use driftline_core::text::TextKind::{List, RichText};
use driftline_core::text::guard::Why;

use super::super::bytes::Bytes;
use super::*;

pub(super) fn bombs() -> Vec<Fixture> {
    let deep = |open: &str, close: &str, n| format!("{}1{}", open.repeat(n), close.repeat(n));
    vec![
        invalid("nothing at all", RichText, Why::Truncated, vec![]),
        invalid("v2, two bytes", RichText, Why::Number, vec![0, 0x80, 0]),
        invalid("v2, cut", RichText, Why::Truncated, vec![0, 0x80]),
        invalid(
            "empty update of v2",
            RichText,
            Why::Trailing,
            vec![0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0],
        ),
        invalid(
            "an author without blocks",
            RichText,
            Why::NoBlocks,
            vec![1, 0, 5, 0, 0],
        ),
        invalid(
            "250 million authors",
            RichText,
            Why::Author,
            vec![0x80, 0xe5, 0x9a, 0x77],
        ),
        invalid(
            "100 000 authors without blocks",
            RichText,
            Why::Author,
            Bytes::default()
                .number(100_000)
                .raw(&[0, 5, 0].repeat(100_000))
                .end(),
        ),
        invalid(
            "a billion blocks",
            RichText,
            Why::Truncated,
            Bytes::section(ME, 10, 1_000_000_000).text("x").end(),
        ),
        invalid(
            "more blocks than an update has",
            RichText,
            Why::Pieces,
            Bytes::section(ME, 10, 70_000).raw(&[0; 70_000]).end(),
        ),
        invalid(
            "a block of no clock",
            RichText,
            Why::EmptyBlock,
            mine().text("").end(),
        ),
        invalid(
            "a list block of no clock",
            List,
            Why::EmptyBlock,
            mine().in_list(8).number(0).end(),
        ),
        invalid(
            "four billion forgotten at once",
            RichText,
            Why::Root,
            mine().byte(0).number(0xffff_fffe).end(),
        ),
        invalid(
            "a skip",
            RichText,
            Why::Root,
            mine().byte(10).number(7).end(),
        ),
        invalid(
            "a skip with neighbours",
            RichText,
            Why::Content,
            mine().right_of(10, ME, 3).number(7).end(),
        ),
        invalid(
            "deleted content",
            RichText,
            Why::Content,
            mine().in_text(1).number(0xffff_fff0).end(),
        ),
        invalid(
            "a string of four gigabytes",
            RichText,
            Why::Truncated,
            mine().in_text(4).number(0xffff_ffff).raw(b"x").end(),
        ),
        invalid(
            "a billion elements",
            List,
            Why::Content,
            mine()
                .in_list(8)
                .number(1_000_000_000)
                .element(ME, 10, "1")
                .end(),
        ),
        invalid(
            "a Yrs value nested 10 000 deep",
            List,
            Why::Content,
            mine()
                .in_list(8)
                .number(1)
                .raw(&[117, 1].repeat(10_000))
                .byte(126)
                .end(),
        ),
        invalid(
            "a Yrs map of a billion keys",
            List,
            Why::Content,
            mine()
                .in_list(8)
                .number(1)
                .byte(118)
                .number(1_000_000_000)
                .end(),
        ),
        invalid(
            "JSON lists nested 10 000 deep",
            List,
            Why::Depth,
            mine()
                .in_list(8)
                .number(1)
                .element(ME, 10, deep("[", "]", 10_000))
                .end(),
        ),
        invalid(
            "JSON objects nested 33 deep",
            List,
            Why::Depth,
            mine()
                .in_list(8)
                .number(1)
                .element(ME, 10, deep("{\"a\":", "}", 33))
                .end(),
        ),
        invalid(
            "clocks to the end",
            RichText,
            Why::Clock,
            Bytes::section(ME, (1 << 30) - 1, 1).text("xx").end(),
        ),
        invalid(
            "clocks around the end",
            RichText,
            Why::Clock,
            Bytes::section(ME, 0xffff_ffff, 1).text("xx").end(),
        ),
        invalid(
            "a clock of 33 bits",
            RichText,
            Why::Number,
            Bytes::section(ME, 1 << 32, 1).text("xx").end(),
        ),
    ]
}
