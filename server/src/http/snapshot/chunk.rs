//! One frame's documents, read from a view and encoded as they are.

use std::panic::{AssertUnwindSafe, catch_unwind};

use driftline_core::id::{CollectionId, DocumentId};
use driftline_core::op::{FieldMap, Update};
use driftline_core::protocol::{Position, limits};
use driftline_core::schema::Schema;
use driftline_core::text::TextKind;

use crate::store::{Piece, Snapshot, StoreError, TextPlace};
use crate::texts;

/// What is folded for one frame. Texts with more behind them wait for the worker.
const PIECE: Piece = Piece {
    edits: 1_000,
    bytes: 1 << 20,
};

/// One frame's documents.
pub(super) struct Chunk {
    /// Results, encoded one behind the other.
    pub(super) documents: Vec<u8>,
    pub(super) count: u64,
    /// The last of them, if there are more behind it.
    pub(super) last: Option<Position>,
}

/// What a view has for a frame.
pub(super) enum Reading {
    Chunk(Chunk),
    /// The first document has a text with more behind it than a frame may fold.
    Unfolded(TextPlace),
}

impl Chunk {
    pub(super) fn read(
        view: &mut dyn Snapshot,
        schema: &Schema,
        after: Option<&Position>,
        most: usize,
    ) -> Result<Reading, StoreError> {
        let after = after.map(|position| (position.collection, position.document.as_str()));
        let mut chunk = Chunk {
            documents: Vec::with_capacity(most.min(limits::SNAPSHOT_FRAME)),
            count: 0,
            last: None,
        };
        // Those of collections with texts, which are read when this view's query has ended.
        let mut rows: Vec<Row> = Vec::new();
        let (mut bytes, mut more, mut damage) = (0, false, None);
        view.documents(after, &mut |row| {
            let Ok(document) = DocumentId::new(row.document) else {
                damage = Some(StoreError::Damaged("a document's id".to_owned()));
                return false;
            };
            let place = Position {
                collection: row.collection,
                document,
            };
            // A frame's collections have texts, all of them or none.
            let fits = if !has_texts(schema, row.collection) {
                rows.is_empty() && chunk.add(place, row.state, &FieldMap::default(), most)
            } else if chunk.count == 0 && (bytes + row.state.len() <= most || rows.is_empty()) {
                bytes += row.state.len();
                let state = row.state.to_vec();
                rows.push(Row { place, state });
                true
            } else {
                false
            };
            more = !fits;
            fits
        })?;
        if let Some(damage) = damage {
            return Err(damage);
        }
        let mut left = PIECE;
        for row in rows {
            let texts = match texts(view, schema, &row.place, &mut left)? {
                Texts::All(texts) => texts,
                Texts::Unfolded(place) if chunk.count == 0 => return Ok(Reading::Unfolded(place)),
                Texts::Unfolded(_) => {
                    more = true;
                    break;
                }
            };
            // Texts are not counted with the rows: what is too much for this frame comes next.
            if !chunk.add(row.place, &row.state, &texts, most) {
                more = true;
                break;
            }
        }
        chunk.last = chunk.last.filter(|_| more);
        Ok(Reading::Chunk(chunk))
    }

    /// Adds a document, unless that would be more than `most` bytes; the first one fits always.
    fn add(
        &mut self,
        place: Position,
        state: &[u8],
        texts: &FieldMap<Update>,
        most: usize,
    ) -> bool {
        let before = self.documents.len();
        append(&mut self.documents, &place, state, texts);
        if self.documents.len() > most && self.count > 0 {
            self.documents.truncate(before);
            return false;
        }
        self.count += 1;
        self.last = Some(place);
        true
    }
}

/// A document as it is stored.
struct Row {
    place: Position,
    state: Vec<u8>,
}

fn has_texts(schema: &Schema, collection: CollectionId) -> bool {
    let fields = schema.collection_by_id(collection).into_iter();
    let mut fields = fields.flat_map(|collection| &collection.fields);
    fields.any(|field| TextKind::of(field.kind).is_some())
}

enum Texts {
    /// Each as one update.
    All(FieldMap<Update>),
    /// This one has more behind it than may be folded here.
    Unfolded(TextPlace),
}

/// All of a document's texts, but for those that were set aside.
fn texts(
    view: &mut dyn Snapshot,
    schema: &Schema,
    at: &Position,
    left: &mut Piece,
) -> Result<Texts, StoreError> {
    let mut all = FieldMap::default();
    let collection = schema.collection_by_id(at.collection);
    for field in collection.iter().flat_map(|collection| &collection.fields) {
        let Some(kind) = TextKind::of(field.kind) else {
            continue;
        };
        let place = TextPlace {
            collection: at.collection,
            document: at.document.clone(),
            field: field.id,
        };
        let stored = view.text(&place, *left)?;
        if stored.aside.is_some() || (stored.folded.is_none() && stored.tail.is_empty()) {
            continue;
        }
        if stored.more || !left.takes(&stored.tail) {
            return Ok(Texts::Unfolded(place));
        }
        match catch_unwind(AssertUnwindSafe(|| texts::whole(kind, stored))) {
            Ok(Ok(state)) => _ = all.insert(field.id, Update(state)),
            // The folding worker finds it, too, and sets it aside.
            Ok(Err(_)) | Err(_) => tracing::warn!(field = field.id, "a text was left out"),
        }
    }
    Ok(Texts::All(all))
}

