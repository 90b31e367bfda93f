//! From TOML text to a draft: known keys, right types, known words.
//!
//! Whether the parts fit each other is the next step's question (`check`).

use toml::de::DeTable;

use super::check::check;
use super::place::{At, Findings, Place};
use super::read::{Node, Table};
use super::words::nearest;
use super::{DeletePolicy, FieldKind, MergePolicy, Schema, SchemaError};
use crate::value::Value;

/// The largest schema file, in bytes.
pub const MAX_SCHEMA_BYTES: usize = 1 << 20;

/// The largest stable number; it has to fit a signed 16-bit column.
const LARGEST_ID: u16 = i16::MAX as u16;

/// The largest schema version; it has to fit a signed 32-bit column.
const LARGEST_VERSION: u32 = i32::MAX as u32;

const NO_MIGRATIONS: &str = "migrations are not supported by this version of Driftline; \
     adding, renaming and removing fields needs none";

/// The schema as written: everything that could be read, whether it makes sense or not.
pub(super) struct Draft {
    pub(super) name: Option<At<String>>,
    pub(super) version: Option<At<u32>>,
    pub(super) limits: DraftLimits,
    pub(super) collections: Vec<DraftCollection>,
    /// Whether there was a table of collections at all; without it, its emptiness is no news.
    pub(super) collections_place: Option<Place>,
}

#[derive(Default)]
pub(super) struct DraftLimits {
    pub(super) max_value: Option<At<u64>>,
    pub(super) max_document: Option<At<u64>>,
    pub(super) max_group: Option<At<u64>>,
    pub(super) max_set_elements: Option<At<u32>>,
    pub(super) max_queue_ops: Option<At<u32>>,
    pub(super) max_queue_bytes: Option<At<u64>>,
    pub(super) quota: Option<At<u64>>,
}

pub(super) struct DraftCollection {
    pub(super) name: At<String>,
    pub(super) id: Option<At<u16>>,
    pub(super) on_conflict_delete: Option<At<DeletePolicy>>,
    pub(super) merge: Option<At<MergePolicy>>,
    pub(super) search: Vec<At<String>>,
    pub(super) indexes: Vec<DraftIndex>,
    pub(super) indexes_place: Place,
    pub(super) fields: Vec<DraftField>,
    pub(super) fields_place: Option<Place>,
}

pub(super) struct DraftIndex {
    pub(super) place: Place,
    pub(super) name: Option<At<String>>,
    pub(super) fields: Option<Vec<At<String>>>,
}

pub(super) struct DraftField {
    pub(super) name: At<String>,
    pub(super) id: Option<At<u16>>,
    pub(super) kind: Option<At<FieldKind>>,
    pub(super) required: Option<At<bool>>,
    pub(super) default: Option<At<Value>>,
    pub(super) max_bytes: Option<At<u64>>,
    pub(super) merge: Option<At<&'static str>>,
}

impl Schema {
    /// Reads and checks a schema file; see the [module documentation](super) for its form.
    ///
    /// # Errors
    /// All problems of the file at once, each with its line and column. If the text is no TOML,
    /// only what makes it none is reported.
    pub fn parse(text: &str) -> Result<Schema, SchemaError> {
        let mut findings = Findings::default();
        if text.len() > MAX_SCHEMA_BYTES {
            let message = format!(
                "a schema file has at most {MAX_SCHEMA_BYTES} bytes, this one has {}",
                text.len()
            );
            findings.add(&Place::default(), message);
            return Err(findings.into_error(text));
        }
        let (root, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            let offset = error.span().map_or(0, |span| span.start);
            findings.add(
                &Place {
                    offset,
                    path: String::new(),
                },
                error.message(),
            );
        }
        // What recovery made of broken text would only be reported wrongly.
        if !findings.is_empty() {
            return Err(findings.into_error(text));
        }
        let draft = read_root(&Table::root(root.get_ref()), &mut findings);
        match check(&draft, &mut findings) {
            Some(schema) if findings.is_empty() => Ok(schema),
            _ => Err(findings.into_error(text)),
        }
    }
}

