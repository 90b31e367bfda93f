//! `GET /v1/workspaces/{workspace}/snapshot`: every document, frame by frame.
//!
//! Each frame is read in a view of its own, one ahead of what is sent: a slow reader keeps no old
//! content alive, and memory does not grow with the workspace. Documents are as they were when their
//! frame was made; the log behind the pinned cursor brings them to one state. A text with more behind it
//! than a frame may fold waits for the folding worker, piece by piece.

mod chunk;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::response::Response;
use bytes::Bytes;
use driftline_core::protocol::{
    Cursor, Encoded, Form, Position, Resume, SnapshotFrame, append_snapshot, compress, encode,
    encode_cbor, limits,
};
use futures_util::stream;
use http::{HeaderMap, HeaderValue, header};

use super::{Shared, access, body, error};
use crate::environment::BoxFuture;
use crate::problem::Problem;
use crate::store::{Head, TextPlace};
use crate::workspace::Workspace;
use chunk::{Chunk, Reading};

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

/// What reading a piece came to.
enum Attempt {
    Piece(Bytes, Option<Position>),
    /// This text has to be folded further first.
    Unfolded(TextPlace),
}

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
        let (shared, workspace) = (Arc::clone(&self.shared), Arc::clone(&self.workspace));
        let (shape, most) = (self.shape, self.shared.limits.snapshot_frame);
        let attempt = move || {
            let (workspace, after) = (Arc::clone(&workspace), after.clone());
            shared
                .environment
                .offload(move || attempt(&workspace, shape, after.as_ref(), most))
        };
        // Begun here, not where it is waited for.
        let mut begun = attempt();
        let workspace = Arc::clone(&self.workspace);
        self.ahead = Some(Box::pin(async move {
            loop {
                match begun.await? {
                    Ok(Attempt::Piece(bytes, last)) => return Some(Ok((bytes, last))),
                    Ok(Attempt::Unfolded(unfolded)) => {
                        if let Err(problem) = workspace.fold_next(unfolded).await {
                            return Some(Err(problem));
                        }
                    }
                    Err(problem) => return Some(Err(problem)),
                }
                begun = attempt();
            }
        }));
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

fn attempt(
    workspace: &Workspace,
    shape: Shape,
    after: Option<&Position>,
    most: usize,
) -> Result<Attempt, Problem> {
    let mut view = workspace.store().read()?;
    let reading = Chunk::read(&mut *view, workspace.schema(), after, most)?;
    drop(view);
    Ok(match reading {
        Reading::Chunk(chunk) => {
            let last = chunk.last.clone();
            Attempt::Piece(shape.documents(chunk)?, last)
        }
        Reading::Unfolded(place) => Attempt::Unfolded(place),
    })
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
