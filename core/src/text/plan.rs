//! What an edit of rich text may say, checked and brought to positions in UTF-16 units.

use serde_json::Value;

use super::delta::{Attributes, Delta, Step};
use super::guard::GuardLimits;
use super::shown::Shown;
use super::{TextError, value};

/// What offsets count.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum OffsetUnit {
    /// UTF-16 units, as in Swift's `NSString`, Kotlin and JavaScript.
    Utf16,
    /// Bytes of UTF-8, as in Rust and C.
    Utf8,
}

/// One edit of a rich text.
#[derive(Clone, PartialEq, Debug)]
pub enum TextChange {
    /// Puts text at an offset.
    Insert {
        /// Where.
        at: u32,
        /// What.
        text: String,
        /// Its formats; without, it takes those of what stands left of it.
        attributes: Option<Attributes>,
    },
    /// Takes a range away.
    Delete {
        /// Where it begins.
        at: u32,
        /// How long it is.
        len: u32,
    },
    /// Changes the formats of a range; null takes a format off.
    Format {
        /// Where it begins.
        at: u32,
        /// How long it is.
        len: u32,
        /// The formats that change.
        attributes: Attributes,
    },
}

/// The offset in UTF-16 units of one that counts `unit`.
pub(super) fn offset(shown: &Shown, at: u32, unit: OffsetUnit) -> Result<u32, TextError> {
    match unit {
        OffsetUnit::Utf16 => shown.check(at).map(|()| at),
        OffsetUnit::Utf8 => shown.unit_of_byte(at as usize),
    }
}

/// `change` by positions on what is shown.
pub(super) fn plan(
    change: &TextChange,
    unit: OffsetUnit,
    shown: &Shown,
    limits: &GuardLimits,
) -> Result<Delta, TextError> {
    let range = |at: u32, len: u32| -> Result<(u32, u32), TextError> {
        let end = at.checked_add(len).ok_or(TextError::OutOfRange)?;
        let (from, to) = (offset(shown, at, unit)?, offset(shown, end, unit)?);
        Ok((from, to - from))
    };
    match change {
        TextChange::Insert {
            at,
            text,
            attributes,
        } => {
            let at = offset(shown, *at, unit)?;
            let attributes = match attributes {
                Some(attributes) => admit_attributes(attributes, limits)?,
                None => (*shown.attributes_at(at)?).clone(),
            };
            check_text(text)?;
            let inserted = Delta::new()
                .retain(at)
                .insert(text.as_str(), without_null(attributes));
            Ok(if text.is_empty() {
                Delta::new()
            } else {
                inserted
            })
        }
        TextChange::Delete { at, len } => {
            let (at, len) = range(*at, *len)?;
            let deleted = Delta::new().retain(at).delete(len);
            Ok(if len == 0 { Delta::new() } else { deleted })
        }
        TextChange::Format {
            at,
            len,
            attributes,
        } => {
            let (at, len) = range(*at, *len)?;
            let mut delta = Delta::new()
                .retain(at)
                .format(len, admit_attributes(attributes, limits)?);
            delta.trim();
            Ok(delta)
        }
    }
}

/// A change by positions, with its text and formats checked.
pub(super) fn check_delta(change: Delta, limits: &GuardLimits) -> Result<Delta, TextError> {
    let mut checked = Delta::new();
    for step in change.into_steps() {
        checked.push(match step {
            Step::Insert { text, attributes } => {
                check_text(&text)?;
                let attributes = without_null(admit_attributes(&attributes, limits)?);
                Step::Insert { text, attributes }
            }
            Step::Retain { len, attributes } => Step::Retain {
                len,
                attributes: admit_attributes(&attributes, limits)?,
            },
            delete => delete,
        });
    }
    checked.trim();
    Ok(checked)
}

fn check_text(text: &str) -> Result<(), TextError> {
    if text.contains('\0') {
        Err(TextError::Nul)
    } else {
        Ok(())
    }
}

fn admit_attributes(
    attributes: &Attributes,
    limits: &GuardLimits,
) -> Result<Attributes, TextError> {
    let admit = |(name, value): (&String, &Value)| {
        value::admit(name, value.clone(), limits).map(|value| (name.clone(), value))
    };
    attributes.iter().map(admit).collect()
}

fn without_null(mut attributes: Attributes) -> Attributes {
    attributes.retain(|_, value| !value.is_null());
    attributes
}
