//! `GET /v1/workspaces/{workspace}/snapshot`: every document, frame by frame.
//!
//! Each frame is read in a view of its own, one ahead of what is sent: a slow reader keeps no old
//! content alive, and memory does not grow with the workspace. Documents are as they were when their
//! frame was made; the log behind the pinned cursor brings them to one state.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::response::Response;
use bytes::Bytes;
use driftline_core::id::{CollectionId, DocumentId};
use driftline_core::op::{FieldMap, Update};
use driftline_core::protocol::{
    Cursor, Encoded, Form, Position, Resume, SnapshotFrame, append_snapshot, compress, encode,
    encode_cbor, limits,
};
use driftline_core::schema::Schema;
use driftline_core::text::TextKind;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, header};

use super::{Shared, access, body, error};
use crate::environment::BoxFuture;
use crate::problem::Problem;
use crate::store::{Head, Snapshot, StoreError, TextPlace};
use crate::texts;
use crate::workspace::Workspace;

pub(super) async fn snapshot(
    State(shared): State<Arc<Shared>>,
    path: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let outcome = match path {
        Ok(Path(workspace)) => begin(&shared, &workspace, query.as_deref(), &headers).await,
        Err(_) => Err(Problem::NotFound),
    };
    outcome.unwrap_or_else(|problem| error::response(&problem, body::answer_form(&headers)))
}

