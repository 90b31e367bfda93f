//! Texts: their head, then a flat list of marks.

use minicbor::decode::{self, Decoder};
use minicbor::encode::{self, Encoder, Write as Output};

use super::parts::{length, op_or, op_unless, read_version, version};
use crate::id::OpId;
use crate::merge::TextState;
use crate::text::Mark;

/// `[root, last, version, bytes, writer, next, last, version, writer, …]`
pub(super) fn write_text<W: Output>(
    e: &mut Encoder<W>,
    text: &TextState,
    named: Option<OpId>,
) -> Result<(), encode::Error<W::Error>> {
    e.array(4 + 4 * text.marks.len() as u64)?;
    op_unless(e, text.root, named)?;
    op_unless(e, text.last, named)?;
    version(e, text.version)?;
    e.u64(text.bytes)?;
    for mark in &text.marks {
        e.u64(mark.writer)?.u32(mark.next)?;
        op_unless(e, mark.last, named)?;
        version(e, mark.version)?;
    }
    Ok(())
}

pub(super) fn read_text(
    d: &mut Decoder<'_>,
    named: Option<OpId>,
) -> Result<TextState, decode::Error> {
    let parts = length(d.array()?)?;
    if parts < 4 || !parts.is_multiple_of(4) {
        return Err(decode::Error::message("a text has a head and whole marks"));
    }
    let mut text = TextState {
        root: op_or(d, named)?,
        last: op_or(d, named)?,
        version: read_version(d)?,
        bytes: d.u64()?,
        marks: Vec::new(),
    };
    for _ in 1..parts / 4 {
        let mark = Mark {
            writer: d.u64()?,
            next: d.u32()?,
            last: op_or(d, named)?,
            version: read_version(d)?,
        };
        if text
            .marks
            .last()
            .is_some_and(|before| before.writer >= mark.writer)
        {
            return Err(decode::Error::message(
                "marks stand in the order of writers",
            ));
        }
        text.marks.push(mark);
    }
    Ok(text)
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::TEXTS;
    use super::super::tests::{decode, encoded, generation};
    use super::*;
    use crate::id::PENDING;
    use crate::merge::DocumentState;

    pub(in super::super) fn typed(marks: &[(u64, u8)]) -> TextState {
        let mark = |(writer, op): &(u64, u8)| Mark {
            writer: *writer,
            next: 3,
            last: OpId([*op; 16]),
            version: PENDING,
        };
        TextState {
            root: OpId([1; 16]),
            last: OpId([2; 16]),
            version: PENDING,
            bytes: 3,
            marks: marks.iter().map(mark).collect(),
        }
    }

    #[test]
    fn marks_stand_in_order_and_whole() {
        let mut state = DocumentState::opened(OpId([1; 16]), 1);
        state.texts.insert(4, typed(&[(7, 1), (9, 2)]));
        let bytes = minicbor::to_vec(&state).unwrap();
        assert_eq!(decode(&bytes).unwrap(), state);
        state.texts.insert(4, typed(&[(9, 1), (7, 2)]));
        let disorder = minicbor::to_vec(&state).unwrap();
        assert!(decode(&disorder).unwrap_err().to_string().contains("order"));
        for parts in [0, 3, 5] {
            let torn = encoded(|e| {
                generation(e.map(2).unwrap());
                e.u8(TEXTS).unwrap().map(1).unwrap().u16(4).unwrap();
                e.array(parts).unwrap();
                (0..parts).for_each(|_| _ = e.bytes(&[1; 16]).unwrap());
            });
            assert!(
                decode(&torn)
                    .unwrap_err()
                    .to_string()
                    .contains("whole marks")
            );
        }
    }
}
