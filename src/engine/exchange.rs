//! Messages as bytes, in the form the provider carries, and how an exchange fails.

use std::borrow::Cow;
use std::sync::Arc;

use driftline_core::id::OpId;
use driftline_core::protocol::failure::code;
use driftline_core::protocol::{
    self, Encoded, Form, HoldsValues, LiveFrame, SentOp, SnapshotFrame, SyncRequest, SyncResponse,
    When, WireError, limits,
};
use driftline_core::schema::Schema;
use driftline_core::sync::PROVIDER_FAILED;
use driftline_core::time::Reading;

use crate::provider::{Message, ProviderError, ProviderMode};
use crate::storage::StorageError;
use crate::storage::outbox::Queued;
use crate::transport::{LiveMessage, TransportError};

/// The largest snapshot frame taken: one document may be larger than the usual frame.
const FRAME_MAX: usize = limits::MAX_DECOMPRESSED;

/// How an exchange failed, in the terms of the protocol's table.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Failed {
    pub status: u16,
    pub code: String,
    pub retry_after: Option<u64>,
    pub detail: String,
}

impl Failed {
    /// Nothing came.
    pub(super) fn no_answer(detail: impl Into<String>) -> Failed {
        Failed {
            status: 0,
            code: String::new(),
            retry_after: None,
            detail: detail.into(),
        }
    }

    /// The same behind a gateway: no token is at fault there, and none can be asked for.
    pub(super) fn behind(self, mode: ProviderMode) -> Failed {
        match (mode, self.status) {
            (ProviderMode::Gateway, 401) => Failed {
                status: 403,
                code: code::FORBIDDEN.to_owned(),
                ..self
            },
            _ => self,
        }
    }

    /// The app's own provider or transport failed. Like a server that fails: what it was asked to
    /// carry may be the cause.
    pub(super) fn of_the_provider(detail: impl Into<String>) -> Failed {
        Failed {
            status: 500,
            code: PROVIDER_FAILED.to_owned(),
            ..Failed::no_answer(detail)
        }
    }
}

impl From<ProviderError> for Failed {
    fn from(error: ProviderError) -> Failed {
        match error {
            ProviderError::Unreachable(detail) => Failed::no_answer(detail),
            ProviderError::NotAnAnswer(detail) => not_driftline(detail),
            ProviderError::Failed(detail) => Failed::of_the_provider(detail),
            ProviderError::NotOffered => Failed::of_the_provider("what it must have is missing"),
            ProviderError::Refused {
                status,
                code,
                retry_after_ms,
                message,
            } => Failed {
                // No refusal: it says that an answer came.
                status: if status == 0 { 500 } else { status },
                code,
                retry_after: retry_after_ms,
                detail: message,
            },
        }
    }
}

impl From<TransportError> for Failed {
    fn from(error: TransportError) -> Failed {
        ProviderError::from(error).into()
    }
}

/// What the server answers whose history the file does not share.
pub(super) fn history_changed() -> Failed {
    Failed {
        status: 409,
        code: code::HISTORY_CHANGED.to_owned(),
        ..Failed::no_answer("the snapshot is of another history than the file")
    }
}

/// An answer that says it is a page but is none: a proxy, a captive portal, a damaged body.
pub(super) fn not_driftline(detail: impl Into<String>) -> Failed {
    Failed {
        status: 200,
        ..Failed::no_answer(detail)
    }
}

/// The entries of `ops[]`: known-accepted ones by id alone, the others spliced around their stored
/// bytes.
pub(super) fn entries(
    batch: &[Queued],
    accepted: &std::collections::HashSet<OpId>,
    now: Reading,
) -> Vec<Encoded> {
    batch
        .iter()
        .map(|op| match accepted.contains(&op.id) {
            true => named(op.id),
            false => Encoded(SentOp::encode_around(
                op.id,
                When::of(op.written, now),
                &op.body,
            )),
        })
        .collect()
}

pub(super) fn named(id: OpId) -> Encoded {
    Encoded(protocol::encode_cbor(&SentOp::Named(id)))
}

/// A frame of a snapshot, its bytes if they are of the binary form, and how many it took.
pub(super) type Streamed<'b> = (SnapshotFrame, Option<&'b [u8]>, usize);

/// Entries of `ops[]`, one after the other, as they travel.
pub(super) struct Packed {
    count: usize,
    bytes: Vec<u8>,
    zstd: bool,
}

/// Writes and reads the messages of one provider.
#[derive(Clone)]
pub(super) struct Codec {
    form: Form,
    zstd: bool,
    schema: Arc<Schema>,
}

impl Codec {
    pub(super) fn new(form: Form, zstd: bool, schema: Arc<Schema>) -> Codec {
        Codec { form, zstd, schema }
    }

    /// The body of a push or pull.
    pub(super) fn request(&self, request: SyncRequest<Encoded>) -> Result<Message, StorageError> {
        let plain = match self.form {
            Form::Cbor => protocol::encode_cbor(&request),
            Form::Json => protocol::encode(Form::Json, &spelled_out(request)?),
        };
        Ok(if self.zstd && plain.len() > limits::COMPRESS_ABOVE {
            Message {
                bytes: protocol::compress(&plain),
                zstd: true,
            }
        } else {
            Message::plain(plain)
        })
    }

    /// Entries for a request whose head is not known yet; `None` in the form that they cannot be apart
    /// from it.
    pub(super) fn pack(&self, ops: &[Encoded]) -> Option<Packed> {
        if self.form != Form::Cbor {
            return None;
        }
        let parts: Vec<&[u8]> = ops.iter().map(|op| op.0.as_slice()).collect();
        let plain = parts.concat();
        let zstd = self.zstd && plain.len() > limits::COMPRESS_ABOVE;
        Some(Packed {
            count: ops.len(),
            bytes: match zstd {
                true => protocol::compress(&plain),
                false => plain,
            },
            zstd,
        })
    }

