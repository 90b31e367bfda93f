//! The guard before Yrs: what lets bytes through, and the only thing that does.
//!
//! It reads update format v1 (the only one on the wire) without allocating, and accepts what an
//! honest device can have made out of what the field is known to contain, nothing else: one author;
//! clocks that go on where the author's mark ends; references and deletions below the marks; the
//! one root; the content that the field's kind may hold. Everything that was seen to crash, hang or
//! silently corrupt Yrs is outside of that.
//!
//! Two answers to what does not pass. *Rebase*: the update is well-formed but was written on
//! something else than the field contains (a copied file, a page that was missed); its author
//! draws a new writer and writes the text again. *Invalid*: no honest device makes such bytes.

mod block;
mod json;
mod reader;

use std::collections::BTreeSet;

use super::{ElementId, MAX_WRITER, Mark, TextKind};
pub(crate) use block::{Block, Content, Element, Grammar};
pub(crate) use json::MOST_DEPTH as MAX_JSON_DEPTH;
pub(crate) use reader::{Reader, Unit};

/// The largest clock. Yrs computes with signed 32-bit differences of clocks.
const MAX_CLOCK: u32 = 1 << 30;

/// What an update or a state may measure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GuardLimits {
    /// The largest update, in bytes.
    pub max_update: usize,
    /// Blocks, elements and deleted ranges in one update. Bounds the time that a refusal takes.
    pub max_pieces: u32,
    /// The largest state, in bytes.
    pub max_state: usize,
    /// The longest name of a format, in bytes.
    pub max_format_key: usize,
    /// The longest value of a format, in bytes of JSON.
    pub max_format_value: usize,
    /// The largest element of a list, in bytes of JSON.
    pub max_element: usize,
    /// How deep an element may nest; at most 64.
    pub max_depth: u32,
}

impl Default for GuardLimits {
    fn default() -> GuardLimits {
        GuardLimits {
            // What a millisecond is enough to refuse, whatever is in it.
            max_update: 512 << 10,
            max_pieces: 1 << 15,
            max_state: 64 << 20,
            max_format_key: 64,
            max_format_value: 2048,
            max_element: 64 << 10,
            max_depth: 32,
        }
    }
}

/// Why an update or a state was not let through.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
#[error("{}", self.code())]
pub enum Why {
    /// It is larger than allowed.
    Size,
    /// It has more blocks, elements and deleted ranges than allowed.
    Pieces,
    /// It ends in the middle of something.
    Truncated,
    /// Something follows its end.
    Trailing,
    /// A number is not in its shortest form, or out of range.
    Number,
    /// Text is not UTF-8.
    Utf8,
    /// Text contains NUL.
    Nul,
    /// An escaped half of a surrogate pair stands alone.
    Surrogate,
    /// It has blocks of several authors, of another one than it says, or of none that can be.
    Author,
    /// An author's list of blocks is empty.
    NoBlocks,
    /// A block takes no clock.
    EmptyBlock,
    /// A block has flags that no block of a text field has.
    Flags,
    /// A block belongs to something else than the field's root.
    Root,
    /// A block holds something that a field of this kind does not.
    Content,
    /// A format's name is empty or too long.
    FormatKey,
    /// A format's value is too long or no JSON scalar.
    FormatValue,
    /// A list's element is too large.
    ElementSize,
    /// A list's element is no JSON.
    Json,
    /// A list's element nests too deep.
    Depth,
    /// The author's clocks would run out.
    Clock,
    /// Deleted ranges are empty, overlap or stand out of order.
    Deletions,
    /// The update begins after the author's mark: something before it is missing.
    Gap,
    /// The update begins before the author's mark and ends after it.
    Overlap,
    /// It refers to something that the field does not contain.
    Reference,
    /// It deletes something that the field does not contain.
    DeletedUnknown,
    /// A state does not end exactly at the marks.
    Marks,
}

impl Why {
    /// A stable name, for messages and measurements.
    pub fn code(self) -> &'static str {
        match self {
            Why::Size => "size",
            Why::Pieces => "pieces",
            Why::Truncated => "truncated",
            Why::Trailing => "trailing",
            Why::Number => "number",
            Why::Utf8 => "utf8",
            Why::Nul => "nul",
            Why::Surrogate => "surrogate",
            Why::Author => "author",
            Why::NoBlocks => "no_blocks",
            Why::EmptyBlock => "empty_block",
            Why::Flags => "flags",
            Why::Root => "root",
            Why::Content => "content",
            Why::FormatKey => "format_key",
            Why::FormatValue => "format_value",
            Why::ElementSize => "element_size",
            Why::Json => "json",
            Why::Depth => "depth",
            Why::Clock => "clock",
            Why::Deletions => "deletions",
            Why::Gap => "gap",
            Why::Overlap => "overlap",
            Why::Reference => "reference",
            Why::DeletedUnknown => "deleted_unknown",
            Why::Marks => "marks",
        }
    }
}

/// What the guard says to what it does not let through.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refused {
    /// Well-formed, but written on something else than the field contains.
    #[error("the text was written on something else: {0}")]
    Rebase(Why),
    /// No honest device makes such bytes.
    #[error("the text is invalid: {0}")]
    Invalid(Why),
}

