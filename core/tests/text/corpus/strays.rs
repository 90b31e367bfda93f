//! Updates written on something else than the text that is there.

use driftline_core::text::TextKind::{List, RichText};
use driftline_core::text::guard::Why;

use super::super::bytes::{Bytes, ORIGIN, RIGHT};
use super::*;

pub(super) fn strays() -> Vec<Fixture> {
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