async fn begin(
    shared: &Arc<Shared>,
    workspace: &str,
    query: Option<&str>,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let access = access(shared, headers, workspace)?;
    shared.rate_of(&access.account, "")?;
    let resume = Resume::from_query(query.unwrap_or_default())
        .map_err(|error| Problem::Malformed(error.to_string()))?;
    let workspace = shared.registry.workspace(&access.workspace).await?;
    let form = match headers.contains_key(header::ACCEPT) {
        true => body::answer_form(headers),
        false => Form::Cbor,
    };
    let shape = Shape {
        form,
        zstd: form == Form::Cbor && body::accepts_zstd(headers),
    };
    let reader = Arc::clone(&workspace);
    let opened = shared
        .environment
        .offload(move || open(&reader, resume.as_ref()))
        .await;
    let (head, cursor, after) = opened.unwrap_or(Err(Problem::Internal))?;
    let first = shape.frame(&SnapshotFrame::Begin {
        cursor,
        documents: head.documents,
    })?;
    let mut streaming = Streaming {
        shared: Arc::clone(shared),
        workspace,
        shape,
        ahead: None,
    };
    streaming.read(after);
    let rest = stream::unfold(streaming, Streaming::next);
    let body = stream::StreamExt::chain(stream::iter([Ok(first)]), rest);
    let mut response = Response::new(Body::from_stream(body));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(shape.content_type()),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// The head, the pinned cursor and the place behind which to start.
fn open(
    workspace: &Workspace,
    resume: Option<&Resume>,
) -> Result<(Head, Cursor, Option<Position>), Problem> {
    let mut view = workspace.store().read()?;
    let head = view.head()?;
    let Some(resume) = resume else {
        return Ok((head, head.cursor, None));
    };
    // The log must still lead on from where the device began.
    if view.hash_at(resume.pin.version)? != Some(resume.pin.hash) {
        return Err(Problem::HistoryChanged);
    }
    Ok((head, resume.pin, Some(resume.after.clone())))
}

/// A piece of the body, and behind which document the next one begins, if there is one.
type Piece = Result<(Bytes, Option<Position>), Problem>;

struct Streaming {
    shared: Arc<Shared>,
    workspace: Arc<Workspace>,
    shape: Shape,
    /// The next piece, read while the one before it is sent. `None` once the end was said, or the
    /// stream was cut.
    ahead: Option<BoxFuture<Option<Piece>>>,
}

impl Streaming {
    /// Begins to read the documents behind a position.
    fn read(&mut self, after: Option<Position>) {
        let (workspace, shape) = (Arc::clone(&self.workspace), self.shape);
        let most = self.shared.limits.snapshot_frame;
        let read = move || {
            let mut view = workspace.store().read()?;
            let chunk = Chunk::read(&mut *view, workspace.schema(), after.as_ref(), most)?;
            drop(view);
            let last = chunk.last.clone();
            Ok((shape.documents(chunk)?, last))
        };
        self.ahead = Some(Box::pin(self.shared.environment.offload(read)));
    }

    /// The next piece of the body. After an error the stream is cut: the device sees no end.
    async fn next(mut self) -> Option<(Result<Bytes, std::io::Error>, Streaming)> {
        let piece = match self.ahead.take()?.await {
            Some(Ok((bytes, last))) => {
                if last.is_some() {
                    self.read(last);
                }
                Ok(bytes)
            }
            Some(Err(_)) | None => Err(std::io::Error::other("the snapshot was cut short")),
        };
        Some((piece, self))
    }
}

/// One frame's documents.
struct Chunk {
    /// Results, encoded one behind the other.
    documents: Vec<u8>,
    count: u64,
    /// The last of them, if there are more behind it.
    last: Option<Position>,
}

impl Chunk {
    fn read(
        view: &mut dyn Snapshot,
        schema: &Schema,
        after: Option<&Position>,
        most: usize,
    ) -> Result<Chunk, StoreError> {
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
        for row in rows {
            let texts = texts(view, schema, &row.place)?;
            // Texts are not counted with the rows: what is too much for this frame comes next.
            if !chunk.add(row.place, &row.state, &texts, most) {
                more = true;
                break;
            }
        }
        chunk.last = chunk.last.filter(|_| more);
        Ok(chunk)
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

/// All of a document's texts, each as one update. One that was set aside is left out.
fn texts(
    view: &mut dyn Snapshot,
    schema: &Schema,
    at: &Position,
) -> Result<FieldMap<Update>, StoreError> {
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
        let stored = view.text(&place, usize::MAX)?;
        if stored.aside.is_some() || (stored.folded.is_none() && stored.tail.is_empty()) {
            continue;
        }
        match catch_unwind(AssertUnwindSafe(|| texts::whole(kind, stored))) {
            Ok(Ok(state)) => _ = all.insert(field.id, Update(state)),
            // The folding worker finds it, too, and sets it aside.
            Ok(Err(_)) | Err(_) => tracing::warn!(field = field.id, "a text was left out"),
        }
    }
    Ok(all)
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

/// How frames are written.
#[derive(Clone, Copy)]
struct Shape {
    form: Form,
    zstd: bool,
}

impl Shape {
    fn content_type(self) -> &'static str {
        match self.form {
            Form::Cbor => "application/cbor",
            Form::Json => "application/json",
        }
    }

    /// A chunk as frames, with the last word behind the last of them.
    fn documents(self, chunk: Chunk) -> Result<Bytes, Problem> {
        let end = chunk.last.is_none();
        let mut bytes = Vec::new();
        if chunk.count > 0 {
            let mut array = minicbor::Encoder::new(Vec::with_capacity(chunk.documents.len() + 9));
            // A Vec takes every byte.
            let _ = array.array(chunk.count);
            array.writer_mut().extend_from_slice(&chunk.documents);
            let documents = Encoded(array.into_writer());
            self.append(&mut bytes, &SnapshotFrame::Documents { documents })?;
        }
        if end {
            self.append(&mut bytes, &SnapshotFrame::End)?;
        }
        Ok(bytes.into())
    }

    fn frame(self, frame: &SnapshotFrame<Encoded>) -> Result<Bytes, Problem> {
        let mut bytes = Vec::new();
        self.append(&mut bytes, frame)?;
        Ok(bytes.into())
    }

    fn append(self, stream: &mut Vec<u8>, frame: &SnapshotFrame<Encoded>) -> Result<(), Problem> {
        if self.form == Form::Json {
            stream.extend_from_slice(&encode(Form::Json, &decoded(frame)?));
            stream.push(b'\n');
            return Ok(());
        }
        let bytes = encode_cbor(frame);
        let bytes = match self.zstd && bytes.len() > limits::COMPRESS_ABOVE {
            true => compress(&bytes),
            false => bytes,
        };
        append_snapshot(stream, &bytes).map_err(|_| Problem::Internal)
    }
}

fn decoded(frame: &SnapshotFrame<Encoded>) -> Result<SnapshotFrame, Problem> {
    Ok(match frame {
        SnapshotFrame::Begin { cursor, documents } => SnapshotFrame::Begin {
            cursor: *cursor,
            documents: *documents,
        },
        SnapshotFrame::Documents { documents } => SnapshotFrame::Documents {
            documents: documents.read().map_err(|_| Problem::Internal)?,
        },
        SnapshotFrame::End => SnapshotFrame::End,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use driftline_core::id::OpId;
    use driftline_core::merge::DocumentState;
    use driftline_core::protocol::DocumentResult;

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
}
