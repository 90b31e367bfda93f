//! The declared shape of a workspace: collections, fields, policies and limits.
//!
//! A [`Schema`] is read from one TOML file by [`Schema::parse`], checked as a whole, and never
//! changes afterwards. Collections and fields are known by stable numbers on disk and on the wire,
//! so a rename moves no data; [`StableIds`] is the record that keeps numbers from being given to
//! something else.
//!
//! # The file
//! ```
//! let schema = driftline_core::schema::Schema::parse(r#"
//! [schema]
//! name = "field-notes"
//! version = 1
//!
//! [limits]                               # all of them may be left out
//! max_value = "1 MiB"
//! quota = "500 MiB"
//!
//! [collections.birds]
//! id = 1
//! on_conflict_delete = "update_wins"
//! search = ["species", "notes"]
//! indexes = [
//!     { fields = ["island", "observed_at"] },
//!     { name = "by_species", fields = ["species"] },
//! ]
//!
//! [collections.birds.fields]
//! species     = { id = 1, kind = "text", required = true, max_bytes = 200 }
//! island      = { id = 2, kind = "text", default = "Torgersen" }
//! observed_at = { id = 3, kind = "timestamp" }
//! mass        = { id = 4, kind = "integer" }
//! notes       = { id = 5, kind = "rich_text" }
//! sightings   = { id = 6, kind = "counter" }
//! tags        = { id = 7, kind = "set", max_bytes = "100 B" }
//! "#)?;
//! let birds = schema.collection("birds").ok_or("no birds")?;
//! assert_eq!(birds.field("mass").map(|field| field.id), Some(4));
//! assert_eq!(birds.indexes[0].name, "by_island_observed_at");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//! The file is TOML of at most 1 MiB ([`MAX_SCHEMA_BYTES`]). A key that is not described here is a
//! problem, so that a misspelt one is never silently without effect.
//!
//! | table | key | value |
//! |---|---|---|
//! | `[schema]` | `name` | required: the application's name, 1 to 64 characters |
//! | | `version` | required: an integer from 1, never lower than before |
//! | `[limits]` | `max_value` | a size, 1 MiB: the largest value of a field |
//! | | `max_document` | a size, 2 MiB: the largest document, at least `max_value` |
//! | | `max_group` | a size, 4 MiB: the largest transaction, at least `max_document`, at most 16 MiB; a change counts 64 bytes beside its values, a value 16 |
//! | | `max_set_elements` | a count up to 1,000,000; 10,000: the most elements of a set |
//! | | `max_queue_ops` | a count up to 100,000,000; 100,000: the most ops a device queues |
//! | | `max_queue_bytes` | a size, 64 MiB: the most bytes a device queues, at least `max_group` |
//! | | `quota` | a size, none: the most bytes of a workspace on the server, at least `max_group`; a warning comes at 80 % |
//! | `[collections.<name>]` | `id` | required: the stable number, 1 to 32,767, unique in the file |
//! | | `on_conflict_delete` | `"delete_wins"` (default) or `"update_wins"`, see [`DeletePolicy`] |
//! | | `merge` | `"field"` (default) or `"document"`, see [`MergePolicy`]; `"document"` allows register kinds only |
//! | | `search` | names of `text` and `rich_text` fields for full-text search in the table `<name>_search`; a field called `rank` cannot be searched |
//! | | `indexes` | up to 32 tables `{ name, fields }`; `name` is `by_` and the field names unless given; 1 to 8 fields, most significant first, of kinds `text`, `integer`, `real`, `boolean`, `timestamp`, `uuid` and `order_key` |
//! | `[collections.<name>.fields]` | `<field>` | required: 1 to 500 tables as below |
//! | `<field> = { … }` | `id` | required: the stable number, 1 to 32,767, unique in the collection |
//! | | `kind` | required: a [`FieldKind`] by its [name](FieldKind::name) |
//! | | `required` | `true` or `false` (default), see below; not for `counter`, `set`, `rich_text`, `list` |
//! | | `default` | a value of the kind, see below |
//! | | `max_bytes` | a size up to `max_value`, for `text`, `json`, `bytes`, `rich_text`, and for each element of a `set` or `list` |
//! | | `merge` | says how the kind merges, and changes nothing: `"register"`, for a counter `"add"`, for a set `"observed_remove"`, for rich text `"text"`, for a list `"list"` |
//!
//! **Sizes** are integers (bytes) or strings of a whole number and one of `B`, `KiB`, `MiB`, `GiB`,
//! `TiB`.
//!
//! **Names** of collections, fields and indexes are 1 to 63 lower-case letters, digits and `_`,
//! starting with a letter, not with `sqlite`; not `id`, `rowid` or `oid` ([`RESERVED_NAMES`]). SQL
//! keywords are fine. A collection is not called like the search table of another one
//! (`birds_search` beside `birds`), nor like a table SQLite keeps behind that (`birds_search_data`
//! and so on). There are 1 to 200 collections.
//!
//! **`required` and `default`** together mean what `NOT NULL DEFAULT` means in SQL. A required field
//! is never set to null, and an insert has to give it unless it has a default. A default is shown
//! by every document that never set the field, those written before the field was declared
//! included; it is not stored in them, so any write beats it. Without a default those documents
//! show null, also where the field is required: declare a default when a required field joins a
//! collection that is in use. The default is a string for `text`, `uuid` (canonical lower case),
//! `json` (one JSON text) and `bytes` (base64), an integer for `integer` and `timestamp`
//! (milliseconds UTC), a number for `real`. A counter starts at 0, sets, texts and lists start
//! empty, and an order key is drawn for each document: these take no default.
//!
//! **`[[migration]]`** is reserved and refused by this version.
//!
//! # Changing it
//! Adding, renaming and removing collections and fields, indexes, search and limits needs nothing
//! but the new file, as long as numbers keep their meaning; see [`StableIds::check_reload`].

