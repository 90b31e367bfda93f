//! What texts and lists say: stored edits put together by Yrs, away from every request.
//!
//! Nothing reaches Yrs but through the guard of `driftline_core`, although the store holds only what
//! the guard has let in: a damaged file must not bring the server down.

use driftline_core::id::Version;
use driftline_core::text::guard::{Check, GuardLimits, check, check_state};
use driftline_core::text::{BodyLimits, ListBody, Mark, TextBody, TextError, TextKind};
use serde_json::json;

use crate::store::{StoredText, TailEdit};

/// Yrs asks every document for a writer. This one never writes, so it takes nobody's clocks.
const READER: u64 = 1;

/// Why a text could not be put together. Says nothing of its content.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    /// What is stored is not what the guard let in.
    #[error("what is stored does not pass the guard")]
    Guard,
    /// Yrs did not take it.
    #[error("Yrs failed: {0}")]
    Yrs(#[from] TextError),
}

/// A text or list, put together.
pub(crate) struct OpenText {
    body: Body,
    marks: Vec<Mark>,
    version: Version,
}

enum Body {
    Text(TextBody),
    List(ListBody),
}

impl OpenText {
    /// Puts together what is stored.
    ///
    /// # Errors
    /// [`Unreadable`]: the text is to be set aside.
    pub(crate) fn open(kind: TextKind, stored: &StoredText) -> Result<OpenText, Unreadable> {
        let mut open = OpenText {
            body: Body::empty(kind),
            marks: Vec::new(),
            version: 0,
        };
        let limits = GuardLimits::default();
        if let Some(folded) = &stored.folded {
            let state = check_state(&folded.state, kind, &folded.marks, &limits);
            let state = state.map_err(|_| Unreadable::Guard)?;
            open.body = match kind {
                TextKind::RichText => {
                    Body::Text(TextBody::load(READER, state, BodyLimits::default())?)
                }
                TextKind::List => Body::List(ListBody::load(READER, state, BodyLimits::default())?),
            };
            open.marks.clone_from(&folded.marks);
            open.version = folded.version;
        }
        open.take(&stored.tail)?;
        Ok(open)
    }

    /// Takes in the edits that come next.
    ///
    /// # Errors
    /// [`Unreadable`]: the text is to be set aside.
    pub(crate) fn take(&mut self, edits: &[TailEdit]) -> Result<(), Unreadable> {
        let (kind, limits) = (self.body.kind(), GuardLimits::default());
        for edit in edits {
            let checked = check(&edit.edit, edit.writer, kind, &self.marks, &limits);
            let Ok(Check::Fits(checked)) = checked else {
                return Err(Unreadable::Guard);
            };
            match &mut self.body {
                Body::Text(text) => text.apply(&checked)?,
                Body::List(list) => list.apply(&checked)?,
            }
            let mark = Mark {
                writer: edit.writer,
                next: checked.next(),
                last: edit.op,
                version: edit.version,
            };
            Mark::put(&mut self.marks, mark);
            self.version = edit.version;
        }
        Ok(())
    }

    /// Its writers, in their order.
    pub(crate) fn marks(&self) -> &[Mark] {
        &self.marks
    }

    /// The last version in it.
    pub(crate) fn version(&self) -> Version {
        self.version
    }

    /// The whole Yrs state.
    ///
    /// # Errors
    /// What Yrs says.
    pub(crate) fn state(&self) -> Result<Vec<u8>, Unreadable> {
        Ok(match &self.body {
            Body::Text(text) => text.state()?,
            Body::List(list) => list.state()?,
        })
    }

    /// What it says, as JSON, and how many bytes of content that is: `{"text", "delta"}` of a rich
    /// text, the elements of a list.
    ///
    /// # Errors
    /// What Yrs says.
    pub(crate) fn content(&mut self) -> Result<(serde_json::Value, u64), Unreadable> {
        Ok(match &mut self.body {
            Body::Text(body) => {
                let text = body.text()?;
                let bytes = text.len() as u64;
                (json!({"text": text, "delta": body.content()?}), bytes)
            }
            Body::List(list) => {
                let elements = list.json()?;
                let bytes = elements.len() as u64;
                let elements = serde_json::from_str(&elements).map_err(|_| Unreadable::Guard)?;
                (elements, bytes)
            }
        })
    }
}

impl Body {
    fn kind(&self) -> TextKind {
        match self {
            Body::Text(_) => TextKind::RichText,
            Body::List(_) => TextKind::List,
        }
    }

    fn empty(kind: TextKind) -> Body {
        match kind {
            TextKind::RichText => Body::Text(TextBody::new(READER, BodyLimits::default())),
            TextKind::List => Body::List(ListBody::new(READER, BodyLimits::default())),
        }
    }
}

/// All of a text as one update, for somebody who has nothing of it.
///
/// # Errors
/// [`Unreadable`]: the text is to be set aside.
pub(crate) fn whole(kind: TextKind, stored: StoredText) -> Result<Vec<u8>, Unreadable> {
    match stored.folded {
        Some(folded) if stored.tail.is_empty() => Ok(folded.state),
        _ => OpenText::open(kind, &stored)?.state(),
    }
}
