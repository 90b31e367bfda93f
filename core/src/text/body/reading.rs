//! What a text holds, and places in it.

use std::sync::Arc;

use yrs::types::text::{Diff, YChange};
use yrs::{GetString, Out, Text};

use super::super::delta::Delta;
use super::super::plan::{OffsetUnit, offset};
use super::super::shown::Shown;
use super::super::sticky::{self, Side};
use super::super::{TextError, value};
use super::TextBody;

impl TextBody {
    /// How many UTF-16 units the text has.
    ///
    /// # Errors
    /// If the text is [`TextError::Broken`].
    pub fn units(&mut self) -> Result<u32, TextError> {
        self.shown().map(Shown::units)
    }

    /// The text without formats.
    ///
    /// # Errors
    /// If the text is [`TextError::Broken`].
    pub fn text(&self) -> Result<String, TextError> {
        // Whatever is staged is in what is shown, which is then there.
        match &self.shown {
            Some(shown) => Ok(shown.text()),
            None => self.document.read(|txn| self.text.get_string(txn)),
        }
    }

    /// The text with its formats, as the delta that makes it out of nothing.
    ///
    /// # Errors
    /// If the text is [`TextError::Broken`].
    pub fn content(&self) -> Result<Delta, TextError> {
        match &self.shown {
            Some(shown) => Ok(shown.delta()),
            None => self.look().map(|shown| shown.delta()),
        }
    }

    /// The whole Yrs state, compacted.
    ///
    /// # Errors
    /// If the text is [`TextError::Broken`].
    pub fn state(&self) -> Result<Vec<u8>, TextError> {
        self.document.encode()
    }

    /// The offset in UTF-16 units of one that counts `unit`.
    ///
    /// # Errors
    /// If it is beyond the end or inside a character.
    pub fn to_utf16(&mut self, at: u32, unit: OffsetUnit) -> Result<u32, TextError> {
        let shown = self.shown()?;
        offset(shown, at, unit)
    }

    /// The offset in `unit` of one that counts UTF-16 units.
    ///
    /// # Errors
    /// If it is beyond the end or inside a character.
    pub fn from_utf16(&mut self, at: u32, unit: OffsetUnit) -> Result<u32, TextError> {
        let shown = self.shown()?;
        match unit {
            OffsetUnit::Utf16 => shown.check(at).map(|()| at),
            OffsetUnit::Utf8 => {
                let byte = shown.byte_of_unit(at)?;
                u32::try_from(byte).map_err(|_| TextError::OutOfRange)
            }
        }
    }

    /// A position that stays with the character on its `side`, whatever is written around it.
    ///
    /// # Errors
    /// If the offset is beyond the end or inside a character; while something is staged.
    pub fn position(
        &mut self,
        at: u32,
        unit: OffsetUnit,
        side: Side,
    ) -> Result<Vec<u8>, TextError> {
        let at = self.to_utf16(at, unit)?;
        self.nothing_staged()?;
        self.document
            .read(|txn| sticky::encode(&self.text, txn, at, side))
    }

    /// Where a position is now.
    ///
    /// # Errors
    /// If no position of this text was encoded to these bytes; while something is staged.
    pub fn resolve(&mut self, position: &[u8], unit: OffsetUnit) -> Result<u32, TextError> {
        self.nothing_staged()?;
        let text = &self.text;
        let mut at = self
            .document
            .read(|txn| sticky::resolve(text, txn, position))??;
        // Bytes from outside may name half a character.
        if self.shown()?.check(at) == Err(TextError::InsideCharacter) {
            at -= 1;
        }
        self.from_utf16(at, unit)
    }

    /// Positions are Yrs' names, which what is staged does not have yet.
    fn nothing_staged(&self) -> Result<(), TextError> {
        match self.staged.is_empty() {
            true => Ok(()),
            false => Err(TextError::Staged),
        }
    }

    fn shown(&mut self) -> Result<&Shown, TextError> {
        if self.shown.is_none() {
            self.shown = Some(self.look()?);
        }
        self.shown.as_ref().ok_or(TextError::Broken)
    }

    /// Reads what is shown out of Yrs.
    pub(super) fn look(&self) -> Result<Shown, TextError> {
        let pieces: Vec<Diff<YChange>> = self
            .document
            .read(|txn| self.text.diff(txn, YChange::identity))?;
        let mut shown = Shown::default();
        for piece in &pieces {
            if let Out::Any(yrs::Any::String(text)) = &piece.insert {
                let attributes = value::from_attrs(piece.attributes.as_deref());
                shown.push(text, &Arc::new(attributes));
            }
        }
        Ok(shown)
    }
}
