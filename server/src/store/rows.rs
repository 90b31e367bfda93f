//! What goes into a store and comes out of it.

use std::collections::HashMap;

use driftline_core::id::{CollectionId, DocumentId, OpId, Version};
use driftline_core::op::ChangeKind;
use driftline_core::protocol::Cursor;

/// A workspace's present.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    /// The cursor behind the last version.
    pub cursor: Cursor,
    /// Documents, tombstones included.
    pub documents: u64,
    /// Bytes of live documents, as counted by the quota.
    pub bytes: u64,
}

/// A row of the log, for a page.
#[derive(Clone, Copy, Debug)]
pub struct LogEntry<'a> {
    /// Version and chain hash.
    pub cursor: Cursor,
    /// The encoded version entry.
    pub entry: &'a [u8],
}

/// A document's row.
#[derive(Clone, Copy, Debug)]
pub struct DocumentRow<'a> {
    /// The collection.
    pub collection: CollectionId,
    /// The document's id.
    pub document: &'a str,
    /// The encoded state.
    pub state: &'a [u8],
}

/// What the log says of a version's origin.
#[derive(Clone, PartialEq, Debug)]
pub struct Origin {
    /// The author's device.
    pub device: DeviceNumber,
    /// What that device was called then.
    pub label: String,
    /// The op's base version.
    pub base: Version,
}

/// One step back through the log along a document.
#[derive(Clone, PartialEq, Debug)]
pub struct Step {
    /// The op.
    pub op: OpId,
    /// The version before this one that touched the document.
    pub previous: Option<Version>,
}

/// What a version touched.
#[derive(Clone, PartialEq, Debug)]
pub struct Steps {
    op: OpId,
    documents: HashMap<(CollectionId, String), Option<Version>>,
}

impl Steps {
    /// The documents that `op` touched, each with the version before that touched it.
    pub fn new(op: OpId, documents: Vec<(CollectionId, String, Option<Version>)>) -> Steps {
        let mut steps = Steps {
            op,
            documents: HashMap::with_capacity(documents.len()),
        };
        for (collection, document, previous) in documents {
            // Changes of one document are one step.
            steps
                .documents
                .entry((collection, document))
                .or_insert(previous);
        }
        steps
    }

    /// How many documents it touched.
    pub fn len(&self) -> usize {
        self.documents.len()
    }

    /// Whether it touched none.
    pub fn is_empty(&self) -> bool {
        self.documents.is_empty()
    }

    /// The step back along a document; `None` if it was not touched.
    pub fn on(&self, collection: CollectionId, document: &DocumentId) -> Option<Step> {
        let place = (collection, document.as_str().to_owned());
        let previous = self.documents.get(&place)?;
        Some(Step {
            op: self.op,
            previous: *previous,
        })
    }
}

/// A device of an account, by its number in the workspace.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct DeviceNumber(pub i64);

/// Who writes, as rows refer to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AuthorNumbers {
    /// Account, device, label and writer together.
    pub author: i64,
    /// The device.
    pub device: DeviceNumber,
    /// The account.
    pub account: i64,
}

/// Who writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Author<'a> {
    /// The account.
    pub account: &'a str,
    /// The device's id.
    pub device: &'a str,
    /// What a person calls the device.
    pub label: &'a str,
    /// The file's writer number.
    pub writer: u64,
}

/// A device that was heard of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sighting {
    /// The account.
    pub account: String,
    /// The device's id.
    pub device: String,
    /// What a person calls it.
    pub label: String,
    /// The version it stood at.
    pub cursor: Version,
    /// When (Unix milliseconds).
    pub at: i64,
}

/// What a change of a version did, for the audit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Touch<'a> {
    /// The collection.
    pub collection: CollectionId,
    /// The document.
    pub document: &'a DocumentId,
    /// The kind of change.
    pub kind: ChangeKind,
    /// The version that touched the document before.
    pub previous: Option<Version>,
}

/// A version to append.
#[derive(Clone, Debug)]
pub struct NewVersion<'a> {
    /// Its number and the chain hash behind it.
    pub cursor: Cursor,
    /// The op.
    pub op: OpId,
    /// Its author.
    pub author: AuthorNumbers,
    /// The op's base version.
    pub base: Version,
    /// The schema version it was written under.
    pub schema: u32,
    /// When it was written, as placed (Unix milliseconds).
    pub written: i64,
    /// When it was decided (Unix milliseconds).
    pub at: i64,
    /// What it did.
    pub touched: &'a [Touch<'a>],
    /// The encoded version entry.
    pub entry: &'a [u8],
}

/// A document to store.
#[derive(Clone, Copy, Debug)]
pub struct NewDocument<'a> {
    /// The collection.
    pub collection: CollectionId,
    /// The document.
    pub document: &'a DocumentId,
    /// The encoded state.
    pub state: &'a [u8],
    /// The visible fields as JSON; `None` for a tombstone.
    pub body: Option<&'a str>,
    /// The version that touched it.
    pub version: Version,
}
