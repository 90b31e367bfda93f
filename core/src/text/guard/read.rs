//! Reading what an update brings.

use std::collections::BTreeSet;

use super::{Checked, Content, Grammar, GuardLimits, Reader, Why};
use crate::text::{ElementId, TextKind};

/// The text that a rich text's update brings, in the order it was written, for a row of the loss
/// ledger. A list's elements stand on lines of their own, as JSON. Empty if `update` is malformed.
pub fn inserted(update: &[u8], kind: TextKind, limits: &GuardLimits) -> String {
    let mut text = String::new();
    let read = each_content(update, kind, limits, |content| match content {
        Content::Text(written) => text.push_str(written),
        Content::Elements(elements) => {
            for element in elements {
                if !text.is_empty() {
                    text.push('\n');
                }
                text.push_str(element.json);
            }
        }
        Content::Format { .. } | Content::Deleted => {}
    });
    // What stood before something malformed was never applied: it is no loss of anybody.
    if read.is_err() {
        text.clear();
    }
    text
}

/// The elements that a list's update puts in or moves.
pub(crate) fn element_ids(checked: &Checked<'_>) -> BTreeSet<ElementId> {
    let mut ids = BTreeSet::new();
    let limits = GuardLimits {
        max_update: usize::MAX,
        ..GuardLimits::default()
    };
    // It was read before: it is well-formed.
    let _ = each_content(checked.update(), checked.kind(), &limits, |content| {
        if let Content::Elements(elements) = content {
            ids.extend(elements.map(|element| ElementId::from(element.id)));
        }
    });
    ids
}

/// Reads the contents of an update in the order they were written.
fn each_content<'a>(
    update: &'a [u8],
    kind: TextKind,
    limits: &GuardLimits,
    mut each: impl FnMut(Content<'a>),
) -> Result<(), Why> {
    let mut reader = Reader::new(update);
    let mut pieces = u32::MAX;
    let grammar = Grammar {
        kind,
        limits,
        compacted: false,
    };
    if update.len() > limits.max_update {
        return Err(Why::Size);
    }
    for _ in 0..reader.number()? {
        let blocks = reader.number32()?;
        reader.unit()?;
        for _ in 0..blocks {
            each(grammar.block(&mut reader, &mut pieces)?.content);
        }
    }
    Ok(())
}