fn read_root(root: &Table<'_>, findings: &mut Findings) -> Draft {
    let reserved = [("migration", NO_MIGRATIONS), ("migrations", NO_MIGRATIONS)];
    root.only(&["schema", "limits", "collections"], &reserved, findings);
    let schema = root
        .require("schema", "a table [schema] with name and version", findings)
        .and_then(|node| node.table("a table with name and version", findings));
    let (name, version) = match &schema {
        Some(table) => read_schema(table, findings),
        None => (None, None),
    };
    let limits = root
        .get("limits")
        .and_then(|node| node.table("a table of limits", findings));
    let collections = root
        .require(
            "collections",
            "at least one table [collections.<name>]",
            findings,
        )
        .and_then(|node| node.table("a table of collections", findings));
    Draft {
        name,
        version,
        limits: limits
            .map(|table| read_limits(&table, findings))
            .unwrap_or_default(),
        collections_place: collections.as_ref().map(|table| table.place.clone()),
        collections: collections
            .iter()
            .flat_map(Table::named)
            .filter_map(|(name, node)| read_collection(name, node, findings))
            .collect(),
    }
}

fn read_schema(
    table: &Table<'_>,
    findings: &mut Findings,
) -> (Option<At<String>>, Option<At<u32>>) {
    table.only(&["name", "version"], &[], findings);
    let name = table.require("name", "the application's name", findings);
    let version = table.require("version", "an integer, 1 for the first", findings);
    (
        name.and_then(|node| node.string("a string", findings)),
        version.and_then(|node| node.integer((1, LARGEST_VERSION), findings)),
    )
}

fn read_limits(table: &Table<'_>, findings: &mut Findings) -> DraftLimits {
    let known = [
        "max_value",
        "max_document",
        "max_group",
        "max_set_elements",
        "max_queue_ops",
        "max_queue_bytes",
        "quota",
    ];
    table.only(&known, &[], findings);
    let mut size = |key| table.get(key).and_then(|node| node.size(findings));
    let (max_value, max_document) = (size("max_value"), size("max_document"));
    let (max_group, max_queue_bytes) = (size("max_group"), size("max_queue_bytes"));
    let quota = size("quota");
    let mut count = |key, most| {
        table
            .get(key)
            .and_then(|node| node.integer((1u32, most), findings))
    };
    DraftLimits {
        max_value,
        max_document,
        max_group,
        max_set_elements: count("max_set_elements", 1_000_000),
        max_queue_ops: count("max_queue_ops", 100_000_000),
        max_queue_bytes,
        quota,
    }
}

fn read_collection(
    name: At<String>,
    node: Node<'_>,
    findings: &mut Findings,
) -> Option<DraftCollection> {
    let table = node.table("a table that declares a collection", findings)?;
    let known = [
        "id",
        "on_conflict_delete",
        "merge",
        "search",
        "indexes",
        "fields",
    ];
    table.only(&known, &[], findings);
    let delete_policies = [
        ("delete_wins", DeletePolicy::DeleteWins),
        ("update_wins", DeletePolicy::UpdateWins),
    ];
    let merge_policies = [
        ("field", MergePolicy::Field),
        ("document", MergePolicy::Document),
    ];
    let id = read_id(&table, findings);
    let on_conflict_delete = table.get("on_conflict_delete");
    let merge = table.get("merge");
    let search = table.get("search");
    let indexes = table.get("indexes");
    let indexes_place = indexes
        .as_ref()
        .map_or(Place::default(), |node| node.place.clone());
    let fields = table
        .require("fields", "a table of fields", findings)
        .and_then(|node| node.table("a table of fields", findings));
    Some(DraftCollection {
        id,
        on_conflict_delete: on_conflict_delete
            .and_then(|node| node.word(&delete_policies, findings)),
        merge: merge.and_then(|node| node.word(&merge_policies, findings)),
        search: search
            .and_then(|node| read_names(node, findings))
            .unwrap_or_default(),
        indexes: indexes
            .and_then(|node| node.items("an array of { name, fields } tables", findings))
            .into_iter()
            .flatten()
            .filter_map(|node| read_index(node, findings))
            .collect(),
        indexes_place,
        fields_place: fields.as_ref().map(|table| table.place.clone()),
        fields: fields
            .iter()
            .flat_map(Table::named)
            .filter_map(|(name, node)| read_field(name, node, findings))
            .collect(),
        name,
    })
}

