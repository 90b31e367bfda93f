//! A write: one transaction of the app, accepted, rejected, paged and shown whole.

mod admit;
mod coalesce;
mod derived;
mod fields;
mod plain;
mod text;

use serde::{Deserialize, Serialize};

pub use admit::{Refusal, admit, admit_alone, admit_register, frame_of, refusal, weight};
pub(crate) use admit::{admit_covers, is_small_enough};
pub use coalesce::{absorbs, take_over};
pub use derived::derived_writer;
pub use fields::FieldMap;
pub(crate) use fields::room_for;
pub use plain::PlainInsert;
pub use text::{TextEdit, Update};

use crate::id::{CollectionId, DocumentId, OpId, Version};
use crate::time::Reading;
use crate::value::Value;

/// An op as its file knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Op {
    /// Its name, wherever it turns up.
    pub id: OpId,
    /// The clocks when it was written.
    pub written: Reading,
    /// What it says.
    pub body: OpBody,
}

/// The part of an op that never changes, except by [`take_over`] while nobody else has seen it.
#[derive(
    Clone, Debug, PartialEq, Default, Serialize, Deserialize, minicbor::Encode, minicbor::Decode,
)]
#[cbor(map)]
pub struct OpBody {
    /// The cursor's version when the op was written; 0 after a change of history.
    #[n(0)]
    #[cbor(default)]
    #[serde(default, with = "crate::protocol::json")]
    pub base: Version,
    /// The schema version it was written under.
    #[n(1)]
    pub schema: u32,
    /// What it does, in order. One document may occur several times.
    #[n(2)]
    #[cbor(default, decode_with = "few")]
    #[serde(default)]
    pub changes: Vec<Change>,
    /// Earlier ops of the file whose every value this one wrote again.
    #[n(3)]
    #[cbor(default, skip_if = "Vec::is_empty")]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub covers: Vec<OpId>,
    /// The first id of the rejected op that this one tries again.
    #[n(4)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_of: Option<OpId>,
    /// The op is taken back: its changes carry links only, and the server records `withdrawn`
    /// unless it has answered already.
    #[n(5)]
    #[cbor(default, skip_if = "is_false")]
    #[serde(default, skip_serializing_if = "is_false")]
    pub withdraw: bool,
}

/// What one op does to one document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct Change {
    /// The collection's stable number.
    #[n(0)]
    pub collection: CollectionId,
    /// The document.
    #[n(1)]
    pub document: DocumentId,
    /// What kind of change.
    #[n(2)]
    #[cbor(
        default,
        skip_if = "ChangeKind::is_update",
        decode_with = "crate::protocol::known"
    )]
    #[serde(default)]
    pub kind: ChangeKind,
    /// The generation it means, by its opener's (first) id; none for insert and restore.
    #[n(3)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<OpId>,
    /// The file's previous op on this document, if base did not contain that one yet.
    #[n(4)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prev: Option<OpId>,
    /// Registers written.
    #[n(5)]
    #[cbor(default, skip_if = "FieldMap::is_empty")]
    #[serde(default, skip_serializing_if = "FieldMap::is_empty")]
    pub registers: FieldMap<Value>,
    /// Counters and what is added to them.
    #[n(6)]
    #[cbor(default, skip_if = "FieldMap::is_empty")]
    #[serde(
        default,
        skip_serializing_if = "FieldMap::is_empty",
        with = "crate::protocol::json::fields"
    )]
    pub increments: FieldMap<i64>,
    /// Sets and the elements added.
    #[n(7)]
    #[cbor(default, skip_if = "FieldMap::is_empty")]
    #[serde(default, skip_serializing_if = "FieldMap::is_empty")]
    pub adds: FieldMap<Vec<String>>,
    /// Sets and the elements removed.
    #[n(8)]
    #[cbor(default, skip_if = "FieldMap::is_empty")]
    #[serde(default, skip_serializing_if = "FieldMap::is_empty")]
    pub removes: FieldMap<Vec<String>>,
    /// The document's revision, where the collection merges whole documents.
    #[n(9)]
    #[cbor(default, skip_if = "is_zero")]
    #[serde(
        default,
        skip_serializing_if = "is_zero",
        with = "crate::protocol::json"
    )]
    pub clock: u64,
    /// Text fields and lists edited: at most one edit a field and op.
    #[n(10)]
    #[cbor(default, skip_if = "FieldMap::is_empty")]
    #[serde(default, skip_serializing_if = "FieldMap::is_empty")]
    pub texts: FieldMap<TextEdit>,
}

