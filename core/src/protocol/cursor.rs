//! Where a device stands in a workspace's history.

use std::fmt;
use std::str::FromStr;

use minicbor::bytes::ByteArray;
use minicbor::decode::{self, Decoder};
use minicbor::encode::{self, Encoder, Write};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::id::Version;

/// A version and the chain hash at it.
///
/// The hash covers every op id and result up to the version, seeded by the workspace's random id. A
/// server restored from a backup and grown again has other hashes, so a device notices although the
/// numbers look right (K20).
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Debug,
    Serialize,
    Deserialize,
    minicbor::Encode,
    minicbor::Decode,
)]
pub struct Cursor {
    /// The last version it contains.
    #[n(0)]
    #[serde(with = "super::json_u64")]
    pub version: Version,
    /// The chain hash there.
    #[n(1)]
    pub hash: ChainHash,
}

/// Eight bytes; hexadecimal in JSON.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ChainHash(pub [u8; 8]);

impl Cursor {
    /// A device that has nothing yet. Accepted by every server.
    pub const START: Cursor = Cursor {
        version: 0,
        hash: ChainHash([0; 8]),
    };

    /// A workspace's beginning, seeded by its random id.
    pub fn seed(workspace: &[u8; 16]) -> Cursor {
        Cursor {
            version: 0,
            hash: ChainHash::of(&[b"driftline workspace", workspace]),
        }
    }

    /// The cursor behind the next version, whose entry is encoded as `entry`.
    pub fn next(self, entry: &[u8]) -> Cursor {
        Cursor {
            version: self.version.saturating_add(1),
            hash: ChainHash::of(&[&self.hash.0, entry]),
        }
    }
}

impl Default for Cursor {
    fn default() -> Cursor {
        Cursor::START
    }
}

impl ChainHash {
    fn of(parts: &[&[u8]]) -> ChainHash {
        let mut hasher = blake3::Hasher::new();
        for part in parts {
            hasher.update(part);
        }
        let mut short = [0; 8];
        short.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        ChainHash(short)
    }
}

impl fmt::Display for ChainHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

impl fmt::Debug for ChainHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for ChainHash {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

/// Text that is no chain hash.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("expected 16 hexadecimal digits")]
pub struct InvalidHash;

impl FromStr for ChainHash {
    type Err = InvalidHash;
    fn from_str(text: &str) -> Result<ChainHash, InvalidHash> {
        // The number's own parser would take a sign.
        let digits = text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
        match u64::from_str_radix(text, 16) {
            Ok(n) if digits => Ok(ChainHash(n.to_be_bytes())),
            _ => Err(InvalidHash),
        }
    }
}

impl<'de> Deserialize<'de> for ChainHash {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl<C> minicbor::Encode<C> for ChainHash {
    fn encode<W: Write>(
        &self,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        e.bytes(&self.0)?.ok()
    }
}

impl<'b, C> minicbor::Decode<'b, C> for ChainHash {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        let bytes: ByteArray<8> = d.decode()?;
        Ok(ChainHash(bytes.into()))
    }
}
