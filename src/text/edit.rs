//! Edits as the app says them.

use driftline_core::text::{Attributes, OffsetUnit, TextChange, TextError};
use driftline_core::value::Value;

use super::failed;
use crate::error::Result;

/// What offsets and lengths in a text count.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Offsets {
    /// UTF-16 units, as in Swift's `NSString`, Kotlin and JavaScript. An offset between the halves of
    /// a surrogate pair is refused.
    #[default]
    Utf16,
    /// Bytes of UTF-8, as in Rust and C. An offset inside a character is refused.
    Utf8,
}

impl Offsets {
    pub(crate) fn unit(self) -> OffsetUnit {
        match self {
            Offsets::Utf16 => OffsetUnit::Utf16,
            Offsets::Utf8 => OffsetUnit::Utf8,
        }
    }
}

/// One edit of a rich text.
///
/// A format has a name (`bold`, `link`) and a value: a boolean, an integer, a real number or text. In
/// [`TextEdit::format`] null takes a format off.
#[derive(Clone, PartialEq, Debug)]
pub struct TextEdit(Kind);

#[derive(Clone, PartialEq, Debug)]
enum Kind {
    Insert(u32, String, Option<Vec<(String, Value)>>),
    Delete(u32, u32),
    Replace(u32, u32, String),
    Format(u32, u32, Vec<(String, Value)>),
}

impl TextEdit {
    /// Puts text at an offset, with the formats of what stands left of it.
    pub fn insert(at: u32, text: impl Into<String>) -> TextEdit {
        TextEdit(Kind::Insert(at, text.into(), None))
    }

    /// Puts text at an offset, with these formats and no others.
    pub fn insert_formatted<N: Into<String>, V: Into<Value>>(
        at: u32,
        text: impl Into<String>,
        formats: impl IntoIterator<Item = (N, V)>,
    ) -> TextEdit {
        TextEdit(Kind::Insert(at, text.into(), Some(pairs(formats))))
    }

    /// Takes `len` away from an offset on.
    pub fn delete(at: u32, len: u32) -> TextEdit {
        TextEdit(Kind::Delete(at, len))
    }

    /// Puts text in place of `len` from an offset on, with the formats of what stands left of it.
    pub fn replace(at: u32, len: u32, text: impl Into<String>) -> TextEdit {
        TextEdit(Kind::Replace(at, len, text.into()))
    }

    /// Changes the formats of `len` from an offset on.
    pub fn format<N: Into<String>, V: Into<Value>>(
        at: u32,
        len: u32,
        formats: impl IntoIterator<Item = (N, V)>,
    ) -> TextEdit {
        TextEdit(Kind::Format(at, len, pairs(formats)))
    }

    /// The same as the engine's own changes, in order.
    pub(crate) fn changes(self, changes: &mut Vec<TextChange>) -> Result<()> {
        match self.0 {
            Kind::Insert(at, text, formats) => {
                let attributes = formats.map(attributes).transpose()?;
                changes.push(TextChange::Insert {
                    at,
                    text,
                    attributes,
                });
            }
            Kind::Delete(at, len) => changes.push(TextChange::Delete { at, len }),
            Kind::Replace(at, len, text) => {
                changes.push(TextChange::Delete { at, len });
                let attributes = None;
                changes.push(TextChange::Insert {
                    at,
                    text,
                    attributes,
                });
            }
            Kind::Format(at, len, formats) => changes.push(TextChange::Format {
                at,
                len,
                attributes: attributes(formats)?,
            }),
        }
        Ok(())
    }
}

fn pairs<N: Into<String>, V: Into<Value>>(
    formats: impl IntoIterator<Item = (N, V)>,
) -> Vec<(String, Value)> {
    let formats = formats.into_iter();
    formats
        .map(|(name, value)| (name.into(), value.into()))
        .collect()
}

fn attributes(formats: Vec<(String, Value)>) -> Result<Attributes> {
    let pair = |(name, value)| Ok((name, json(value)?));
    formats.into_iter().map(pair).collect()
}

/// A format's value as JSON; bytes have no such form.
fn json(value: Value) -> Result<serde_json::Value> {
    Ok(match value {
        Value::Null => serde_json::Value::Null,
        Value::Boolean(b) => b.into(),
        Value::Integer(n) => n.into(),
        Value::Real(x) if x.is_finite() => x.into(),
        Value::Text(text) => text.into(),
        Value::Real(_) | Value::Bytes(_) => return Err(failed(TextError::FormatValue)),
    })
}
