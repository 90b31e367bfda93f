//! Looking into a server's directory from outside: for operators, for the command line, for tests.
//!
//! The server may be running; nothing changes. What is read of a workspace is one consistent view.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use driftline_core::id::{CollectionId, Version};
use driftline_core::merge::DocumentState;
use driftline_core::schema::{FieldKind, StableIds};
use driftline_core::text::TextKind;
use driftline_core::value::Value;
use serde::Serialize;

use crate::store::sqlite::inspect::{InspectedStore, InspectedWorkspace};
use crate::store::{StoreError, StoredText, TextPlace, WorkspaceName};
use crate::texts::OpenText;

/// A workspace, as it is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct WorkspaceFacts {
    /// Its name.
    pub workspace: String,
    /// The last version.
    pub version: u64,
    /// The chain hash behind it, in hex.
    pub hash: String,
    /// Bytes of live documents, as the quota counts them.
    pub bytes: u64,
    /// What is in each collection.
    pub collections: Vec<CollectionCounts>,
    /// Op ids that were accepted, covered ones included.
    pub accepted: u64,
    /// Op ids that were rejected.
    pub rejected: u64,
    /// Devices that wrote or synced.
    pub devices: Vec<SeenDevice>,
    /// A digest of all live documents: equal to a device's when both show the same.
    pub digest: String,
    /// How many documents are in it.
    pub documents: u64,
    /// Edits of texts that wait to be folded.
    pub unfolded_edits: u64,
    /// Texts that could not be folded.
    pub texts_aside: Vec<TextAside>,
}

/// A text that is not folded any more. Its edits go on to the devices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TextAside {
    /// The collection's name.
    pub collection: String,
    /// The document's id.
    pub document: String,
    /// The field's name.
    pub field: String,
    /// Why.
    pub why: String,
}

/// How much is in a collection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CollectionCounts {
    /// Its number.
    pub id: CollectionId,
    /// Its name.
    pub name: String,
    /// Live documents.
    pub live: u64,
    /// Deleted documents that are remembered.
    pub tombstones: u64,
}

/// A device the server heard of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SeenDevice {
    /// Whose it is.
    pub account: String,
    /// Its id.
    pub device: String,
    /// What people call it.
    pub label: String,
    /// The version it stood at when it was last heard of.
    pub version: u64,
    /// When that was (Unix milliseconds).
    pub last_seen: i64,
    /// Losses found for it.
    pub losses: u64,
}

/// What a field holds.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum FieldValue {
    /// A register or a counter.
    Value(Value),
    /// A set: its elements in order of their bytes.
    Set(Vec<String>),
    /// A text, with its plain text and its delta.
    Text {
        /// Without formats.
        text: String,
        /// With them.
        delta: serde_json::Value,
    },
    /// The elements of a list.
    List(Vec<serde_json::Value>),
}

/// A live document: its collection, its id, and its fields by name; what was never set is not there.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct InspectedDocument {
    /// The collection's name.
    pub collection: String,
    /// The document's id.
    pub id: String,
    /// Its fields.
    pub fields: BTreeMap<String, FieldValue>,
}

/// The names of a directory's workspaces.
///
/// # Errors
/// No directory of a server's, or what SQLite says.
pub fn workspaces(directory: &Path) -> Result<Vec<String>, StoreError> {
    InspectedStore::open(directory)?.names()
}

/// A workspace's facts; `None` if there is no such workspace.
///
/// # Errors
/// No directory of a server's, or what SQLite says.
pub fn workspace(directory: &Path, name: &str) -> Result<Option<WorkspaceFacts>, StoreError> {
    let store = InspectedStore::open(directory)?;
    let Some(mut inspected) = open(&store, name)? else {
        return Ok(None);
    };
    let head = inspected.head()?;
    let digest = inspected.digest()?;
    let (accepted, rejected) = inspected.verdicts()?;
    let ids = store.stable_ids()?;
    let mut collections: BTreeMap<CollectionId, CollectionCounts> = ids
        .collections
        .iter()
        .map(|(id, (name, _))| {
            (
                *id,
                CollectionCounts {
                    id: *id,
                    name: name.clone(),
                    live: 0,
                    tombstones: 0,
                },
            )
        })
        .collect();
    inspected.each_document(&mut |id, _, state| {
        let name = || CollectionCounts {
            id,
            name: id.to_string(),
            live: 0,
            tombstones: 0,
        };
        let counts = collections.entry(id).or_insert_with(name);
        *if state.is_alive() {
            &mut counts.live
        } else {
            &mut counts.tombstones
        } += 1;
    })?;
    Ok(Some(WorkspaceFacts {
        workspace: name.to_owned(),
        version: head.cursor.version,
        hash: head.cursor.hash.to_string(),
        bytes: head.bytes,
        collections: collections.into_values().collect(),
        accepted,
        rejected,
        devices: inspected.devices()?,
        digest: digest.to_string(),
        documents: digest.documents(),
        unfolded_edits: inspected.unfolded_edits()?,
        texts_aside: texts_aside(&mut inspected, &ids)?,
    }))
}

