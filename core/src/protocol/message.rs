//! Requests, their answers, and what is in them.

use serde::{Deserialize, Serialize};

use super::failure::code;
use super::{Cursor, Failure, PROTOCOL, SentOp, json, limits};
use crate::id::{CollectionId, DocumentId, OpId, Version};
use crate::ledger::Loss;
use crate::merge::DocumentState;
use crate::op::{FieldMap, Refusal, Update};
use crate::time::{Reading, Stamp};

// Reserved keys of requests, responses and frames: 20 presence, 21 scope, 22 priority, 23 digest,
// 24 reset {scope, reason}, 25 encryption key id, 26 revision (the newest addition the sender
// knows; absent means 0, which is this version). Names in JSON: presence, scope, priority, digest,
// reset, key_id, revision. A receiver of this version ignores them.

/// Who is asking.
#[derive(
    Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, minicbor::Encode, minicbor::Decode,
)]
#[cbor(map)]
pub struct Device {
    /// The file's random device id.
    #[n(0)]
    pub id: String,
    /// What a person calls the device; shown in audit and ledger.
    #[n(1)]
    #[cbor(default, skip_if = "String::is_empty")]
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub label: String,
    /// The file's current writer: the Yrs client id of text authored in it.
    #[n(2)]
    #[cbor(default, skip_if = "is_zero")]
    #[serde(default, skip_serializing_if = "is_zero", with = "json")]
    pub writer: u64,
}

/// `POST /v1/workspaces/{workspace}/sync`, and a device's frame on the live socket.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct SyncRequest<O = SentOp> {
    /// [`super::PROTOCOL`].
    #[n(0)]
    pub protocol: u16,
    /// The schema version of the asking app.
    #[n(1)]
    pub schema_version: u32,
    /// The account the file belongs to; empty before the first answer.
    #[n(2)]
    #[cbor(default, skip_if = "String::is_empty")]
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub account: String,
    /// The asking device.
    #[n(3)]
    pub device: Device,
    /// Where it stands.
    #[n(4)]
    #[cbor(default)]
    #[serde(default)]
    pub cursor: Cursor,
    /// The greatest loss number it has stored.
    #[n(5)]
    #[cbor(default, skip_if = "is_zero")]
    #[serde(default, skip_serializing_if = "is_zero", with = "json")]
    pub losses_ack: u64,
    /// Its clocks at sending.
    #[n(6)]
    #[cbor(default)]
    #[serde(default)]
    pub now: Reading,
    /// Undecided ops in queue order, and ids asked about.
    #[n(7)]
    #[cbor(nil = "empty", decode_with = "list")]
    #[cbor(decode_bound = "O: minicbor::Decode<'bytes, Ctx>")]
    #[serde(default = "Vec::new", skip_serializing_if = "Vec::is_empty")]
    pub ops: Vec<O>,
    /// The most bytes of versions it wants in the answer; 0 for the server's default.
    #[n(8)]
    #[cbor(default, skip_if = "is_zero_u32")]
    #[serde(default, skip_serializing_if = "is_zero_u32")]
    pub page_bytes: u32,
    /// Names the request on a live socket; the answer repeats it.
    #[n(9)]
    #[cbor(default, skip_if = "is_zero_u32")]
    #[serde(default, skip_serializing_if = "is_zero_u32")]
    pub tag: u32,
}

impl<O> SyncRequest<O> {
    /// The request without its ops, and its ops.
    pub fn apart(mut self) -> (SyncRequest, Vec<O>) {
        let ops = std::mem::take(&mut self.ops);
        (self.with_ops(Vec::new()), ops)
    }

    /// The same request with other ops in place of its own.
    pub fn with_ops<N>(self, ops: Vec<N>) -> SyncRequest<N> {
        SyncRequest {
            protocol: self.protocol,
            schema_version: self.schema_version,
            account: self.account,
            device: self.device,
            cursor: self.cursor,
            losses_ack: self.losses_ack,
            now: self.now,
            ops,
            page_bytes: self.page_bytes,
            tag: self.tag,
        }
    }

