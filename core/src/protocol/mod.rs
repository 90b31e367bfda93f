//! What travels between a device and a server. `docs/protocol.md` is the same in prose.
//!
//! Every message has a CBOR form (maps with small integer keys, unknown keys ignored) and a JSON
//! form (names, integers beyond ±2⁵³ as strings, bytes as base64).

mod compress;
mod cursor;
pub mod failure;
mod message;
mod sent;
mod wire;

pub use compress::{compress, decompress};
pub use cursor::{ChainHash, Cursor};
pub use failure::{Failure, Reaction, StateOnFailure, react};
pub use message::{
    Announcement, Device, DocumentResult, LiveFrame, OpResult, Outcome, Quota, SnapshotFrame, SyncRequest, SyncResponse, VersionEntry,
    Versions,
};
pub use sent::{SentOp, When};
pub use wire::{Encoded, Form, WireError, decode, encode, split_snapshot};

/// The protocol's major number. A device and a server with different ones do not talk.
pub const PROTOCOL: u16 = 1;

/// Sizes and counts both sides keep to; each with its reason in `docs/protocol.md`.
pub mod limits {
    /// The largest request body, compressed or not, in bytes.
    pub const MAX_BODY: usize = 8 << 20;
    /// The largest body after decompression.
    pub const MAX_DECOMPRESSED: usize = 32 << 20;
    /// How many times larger a body may become by decompression, beyond the first MiB.
    pub const MAX_RATIO: usize = 200;
    /// Bodies above this are compressed.
    pub const COMPRESS_ABOVE: usize = 1 << 10;
    /// Ops in one request.
    pub const MAX_OPS: usize = 2_000;
    /// Bytes of ops a device puts in one request (a single larger op travels alone).
    pub const BATCH_BYTES: usize = 1 << 20;
    /// Versions in one page.
    pub const PAGE_VERSIONS: usize = 4_000;
    /// Bytes of versions in one page (a single larger version travels alone).
    pub const PAGE_BYTES: usize = 1 << 20;
    /// Losses in one answer.
    pub const PAGE_LOSSES: usize = 500;
    /// Bytes of documents in one frame of a snapshot.
    pub const SNAPSHOT_FRAME: usize = 256 << 10;
    /// A device further behind than this takes a snapshot instead of the log.
    pub const FAR_BEHIND: u64 = 50_000;
    /// Bytes of a device id or an account name.
    pub const MAX_NAME: usize = 255;
    /// Bytes of a device's label.
    pub const MAX_LABEL: usize = 100;
}

/// `u64` in JSON: a number up to 2⁵³ − 1, a string beyond; both are read.
pub mod json_u64 {
    use serde::{Deserializer, Serializer, de};

    /// Writes it.
    pub fn serialize<S: Serializer>(n: &u64, s: S) -> Result<S::Ok, S::Error> {
        if *n <= crate::value::MAX_SAFE_INTEGER as u64 { s.serialize_u64(*n) } else { s.collect_str(n) }
    }

    /// Reads it.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<u64, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = u64;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a non-negative integer, as a number or a string")
            }
            fn visit_u64<E>(self, n: u64) -> Result<u64, E> {
                Ok(n)
            }
            fn visit_i64<E: de::Error>(self, n: i64) -> Result<u64, E> {
                u64::try_from(n).map_err(|_| E::custom("a negative integer"))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<u64, E> {
                text.parse().map_err(|_| E::custom("not an integer"))
            }
        }
        d.deserialize_any(Visitor)
    }
}
