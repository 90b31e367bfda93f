//! Text and lists that people write together: everything about Yrs that is pure.
//!
//! A *text field* is a field of kind `rich_text` or `list`; its content is one Yrs document of its
//! own. Yrs is fast and converges when it is fed in order, and it is not fit for bytes from
//! outside: four bytes make it take half a gigabyte, and what is out of order diverges for good
//! without a sign. So nothing reaches it but what [`guard`] has let through, and the types say so:
//! only the guard makes a [`guard::Checked`].
//!
//! A *writer* is the Yrs client id of a file, a random 53-bit number. A [`Mark`] says how far a
//! field contains what a writer has written.

mod action;
mod align;
pub mod author;
mod body;
mod delta;
mod document;
mod error;
pub mod guard;
mod history;
mod list;
mod list_edit;
mod mark;
mod plan;
mod renumber;
mod shown;
mod shown_edit;
mod staged;
mod sticky;
mod value;
mod walk;
mod watch;

pub use body::{BodyLimits, Edited, TextBody};
pub use delta::{Attributes, Delta, Step};
pub use error::TextError;
pub use list::ListBody;
pub use list_edit::{ElementId, ListChange, Which};
pub use mark::Mark;
pub use plan::{OffsetUnit, TextChange};
pub use sticky::Side;

use crate::schema::FieldKind;

/// The largest writer: Yrs client ids have 53 bits.
pub const MAX_WRITER: u64 = (1 << 53) - 1;

/// What a text field holds.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum TextKind {
    /// Characters with formats.
    RichText,
    /// Elements, each one JSON value.
    List,
}

impl TextKind {
    /// The kind of text a field of `kind` holds, if it holds any.
    pub fn of(kind: FieldKind) -> Option<TextKind> {
        match kind {
            FieldKind::RichText => Some(TextKind::RichText),
            FieldKind::List => Some(TextKind::List),
            _ => None,
        }
    }

    /// The one root of the field's Yrs document. Two names, so that an update for a field that
    /// has become another kind is told from one that fits.
    pub(crate) fn root(self) -> &'static str {
        match self {
            TextKind::RichText => "t",
            TextKind::List => "l",
        }
    }
}
