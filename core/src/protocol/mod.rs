//! What travels between a device and a server. `docs/protocol.md` is the same in prose.
//!
//! Every message has a CBOR form (maps with small integer keys, unknown keys ignored) and a JSON
//! form (names, integers beyond ±2⁵³ as strings, bytes as base64).

mod compress;
mod cursor;
pub mod failure;
mod frame;
pub mod json;
mod kinds;
pub mod limits;
mod message;
mod naming;
mod percent;
mod sent;
mod shape;
mod snapshot;
mod span;
mod unread;
mod wire;

pub use compress::{compress, decompress, inflate};
pub use cursor::{ChainHash, Cursor, InvalidHash};
pub use failure::{Failure, Reaction, StateOnFailure, react};
pub use frame::{LiveFrame, SnapshotFrame, Versions};
pub use json as json_u64;
pub use kinds::HoldsValues;
pub use message::{
    Announcement, Device, DocumentResult, OpResult, Outcome, Quota, SyncRequest, SyncResponse,
    VersionEntry, protocol_of,
};
pub use naming::{ACCOUNT_HEADER, InvalidAccountHeader, account_of_headers, account_to_header};
pub use sent::{SentOp, When};
pub use snapshot::{InvalidResume, Position, Resume, append_snapshot, split_snapshot};
pub use span::span;
pub use unread::{Unread, decode_around};
pub(crate) use wire::known;
pub use wire::{Encoded, Form, WireError, decode, encode, encode_cbor};

/// The protocol's major number. A device and a server with different ones do not talk.
pub const PROTOCOL: u16 = 1;
