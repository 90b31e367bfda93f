//! Rows of texts and lists: edits as they came, and what was folded of them.

use driftline_core::id::{CollectionId, DocumentId, FieldId, OpId, Version};
use driftline_core::text::Mark;

/// One text field of one document.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TextPlace {
    /// The collection.
    pub collection: CollectionId,
    /// The document.
    pub document: DocumentId,
    /// The field.
    pub field: FieldId,
}

/// An edit to append.
#[derive(Clone, Copy, Debug)]
pub struct NewEdit<'a> {
    /// The version that brings it.
    pub version: Version,
    /// The op.
    pub op: OpId,
    /// The writer it is by.
    pub writer: u64,
    /// A Yrs update in format v1.
    pub edit: &'a [u8],
}

/// An edit that is not folded yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TailEdit {
    /// The version that brought it.
    pub version: Version,
    /// The op.
    pub op: OpId,
    /// The writer it is by.
    pub writer: u64,
    /// A Yrs update in format v1.
    pub edit: Vec<u8>,
}

/// How much of a text's tail is read at once. What an edit takes to store, to read and to put together
/// goes by its own bytes, whatever it adds to the text: one that only deletes adds nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Piece {
    /// The most edits.
    pub edits: usize,
    /// The most bytes of edits.
    pub bytes: usize,
}

impl Piece {
    /// All there is.
    pub const ALL: Piece = Piece {
        edits: usize::MAX,
        bytes: usize::MAX,
    };

    /// Takes `edits` off it, unless they are more than it is.
    pub(crate) fn takes(&mut self, edits: &[TailEdit]) -> bool {
        let bytes = edits.iter().map(|edit| edit.edit.len()).sum();
        let left = self.edits.checked_sub(edits.len());
        let Some((edits, bytes)) = left.zip(self.bytes.checked_sub(bytes)) else {
            return false;
        };
        *self = Piece { edits, bytes };
        true
    }
}

/// What is stored of a text.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StoredText {
    /// What was folded, if anything was.
    pub folded: Option<FoldedState>,
    /// Edits behind it, in their order.
    pub tail: Vec<TailEdit>,
    /// Whether there are edits behind those.
    pub more: bool,
    /// Why it is not folded any more, if it is not.
    pub aside: Option<String>,
}

/// A Yrs state with what it contains.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FoldedState {
    /// The last version in it.
    pub version: Version,
    /// The state, in format v1.
    pub state: Vec<u8>,
    /// Its writers, in their order.
    pub marks: Vec<Mark>,
}

/// What a fold leaves in place of the edits it took in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewFold {
    /// The state behind it.
    pub folded: FoldedState,
    /// Bytes that the document's state counts at that version and that are deleted again; `None` if it
    /// has counted on since, without them.
    pub deleted: Option<u64>,
    /// The field's name.
    pub name: String,
    /// What it says, as JSON.
    pub body: String,
}