impl From<Why> for Refused {
    fn from(why: Why) -> Refused {
        Refused::Invalid(why)
    }
}

/// What the guard says to an update it understands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Check<'a> {
    /// It goes on exactly where the field's marks end.
    Fits(Checked<'a>),
    /// Every clock it writes is below its author's mark. A device that is told of an update again
    /// skips it. To a server, which knows an op sent again by its id, this is *other* content under
    /// clocks that are taken, hence a rebase.
    Contained,
}

/// An update that may be applied. Only [`check`] makes one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Checked<'a> {
    update: &'a [u8],
    kind: TextKind,
    writer: u64,
    from: u32,
    next: u32,
    inserted_bytes: u64,
}

impl<'a> Checked<'a> {
    /// The bytes that were checked.
    pub fn update(&self) -> &'a [u8] {
        self.update
    }

    /// The kind of field they were checked for.
    pub fn kind(&self) -> TextKind {
        self.kind
    }

    /// Who wrote it.
    pub fn writer(&self) -> u64 {
        self.writer
    }

    /// The first clock it takes: the author's mark.
    pub fn from(&self) -> u32 {
        self.from
    }

    /// The author's first free clock after it; the same as `from` if it only deletes.
    pub fn next(&self) -> u32 {
        self.next
    }

    /// How many bytes of content it brings.
    pub fn inserted_bytes(&self) -> u64 {
        self.inserted_bytes
    }
}

/// A whole state that may be loaded. Only [`check_state`] makes one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CheckedState<'a> {
    state: &'a [u8],
    kind: TextKind,
    marks: &'a [Mark],
}

impl<'a> CheckedState<'a> {
    /// The bytes that were checked.
    pub fn state(&self) -> &'a [u8] {
        self.state
    }

    /// The kind of field they were checked for.
    pub fn kind(&self) -> TextKind {
        self.kind
    }

    /// The marks it ends at.
    pub fn marks(&self) -> &'a [Mark] {
        self.marks
    }
}

/// Checks one update that says it is by `writer`, against the `marks` (sorted by writer) of what
/// the field contains.
///
/// `writer` is told apart from the bytes because an update that only deletes does not name its
/// author.
///
/// # Errors
/// [`Refused`] says whether writing it again can help.
pub fn check<'a>(
    update: &'a [u8],
    writer: u64,
    kind: TextKind,
    marks: &[Mark],
    limits: &GuardLimits,
) -> Result<Check<'a>, Refused> {
    if update.len() > limits.max_update {
        return Err(Why::Size.into());
    }
    if writer == 0 || writer > MAX_WRITER {
        return Err(Why::Author.into());
    }
    let mark = Mark::next_of(marks, writer);
    let mut pass = Pass {
        reader: Reader::new(update),
        grammar: Grammar {
            kind,
            limits,
            compacted: false,
        },
        known: Known::new(marks),
        pieces: limits.max_pieces,
        misfit: None,
        inserted_bytes: 0,
    };
    let (from, next) = match pass.reader.number()? {
        0 => (mark, mark),
        1 => pass.section(|found| {
            if found == writer {
                Ok(())
            } else {
                Err(Why::Author)
            }
        })?,
        _ => return Err(Why::Author.into()),
    };
    pass.deletions(writer, next)?;
    if pass.reader.left() != 0 {
        return Err(Why::Trailing.into());
    }
    if from > mark {
        return Err(Refused::Rebase(Why::Gap));
    }
    if let Some(why) = pass.misfit {
        return Err(Refused::Rebase(why));
    }
    if from < mark {
        return if next <= mark {
            Ok(Check::Contained)
        } else {
            Err(Refused::Rebase(Why::Overlap))
        };
    }
    Ok(Check::Fits(Checked {
        update,
        kind,
        writer,
        from,
        next,
        inserted_bytes: pass.inserted_bytes,
    }))
}

/// Checks a whole state of many authors: every author from clock 0 exactly to the mark, nothing
/// that the marks do not know.
///
/// # Errors
/// [`Refused::Invalid`]: a state is what a server or this device made; there is nothing to write
/// again.
pub fn check_state<'a>(
    state: &'a [u8],
    kind: TextKind,
    marks: &'a [Mark],
    limits: &GuardLimits,
) -> Result<CheckedState<'a>, Refused> {
    if state.len() > limits.max_state {
        return Err(Why::Size.into());
    }
    if !marks.is_sorted_by(|a, b| a.writer < b.writer) {
        return Err(Why::Marks.into());
    }
    let mut pass = Pass {
        reader: Reader::new(state),
        grammar: Grammar {
            kind,
            limits,
            compacted: true,
        },
        known: Known::new(marks),
        pieces: u32::MAX,
        misfit: None,
        inserted_bytes: 0,
    };
    // Yrs writes authors from the greatest down. An author who only deleted has no blocks.
    let mut authors = marks.iter().rev().filter(|mark| mark.next > 0);
    for _ in 0..pass.reader.number()? {
        let mark = authors.next().ok_or(Why::Marks)?;
        let (from, next) = pass.section(|found| {
            if found == mark.writer {
                Ok(())
            } else {
                Err(Why::Marks)
            }
        })?;
        if (from, next) != (0, mark.next) {
            return Err(Why::Marks.into());
        }
    }
    if authors.next().is_some() {
        return Err(Why::Marks.into());
    }
    pass.deletions(0, 0)?;
    if pass.reader.left() != 0 {
        return Err(Why::Trailing.into());
    }
    match pass.misfit {
        Some(why) => Err(why.into()),
        None => Ok(CheckedState { state, kind, marks }),
    }
}

