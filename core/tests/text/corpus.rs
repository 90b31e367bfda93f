//! The hostile corpus: what crashes, hangs, fills or silently corrupts Yrs, one named input each.

use driftline_core::text::TextKind::{List, RichText};
use driftline_core::text::guard::{Refused, Why};
use driftline_core::text::{Mark, TextKind};

use super::bytes::{Bytes, ORIGIN, RIGHT, SUB, TOO_LARGE};
use super::world::op;

pub(crate) const ME: u64 = 5;
pub(crate) const OTHER: u64 = 9;

pub(crate) fn marks() -> Vec<Mark> {
    let mark = |writer, next| Mark {
        writer,
        next,
        last: op(writer),
        version: 1,
    };
    vec![mark(ME, 10), mark(OTHER, 20)]
}

/// My next block.
pub(crate) fn mine() -> Bytes {
    Bytes::section(ME, 10, 1)
}

pub(crate) struct Fixture {
    pub(crate) name: &'static str,
    pub(crate) kind: TextKind,
    pub(crate) bytes: Vec<u8>,
    pub(crate) answer: Refused,
}

fn invalid(name: &'static str, kind: TextKind, why: Why, bytes: Vec<u8>) -> Fixture {
    Fixture {
        name,
        kind,
        bytes,
        answer: Refused::Invalid(why),
    }
}

fn rebase(name: &'static str, kind: TextKind, why: Why, bytes: Vec<u8>) -> Fixture {
    Fixture {
        name,
        kind,
        bytes,
        answer: Refused::Rebase(why),
    }
}