/// The kinds of change.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Default,
    Serialize,
    Deserialize,
    minicbor::Encode,
    minicbor::Decode,
)]
#[serde(rename_all = "snake_case")]
#[cbor(index_only)]
pub enum ChangeKind {
    /// Changes fields of a document that exists.
    #[default]
    #[n(0)]
    Update,
    /// Brings a document into being, or merges into a live one.
    #[n(1)]
    Insert,
    /// Takes the document away.
    #[n(2)]
    Delete,
    /// Brings a deleted document back with the content it had.
    #[n(3)]
    Restore,
}

impl ChangeKind {
    fn is_update(&self) -> bool {
        *self == ChangeKind::Update
    }

    /// Whether the change opens a generation where there is none to join.
    pub fn is_opener(self) -> bool {
        matches!(self, ChangeKind::Insert | ChangeKind::Restore)
    }

    /// The word in logs and in the API.
    pub fn name(self) -> &'static str {
        match self {
            ChangeKind::Update => "update",
            ChangeKind::Insert => "insert",
            ChangeKind::Delete => "delete",
            ChangeKind::Restore => "restore",
        }
    }
}

impl Change {
    /// A change without content.
    pub fn new(collection: CollectionId, document: DocumentId, kind: ChangeKind) -> Change {
        Change {
            collection,
            document,
            kind,
            generation: None,
            prev: None,
            registers: FieldMap::default(),
            increments: FieldMap::default(),
            adds: FieldMap::default(),
            removes: FieldMap::default(),
            clock: 0,
            texts: FieldMap::default(),
        }
    }

    /// Whether the change leaves everything as it is: increments that add up to nothing, say.
    pub fn says_nothing(&self) -> bool {
        let Change {
            collection: _,
            document: _,
            kind,
            generation: _,
            prev: _,
            registers,
            increments,
            adds,
            removes,
            clock,
            texts,
        } = self;
        kind.is_update()
            && registers.is_empty()
            && increments.is_empty()
            && adds.is_empty()
            && removes.is_empty()
            && texts.is_empty()
            && *clock == 0
    }

    /// Whether it brings a document into being with registers and nothing else.
    pub fn inserts_registers_alone(&self) -> bool {
        let Change {
            collection: _,
            document: _,
            kind,
            generation: _,
            prev: _,
            registers: _,
            increments,
            adds,
            removes,
            clock,
            texts,
        } = self;
        *kind == ChangeKind::Insert
            && increments.is_empty()
            && adds.is_empty()
            && removes.is_empty()
            && texts.is_empty()
            && *clock == 0
    }

    /// Whether this change is about the document.
    pub fn is_on(&self, collection: CollectionId, document: &DocumentId) -> bool {
        self.collection == collection && self.document == *document
    }

    /// The same links without content: what a withdrawn op leaves.
    pub fn links_only(&self) -> Change {
        Change {
            generation: self.generation,
            prev: self.prev,
            ..Change::new(self.collection, self.document.clone(), self.kind)
        }
    }
}

impl OpBody {
    /// The op's `prev` on a document: that of its first change there.
    pub fn prev_on(&self, collection: CollectionId, document: &DocumentId) -> Option<OpId> {
        self.changes
            .iter()
            .find(|c| c.is_on(collection, document))
            .and_then(|c| c.prev)
    }

    /// Every other id it stands for: those it covers, and the first id of what it tries again.
    pub fn stands_for(&self) -> Vec<OpId> {
        self.covers.iter().copied().chain(self.retry_of).collect()
    }

    /// The withdrawal of this op: same place, links only.
    pub fn withdrawn(&self) -> OpBody {
        OpBody {
            base: self.base,
            schema: self.schema,
            changes: self.changes.iter().map(Change::links_only).collect(),
            covers: self.covers.clone(),
            retry_of: self.retry_of,
            withdraw: true,
        }
    }
}

/// Mostly an op has one change, and a list that grows begins with room for four: of a push of thousands
/// that was most of the memory.
fn few<'b, Ctx, T: minicbor::Decode<'b, Ctx>>(
    d: &mut minicbor::Decoder<'b>,
    ctx: &mut Ctx,
) -> Result<Vec<T>, minicbor::decode::Error> {
    let length = d.probe().array()?.unwrap_or(0);
    let mut list = Vec::with_capacity(room_for(length));
    for item in d.array_iter_with(ctx)? {
        list.push(item?);
    }
    Ok(list)
}

fn is_false(b: &bool) -> bool {
    !*b
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}
