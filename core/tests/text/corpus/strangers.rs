//! Content that no field of the kind holds.

use driftline_core::text::TextKind::{List, RichText};
use driftline_core::text::guard::Why;

use super::super::bytes::SUB;
use super::*;

pub(super) fn strangers() -> Vec<Fixture> {
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
