//! What can go wrong with a text that is open.

/// Why a call on an open text or list had no effect. Contains nothing of the text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
pub enum TextError {
    /// The offset or the range ends after the text.
    #[error("the offset is beyond the end")]
    OutOfRange,
    /// The offset is between the halves of a character.
    #[error("the offset is inside a character")]
    InsideCharacter,
    /// Text must not contain NUL: SQLite's text functions stop there.
    #[error("text must not contain NUL")]
    Nul,
    /// A format's name is empty or too long.
    #[error("a format needs a name, and a shorter one than this")]
    FormatName,
    /// A format's value is no JSON scalar, or too long.
    #[error("a format's value is null, a boolean, a number or a string, within its limit")]
    FormatValue,
    /// A list's element is too large or nests too deep.
    #[error("the element is too large or nests too deep")]
    ElementSize,
    /// A list's element is given as text that is no JSON.
    #[error("an element is a JSON value")]
    NotJson,
    /// There is no such element, or no longer.
    #[error("no such element")]
    NoSuchElement,
    /// The text would be longer than its field allows.
    #[error("the text would be longer than its field allows")]
    TooLong,
    /// One edit is too large, or in too many pieces, for one update. If it was a deletion of very
    /// many pieces, the text has to be opened again.
    #[error("the edit is too large for one update")]
    TooLarge,
    /// Position bytes that no position was encoded to, or of another text.
    #[error("not a position in this text")]
    NotAPosition,
    /// An update or state for another kind of field, or that does not go on where this one ends.
    #[error("made for another text")]
    WrongText,
    /// Edits are staged that have to be committed first.
    #[error("the last edits have to be stored first")]
    Staged,
    /// Yrs failed on the document; it has to be opened again from what is stored.
    #[error("the text has to be opened again")]
    Broken,
}

impl TextError {
    /// A stable name.
    pub fn code(self) -> &'static str {
        match self {
            TextError::OutOfRange => "text_out_of_range",
            TextError::InsideCharacter => "text_inside_character",
            TextError::Nul => "text_nul",
            TextError::FormatName => "text_format_name",
            TextError::FormatValue => "text_format_value",
            TextError::ElementSize => "text_element_size",
            TextError::NotJson => "text_not_json",
            TextError::NoSuchElement => "text_no_such_element",
            TextError::TooLong => "text_too_long",
            TextError::TooLarge => "text_too_large",
            TextError::NotAPosition => "text_not_a_position",
            TextError::WrongText => "text_wrong",
            TextError::Staged => "text_staged",
            TextError::Broken => "text_broken",
        }
    }
}