mod check;
mod error;
mod field;
mod fingerprint;
mod limits;
mod name;
mod parse;
mod place;
mod read;
mod reload;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
mod words;

use std::collections::BTreeMap;

pub use check::{MAX_COLLECTIONS, MAX_FIELDS, MAX_INDEX_FIELDS, MAX_INDEXES};
pub use error::{Problem, SchemaError};
pub use limits::MAX_GROUP;
pub use name::RESERVED_NAMES;
pub use parse::MAX_SCHEMA_BYTES;
pub use reload::{FormerCollection, FormerField};

use crate::id::{CollectionId, FieldId};
use crate::value::Value;

/// A validated schema.
#[derive(Clone, Debug, PartialEq)]
pub struct Schema {
    /// The application's name for it.
    pub name: String,
    /// Its version: 1 for the first, then one more with each migration.
    pub version: u32,
    /// The collections in order of their ids.
    pub collections: Vec<Collection>,
    /// Bounds of the whole workspace.
    pub limits: Limits,
}

/// One kind of document.
#[derive(Clone, Debug, PartialEq)]
pub struct Collection {
    /// The stable number.
    pub id: CollectionId,
    /// The name in SQL and in the API.
    pub name: String,
    /// The fields in order of their ids.
    pub fields: Vec<Field>,
    /// Indexes over fields, in the order declared.
    pub indexes: Vec<Index>,
    /// Fields of the full-text index; empty for none.
    pub search: Vec<FieldId>,
    /// What becomes of an update that meets a delete it had not seen.
    pub on_conflict_delete: DeletePolicy,
    /// What is compared when two writes meet.
    pub merge: MergePolicy,
}

/// One field of a collection.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// The stable number, unique in its collection and never used again.
    pub id: FieldId,
    /// The name in SQL and in the API.
    pub name: String,
    /// What it holds and how it merges.
    pub kind: FieldKind,
    /// Whether it may not be null: an insert gives it unless there is a default, and no update
    /// clears it.
    pub required: bool,
    /// What a document shows that never set it.
    pub default: Option<Value>,
    /// The largest value, in bytes, if narrower than the workspace's.
    pub max_bytes: Option<u32>,
}

/// What a field holds; decides storage and merge.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FieldKind {
    /// UTF-8 text.
    Text,
    /// 64-bit signed.
    Integer,
    /// 64-bit float, finite.
    Real,
    /// true or false.
    Boolean,
    /// Milliseconds since 1970 UTC.
    Timestamp,
    /// A UUID in canonical lower case.
    Uuid,
    /// One JSON text.
    Json,
    /// Raw bytes.
    Bytes,
    /// A sortable place in a list of documents.
    OrderKey,
    /// A number that concurrent increments add up in.
    Counter,
    /// Distinct texts; an add wins over a remove that had not seen it.
    Set,
    /// Text that several people write at once.
    RichText,
    /// A list that several people edit at once.
    List,
}

impl FieldKind {
    /// Every kind, in the order of the documentation.
    pub const ALL: [FieldKind; 13] = [
        FieldKind::Text,
        FieldKind::Integer,
        FieldKind::Real,
        FieldKind::Boolean,
        FieldKind::Timestamp,
        FieldKind::Uuid,
        FieldKind::Json,
        FieldKind::Bytes,
        FieldKind::OrderKey,
        FieldKind::Counter,
        FieldKind::Set,
        FieldKind::RichText,
        FieldKind::List,
    ];