fn read_id(table: &Table<'_>, findings: &mut Findings) -> Option<At<u16>> {
    let expected = format!("a stable number from 1 to {LARGEST_ID}");
    table
        .require("id", &expected, findings)
        .and_then(|node| node.integer((1, LARGEST_ID), findings))
}

fn read_names(node: Node<'_>, findings: &mut Findings) -> Option<Vec<At<String>>> {
    let items = node.items("an array of field names", findings)?;
    Some(
        items
            .into_iter()
            .filter_map(|item| item.string("a field name", findings))
            .collect(),
    )
}

fn read_index(node: Node<'_>, findings: &mut Findings) -> Option<DraftIndex> {
    let table = node.table("a table such as { fields = [\"name\"] }", findings)?;
    table.only(&["name", "fields"], &[], findings);
    let fields = table.require("fields", "an array of field names", findings);
    Some(DraftIndex {
        fields: fields.and_then(|node| read_names(node, findings)),
        name: table
            .get("name")
            .and_then(|node| node.string("a name", findings)),
        place: table.place,
    })
}

fn read_field(name: At<String>, node: Node<'_>, findings: &mut Findings) -> Option<DraftField> {
    let table = node.table("a table such as { id = 1, kind = \"text\" }", findings)?;
    table.only(
        &["id", "kind", "required", "default", "max_bytes", "merge"],
        &[],
        findings,
    );
    let id = read_id(&table, findings);
    let kind = table.require("kind", "a kind such as \"text\"", findings);
    let merges = ["register", "add", "observed_remove", "text", "list"].map(|word| (word, word));
    Some(DraftField {
        id,
        kind: kind.and_then(|node| read_kind(node, findings)),
        required: table
            .get("required")
            .and_then(|node| node.boolean(findings)),
        default: table.get("default").and_then(|node| node.scalar(findings)),
        max_bytes: table.get("max_bytes").and_then(|node| node.size(findings)),
        merge: table
            .get("merge")
            .and_then(|node| node.word(&merges, findings)),
        name,
    })
}

fn read_kind(node: Node<'_>, findings: &mut Findings) -> Option<At<FieldKind>> {
    let found = node.as_str();
    if let Some(kind) = FieldKind::ALL
        .into_iter()
        .find(|kind| Some(kind.name()) == found)
    {
        return Some(At {
            value: kind,
            place: node.place,
        });
    }
    let names = FieldKind::ALL.into_iter().map(FieldKind::name);
    let meant = found.and_then(|word| {
        let elsewhere = CALLED_ELSEWHERE.iter().map(|(word, _)| *word);
        let near = nearest(word, names.clone().chain(elsewhere))?;
        let kind = CALLED_ELSEWHERE.iter().find(|(word, _)| *word == near);
        Some(kind.map_or(near, |(_, kind)| kind.name()))
    });
    node.not_among(names, meant, findings)
}

/// What other databases and languages call a kind.
const CALLED_ELSEWHERE: [(&str, FieldKind); 17] = [
    ("string", FieldKind::Text),
    ("str", FieldKind::Text),
    ("varchar", FieldKind::Text),
    ("float", FieldKind::Real),
    ("double", FieldKind::Real),
    ("number", FieldKind::Real),
    ("decimal", FieldKind::Real),
    ("bigint", FieldKind::Integer),
    ("long", FieldKind::Integer),
    ("date", FieldKind::Timestamp),
    ("datetime", FieldKind::Timestamp),
    ("time", FieldKind::Timestamp),
    ("guid", FieldKind::Uuid),
    ("object", FieldKind::Json),
    ("blob", FieldKind::Bytes),
    ("binary", FieldKind::Bytes),
    ("array", FieldKind::List),
];
