//! `GET /v1/workspaces/{workspace}/snapshot`: every document, frame by frame.
//!
//! Each frame is read in a view of its own, so a slow reader keeps no old content alive, and memory
//! does not grow with the workspace. Documents are as they were when their frame was made; the log
//! behind the pinned cursor brings them to one state.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::response::Response;
use bytes::Bytes;
use driftline_core::id::DocumentId;
use driftline_core::op::{FieldMap, Update};
use driftline_core::protocol::{
    Cursor, DocumentResult, Encoded, Form, Position, Resume, SnapshotFrame, append_snapshot,
    compress, encode, encode_cbor, limits,
};
use driftline_core::schema::Schema;
use driftline_core::text::TextKind;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, header};

use super::{Shared, access, body, error};
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
    let (head, cursor, stage) = opened.unwrap_or(Err(Problem::Internal))?;
    let first = shape.frame(&SnapshotFrame::Begin {
        cursor,
        documents: head.documents,
    })?;
    let streaming = Streaming {
        shared: Arc::clone(shared),
        workspace,
        shape,
        stage,
    };
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

/// The head, the pinned cursor and the place to start from.
fn open(workspace: &Workspace, resume: Option<&Resume>) -> Result<(Head, Cursor, Stage), Problem> {
    let mut view = workspace.store().read()?;
    let head = view.head()?;
    let Some(resume) = resume else {
        return Ok((head, head.cursor, Stage::Documents(None)));
    };
    // The log must still lead on from where the device began.
    if view.hash_at(resume.pin.version)? != Some(resume.pin.hash) {
        return Err(Problem::HistoryChanged);
    }
    Ok((
        head,
        resume.pin,
        Stage::Documents(Some(resume.after.clone())),
    ))
}

struct Streaming {
    shared: Arc<Shared>,
    workspace: Arc<Workspace>,
    shape: Shape,
    stage: Stage,
}

enum Stage {
    /// Documents behind a position are to be sent.
    Documents(Option<Position>),
    /// The end was said, or the stream was cut.
    Done,
}

impl Streaming {
    /// The next piece of the body. After an error the stream is cut: the device sees no end.
    async fn next(mut self) -> Option<(Result<Bytes, std::io::Error>, Streaming)> {
        let Stage::Documents(after) = std::mem::replace(&mut self.stage, Stage::Done) else {
            return None;
        };
        let (workspace, shape) = (Arc::clone(&self.workspace), self.shape);
        let most = self.shared.limits.snapshot_frame;
        let read = move || {
            let mut view = workspace.store().read()?;
            let chunk = Chunk::read(&mut *view, workspace.schema(), after.as_ref(), most)?;
            drop(view);
            let last = chunk.last.clone();
            Ok::<_, Problem>((shape.documents(chunk)?, last))
        };
        let piece = match self.shared.environment.offload(read).await {
            Some(Ok((bytes, last))) => {
                if last.is_some() {
                    self.stage = Stage::Documents(last);
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
    documents: Vec<Encoded>,
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
        let (mut rows, mut bytes, mut more) = (Vec::new(), 0, false);
        let mut damage = None;
        view.documents(after, &mut |row| {
            if bytes + row.state.len() > most && !rows.is_empty() {
                more = true;
                return false;
            }
            bytes += row.state.len();
            match DocumentId::new(row.document) {
                Ok(document) => rows.push(Row {
                    place: Position {
                        collection: row.collection,
                        document,
                    },
                    state: row.state.to_vec(),
                }),
                Err(_) => damage = Some(StoreError::Damaged("a document's id".to_owned())),
            }
            damage.is_none()
        })?;
        if let Some(damage) = damage {
            return Err(damage);
        }
        let (mut documents, mut bytes, mut last) = (Vec::new(), 0, None);
        for row in rows {
            let texts = texts(view, schema, &row.place)?;
            let result = row.result(&texts);
            // Texts are not counted with the rows: what is too much for this frame comes next.
            if bytes + result.0.len() > most && !documents.is_empty() {
                more = true;
                break;
            }
            bytes += result.0.len();
            documents.push(result);
            last = Some(row.place);
        }
        let last = last.filter(|_| more);
        Ok(Chunk { documents, last })
    }
}

/// A document as it is stored.
struct Row {
    place: Position,
    state: Vec<u8>,
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

impl Row {
    /// The document's result around its stored state, as [`DocumentResult`] encodes it.
    fn result(&self, texts: &FieldMap<Update>) -> Encoded {
        let mut e = minicbor::Encoder::new(Vec::with_capacity(self.state.len() + 48));
        // A Vec takes every byte.
        let _ = self.write(&mut e, texts);
        Encoded(e.into_writer())
    }

    fn write(
        &self,
        e: &mut minicbor::Encoder<Vec<u8>>,
        texts: &FieldMap<Update>,
    ) -> Result<(), minicbor::encode::Error<std::convert::Infallible>> {
        e.map(4 + u64::from(!texts.is_empty()))?;
        e.u8(0)?.u16(self.place.collection)?;
        e.u8(1)?.encode(&self.place.document)?;
        e.u8(2)?.bool(true)?.u8(3)?;
        e.writer_mut().extend_from_slice(&self.state);
        if !texts.is_empty() {
            e.u8(4)?.encode(texts)?;
        }
        Ok(())
    }
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
        if !chunk.documents.is_empty() {
            self.append(
                &mut bytes,
                &SnapshotFrame::Documents {
                    documents: chunk.documents,
                },
            )?;
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
        SnapshotFrame::Documents { documents } => {
            let documents: Result<Vec<DocumentResult>, _> =
                documents.iter().map(Encoded::read).collect();
            SnapshotFrame::Documents {
                documents: documents.map_err(|_| Problem::Internal)?,
            }
        }
        SnapshotFrame::End => SnapshotFrame::End,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use driftline_core::id::OpId;
    use driftline_core::merge::DocumentState;

    #[test]
    fn a_spliced_result_is_what_the_message_would_be() {
        for id in ["0190a3b4-0000-7000-8000-000000000001", "free text"] {
            let state = DocumentState::opened(OpId::ZERO, 7);
            let bytes = minicbor::to_vec(&state).unwrap();
            let document = DocumentId::new(id).unwrap();
            let row = Row {
                place: Position {
                    collection: 300,
                    document: document.clone(),
                },
                state: bytes,
            };
            let mut message = DocumentResult {
                collection: 300,
                document,
                whole: true,
                state,
                texts: FieldMap::default(),
            };
            for _ in 0..2 {
                let spliced = row.result(&message.texts);
                assert_eq!(spliced.0, minicbor::to_vec(&message).unwrap());
                message.texts.insert(4, Update(vec![0, 0]));
            }
        }
    }
}