/// Adds the document's result around its stored state, as [`DocumentResult`] encodes it.
fn append(results: &mut Vec<u8>, place: &Position, state: &[u8], texts: &FieldMap<Update>) {
    // A Vec takes every byte.
    let _ = write(&mut minicbor::Encoder::new(results), place, state, texts);
}

fn write(
    e: &mut minicbor::Encoder<&mut Vec<u8>>,
    place: &Position,
    state: &[u8],
    texts: &FieldMap<Update>,
) -> Result<(), minicbor::encode::Error<std::convert::Infallible>> {
    e.map(4 + u64::from(!texts.is_empty()))?;
    e.u8(0)?.u16(place.collection)?;
    e.u8(1)?.encode(&place.document)?;
    e.u8(2)?.bool(true)?.u8(3)?;
    e.writer_mut().extend_from_slice(state);
    if !texts.is_empty() {
        e.u8(4)?.encode(texts)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use driftline_core::id::OpId;
    use driftline_core::merge::DocumentState;
    use driftline_core::protocol::DocumentResult;

    use crate::workspace::tests::folding::Written;

    #[test]
    fn a_spliced_result_is_what_the_message_would_be() {
        for id in ["0190a3b4-0000-7000-8000-000000000001", "free text"] {
            let state = DocumentState::opened(OpId::ZERO, 7);
            let bytes = minicbor::to_vec(&state).unwrap();
            let document = DocumentId::new(id).unwrap();
            let place = Position {
                collection: 300,
                document: document.clone(),
            };
            let mut message = DocumentResult {
                collection: 300,
                document,
                whole: true,
                state,
                texts: FieldMap::default(),
            };
            for _ in 0..2 {
                let mut spliced = Vec::new();
                append(&mut spliced, &place, &bytes, &message.texts);
                assert_eq!(spliced, minicbor::to_vec(&message).unwrap());
                message.texts.insert(4, Update(vec![0, 0]));
            }
        }
    }
    /// Frame after frame, as a stream reads them; for each what it has, how many edits it read and how
    /// many bytes of them. Texts it waits for are folded as it would have them.
    async fn frames(written: &Written) -> Vec<(Result<u64, String>, usize, usize)> {
        let (mut frames, mut after) = (Vec::new(), None);
        loop {
            let reading = {
                let mut view = written.workspace.store().read().unwrap();
                let schema = written.workspace.schema();
                Chunk::read(&mut *view, schema, after.as_ref(), limits::SNAPSHOT_FRAME).unwrap()
            };
            let read = written.read();
            let edits = read.iter().map(|read| read.edits).sum();
            let bytes = read.iter().map(|read| read.bytes).sum();
            match reading {
                Reading::Chunk(chunk) => {
                    frames.push((Ok(chunk.count), edits, bytes));
                    let Some(last) = chunk.last else {
                        return frames;
                    };
                    after = Some(last);
                }
                Reading::Unfolded(place) => {
                    let id = place.document.as_str().to_owned();
                    frames.push((Err(id), edits, bytes));
                    written.workspace.fold_next(place).await.unwrap();
                    written.read();
                }
            }
        }
    }

    /// The largest edit that there is.
    const EDIT: usize = 512 << 10;

    #[tokio::test]
    async fn a_frame_folds_bounded_bytes_and_waits_for_the_worker_with_more() {
        let written = Written::empty();
        written.deleted_from("a", 2, 1);
        let bytes = written.deleted_from("b", 60_000, 40);
        written.deleted_from("c", 2, 1);
        assert!(bytes > 4 * PIECE.bytes, "{bytes}");
        let frames = frames(&written).await;
        for (_, _, bytes) in &frames {
            assert!(*bytes <= PIECE.bytes + EDIT, "{bytes}");
        }
        let has: Vec<_> = frames.into_iter().map(|(has, ..)| has).collect();
        let waits = || Err("b".to_owned());
        // What is left of "b" is more than a frame's documents are: it goes alone.
        assert_eq!(has, [Ok(1), waits(), waits(), Ok(1), Ok(1)]);
    }

    #[tokio::test]
    async fn a_frame_folds_a_bounded_number_of_edits_in_however_many_texts() {
        let written = Written::empty();
        for n in 10..40 {
            written.deleted_from(&format!("n{n}"), 2, 99);
        }
        let frames = frames(&written).await;
        let documents: u64 = frames.iter().map(|(has, ..)| has.as_ref().unwrap()).sum();
        assert_eq!((documents, frames.len()), (30, 3));
        for (_, edits, _) in frames {
            assert!(edits <= PIECE.edits + 1, "{edits}");
        }
    }
}
