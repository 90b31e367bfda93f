//! The way back from what a document shows to base.
//!
//! Held once per document, for every component that differs, never as a chain of undo records: a
//! chain corrupted base in 22,744 of 335,922 schedules (write, write, rejection is enough).

use minicbor::decode::{self, Decoder};
use minicbor::encode::{self, Encoder, Write};

use crate::id::FieldId;
use crate::merge::{Difference, DocumentState};

/// Base, given what is shown.
#[derive(Clone, Debug, PartialEq)]
pub enum BaseImage {
    /// Base does not have the document.
    Absent,
    /// Base differs so.
    Differs(Box<Difference>),
}

impl BaseImage {
    /// The way from `shown` to `base`; `None` if they are the same.
    pub fn between(base: Option<&DocumentState>, shown: &DocumentState) -> Option<BaseImage> {
        match base {
            None => Some(BaseImage::Absent),
            Some(base) if base == shown => None,
            Some(base) => Some(BaseImage::Differs(Box::new(Difference::between(
                shown, base,
            )))),
        }
    }

    /// Base.
    pub fn base(image: Option<BaseImage>, shown: DocumentState) -> Option<DocumentState> {
        match image {
            None => Some(shown),
            Some(BaseImage::Absent) => None,
            Some(BaseImage::Differs(difference)) => {
                let mut base = shown;
                difference.apply(&mut base);
                Some(base)
            }
        }
    }
}

impl<C> minicbor::Encode<C> for BaseImage {
    fn encode<W: Write>(
        &self,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        match self {
            BaseImage::Absent => e.null()?.ok(),
            BaseImage::Differs(difference) => {
                let texts = &difference.absent_texts;
                e.array(3 + u64::from(!texts.is_empty()))?
                    .encode(&difference.part)?
                    .encode(&difference.absent_registers)?
                    .encode(&difference.absent_counters)?;
                if !texts.is_empty() {
                    e.encode(texts)?;
                }
                Ok(())
            }
        }
    }
}

impl<'b, C> minicbor::Decode<'b, C> for BaseImage {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        if d.datatype()? == minicbor::data::Type::Null {
            d.null()?;
            return Ok(BaseImage::Absent);
        }
        let parts = d.array()?;
        let part: DocumentState = d.decode()?;
        let absent_registers: Vec<FieldId> = d.decode()?;
        let absent_counters: Vec<FieldId> = d.decode()?;
        let absent_texts: Vec<FieldId> = match parts {
            Some(3) => Vec::new(),
            _ => d.decode()?,
        };
        Ok(BaseImage::Differs(Box::new(Difference {
            part,
            absent_registers,
            absent_counters,
            absent_texts,
        })))
    }
}