/// The live documents of a workspace, in order of collection and id; `None` if there is no such
/// workspace.
///
/// # Errors
/// No directory of a server's, or what SQLite says.
pub fn documents(
    directory: &Path,
    name: &str,
) -> Result<Option<Vec<InspectedDocument>>, StoreError> {
    let store = InspectedStore::open(directory)?;
    let Some(mut inspected) = open(&store, name)? else {
        return Ok(None);
    };
    let ids = store.stable_ids()?;
    let mut documents = Vec::new();
    let mut texts = Vec::new();
    inspected.each_document(&mut |collection, id, state| {
        if let (true, Some((name, fields))) = (state.is_alive(), ids.collections.get(&collection)) {
            let field = |(id, (name, kind)): (&u16, &(String, String))| {
                Some((name.clone(), shown(state, *id, known_kind(kind)?)?))
            };
            for (field, _) in state.texts.iter() {
                let document = id.clone();
                let place = TextPlace {
                    collection,
                    document,
                    field,
                };
                texts.push((documents.len(), place));
            }
            let fields = fields.iter().filter_map(field).collect();
            documents.push(InspectedDocument {
                collection: name.clone(),
                id: id.as_str().to_owned(),
                fields,
            });
        }
    })?;
    for (at, place) in texts {
        let fields = ids
            .collections
            .get(&place.collection)
            .map(|(_, fields)| fields);
        let declared = fields.and_then(|fields| fields.get(&place.field));
        if let (Some((name, kind)), Some(document)) = (declared, documents.get_mut(at))
            && let Some(kind) = known_kind(kind).and_then(TextKind::of)
            && let Some(value) = text(kind, |behind| inspected.text(&place, behind))?
        {
            document.fields.insert(name.clone(), value);
        }
    }
    Ok(Some(documents))
}

fn known_kind(name: &str) -> Option<FieldKind> {
    let mut kinds = FieldKind::ALL.iter().copied();
    kinds.find(|known| known.name() == name)
}

/// What a text says now, its newest edits included, of which `piece` brings some behind a version; `None` if
/// it cannot be read.
fn text(
    kind: TextKind,
    piece: impl FnMut(Version) -> Result<StoredText, StoreError>,
) -> Result<Option<FieldValue>, StoreError> {
    let Some(mut open) = put_together(kind, piece)? else {
        return Ok(None);
    };
    let read = catch_unwind(AssertUnwindSafe(|| open.content()));
    let Ok(Ok((content, _))) = read else {
        return Ok(None);
    };
    Ok(match content {
        serde_json::Value::Array(elements) => Some(FieldValue::List(elements)),
        serde_json::Value::Object(mut content) => {
            let text = content.get("text").and_then(serde_json::Value::as_str);
            Some(FieldValue::Text {
                text: text.unwrap_or_default().to_owned(),
                delta: content.remove("delta").unwrap_or_default(),
            })
        }
        _ => None,
    })
}

/// Puts a text together with no more than a piece of its edits in memory: folding may be far behind.
fn put_together(
    kind: TextKind,
    mut piece: impl FnMut(Version) -> Result<StoredText, StoreError>,
) -> Result<Option<OpenText>, StoreError> {
    let mut stored = piece(0)?;
    let Ok(Ok(mut open)) = catch_unwind(|| OpenText::open(kind, &stored)) else {
        return Ok(None);
    };
    while stored.more {
        stored = piece(open.version())?;
        let taken = catch_unwind(AssertUnwindSafe(|| open.take(&stored.tail)));
        if !matches!(taken, Ok(Ok(()))) {
            return Ok(None);
        }
    }
    Ok(Some(open))
}

