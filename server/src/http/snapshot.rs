//! `GET /v1/workspaces/{workspace}/snapshot`: every document, frame by frame.
//!
//! Each frame is read in a view of its own, so a slow reader keeps no old content alive, and memory
//! does not grow with the workspace. Documents are as they were when their frame was made; the log
//! behind the pinned cursor brings them to one state.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::response::Response;
use bytes::Bytes;
use driftline_core::id::{CollectionId, DocumentId};
use driftline_core::protocol::{
    Cursor, DocumentResult, Encoded, Form, Position, Resume, SnapshotFrame, append_snapshot,
    compress, encode, encode_cbor, limits,
};
use futures_util::stream;
use http::{HeaderMap, HeaderValue, header};

use super::{Shared, access, body, error};
use crate::problem::Problem;
use crate::store::{DocumentRow, Head, Snapshot, StoreError};
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
        let read = move || {
            let chunk = Chunk::read(&mut *workspace.store().read()?, after.as_ref())?;
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
    fn read(view: &mut dyn Snapshot, after: Option<&Position>) -> Result<Chunk, StoreError> {
        let after = after.map(|position| (position.collection, position.document.as_str()));
        let (mut documents, mut bytes, mut more) = (Vec::new(), 0, false);
        let mut last: Option<(CollectionId, String)> = None;
        view.documents(after, &mut |row| {
            if bytes + row.state.len() > limits::SNAPSHOT_FRAME && !documents.is_empty() {
                more = true;
                return false;
            }
            bytes += row.state.len();
            documents.push(result_around(row));
            last = Some((row.collection, row.document.to_owned()));
            true
        })?;
        let last = match last.filter(|_| more) {
            Some((collection, id)) => {
                let document = DocumentId::new(id)
                    .map_err(|_| StoreError::Damaged("a document's id".to_owned()))?;
                Some(Position {
                    collection,
                    document,
                })
            }
            None => None,
        };
        Ok(Chunk { documents, last })
    }
}

/// A whole document's result around its stored state, as [`DocumentResult`] encodes it.
fn result_around(row: DocumentRow<'_>) -> Encoded {
    let mut e = minicbor::Encoder::new(Vec::with_capacity(row.state.len() + 48));
    // A Vec takes every byte.
    let _ = head(&mut e, row);
    let mut bytes = e.into_writer();
    bytes.extend_from_slice(row.state);
    Encoded(bytes)
}

fn head(
    e: &mut minicbor::Encoder<Vec<u8>>,
    row: DocumentRow<'_>,
) -> Result<(), minicbor::encode::Error<std::convert::Infallible>> {
    e.map(4)?.u8(0)?.u16(row.collection)?.u8(1)?;
    match DocumentId::new(row.document) {
        Ok(id) => e.encode(&id)?,
        Err(_) => e.str(row.document)?,
    };
    e.u8(2)?.bool(true)?.u8(3)?.ok()
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
    use driftline_core::op::FieldMap;

    #[test]
    fn a_spliced_result_is_what_the_message_would_be() {
        for id in ["0190a3b4-0000-7000-8000-000000000001", "free text"] {
            let state = DocumentState::opened(OpId::ZERO, 7);
            let bytes = minicbor::to_vec(&state).unwrap();
            let row = DocumentRow {
                collection: 300,
                document: id,
                state: &bytes,
            };
            let document = DocumentId::new(id).unwrap();
            let message = DocumentResult {
                collection: 300,
                document,
                whole: true,
                state,
                texts: FieldMap::default(),
            };
            assert_eq!(result_around(row).0, minicbor::to_vec(&message).unwrap());
        }
    }
}