    /// Whether the request keeps to the protocol's own limits.
    ///
    /// # Errors
    /// The status and the failure to answer with.
    pub fn check(&self) -> Result<(), (u16, Failure)> {
        self.check_with(self.ops.len())
    }

    /// The same of a request with so many ops, which stand apart from it.
    ///
    /// # Errors
    /// The status and the failure to answer with.
    pub fn check_with(&self, ops: usize) -> Result<(), (u16, Failure)> {
        let malformed = |what| Err((422, Failure::new(code::MALFORMED, what)));
        if self.protocol != PROTOCOL {
            let message = format!("this server speaks protocol {PROTOCOL}");
            return Err((426, Failure::new(code::UPGRADE_REQUIRED, message)));
        }
        if self.device.id.is_empty() || self.device.id.len() > limits::MAX_NAME {
            return malformed(format!("device.id: 1 to {} bytes", limits::MAX_NAME));
        }
        if self.device.label.len() > limits::MAX_LABEL {
            return malformed(format!("device.label: at most {} bytes", limits::MAX_LABEL));
        }
        if self.account.len() > limits::MAX_NAME {
            return malformed(format!("account: at most {} bytes", limits::MAX_NAME));
        }
        if ops > limits::MAX_OPS {
            let message = format!("at most {} ops in one request", limits::MAX_OPS);
            return Err((413, Failure::new(code::TOO_LARGE, message)));
        }
        Ok(())
    }
}

/// The protocol's major number that a request claims, also where the rest of it cannot be read:
/// what to look at before answering that it is malformed.
pub fn protocol_of(form: super::Form, request: &[u8]) -> Option<u16> {
    #[derive(Deserialize, minicbor::Decode)]
    #[cbor(map)]
    struct Claim {
        #[n(0)]
        protocol: u16,
    }
    let claim: Claim = super::decode(form, request).ok()?;
    Some(claim.protocol)
}

/// The answer: results and page from one snapshot of the server.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct SyncResponse<V = VersionEntry> {
    /// One for each entry of the request's `ops[]`, in their order.
    #[n(0)]
    #[cbor(default, skip_if = "Vec::is_empty")]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub results: Vec<OpResult>,
    /// The versions behind the request's cursor, whole and without a gap.
    #[n(1)]
    #[cbor(nil = "empty", decode_with = "list")]
    #[cbor(decode_bound = "V: minicbor::Decode<'bytes, Ctx>")]
    #[serde(default = "Vec::new", skip_serializing_if = "Vec::is_empty")]
    pub versions: Vec<V>,
    /// Losses above the request's `losses_ack`.
    #[n(2)]
    #[cbor(default, skip_if = "Vec::is_empty")]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub losses: Vec<Loss>,
    /// The cursor behind the last version of the page.
    #[n(3)]
    pub cursor: Cursor,
    /// Whether there are more versions or losses.
    #[n(4)]
    #[cbor(default, skip_if = "is_false")]
    #[serde(default, skip_serializing_if = "is_false")]
    pub has_more: bool,
    /// The server's Unix milliseconds.
    #[n(5)]
    #[serde(with = "json")]
    pub server_time: i64,
    /// The account of the token.
    #[n(6)]
    #[cbor(default, skip_if = "String::is_empty")]
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub account: String,
    /// The log is long or gone: take a snapshot instead. The page is empty then.
    #[n(7)]
    #[cbor(default, skip_if = "is_false")]
    #[serde(default, skip_serializing_if = "is_false")]
    pub take_snapshot: bool,
    /// The workspace's quota, if it has one.
    #[n(8)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<Quota>,
    /// The request's tag.
    #[n(9)]
    #[cbor(default, skip_if = "is_zero_u32")]
    #[serde(default, skip_serializing_if = "is_zero_u32")]
    pub tag: u32,
}

/// Bytes of documents on the server.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, minicbor::Encode, minicbor::Decode,
)]
#[cbor(map)]
pub struct Quota {
    /// Used now.
    #[n(0)]
    #[serde(with = "json")]
    pub used: u64,
    /// Allowed.
    #[n(1)]
    #[serde(with = "json")]
    pub limit: u64,
}

