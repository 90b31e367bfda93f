//! The snapshot's stream and the address that resumes it.

use std::fmt;
use std::str::FromStr;

use super::{Cursor, WireError, percent};
use crate::id::{CollectionId, DocumentId};

/// Where a snapshot is resumed: behind the last document received, pinned where it was begun.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Resume {
    /// The last document received.
    pub after: Position,
    /// The cursor that the stream's first frame named.
    pub pin: Cursor,
}

/// A document's place in the order of a snapshot: by collection, then by the bytes of its id.
///
/// As text `<collection>.<document id>`, and percent-encoded in an address.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Position {
    /// The collection.
    pub collection: CollectionId,
    /// The document.
    pub document: DocumentId,
}

/// The query of a snapshot's address is not one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "expected after=<collection>.<document id>&version=<version>&hash=<16 hexadecimal digits>, or nothing"
)]
pub struct InvalidResume;

impl Resume {
    /// The query, without the question mark.
    pub fn to_query(&self) -> String {
        let after = percent::encode(&self.after.to_string());
        let Cursor { version, hash } = self.pin;
        format!("after={after}&version={version}&hash={hash}")
    }

    /// Reads a query; `None` if it asks for the beginning. Parameters it does not know are passed
    /// over.
    ///
    /// # Errors
    /// A part that is missing or malformed.
    pub fn from_query(query: &str) -> Result<Option<Resume>, InvalidResume> {
        let (mut after, mut version, mut hash) = (None, None, None);
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            match name {
                "after" => {
                    // A form's way to write a space.
                    let position = percent::decode(&value.replace('+', " "));
                    after = Some(position.ok_or(InvalidResume)?.parse()?);
                }
                "version" => version = Some(value.parse().map_err(|_| InvalidResume)?),
                "hash" => hash = Some(value.parse().map_err(|_| InvalidResume)?),
                _ => {}
            }
        }
        match (after, version, hash) {
            (None, None, None) => Ok(None),
            (Some(after), Some(version), Some(hash)) => {
                let pin = Cursor { version, hash };
                Ok(Some(Resume { after, pin }))
            }
            _ => Err(InvalidResume),
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.collection, self.document)
    }
}

impl FromStr for Position {
    type Err = InvalidResume;
    fn from_str(text: &str) -> Result<Position, InvalidResume> {
        let (collection, document) = text.split_once('.').ok_or(InvalidResume)?;
        Ok(Position {
            collection: collection.parse().map_err(|_| InvalidResume)?,
            document: DocumentId::new(document).map_err(|_| InvalidResume)?,
        })
    }
}

/// Adds a frame to a snapshot stream: 4 bytes of length (big-endian), then the frame.
///
/// # Errors
/// A frame whose length does not fit.
pub fn append_snapshot(stream: &mut Vec<u8>, frame: &[u8]) -> Result<(), WireError> {
    let length = u32::try_from(frame.len()).map_err(|_| WireError::TooLarge(u32::MAX as usize))?;
    stream.extend_from_slice(&length.to_be_bytes());
    stream.extend_from_slice(frame);
    Ok(())
}

/// Splits the next frame off a snapshot stream. Returns the frame and how many bytes it took, or
/// `None` until more bytes are there.
///
/// # Errors
/// A frame longer than `most`.
pub fn split_snapshot(buffer: &[u8], most: usize) -> Result<Option<(&[u8], usize)>, WireError> {
    let Some((head, rest)) = buffer.split_first_chunk::<4>() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes(*head) as usize;
    if length > most {
        return Err(WireError::TooLarge(most));
    }
    Ok(rest.get(..length).map(|frame| (frame, length + 4)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::protocol::ChainHash;

    #[test]
    fn an_address_brings_any_document_id_back() {
        for id in [
            "0190a3b4-0000-7000-8000-000000000001",
            "a.b",
            "&=%+ #?/",
            "é\n",
        ] {
            let resume = Resume {
                after: Position {
                    collection: 7,
                    document: DocumentId::new(id).unwrap(),
                },
                pin: Cursor {
                    version: u64::MAX,
                    hash: ChainHash([0xab; 8]),
                },
            };
            let query = resume.to_query();
            assert!(query.is_ascii() && !query.contains(' '), "{query}");
            assert_eq!(Resume::from_query(&query), Ok(Some(resume)));
        }
    }

    #[test]
    fn half_an_address_is_refused() {
        assert_eq!(Resume::from_query(""), Ok(None));
        assert_eq!(Resume::from_query("later=1"), Ok(None));
        for query in [
            "after=1.a",
            "version=1&hash=0000000000000000",
            "after=1.a&version=1&hash=0",
            "after=1.a&version=-1&hash=0000000000000000",
            "after=a&version=1&hash=0000000000000000",
            "after=1.&version=1&hash=0000000000000000",
            "after=1.%ff&version=1&hash=0000000000000000",
            "after=1.%0&version=1&hash=0000000000000000",
            "after=1.a%00&version=1&hash=0000000000000000",
        ] {
            assert_eq!(Resume::from_query(query), Err(InvalidResume), "{query}");
        }
    }

    #[test]
    fn frames_are_split_where_they_were_joined() {
        let mut stream = Vec::new();
        append_snapshot(&mut stream, b"one").unwrap();
        append_snapshot(&mut stream, b"").unwrap();
        assert_eq!(split_snapshot(&stream, 3), Ok(Some((&b"one"[..], 7))));
        assert_eq!(split_snapshot(&stream[7..], 3), Ok(Some((&b""[..], 4))));
        for cut in 0..7 {
            assert_eq!(split_snapshot(&stream[..cut], 3), Ok(None));
        }
        assert_eq!(split_snapshot(&stream, 2), Err(WireError::TooLarge(2)));
    }
}
