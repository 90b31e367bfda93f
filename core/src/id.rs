//! Names of things: ops, documents, collections, fields, boot sessions.

use std::fmt;
use std::str::FromStr;

use minicbor::bytes::ByteArray;
use minicbor::decode::{self, Decoder};
use minicbor::encode::{self, Encoder, Write};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// The longest document id, in bytes.
pub const MAX_DOCUMENT_ID: usize = 255;

/// A write's name: a UUIDv7 drawn in the write's own transaction.
///
/// Files get copied and restored from backups; the same id is the same op with the same content
/// wherever it turns up. Within one file ids only grow, so key order is queue order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId(pub [u8; 16]);

/// No id is drawn later, in the year 6429: heads stay positive, with room for some billions above.
const LAST_MILLIS: u64 = (1 << 47) - (1 << 20);

impl OpId {
    /// The id below every real one; used where an order needs a floor.
    pub const ZERO: OpId = OpId([0; 16]);

    /// Builds a UUIDv7 from `millis` (Unix time) and `random` bytes, above `floor`.
    ///
    /// Ids of one file must only grow even when its clock goes back, and so must their
    /// [`heads`](OpId::head): where time does not put one above `floor`, it follows the floor's. The
    /// tail is random all the same, since a copy of the file has the same floor.
    pub fn next(millis: u64, random: [u8; 10], floor: Option<OpId>) -> OpId {
        let millis = millis.min(LAST_MILLIS);
        let fresh = uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid();
        let fresh = OpId(fresh.into_bytes());
        match floor {
            Some(floor) if fresh.head() <= floor.head() => fresh.with_head(floor.head_above()),
            _ => fresh,
        }
    }

    /// The first 8 bytes as a number: the time and the 12 bits that count within a millisecond. No
    /// two ids of one file share it, and never is it negative in one that [`OpId::next`] drew.
    pub fn head(self) -> i64 {
        let [head @ .., _, _, _, _, _, _, _, _] = self.0;
        i64::from_be_bytes(head)
    }

    pub(crate) fn with_head(mut self, head: i64) -> OpId {
        let (front, _) = self.0.split_at_mut(8);
        front.copy_from_slice(&head.to_be_bytes());
        self
    }

    /// The smallest head of a UUIDv7 above this one's.
    fn head_above(self) -> i64 {
        let (time, count) = (self.head() >> 16, self.head() & 0xfff);
        match count {
            0xfff => ((time + 1) << 16) | 0x7000,
            _ => (time << 16) | 0x7000 | (count + 1),
        }
    }

    /// The Unix milliseconds the id was drawn at, as its author's clock had them.
    pub fn millis(self) -> u64 {
        let b = self.0;
        u64::from_be_bytes([0, 0, b[0], b[1], b[2], b[3], b[4], b[5]])
    }

    /// Reads 16 bytes.
    pub fn from_slice(bytes: &[u8]) -> Option<OpId> {
        Some(OpId(bytes.try_into().ok()?))
    }
}

impl fmt::Display for OpId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Uuid::from_bytes(self.0).as_hyphenated().fmt(f)
    }
}

impl fmt::Debug for OpId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for OpId {
    type Err = uuid::Error;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(OpId(*Uuid::parse_str(text)?.as_bytes()))
    }
}

impl Serialize for OpId {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for OpId {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl<C> minicbor::Encode<C> for OpId {
    fn encode<W: Write>(
        &self,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        e.bytes(&self.0)?.ok()
    }
}

impl<'b, C> minicbor::Decode<'b, C> for OpId {
    fn decode(d: &mut Decoder<'b>, ctx: &mut C) -> Result<Self, decode::Error> {
        let bytes: ByteArray<16> = minicbor::Decode::decode(d, ctx)?;
        Ok(OpId(bytes.into()))
    }
}

/// A document's name within its collection: a UUIDv7 by default, else any text of 1 to 255 bytes.
///
/// Compared as bytes, never normalised.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(transparent)]
pub struct DocumentId(String);

/// A document id is 1 to 255 bytes of text without NUL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a document id is 1 to {MAX_DOCUMENT_ID} bytes of text without NUL; this one has {0} bytes"
)]
pub struct InvalidDocumentId(pub usize);

impl DocumentId {
    /// Checks and wraps `text`.
    ///
    /// # Errors
    /// When it is empty, longer than [`MAX_DOCUMENT_ID`] bytes, or contains NUL (which SQLite's
    /// text functions stop at).
    pub fn new(text: impl Into<String>) -> Result<DocumentId, InvalidDocumentId> {
        let text = text.into();
        if text.is_empty() || text.len() > MAX_DOCUMENT_ID || text.as_bytes().contains(&0) {
            return Err(InvalidDocumentId(text.len()));
        }
        Ok(DocumentId(text))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The 16 bytes behind the id, if it is a UUID in canonical form.
    fn packed(&self) -> Option<[u8; 16]> {
        if self.0.len() != 36 {
            return None;
        }
        let uuid = Uuid::parse_str(&self.0).ok()?;
        let mut buffer = Uuid::encode_buffer();
        (uuid.as_hyphenated().encode_lower(&mut buffer) == self.0.as_str())
            .then(|| *uuid.as_bytes())
    }
}

impl fmt::Display for DocumentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for DocumentId {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        DocumentId::new(String::deserialize(d)?).map_err(serde::de::Error::custom)
    }
}

