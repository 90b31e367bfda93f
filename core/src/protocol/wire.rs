//! Bytes: the two forms of a message, and messages spliced from parts that are encoded already.

use minicbor::decode::{self, Decode, Decoder};
use minicbor::encode::{self, Encoder, Write};
use serde::Serialize;
use serde::de::DeserializeOwned;

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
        match content_type
            .split(';')
            .next()?
            .trim()
            .to_ascii_lowercase()
            .as_str()
        {
            "application/cbor" => Some(Form::Cbor),
            "application/json" => Some(Form::Json),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Form::Cbor => "cbor",
            Form::Json => "json",
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
    /// A kind of message, op, outcome or rule that this build does not know. On the live socket the
    /// frame is passed over; anywhere else it is as good as malformed.
    #[error("{form}: something this version does not know")]
    UnknownVariant {
        /// The form's name.
        form: &'static str,
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

/// Writes a message. One with [`Encoded`] parts has no JSON form; see [`encode_cbor`].
pub fn encode<T: Serialize + minicbor::Encode<()>>(form: Form, message: &T) -> Vec<u8> {
    match form {
        Form::Cbor => encode_cbor(message),
        Form::Json => match serde_json::to_vec(message) {
            Ok(bytes) => bytes,
            #[expect(
                clippy::unreachable,
                reason = "as below; and an empty body in its place would look like an answer"
            )]
            Err(error) => unreachable!("a message that cannot be written: {error}"),
        },
    }
}

/// Writes a message in the binary form; its parts may be [`Encoded`].
pub fn encode_cbor<T: minicbor::Encode<()>>(message: &T) -> Vec<u8> {
    match minicbor::to_vec(message) {
        Ok(bytes) => bytes,
        #[expect(
            clippy::unreachable,
            reason = "a Vec takes every byte, and no type of this crate refuses to be written"
        )]
        Err(error) => unreachable!("a message that cannot be written: {error}"),
    }
}

/// Reads a message, all of `bytes`. Members it does not know are passed over.
///
/// # Errors
/// Bytes that are truncated, malformed, go on behind the message, or name something unknown where
/// it cannot be passed over. CBOR must be of definite lengths and within
/// [`super::limits::MAX_DEPTH`] and [`super::limits::MAX_ITEMS`]; JSON is read to a depth of 127.
pub fn decode<T>(form: Form, bytes: &[u8]) -> Result<T, WireError>
where
    T: DeserializeOwned + for<'b> minicbor::Decode<'b, ()>,
{
    match form {
        Form::Cbor => super::decode_around(bytes),
        Form::Json => serde_json::from_slice(bytes).map_err(|error| json_error(&error)),
    }
}

/// Decodes a variant within another message.
///
/// The derive takes an unknown variant in a member that may be left out for leave to go on reading
/// somewhere behind it; so none may be seen there.
pub(crate) fn known<'b, Ctx, T: Decode<'b, Ctx>>(
    d: &mut Decoder<'b>,
    ctx: &mut Ctx,
) -> Result<T, decode::Error> {
    d.decode_with(ctx).map_err(|error: decode::Error| {
        if error.is_unknown_variant() {
            decode::Error::custom(Unknown)
        } else {
            error
        }
    })
}

#[derive(Debug, thiserror::Error)]
#[error("something this version does not know")]
struct Unknown;

pub(super) fn cbor_error(error: &decode::Error) -> WireError {
    let form = Form::Cbor.name();
    let within = std::error::Error::source(error).is_some_and(|source| source.is::<Unknown>());
    if error.is_unknown_variant() || within {
        return WireError::UnknownVariant { form };
    }
    let detail = error.to_string();
    WireError::Malformed { form, detail }
}

/// Says what is wrong in our words only: the parser's own would quote the content.
fn json_error(error: &serde_json::Error) -> WireError {
    let form = Form::Json.name();
    let text = error.to_string();
    if text.starts_with("unknown variant") {
        return WireError::UnknownVariant { form };
    }
    // What was expected stands last and comes from us; before it stands what was found.
    let ours = if !error.is_data()
        || text.starts_with("missing field")
        || text.starts_with("duplicate field")
    {
        text.split(" at line ").next().unwrap_or_default()
    } else {
        let expected = text
            .rfind("expected ")
            .and_then(|at| text.get(at..))
            .unwrap_or("unexpected content");
        expected.split(" at line ").next().unwrap_or_default()
    };
    WireError::Malformed {
        form,
        detail: format!("{ours} at line {} column {}", error.line(), error.column()),
    }
}

/// A part of a message that is CBOR already: a log row, a queued op.
#[derive(Clone, PartialEq, Debug)]
pub struct Encoded(pub Vec<u8>);

impl Encoded {
    /// The part itself, for the JSON form.
    ///
    /// # Errors
    /// Bytes that are not one.
    pub fn read<T>(&self) -> Result<T, WireError>
    where
        T: DeserializeOwned + for<'b> minicbor::Decode<'b, ()>,
    {
        decode(Form::Cbor, &self.0)
    }
}

impl<C> minicbor::Encode<C> for Encoded {
    fn encode<W: Write>(
        &self,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        e.writer_mut()
            .write_all(&self.0)
            .map_err(encode::Error::write)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::protocol::{Failure, SyncRequest};

    fn error<T>(text: &str) -> String
    where
        T: DeserializeOwned + for<'b> minicbor::Decode<'b, ()> + std::fmt::Debug,
    {
        decode::<T>(Form::Json, text.as_bytes())
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn json_errors_say_what_and_where_and_quote_nothing() {
        assert_eq!(
            error::<Failure>("{}"),
            "malformed json: missing field `code` at line 1 column 2"
        );
        assert_eq!(
            error::<SyncRequest>(r#"{"protocol": "secret, expected nothing"}"#),
            "malformed json: expected u16 at line 1 column 39"
        );
        for text in [
            r#"{"code": 7}"#,
            r#"{"code": ["secret"]}"#,
            r#"{"code": {"secret": "secret"}}"#,
        ] {
            assert!(!error::<Failure>(text).contains("secret"));
        }
        assert!(error::<Failure>("{\"code\"").contains("EOF"));
    }

    #[test]
    fn media_types_with_parameters_are_known_and_others_are_not() {
        assert_eq!(Form::of("Application/CBOR"), Some(Form::Cbor));
        assert_eq!(
            Form::of("application/json; charset=utf-8"),
            Some(Form::Json)
        );
        assert_eq!(Form::of("text/html"), None);
        assert_eq!(Form::of(""), None);
    }
}
