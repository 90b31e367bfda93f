//! What an op says about a text field: the bytes of one update, and the update they follow.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use minicbor::decode::{self, Decoder};
use minicbor::encode::{self, Encoder, Write};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::id::OpId;

/// A Yrs update in format v1, as it travels. Nothing here has looked inside.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Update(pub Vec<u8>);

/// One op's edit of one field of kind `rich_text` or `list`.
#[derive(
    Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, minicbor::Encode, minicbor::Decode,
)]
#[cbor(map)]
pub struct TextEdit {
    /// The writer it is by; told here because an update that only deletes does not name its author.
    #[n(0)]
    #[serde(with = "crate::protocol::json")]
    pub writer: u64,
    /// Everything the op changes in the field.
    #[n(1)]
    pub update: Update,
    /// The file's previous op in this field under the same writer; none for its first. A copy of
    /// the file has the same writer and other updates at the same clocks: they differ in this (K16).
    #[n(2)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<OpId>,
}

impl Update {
    /// How many bytes it takes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Update {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What people wrote has no place in a log.
        write!(f, "Update({} bytes)", self.0.len())
    }
}

impl From<Vec<u8>> for Update {
    fn from(bytes: Vec<u8>) -> Update {
        Update(bytes)
    }
}

impl AsRef<[u8]> for Update {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Serialize for Update {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Update {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
        let bytes = STANDARD.decode(text.as_bytes());
        bytes
            .map(Update)
            .map_err(|_| serde::de::Error::custom("expected base64"))
    }
}

impl<C> minicbor::Encode<C> for Update {
    fn encode<W: Write>(
        &self,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        e.bytes(&self.0)?.ok()
    }
}

impl<'b, C> minicbor::Decode<'b, C> for Update {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        Ok(Update(d.bytes()?.to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_bring_the_bytes_back_and_a_log_does_not_show_them() {
        let edit = TextEdit {
            writer: 7,
            update: Update(b"secret".to_vec()),
            after: Some(OpId([7; 16])),
        };
        let cbor = minicbor::to_vec(&edit).unwrap();
        assert_eq!(minicbor::decode::<TextEdit>(&cbor).unwrap(), edit);
        let json = serde_json::to_string(&edit).unwrap();
        assert!(
            json.starts_with(r#"{"writer":7,"update":"c2VjcmV0""#),
            "{json}"
        );
        assert_eq!(serde_json::from_str::<TextEdit>(&json).unwrap(), edit);
        assert!(!format!("{edit:?}").contains("secret"));
        assert!(serde_json::from_str::<TextEdit>(r#"{"writer":7,"update":"*"}"#).is_err());
    }
}