/// Forms that make Yrs allocate, recurse, loop or panic.
fn bombs() -> Vec<Fixture> {
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

/// Content that no field of the kind holds.
fn strangers() -> Vec<Fixture> {
    let content = |name, content, rest: &[u8]| {
        invalid(
            name,
            RichText,
            Why::Content,
            mine().in_text(content).raw(rest).end(),
        )
    };
    let format = |name, why, key: &str, value: &str| {
        invalid(
            name,
            RichText,
            why,
            mine().in_text(6).counted(key).counted(value).end(),
        )
    };
    let element = |name, why, json: &[u8]| {
        invalid(
            name,
            List,
            why,
            mine().in_list(8).number(1).element(ME, 10, json).end(),
        )
    };
    vec![
        content("legacy JSON", 2, &[1, 1, b'1']),
        content("binary", 3, &[1, 0]),
        content("an embed", 5, &[4, b'n', b'u', b'l', b'l']),
        content("a nested text", 7, &[2]),
        content("a nested map", 7, &[1]),
        content("a weak link", 7, &[7, 0]),
        content("a list's elements in a text", 8, &[1, 126]),
        content("a document", 9, &[1, b'x', 118, 0]),
        content("a move", 11, &[0]),
        content("no such content", 15, &[0]),
        invalid(
            "text in a list",
            List,
            Why::Content,
            mine().in_list(4).counted("x").end(),
        ),
        invalid(
            "a format in a list",
            List,
            Why::Content,
            mine().in_list(6).counted("b").counted("true").end(),
        ),
        invalid(
            "a Yrs string in a list",
            List,
            Why::Content,
            mine().in_list(8).number(1).byte(119).counted("x").end(),
        ),
        invalid(
            "the root of another kind",
            List,
            Why::Root,
            mine().in_text(8).number(1).element(ME, 10, "1").end(),
        ),
        invalid(
            "another root",
            RichText,
            Why::Root,
            mine().byte(4).number(1).counted("r").counted("x").end(),
        ),
        invalid(
            "a parent by its place",
            RichText,
            Why::Root,
            mine()
                .byte(4)
                .number(0)
                .number(OTHER)
                .number(3)
                .counted("x")
                .end(),
        ),
        invalid(
            "a key of a map",
            RichText,
            Why::Flags,
            mine().in_text(4 | SUB).counted("k").counted("x").end(),
        ),
        invalid(
            "an unknown flag",
            RichText,
            Why::Flags,
            mine().in_text(4 | 0x10).counted("x").end(),
        ),
        invalid(
            "text that is no UTF-8",
            RichText,
            Why::Utf8,
            mine().text([0xff, 0xfe]).end(),
        ),
        invalid(
            "half a surrogate pair",
            RichText,
            Why::Utf8,
            mine().text([0xed, 0xa0, 0x80]).end(),
        ),
        invalid("NUL", RichText, Why::Nul, mine().text("a\0b").end()),
        format("a format without a name", Why::FormatKey, "", "true"),
        format(
            "a format with a long name",
            Why::FormatKey,
            &"x".repeat(65),
            "true",
        ),
        format(
            "a format with NUL in its name",
            Why::FormatKey,
            "a\0",
            "true",
        ),
        format("a format with a list", Why::FormatValue, "b", "[]"),
        format(
            "a format with an object",
            Why::FormatValue,
            "b",
            "{\"a\":1}",
        ),
        format(
            "a format with half a pair",
            Why::FormatValue,
            "b",
            r#""\ud800""#,
        ),
        format("a format that is no JSON", Why::FormatValue, "b", "tru"),
        format(
            "a format beyond 64 bits",
            Why::FormatValue,
            "b",
            "18446744073709551615",
        ),
        format(
            "a long format",
            Why::FormatValue,
            "b",
            &format!("\"{}\"", "x".repeat(2048)),
        ),
        element("an element that is no JSON", Why::Json, b"{\"a\"}"),
        element("an element of two", Why::Json, b"1 2"),
        element("an element of nothing", Why::Json, b""),
        element("an element that is no UTF-8", Why::Utf8, b"\"\xff\""),
        element(
            "an element with half a pair",
            Why::Surrogate,
            br#""\udc00""#,
        ),
        element("a number out of range", Why::Json, b"1e999"),
        element(
            "an element of 100 KB",
            Why::ElementSize,
            format!("\"{}\"", "x".repeat(100_000)).as_bytes(),
        ),
        invalid(
            "an element without a name",
            List,
            Why::Truncated,
            mine().in_list(8).number(1).byte(116).counted([]).end(),
        ),
    ]
}

/// Names and numbers that say the same in two ways, or somebody else's.
fn impostors() -> Vec<Fixture> {
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

/// Written on something else.
fn strays() -> Vec<Fixture> {
    let ranges = |name, why, ranges: &[(u64, u64)]| {
        invalid(name, RichText, why, mine().text("x").deleted(OTHER, ranges))
    };
    let twice = mine()
        .text("x")
        .number(2)
        .number(ME)
        .number(1)
        .number(0)
        .number(1)
        .number(ME)
        .number(1)
        .number(2)
        .number(1)
        .0;
    let turned = mine()
        .text("x")
        .number(2)
        .number(OTHER)
        .number(1)
        .number(0)
        .number(1)
        .number(ME)
        .number(1)
        .number(2)
        .number(1)
        .0;
    vec![
        rebase(
            "a hole before it",
            RichText,
            Why::Gap,
            Bytes::section(ME, 11, 1).text("x").end(),
        ),
        rebase(
            "half of it written before",
            RichText,
            Why::Overlap,
            Bytes::section(ME, 9, 1).text("xx").end(),
        ),
        rebase(
            "right of what is not there",
            RichText,
            Why::Reference,
            mine().right_of(4, OTHER, 20).counted("x").end(),
        ),
        rebase(
            "right of a stranger",
            RichText,
            Why::Reference,
            mine().right_of(4, 77, 0).counted("x").end(),
        ),
        rebase(
            "right of itself",
            RichText,
            Why::Reference,
            mine().right_of(4, ME, 10).counted("x").end(),
        ),
        rebase(
            "left of what is not there",
            RichText,
            Why::Reference,
            mine()
                .byte(4 | RIGHT)
                .number(OTHER)
                .number(20)
                .counted("x")
                .end(),
        ),
        rebase(
            "between strangers",
            RichText,
            Why::Reference,
            mine()
                .byte(4 | RIGHT | ORIGIN)
                .number(77)
                .number(0)
                .number(78)
                .number(0)
                .counted("x")
                .end(),
        ),
        rebase(
            "an element named by what is to come",
            List,
            Why::Reference,
            mine().in_list(8).number(1).element(ME, 11, "1").end(),
        ),
        rebase(
            "an element named by a stranger",
            List,
            Why::Reference,
            mine().in_list(8).number(1).element(77, 0, "1").end(),
        ),
        rebase(
            "deletes what is not there",
            RichText,
            Why::DeletedUnknown,
            mine().text("x").deleted(OTHER, &[(15, 6)]),
        ),
        rebase(
            "deletes a stranger",
            RichText,
            Why::DeletedUnknown,
            Bytes::default().number(0).deleted(77, &[(0, 1)]),
        ),
        rebase(
            "deletes its own future",
            RichText,
            Why::DeletedUnknown,
            mine().text("x").deleted(ME, &[(11, 1)]),
        ),
        ranges("deletes nothing", Why::Deletions, &[(3, 0)]),
        ranges("deletes twice", Why::Deletions, &[(3, 4), (6, 1)]),
        ranges("deletes backwards", Why::Deletions, &[(6, 1), (3, 1)]),
        ranges(
            "deletes around the end",
            Why::Deletions,
            &[(2, 0xffff_ffff)],
        ),
        ranges("deletes of an author nothing", Why::Deletions, &[]),
        invalid(
            "deletes of an author twice",
            RichText,
            Why::Deletions,
            twice,
        ),
        invalid(
            "deletes of authors out of order",
            RichText,
            Why::Deletions,
            turned,
        ),
        invalid(
            "deletes of a billion authors",
            RichText,
            Why::Truncated,
            mine().text("x").number(1_000_000_000).0,
        ),
        invalid(
            "a billion ranges",
            RichText,
            Why::Truncated,
            mine()
                .text("x")
                .number(1)
                .number(OTHER)
                .number(1_000_000_000)
                .0,
        ),
        invalid(
            "malformed and written on something else",
            RichText,
            Why::Trailing,
            Bytes(Bytes::section(ME, 99, 1).text("x").end()).byte(0).0,
        ),
    ]
}

/// The largest inputs that are read to their end before they are refused.
fn giants() -> Vec<Fixture> {
    let blocks = 32_000;
    let small = (0..blocks).fold(Bytes::section(ME, 10, blocks), |bytes, n| {
        bytes.right_of(4, ME, 9 + n).counted("x")
    });
    let ranges: Vec<(u64, u64)> = (0..32_000).map(|n| (2 * n, 1)).collect();
    let json = format!("[{}1]", "1,".repeat(32_000));
    let elements = (0..8).fold(mine().in_list(8).number(8), |bytes, n| {
        bytes.element(ME, 10 + n, &json)
    });
    vec![
        invalid(
            "larger than an update may be",
            RichText,
            Why::Size,
            vec![0; (512 << 10) + 1],
        ),
        invalid(
            "half a megabyte of text and a byte",
            RichText,
            Why::Trailing,
            Bytes(mine().text("é".repeat(260_000)).end()).byte(0).0,
        ),
        invalid(
            "32 000 blocks and a byte",
            RichText,
            Why::Trailing,
            Bytes(small.end()).byte(0).0,
        ),
        rebase(
            "32 000 ranges of nothing",
            RichText,
            Why::DeletedUnknown,
            Bytes::default().number(0).deleted(OTHER, &ranges),
        ),
        invalid(
            "half a megabyte of JSON and a byte",
            List,
            Why::Pieces,
            Bytes(elements.end()).byte(0).0,
        ),
    ]
}

pub(crate) fn corpus() -> Vec<Fixture> {
    [bombs(), strangers(), impostors(), strays(), giants()]
        .into_iter()
        .flatten()
        .collect()
}
