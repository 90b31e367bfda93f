//! What the guard says, and what it is told to allow.

use crate::text::{Mark, TextKind};

/// What an update or a state may measure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GuardLimits {
    /// The largest update, in bytes.
    pub max_update: usize,
    /// Blocks, JSON values and deleted ranges in one update. Bounds the time that a refusal takes.
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
    /// It has more blocks, JSON values and deleted ranges than allowed.
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

/// An update that may be applied. Only [`super::check`] makes one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Checked<'a> {
    pub(super) update: &'a [u8],
    pub(super) kind: TextKind,
    pub(super) writer: u64,
    pub(super) from: u32,
    pub(super) next: u32,
    pub(super) inserted_bytes: u64,
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

/// A whole state that may be loaded. Only [`super::check_state`] makes one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CheckedState<'a> {
    pub(super) state: &'a [u8],
    pub(super) kind: TextKind,
    pub(super) marks: &'a [Mark],
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
