//! How far a text field contains what each writer has written.

use crate::id::{OpId, Version};

/// One writer's place in one text field.
///
/// A field's marks are kept sorted by writer. `next` counts UTF-16 units and elements, deleted
/// ones included, so it only grows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mark {
    /// The Yrs client id.
    pub writer: u64,
    /// The first clock that is free.
    pub next: u32,
    /// The writer's last op in the field.
    pub last: OpId,
    /// That op's version.
    pub version: Version,
}

impl Mark {
    /// The mark of `writer` in `marks`.
    pub fn of(marks: &[Mark], writer: u64) -> Option<&Mark> {
        let at = marks.binary_search_by_key(&writer, |mark| mark.writer);
        marks.get(at.ok()?)
    }

    /// The first free clock of `writer` in `marks`.
    pub fn next_of(marks: &[Mark], writer: u64) -> u32 {
        Mark::of(marks, writer).map_or(0, |mark| mark.next)
    }

    /// Puts `mark` in its place in `marks`, over the writer's older one.
    pub fn put(marks: &mut Vec<Mark>, mark: Mark) {
        match marks.binary_search_by_key(&mark.writer, |mark| mark.writer) {
            Ok(at) => {
                if let Some(held) = marks.get_mut(at) {
                    *held = mark;
                }
            }
            Err(at) => marks.insert(at, mark),
        }
    }
}