/// One pass over an update or a state.
struct Pass<'a, 'l> {
    reader: Reader<'a>,
    grammar: Grammar<'l>,
    known: Known<'l>,
    /// How many more blocks, elements and ranges there may be.
    pieces: u32,
    /// The first thing that does not fit what the field contains. What is malformed counts for
    /// more, so the pass goes on.
    misfit: Option<Why>,
    inserted_bytes: u64,
}

impl Pass<'_, '_> {
    /// One author's blocks; answers the first and the first free clock.
    fn section(&mut self, author: impl Fn(u64) -> Result<(), Why>) -> Result<(u32, u32), Why> {
        let blocks = self.count()?;
        if blocks == 0 {
            return Err(Why::NoBlocks);
        }
        let first = self.reader.unit()?;
        author(first.writer)?;
        let mut at = first;
        for _ in 0..blocks {
            let block = self.grammar.block(&mut self.reader)?;
            self.references(&block, at)?;
            self.inserted_bytes += block.content.bytes();
            at.clock = at.clock.checked_add(block.len).ok_or(Why::Clock)?;
            if at.clock > MAX_CLOCK {
                return Err(Why::Clock);
            }
        }
        Ok((first.clock, at.clock))
    }

    /// A count of things that take at least a byte each.
    fn count(&mut self) -> Result<u32, Why> {
        let count = self.reader.number32()?;
        if count as usize > self.reader.left() {
            return Err(Why::Truncated);
        }
        self.spend(count)?;
        Ok(count)
    }

    fn spend(&mut self, pieces: u32) -> Result<(), Why> {
        self.pieces = self.pieces.checked_sub(pieces).ok_or(Why::Pieces)?;
        Ok(())
    }

    /// Whether all that the block at `at` refers to is known.
    #[inline]
    fn references(&mut self, block: &Block<'_>, at: Unit) -> Result<(), Why> {
        let origin = block.origin.is_none_or(|unit| self.known.has(unit, at));
        let right = block.right.is_none_or(|unit| self.known.has(unit, at));
        if !(origin && right) {
            self.misfit.get_or_insert(Why::Reference);
        }
        if let Content::Elements(elements) = block.content {
            self.spend(block.len)?;
            let mut own = at;
            for element in elements {
                // An element is new, and then named by its own place, or it was moved here.
                if element.id != own && !self.known.has(element.id, own) {
                    self.misfit.get_or_insert(Why::Reference);
                }
                own.clock = own.clock.saturating_add(1);
            }
        }
        Ok(())
    }

    /// What is deleted: known units, in order. Of `writer` those below `next` are known.
    fn deletions(&mut self, writer: u64, next: u32) -> Result<(), Why> {
        let own = Unit {
            writer,
            clock: next,
        };
        let mut before = None;
        for _ in 0..self.count()? {
            let author = self.reader.number()?;
            if before.is_some_and(|before| before >= author) {
                return Err(Why::Deletions);
            }
            before = Some(author);
            let ranges = self.count()?;
            if ranges == 0 {
                return Err(Why::Deletions);
            }
            let mut end = 0;
            for _ in 0..ranges {
                let (start, len) = (self.reader.number32()?, self.reader.number32()?);
                if len == 0 || start < end {
                    return Err(Why::Deletions);
                }
                end = start.checked_add(len).ok_or(Why::Deletions)?;
            }
            let last = Unit {
                writer: author,
                clock: end - 1,
            };
            if !self.known.has(last, own) {
                self.misfit.get_or_insert(Why::DeletedUnknown);
            }
        }
        Ok(())
    }
}

/// What the field contains.
struct Known<'m> {
    marks: &'m [Mark],
    /// The author looked up last: neighbours are mostly by one.
    last: (u64, u32),
}

impl<'m> Known<'m> {
    fn new(marks: &'m [Mark]) -> Known<'m> {
        Known {
            marks,
            // No writer is 0, so it ends at 0.
            last: (0, 0),
        }
    }

    /// Whether `unit` is there for a block at `at`, whose author's earlier clocks are.
    #[inline]
    fn has(&mut self, unit: Unit, at: Unit) -> bool {
        if unit.writer == at.writer {
            return unit.clock < at.clock;
        }
        if self.last.0 != unit.writer {
            self.last = (unit.writer, Mark::next_of(self.marks, unit.writer));
        }
        unit.clock < self.last.1
    }
}

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
    let _ = each_content(checked.update, checked.kind, &limits, |content| {
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
            each(grammar.block(&mut reader)?.content);
        }
    }
    Ok(())
}