impl<C> minicbor::Encode<C> for DocumentId {
    fn encode<W: Write>(
        &self,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        match self.packed() {
            Some(bytes) => e.bytes(&bytes)?.ok(),
            None => e.str(&self.0)?.ok(),
        }
    }
}

impl<'b, C> minicbor::Decode<'b, C> for DocumentId {
    fn decode(d: &mut Decoder<'b>, ctx: &mut C) -> Result<Self, decode::Error> {
        use minicbor::data::Type;
        let text = match d.datatype()? {
            Type::Bytes => {
                let bytes: ByteArray<16> = minicbor::Decode::decode(d, ctx)?;
                let mut buffer = Uuid::encode_buffer();
                let uuid = Uuid::from_bytes(bytes.into());
                uuid.as_hyphenated().encode_lower(&mut buffer).to_owned()
            }
            _ => d.str()?.to_owned(),
        };
        DocumentId::new(text).map_err(|_| decode::Error::message("document id out of bounds"))
    }
}

/// A collection's stable number in the schema.
pub type CollectionId = u16;

/// A field's stable number within its collection.
pub type FieldId = u16;

/// A place in a workspace's order: the first accepted op is version 1; 0 is "nothing yet".
pub type Version = u64;

/// The version a value has while its op is still pending on the device.
pub const PENDING: Version = Version::MAX;

/// A generation's version when its opener has none yet is [`PENDING`]; this names one run of the
/// operating system, so that two monotonic readings are comparable only within it.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Debug,
    Default,
    Serialize,
    Deserialize,
    minicbor::Encode,
    minicbor::Decode,
)]
#[serde(transparent)]
#[cbor(transparent)]
pub struct BootId(pub u32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_one_file_only_grow_even_when_the_clock_goes_back() {
        let first = OpId::next(1_000, [0xff; 10], None);
        let second = OpId::next(5, [0; 10], Some(first));
        assert!(second > first);
        assert!(second.millis() >= 1_000);
        let uuid = Uuid::from_bytes(second.0);
        assert_eq!(uuid.get_version_num(), 7);
        assert_eq!(uuid.get_variant(), uuid::Variant::RFC4122);
    }

    #[test]
    fn heads_of_one_file_only_grow_and_never_repeat() {
        let mut floor = None;
        for n in 0..20_000_u64 {
            // A clock that stands, goes on, jumps back, and far ahead.
            let millis = [n / 7_000, n, 3, u64::MAX / 2][(n / 5_000) as usize];
            let id = OpId::next(millis, [n as u8; 10], floor);
            assert_eq!(Uuid::from_bytes(id.0).get_version_num(), 7);
            assert!(id.head() >= 0);
            assert!(floor.is_none_or(|floor| floor.head() < id.head() && floor < id));
            floor = Some(id);
        }
    }

    #[test]
    fn a_head_counts_within_its_millisecond_and_then_goes_on_to_the_next() {
        let top = OpId::next(7, [0xff; 10], None);
        let next = OpId::next(7, [0; 10], Some(top));
        assert_eq!((top.millis(), next.millis()), (7, 8));
        let low = OpId::next(7, [0; 10], None);
        let after = OpId::next(7, [0; 10], Some(low));
        assert_eq!((after.millis(), after.head()), (7, low.head() + 1));
    }

    #[test]
    fn copies_of_a_file_draw_different_ids_above_the_same_floor() {
        let floor = OpId::next(1_000, [9; 10], None);
        let (a, b) = (
            OpId::next(5, [1; 10], Some(floor)),
            OpId::next(5, [2; 10], Some(floor)),
        );
        assert!(a != b && a > floor && b > floor);
    }

    #[test]
    fn only_canonical_uuids_are_packed() {
        let canonical = DocumentId::new("0190a3b4-0000-7000-8000-000000000001").unwrap();
        let upper = DocumentId::new("0190A3B4-0000-7000-8000-000000000001").unwrap();
        assert_eq!(minicbor::to_vec(&canonical).unwrap().len(), 17);
        assert_eq!(minicbor::to_vec(&upper).unwrap().len(), 38);
        for id in [canonical, upper, DocumentId::new("é").unwrap()] {
            let back: DocumentId = minicbor::decode(&minicbor::to_vec(&id).unwrap()).unwrap();
            assert_eq!(back, id);
        }
    }

    #[test]
    fn document_ids_have_bounds() {
        assert!(DocumentId::new("").is_err());
        assert!(DocumentId::new("a\0b").is_err());
        assert!(DocumentId::new("x".repeat(255)).is_ok());
        assert!(DocumentId::new("x".repeat(256)).is_err());
    }
}
