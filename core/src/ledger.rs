//! The loss ledger: what was overwritten unseen, refused, or came too late.
//!
//! Nothing a person typed disappears without a row here that can be shown and restored. The server
//! finds losses in log order and delivers them to the author's device; a refused write becomes one
//! on the device itself.

use serde::{Deserialize, Serialize};

use crate::id::{CollectionId, DocumentId, FieldId, OpId};
use crate::merge::Write;
use crate::time::Stamp;
use crate::value::Value;

/// Why a value is not in the document.
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
#[serde(rename_all = "snake_case")]
#[cbor(index_only)]
#[non_exhaustive]
pub enum LossRule {
    /// A later write that had not seen it replaced it.
    #[n(0)]
    Overwritten,
    /// It arrived when a later write, which it had not seen, was there already.
    #[n(1)]
    TooLate,
    /// The document was deleted by somebody who had not seen it.
    #[n(2)]
    Deleted,
    /// It meant a generation of the document that is gone.
    #[n(3)]
    GenerationGone,
    /// A delete was cancelled by an update it had not seen (`update_wins`).
    #[n(4)]
    DeleteCancelled,
    /// The server rejected the op.
    #[n(5)]
    Rejected,
}

impl LossRule {
    /// The word in SQL, JSON and the API.
    pub fn name(self) -> &'static str {
        match self {
            LossRule::Overwritten => "overwritten",
            LossRule::TooLate => "too_late",
            LossRule::Deleted => "deleted",
            LossRule::GenerationGone => "generation_gone",
            LossRule::DeleteCancelled => "delete_cancelled",
            LossRule::Rejected => "rejected",
        }
    }
}

/// What was lost.
#[derive(Clone, Debug, PartialEq)]
pub enum LostPart {
    /// A register's value.
    Register(FieldId, Value),
    /// An increment.
    Increment(FieldId, i64),
    /// Elements added to a set.
    Added(FieldId, Vec<String>),
    /// Elements removed from a set.
    Removed(FieldId, Vec<String>),
    /// What an edit of a text or list would have brought into it.
    Text(FieldId, String),
    /// What this writer brought into a text or list and the winner had not seen. The merge does not
    /// have the words; who keeps the log looks them up.
    Typed(FieldId, u64),
    /// The delete itself.
    Delete,
}

/// A loss as the merge finds it.
#[derive(Clone, Debug, PartialEq)]
pub struct Lost {
    /// What.
    pub part: LostPart,
    /// The write that lost.
    pub loser: Write,
    /// The write that stands instead.
    pub winner: Write,
    /// Why.
    pub rule: LossRule,
}

/// A loss as its author gets it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct Loss {
    /// Its number for the author's device; acknowledged by the greatest one stored.
    #[n(0)]
    #[serde(with = "crate::protocol::json")]
    pub number: u64,
    /// The collection's stable number.
    #[n(1)]
    pub collection: CollectionId,
    /// The document.
    #[n(2)]
    pub document: DocumentId,
    /// The field, unless the loss is a whole delete.
    #[n(3)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<FieldId>,
    /// The lost value; for counters the increment, for sets a JSON array of elements, for texts what
    /// was typed.
    #[n(4)]
    #[cbor(default)]
    #[serde(default)]
    pub value: Value,
    /// What the author had before writing it, for a three-way view; null if there was nothing.
    #[n(5)]
    #[cbor(default)]
    #[serde(default)]
    pub base_value: Value,
    /// What stands instead; null after a delete.
    #[n(6)]
    #[cbor(default)]
    #[serde(default)]
    pub winner_value: Value,
    /// The op that lost.
    #[n(7)]
    pub op: OpId,
    /// The op that stands.
    #[n(8)]
    pub winner: OpId,
    /// The lost op's stamp.
    #[n(9)]
    pub stamp: Stamp,
    /// The standing op's stamp.
    #[n(10)]
    pub winner_stamp: Stamp,
    /// The label of the device that wrote what stands.
    #[n(11)]
    #[cbor(default)]
    #[serde(default)]
    pub winner_device: String,
    /// Why.
    #[n(12)]
    #[cbor(decode_with = "crate::protocol::known")]
    pub rule: LossRule,
    /// The server's Unix milliseconds when it was decided.
    #[n(13)]
    #[serde(with = "crate::protocol::json")]
    pub at: i64,
    /// For sets: `value` lists elements that were removed, not added.
    #[n(14)]
    #[cbor(default, skip_if = "is_false")]
    #[serde(default, skip_serializing_if = "is_false")]
    pub removed: bool,
}

impl LostPart {
    /// The part as a [`Loss`] tells it: the field, the value, and whether that lists removals.
    pub fn told(&self) -> (Option<FieldId>, Value, bool) {
        match self {
            LostPart::Register(field, value) => (Some(*field), value.clone(), false),
            LostPart::Increment(field, delta) => (Some(*field), Value::Integer(*delta), false),
            LostPart::Added(field, elements) => (Some(*field), json_array(elements), false),
            LostPart::Removed(field, elements) => (Some(*field), json_array(elements), true),
            LostPart::Text(field, text) => (Some(*field), Value::Text(text.clone()), false),
            LostPart::Typed(field, _) => (Some(*field), Value::Null, false),
            LostPart::Delete => (None, Value::Null, false),
        }
    }
}

fn json_array(elements: &[String]) -> Value {
    // Texts always have a JSON form.
    Value::Text(serde_json::to_string(elements).unwrap_or_default())
}

fn is_false(b: &bool) -> bool {
    !*b
}
