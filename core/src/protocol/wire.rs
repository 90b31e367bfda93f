//! Bytes: the two forms of a message, and messages spliced from parts that are encoded already.

use minicbor::encode::{self, Encoder, Write};
use serde::de::DeserializeOwned;
use serde::{Serialize, Serializer};

/// How a message is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Form {
    /// `application/cbor`, the default.
    #[default]
    Cbor,
    /// `application/json`.
    Json,
}

impl Form {
    /// The media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Form::Cbor => "application/cbor",
            Form::Json => "application/json",
        }
    }

    /// The form of a media type, parameters ignored.
    pub fn of(content_type: &str) -> Option<Form> {
        match content_type.split(';').next()?.trim().to_ascii_lowercase().as_str() {
            "application/cbor" => Some(Form::Cbor),
            "application/json" => Some(Form::Json),
            _ => None,
        }
    }
}

/// Bytes that are no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Not the form it claims to be, or not this message.
    #[error("malformed {form}: {detail}")]
    Malformed {
        /// The form's name.
        form: &'static str,
        /// Where and what; no content.
        detail: String,
    },
    /// Bytes behind the message.
    #[error("{0} bytes behind the message")]
    Trailing(usize),
    /// More than the limit, or growing faster than the limit allows.
    #[error("more than {0} bytes")]
    TooLarge(usize),
    /// The compressed bytes are damaged.
    #[error("damaged zstd stream")]
    Compression,
}

/// Writes a message.
pub fn encode<T: Serialize + minicbor::Encode<()>>(form: Form, message: &T) -> Vec<u8> {
    // Neither writer can fail on memory, and no message holds a map with keys JSON lacks.
    match form {
        Form::Cbor => minicbor::to_vec(message).unwrap_or_default(),
        Form::Json => serde_json::to_vec(message).unwrap_or_default(),
    }
}

/// Reads a message, all of `bytes`.
///
/// # Errors
/// Bytes that are truncated, malformed, or go on behind the message.
pub fn decode<T>(form: Form, bytes: &[u8]) -> Result<T, WireError>
where
    T: DeserializeOwned + for<'b> minicbor::Decode<'b, ()>,
{
    match form {
        Form::Cbor => {
            let mut decoder = minicbor::Decoder::new(bytes);
            let message = decoder.decode().map_err(|error| WireError::Malformed { form: "cbor", detail: error.to_string() })?;
            match bytes.len() - decoder.position() {
                0 => Ok(message),
                rest => Err(WireError::Trailing(rest)),
            }
        }
        Form::Json => serde_json::from_slice(bytes).map_err(|error| WireError::Malformed {
            form: "json",
            detail: format!("line {} column {}", error.line(), error.column()),
        }),
    }
}

/// A part of a message that is CBOR already: a log row, a queued op.
#[derive(Clone, PartialEq, Debug)]
pub struct Encoded(pub Vec<u8>);

impl<C> minicbor::Encode<C> for Encoded {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), encode::Error<W::Error>> {
        e.writer_mut().write_all(&self.0).map_err(encode::Error::write)
    }
}

impl Serialize for Encoded {
    /// Spliced parts exist in the binary form only; a JSON answer is built from decoded ones.
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("an encoded part has no JSON form"))
    }
}

/// Splits the next frame off a snapshot stream: 4 bytes of length (big-endian), then the frame.
/// Returns the frame and how many bytes it took, or `None` until more bytes are there.
///
/// # Errors
/// A frame longer than `most`.
pub fn split_snapshot(buffer: &[u8], most: usize) -> Result<Option<(&[u8], usize)>, WireError> {
    let Some((head, rest)) = buffer.split_first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_be_bytes(*head) as usize;
    if length > most {
        return Err(WireError::TooLarge(most));
    }
    Ok(rest.get(..length).map(|frame| (frame, length + 4)))
}
