//! Frames: what passes a live socket, and the pieces of a snapshot.

use serde::{Deserialize, Serialize};

use super::message::{empty, list};
use super::{
    Cursor, DocumentResult, Failure, SentOp, SyncRequest, SyncResponse, VersionEntry, json,
};

/// Consecutive versions pushed over the live socket.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct Versions<V = VersionEntry> {
    /// The cursor they follow; a device that stands elsewhere drops the frame and pulls.
    #[n(0)]
    pub from: Cursor,
    /// The cursor behind them.
    #[n(1)]
    pub to: Cursor,
    /// The versions.
    #[n(2)]
    #[cbor(nil = "empty", decode_with = "list")]
    #[cbor(decode_bound = "V: minicbor::Decode<'bytes, Ctx>")]
    #[serde(default = "Vec::new", skip_serializing_if = "Vec::is_empty")]
    pub versions: Vec<V>,
    /// The server's Unix milliseconds.
    #[n(3)]
    #[serde(with = "json")]
    pub server_time: i64,
}

/// A frame on the live socket.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, minicbor::Encode, minicbor::Decode)]
#[serde(rename_all = "snake_case")]
pub enum LiveFrame<V = VersionEntry, O = SentOp> {
    /// Server to device: versions as they are committed.
    #[n(0)]
    Versions(#[n(0)] Versions<V>),
    /// Device to server: the same as the sync endpoint's body.
    #[n(1)]
    Request(#[n(0)] SyncRequest<O>),
    /// Server to device: the answer to a request.
    #[n(2)]
    Response(#[n(0)] SyncResponse<V>),
    /// Server to device: a request failed as HTTP would have; the socket goes on unless closed.
    #[n(3)]
    Failed {
        /// The status HTTP would have had.
        #[n(0)]
        status: u16,
        /// The failure.
        #[n(1)]
        failure: Failure,
        /// The request's tag.
        #[n(2)]
        tag: u32,
    },
    /// Server to device: you missed frames; pull.
    #[n(4)]
    Behind,
}

/// A frame of the snapshot stream.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, minicbor::Encode, minicbor::Decode)]
#[serde(rename_all = "snake_case")]
pub enum SnapshotFrame<D = Vec<DocumentResult>> {
    /// First: where the log is to be followed from once all documents are there.
    #[n(0)]
    Begin {
        /// The cursor when the snapshot was first begun (a resumed one repeats it).
        #[n(0)]
        cursor: Cursor,
        /// Documents to come, about.
        #[n(1)]
        #[serde(with = "json")]
        documents: u64,
    },
    /// Documents in order of (collection, id), each as it was when the frame was made.
    #[n(1)]
    Documents {
        /// The documents, tombstones included.
        #[n(0)]
        documents: D,
    },
    /// Last. A stream that ends without it was cut.
    #[n(2)]
    End,
}