    /// The word in the schema file.
    pub fn name(self) -> &'static str {
        match self {
            FieldKind::Text => "text",
            FieldKind::Integer => "integer",
            FieldKind::Real => "real",
            FieldKind::Boolean => "boolean",
            FieldKind::Timestamp => "timestamp",
            FieldKind::Uuid => "uuid",
            FieldKind::Json => "json",
            FieldKind::Bytes => "bytes",
            FieldKind::OrderKey => "order_key",
            FieldKind::Counter => "counter",
            FieldKind::Set => "set",
            FieldKind::RichText => "rich_text",
            FieldKind::List => "list",
        }
    }

    /// Whether the last write wins as a whole.
    pub fn is_register(self) -> bool {
        !matches!(
            self,
            FieldKind::Counter | FieldKind::Set | FieldKind::RichText | FieldKind::List
        )
    }

    /// Whether people edit it together, character by character or element by element.
    pub fn is_text(self) -> bool {
        matches!(self, FieldKind::RichText | FieldKind::List)
    }
}

/// A declared index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    /// Its name within the collection.
    pub name: String,
    /// The fields, most significant first.
    pub fields: Vec<FieldId>,
}

/// What happens when an update and a delete had not seen each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum DeletePolicy {
    /// The document stays deleted; the update goes to the ledger.
    #[default]
    DeleteWins,
    /// The update brings the document back, or keeps it.
    UpdateWins,
}

/// What is compared when two writes had not seen each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum MergePolicy {
    /// Each field by its own stamp.
    #[default]
    Field,
    /// The whole document as one register, by its revision clock.
    Document,
}

/// Bounds, in bytes or counts; the defaults are in `docs/protocol.md`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest single value.
    pub max_value: u32,
    /// The largest document.
    pub max_document: u32,
    /// The largest op (one transaction of the app).
    pub max_group: u32,
    /// The most elements of one set.
    pub max_set_elements: u32,
    /// Ops a device may queue before it refuses writes.
    pub max_queue_ops: u32,
    /// Bytes a device may queue before it refuses writes.
    pub max_queue_bytes: u64,
    /// Bytes of documents one workspace may hold on the server; `None` for no quota.
    pub quota: Option<u64>,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_value: 1 << 20,
            max_document: 2 << 20,
            max_group: 4 << 20,
            max_set_elements: 10_000,
            max_queue_ops: 100_000,
            max_queue_bytes: 64 << 20,
            quota: None,
        }
    }
}

impl Schema {
    /// The collection called `name`.
    pub fn collection(&self, name: &str) -> Option<&Collection> {
        self.collections.iter().find(|c| c.name == name)
    }

    /// The collection with stable number `id`.
    pub fn collection_by_id(&self, id: CollectionId) -> Option<&Collection> {
        let at = self.collections.binary_search_by_key(&id, |c| c.id).ok()?;
        self.collections.get(at)
    }

    /// A short text that differs whenever the meaning of the schema differs.
    pub fn fingerprint(&self) -> String {
        fingerprint::of(self)
    }

    /// Stable numbers as a map of names, for the record kept in a device's file.
    ///
    /// A file that has a record already keeps [`StableIds::succeeded_by`] instead.
    pub fn stable_ids(&self) -> StableIds {
        let fields = |c: &Collection| {
            c.fields
                .iter()
                .map(|f| (f.id, (f.name.clone(), f.kind.name().to_owned())))
                .collect()
        };
        let collections = self
            .collections
            .iter()
            .map(|c| (c.id, (c.name.clone(), fields(c))))
            .collect();
        StableIds {
            version: self.version,
            collections,
            former: BTreeMap::new(),
        }
    }
}

impl Collection {
    /// The field as people know it, for messages: `birds.mass`, or `birds field 12` if only a newer
    /// schema knows its name.
    pub fn place_of(&self, field: FieldId) -> String {
        match self.field_by_id(field) {
            Some(field) => format!("{}.{}", self.name, field.name),
            None => format!("{} field {field}", self.name),
        }
    }

    /// The field called `name`.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|f| f.name == name)
    }

    /// The field with stable number `id`.
    pub fn field_by_id(&self, id: FieldId) -> Option<&Field> {
        // Mostly fields are numbered from 1 without a gap: each value of each op is looked up here.
        let usual = usize::from(id).checked_sub(1);
        if let Some(field) = usual.and_then(|at| self.fields.get(at))
            && field.id == id
        {
            return Some(field);
        }
        let at = self.fields.binary_search_by_key(&id, |f| f.id).ok()?;
        self.fields.get(at)
    }
}

/// Field number to name and kind.
pub type FieldMeanings = BTreeMap<FieldId, (String, String)>;

/// What each stable number meant when a file was last opened; kept so that a number can't be given
/// to something else.
#[derive(Clone, Debug, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct StableIds {
    /// The schema's version then.
    pub version: u32,
    /// Collection number to its name and its fields (number to name and kind).
    pub collections: BTreeMap<CollectionId, (String, FieldMeanings)>,
    /// What numbers meant before that: names since given up, and what has been removed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub former: BTreeMap<CollectionId, FormerCollection>,
}