impl Quota {
    /// Whether 80 % or more is used, where people should be told.
    pub fn is_warning(&self) -> bool {
        self.used >= self.limit / 5 * 4
    }
}

/// What became of one entry of `ops[]`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct OpResult {
    /// The entry's id.
    #[n(0)]
    pub id: OpId,
    /// What.
    #[n(1)]
    #[cbor(decode_with = "super::known")]
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// The outcomes.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, minicbor::Encode, minicbor::Decode)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// It is this version.
    #[n(0)]
    Accepted {
        /// The version.
        #[n(0)]
        #[serde(with = "json")]
        version: Version,
    },
    /// It has no effect, for good.
    #[n(1)]
    Rejected {
        /// Why.
        #[n(0)]
        refusal: Refusal,
    },
    /// Not decided; send it again after the op named, or after a while.
    #[n(2)]
    RetryLater {
        /// The op it waits for.
        #[n(0)]
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<OpId>,
    },
    /// Not decided; its text does not fit and must be authored again.
    #[n(3)]
    Rebase,
    /// The id asked about was never decided.
    #[n(4)]
    Unknown,
}

/// One version of the workspace: an op's names and what it did.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct VersionEntry {
    /// The version.
    #[n(0)]
    #[serde(with = "json")]
    pub version: Version,
    /// Every op id it answers to.
    #[n(1)]
    pub ids: Vec<OpId>,
    /// Results of the merge; they replace base.
    #[n(2)]
    #[cbor(default, skip_if = "Vec::is_empty")]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub documents: Vec<DocumentResult>,
    /// Instead of `documents`, to the op's own author in the answer to the request that carried it:
    /// it did exactly what it says, with this stamp.
    #[n(3)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub echo: Option<Stamp>,
    /// The generation each opener landed in, where that is not its own.
    #[n(4)]
    #[cbor(default, skip_if = "Vec::is_empty")]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub landed: Vec<crate::merge::Link>,
}

/// What a version did to a document, or all of a document in a snapshot.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct DocumentResult {
    /// The collection.
    #[n(0)]
    pub collection: CollectionId,
    /// The document.
    #[n(1)]
    pub document: DocumentId,
    /// Whether `state` is all of the document; else it holds the components that changed.
    #[n(2)]
    #[cbor(default, skip_if = "is_false")]
    #[serde(default, skip_serializing_if = "is_false")]
    pub whole: bool,
    /// The state.
    #[n(3)]
    pub state: DocumentState,
    /// What the texts and lists in it are made of: in a version the one update of each field that
    /// it changed; in a snapshot one update that is all of the field.
    #[n(4)]
    #[cbor(default, skip_if = "FieldMap::is_empty")]
    #[serde(default, skip_serializing_if = "FieldMap::is_empty")]
    pub texts: FieldMap<Update>,
}

/// `GET /v1/version`.
#[derive(
    Clone, PartialEq, Eq, Debug, Serialize, Deserialize, minicbor::Encode, minicbor::Decode,
)]
#[cbor(map)]
pub struct Announcement {
    /// The protocols it speaks.
    #[n(0)]
    pub protocols: Vec<u16>,
    /// The server's version.
    #[n(1)]
    pub server: String,
    /// The schema's name.
    #[n(2)]
    pub schema: String,
    /// The schema's version.
    #[n(3)]
    pub schema_version: u32,
    /// The schema's fingerprint.
    #[n(4)]
    pub schema_fingerprint: String,
}

/// What a list is that was left out. The derive's own default would ask it of the list's elements.
pub(super) fn empty<T>() -> Option<Vec<T>> {
    Some(Vec::new())
}

pub(super) fn list<'b, Ctx, T: minicbor::Decode<'b, Ctx>>(
    d: &mut minicbor::Decoder<'b>,
    ctx: &mut Ctx,
) -> Result<Vec<T>, minicbor::decode::Error> {
    d.decode_with(ctx)
}

fn is_false(b: &bool) -> bool {
    !*b
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

fn is_zero_u32(n: &u32) -> bool {
    *n == 0
}
