//! The largest inputs that are read to their end before they are refused.

use driftline_core::text::TextKind::{List, RichText};
use driftline_core::text::guard::Why;

use super::super::bytes::Bytes;
use super::*;

pub(super) fn giants() -> Vec<Fixture> {
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