    /// The body of a push whose ops are packed. A compressed one is two frames of zstd.
    pub(super) fn request_around(&self, request: SyncRequest<Encoded>, packed: Packed) -> Message {
        // `ops[]` ends the message, for all members behind it are left out.
        let head = SyncRequest {
            ops: vec![Encoded(Vec::new()); packed.count],
            page_bytes: 0,
            tag: 0,
            ..request
        };
        let mut bytes = protocol::encode_cbor(&head);
        if packed.zstd {
            bytes = protocol::compress(&bytes);
        }
        bytes.extend_from_slice(&packed.bytes);
        Message {
            bytes,
            zstd: packed.zstd,
        }
    }

    /// The answer to one, and how many bytes came.
    pub(super) fn answer(&self, message: &Message) -> Result<(Box<SyncResponse>, u64), Failed> {
        let broken = |error: WireError| not_driftline(error.to_string());
        let most = limits::MAX_DECOMPRESSED;
        let plain = match message.zstd {
            true => Cow::Owned(protocol::decompress(&message.bytes, most).map_err(broken)?),
            false if message.bytes.len() > most => {
                return Err(broken(WireError::TooLarge(most)));
            }
            false => Cow::Borrowed(&message.bytes),
        };
        let answer = self.read::<SyncResponse>(&plain).map_err(broken)?;
        Ok((Box::new(answer), message.bytes.len() as u64))
    }

    /// A request as a message of the live socket.
    pub(super) fn live_request(
        &self,
        request: SyncRequest<Encoded>,
    ) -> Result<LiveMessage, StorageError> {
        Ok(match self.form {
            Form::Cbor => LiveMessage::Binary(protocol::encode_cbor(
                &LiveFrame::<Encoded, Encoded>::Request(request),
            )),
            Form::Json => {
                let frame: LiveFrame = LiveFrame::Request(spelled_out(request)?);
                let text = String::from_utf8(protocol::encode(Form::Json, &frame));
                let text = text.map_err(|error| StorageError::Internal(error.to_string()))?;
                LiveMessage::Text(text)
            }
        })
    }

    /// A frame of the live socket: text is JSON, binary is CBOR, whatever was asked for.
    pub(super) fn live_frame(&self, message: &LiveMessage) -> Result<LiveFrame, WireError> {
        let other = |form| Codec {
            form,
            ..self.clone()
        };
        match message {
            LiveMessage::Text(text) => other(Form::Json).read(text.as_bytes()),
            LiveMessage::Binary(bytes) => {
                let plain = protocol::inflate(bytes, limits::MAX_DECOMPRESSED)?;
                other(Form::Cbor).read(&plain)
            }
            LiveMessage::Alive => Ok(LiveFrame::Behind),
        }
    }

    /// The next frame of a snapshot's stream, as it came if that was in the binary form, and how many
    /// bytes it took; `None` until more of them are there.
    pub(super) fn snapshot_frame<'b>(
        &self,
        buffer: &'b [u8],
    ) -> Result<Option<Streamed<'b>>, WireError> {
        let next = match self.form {
            Form::Cbor => protocol::split_snapshot(buffer, FRAME_MAX)?,
            Form::Json => split_lines(buffer)?,
        };
        let Some((frame, took)) = next else {
            return Ok(None);
        };
        let plain = protocol::inflate(frame, FRAME_MAX)?;
        let raw = (self.form == Form::Cbor).then_some(frame);
        Ok(Some((self.read(&plain)?, raw, took)))
    }

    fn read<T>(&self, bytes: &[u8]) -> Result<T, WireError>
    where
        T: HoldsValues + serde::de::DeserializeOwned + for<'b> minicbor::Decode<'b, ()>,
    {
        let mut message: T = protocol::decode(self.form, bytes)?;
        if self.form == Form::Json {
            message.settle_kinds(&self.schema);
        }
        Ok(message)
    }
}

/// The JSON form has no place for bytes that are CBOR already.
fn spelled_out(request: SyncRequest<Encoded>) -> Result<SyncRequest, StorageError> {
    let ops = request
        .ops
        .iter()
        .map(Encoded::read)
        .collect::<Result<Vec<SentOp>, _>>()
        .map_err(|_| StorageError::unreadable("queued op"))?;
    Ok(request.with_ops(ops))
}

/// One frame a line; empty lines are passed over.
fn split_lines(buffer: &[u8]) -> Result<Option<(&[u8], usize)>, WireError> {
    let blank = buffer
        .iter()
        .take_while(|byte| byte.is_ascii_whitespace())
        .count();
    let rest = buffer.get(blank..).unwrap_or_default();
    match rest.iter().position(|byte| *byte == b'\n') {
        Some(end) => Ok(rest.get(..end).map(|line| (line, blank + end + 1))),
        None if rest.len() > FRAME_MAX => Err(WireError::TooLarge(FRAME_MAX)),
        None => Ok(None),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_split_where_they_end() {
        assert_eq!(split_lines(b"one\ntwo"), Ok(Some((&b"one"[..], 4))));
        assert_eq!(split_lines(b"\r\n\n two\n"), Ok(Some((&b"two"[..], 8))));
        assert_eq!(split_lines(b"tw"), Ok(None));
        assert_eq!(split_lines(b"\n\n"), Ok(None));
        let endless = vec![b'x'; FRAME_MAX + 1];
        assert_eq!(split_lines(&endless), Err(WireError::TooLarge(FRAME_MAX)));
    }
}
