//! An open text or list, whichever a field holds.

use driftline_core::text::guard::{Checked, CheckedState};
use driftline_core::text::{BodyLimits, Delta, ElementId, ListBody, TextBody, TextError, TextKind};

/// The names and the values, as JSON, of a list's elements.
pub(crate) type Elements = Vec<(ElementId, String)>;

/// The content of a text field.
pub(crate) enum Body {
    /// Characters with formats.
    RichText(TextBody),
    /// JSON values.
    List(ListBody),
}

impl Body {
    pub(crate) fn new(kind: TextKind, writer: u64, limits: BodyLimits) -> Body {
        match kind {
            TextKind::RichText => Body::RichText(TextBody::new(writer, limits)),
            TextKind::List => Body::List(ListBody::new(writer, limits)),
        }
    }

    pub(super) fn load(
        kind: TextKind,
        writer: u64,
        state: CheckedState<'_>,
        limits: BodyLimits,
    ) -> Result<Body, TextError> {
        Ok(match kind {
            TextKind::RichText => Body::RichText(TextBody::load(writer, state, limits)?),
            TextKind::List => Body::List(ListBody::load(writer, state, limits)?),
        })
    }

    pub(crate) fn kind(&self) -> TextKind {
        match self {
            Body::RichText(_) => TextKind::RichText,
            Body::List(_) => TextKind::List,
        }
    }

    pub(crate) fn apply(&mut self, update: &Checked<'_>) -> Result<(), TextError> {
        match self {
            Body::RichText(body) => body.apply(update),
            Body::List(body) => body.apply(update),
        }
    }

    /// What queries see: plain text, or a JSON array.
    pub(crate) fn plain(&mut self) -> Result<String, TextError> {
        match self {
            Body::RichText(body) => body.text(),
            Body::List(body) => body.json(),
        }
    }

    /// A rich text's characters with their formats.
    pub(crate) fn content(&self) -> Result<Delta, TextError> {
        match self {
            Body::RichText(body) => body.content(),
            Body::List(_) => Err(TextError::WrongText),
        }
    }

    /// A list's elements.
    pub(crate) fn elements(&mut self) -> Result<Elements, TextError> {
        match self {
            Body::List(body) => {
                let elements = body.elements()?.into_iter();
                Ok(elements.map(|(id, json)| (id, json.to_owned())).collect())
            }
            Body::RichText(_) => Err(TextError::WrongText),
        }
    }

    /// All of it, compacted.
    pub(crate) fn state(&self) -> Result<Vec<u8>, TextError> {
        match self {
            Body::RichText(body) => body.state(),
            Body::List(body) => body.state(),
        }
    }
}