fn texts_aside(
    inspected: &mut InspectedWorkspace,
    ids: &StableIds,
) -> Result<Vec<TextAside>, StoreError> {
    let named = |(place, why): (TextPlace, String)| {
        let declared = ids.collections.get(&place.collection);
        let field = declared.and_then(|(_, fields)| fields.get(&place.field));
        let number = |n: u16| n.to_string();
        TextAside {
            collection: declared.map_or_else(|| number(place.collection), |(name, _)| name.clone()),
            document: place.document.as_str().to_owned(),
            field: field.map_or_else(|| number(place.field), |(name, _)| name.clone()),
            why,
        }
    };
    Ok(inspected.texts_aside()?.into_iter().map(named).collect())
}

fn open(store: &InspectedStore<'_>, name: &str) -> Result<Option<InspectedWorkspace>, StoreError> {
    match WorkspaceName::new(name) {
        Some(name) => store.workspace(&name),
        None => Ok(None),
    }
}

fn shown(state: &DocumentState, field: u16, kind: FieldKind) -> Option<FieldValue> {
    match kind {
        FieldKind::Counter => state
            .counters
            .get(field)
            .map(|sum| FieldValue::Value(Value::Integer(*sum))),
        FieldKind::Set => state
            .sets
            .get(field)
            .map(|set| FieldValue::Set(set.elements.keys().cloned().collect())),
        _ => state
            .value(field)
            .filter(|value| !value.is_null())
            .cloned()
            .map(FieldValue::Value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::ServerStore;
    use crate::store::sqlite::SqliteStore;
    use crate::workspace::PIECE;
    use crate::workspace::tests::folding::Written;
    use driftline_core::id::DocumentId;
    use driftline_core::schema::Schema;

    #[test]
    fn a_directory_is_read_beside_a_server_and_without_one() {
        let directory = tempfile::tempdir().unwrap();
        assert!(workspaces(directory.path()).is_err());
        let schema = "[schema]\nname = \"a\"\nversion = 1\n\n[collections.birds]\nid = 1\n\n\
            [collections.birds.fields]\nname = { id = 1, kind = \"text\" }\n";
        let store = SqliteStore::open(directory.path(), None).unwrap();
        store
            .set_stable_ids(&Schema::parse(schema).unwrap().stable_ids())
            .unwrap();
        store
            .create(&WorkspaceName::new("garden").unwrap(), [7; 16], 1)
            .unwrap();
        let look = || {
            assert_eq!(workspaces(directory.path()).unwrap(), ["garden"]);
            assert!(workspace(directory.path(), "nowhere").unwrap().is_none());
            assert!(workspace(directory.path(), "../garden").unwrap().is_none());
            assert_eq!(
                documents(directory.path(), "garden").unwrap(),
                Some(Vec::new())
            );
            workspace(directory.path(), "garden").unwrap().unwrap()
        };
        let beside = look();
        assert_eq!(
            (beside.version, beside.documents, beside.collections[0].live),
            (0, 0, 0)
        );
        drop(store);
        assert_eq!(look(), beside);
        // Nothing was held on to.
        SqliteStore::open(directory.path(), None).unwrap();
    }

    /// Edits that nobody has folded, more than a turn takes: each piece of them is bounded.
    #[test]
    fn a_text_far_ahead_of_its_folding_is_read_in_pieces() {
        let written = Written::empty();
        let bytes = written.deleted_from("n", 60_000, 24);
        let store = InspectedStore::open(written.dir.path()).unwrap();
        let mut inspected = open(&store, "w").unwrap().unwrap();
        let place = TextPlace {
            collection: 1,
            document: DocumentId::new("n").unwrap(),
            field: 1,
        };
        let mut pieces = Vec::new();
        let read = text(TextKind::RichText, |behind| {
            let stored = inspected.text(&place, behind)?;
            pieces.push(
                stored
                    .tail
                    .iter()
                    .map(|edit| edit.edit.len())
                    .sum::<usize>(),
            );
            Ok(stored)
        });
        let Some(FieldValue::Text { text, .. }) = read.unwrap() else {
            panic!("it cannot be read")
        };
        assert_eq!(text.len(), 30_000, "every other letter is left");
        assert!(bytes > PIECE.bytes && pieces.len() > 1, "{pieces:?}");
        assert!(
            pieces.iter().all(|piece| *piece <= PIECE.bytes),
            "{pieces:?}"
        );
        assert_eq!(pieces.iter().sum::<usize>(), bytes, "each edit once");
    }
}
