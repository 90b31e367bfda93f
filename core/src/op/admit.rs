//! Whether an op fits the schema: the same rules on the device, before it is queued, and on the
//! server, before it is merged.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::{Change, ChangeKind, OpBody, TextEdit};
use crate::id::{CollectionId, DocumentId, FieldId, MAX_DOCUMENT_ID};
use crate::protocol::limits::MAX_COVERS;
use crate::schema::{Collection, Field, FieldKind, Limits, MergePolicy, Schema};
use crate::value::{Value, ValueError};

/// Why an op can't be taken. The code is stable; the message names fields, never values.
#[derive(
    Clone,
    Debug,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    minicbor::Encode,
    minicbor::Decode,
    thiserror::Error,
)]
#[cbor(map)]
#[error("{code}: {message}")]
pub struct Refusal {
    /// One of [`refusal`]'s constants; codes of a newer server are kept as they are.
    #[n(0)]
    pub code: String,
    /// What and where, for a person.
    #[n(1)]
    pub message: String,
}

/// The codes of a [`Refusal`].
pub mod refusal {
    /// The collection's number is not in the schema.
    pub const UNKNOWN_COLLECTION: &str = "unknown_collection";
    /// The field's number is not in the collection.
    pub const UNKNOWN_FIELD: &str = "unknown_field";
    /// The value or the operation does not fit the field's kind.
    pub const WRONG_KIND: &str = "wrong_kind";
    /// A required field is missing or cleared.
    pub const REQUIRED: &str = "required";
    /// A value is larger than the field or the workspace allows.
    pub const VALUE_TOO_LARGE: &str = "value_too_large";
    /// The document would be larger than the workspace allows.
    pub const DOCUMENT_TOO_LARGE: &str = "document_too_large";
    /// The op is larger than the workspace allows.
    pub const GROUP_TOO_LARGE: &str = "group_too_large";
    /// A set would have more elements than the workspace allows.
    pub const SET_TOO_LARGE: &str = "set_too_large";
    /// A counter would leave the 64-bit range.
    pub const COUNTER_OVERFLOW: &str = "counter_overflow";
    /// An update, delete or restore of a document that never was.
    pub const NOT_FOUND: &str = "not_found";
    /// The insert or restore that this op builds on was rejected.
    pub const BLOCKED_BY: &str = "blocked_by";
    /// The author took it back.
    pub const WITHDRAWN: &str = "withdrawn";
    /// The author's role may not write.
    pub const READ_ONLY: &str = "read_only";
    /// The op id belongs to another account.
    pub const ID_TAKEN: &str = "id_taken";
    /// The workspace is full.
    pub const QUOTA: &str = "quota";
    /// The op itself is malformed: no changes, links to itself, a clock where none belongs.
    pub const MALFORMED: &str = "malformed";
    /// An edit of a text or list is none that may be applied.
    pub const INVALID_TEXT: &str = "invalid_text";
}

impl Refusal {
    /// A refusal with one of [`refusal`]'s codes.
    pub fn new(code: &str, message: impl Into<String>) -> Refusal {
        Refusal {
            code: code.to_owned(),
            message: message.into(),
        }
    }
}

/// Bytes counted for a change beside its values: two packed ids, the document's keys.
const CHANGE_FRAME: usize = 64;
/// Bytes counted for a value beside the value.
const PART_FRAME: usize = 16;

/// Checks every change of `body` against `schema` and brings values into their stored form.
///
/// A field that a newer app declared (`body.schema` above the schema's version) is let through
/// untouched: unknown fields travel opaque.
///
/// # Errors
/// The first thing that does not fit.
pub fn admit(schema: &Schema, body: &mut OpBody) -> Result<(), Refusal> {
    let newer = body.schema > schema.version;
    admit_covers(body)?;
    if body.changes.is_empty() {
        return Err(Refusal::new(
            refusal::MALFORMED,
            "an op needs at least one change",
        ));
    }
    one_edit_a_field(body)?;
    let mut group = 0;
    for change in &mut body.changes {
        let Some(collection) = schema.collection_by_id(change.collection) else {
            return Err(Refusal::new(
                refusal::UNKNOWN_COLLECTION,
                format!("collection {}", change.collection),
            ));
        };
        if !body.withdraw {
            group += admit_change(collection, &schema.limits, change, newer)? + frame(change);
        }
    }
    within_group(&schema.limits, group)
}

/// Whether an op covers no more than what joining makes: its record is kept once for each id it stands
/// for, with a link for each change. A thousand times ten thousand links would be a gigabyte.
///
/// # Errors
/// It covers too many, or is a group and covers any.
pub(crate) fn admit_covers(body: &OpBody) -> Result<(), Refusal> {
    if body.covers.len() > MAX_COVERS {
        return Err(Refusal::new(
            refusal::MALFORMED,
            format!("an op covers at most {MAX_COVERS} others"),
        ));
    }
    if !body.covers.is_empty() && body.changes.len() > 1 {
        return Err(Refusal::new(
            refusal::MALFORMED,
            "an op of several changes covers no other",
        ));
    }
    Ok(())
}

/// Checks a change that makes an op by itself, as [`admit`] does. Returns what it [weighs](weight).
///
/// # Errors
/// The first thing that does not fit.
pub fn admit_alone(
    schema: &Schema,
    collection: &Collection,
    change: &mut Change,
) -> Result<usize, Refusal> {
    let size = admit_change(collection, &schema.limits, change, false)? + frame(change);
    within_group(&schema.limits, size)?;
    Ok(size)
}

fn within_group(limits: &Limits, size: usize) -> Result<(), Refusal> {
    if size <= limits.max_group as usize {
        return Ok(());
    }
    let most = limits.max_group;
    let message = format!("{size} bytes in one transaction; at most {most}");
    Err(Refusal::new(refusal::GROUP_TOO_LARGE, message))
}

/// A page brings one update for each field that a version changed, so an op has one.
fn one_edit_a_field(body: &OpBody) -> Result<(), Refusal> {
    let mut edited: HashSet<(CollectionId, &DocumentId, FieldId)> = HashSet::new();
    for change in &body.changes {
        for (field, _) in change.texts.iter() {
            if !edited.insert((change.collection, &change.document, field)) {
                let message = format!(
                    "collection {} field {field}: one edit of a text in one op",
                    change.collection
                );
                return Err(Refusal::new(refusal::MALFORMED, message));
            }
        }
    }
    Ok(())
}

/// What a change counts towards the limit of a transaction.
pub fn weight(change: &Change) -> usize {
    let registers: usize = change.registers.iter().map(|(_, value)| value.size()).sum();
    let elements = change
        .adds
        .iter()
        .chain(change.removes.iter())
        .flat_map(|(_, list)| list);
    let elements: usize = elements.map(String::len).sum();
    let texts: usize = change.texts.iter().map(|(_, edit)| edit.update.len()).sum();
    let size = change.document.as_str().len() + registers + elements + texts;
    size + 8 * change.increments.len() + frame(change)
}

/// The most that a change of so many registers counts beside their values.
pub fn frame_of(registers: usize) -> usize {
    MAX_DOCUMENT_ID + CHANGE_FRAME + PART_FRAME * registers
}

/// Whether an insert of these registers alone, of so many bytes with its document's id, is as large as
/// [`admit`] takes at most.
pub(crate) fn is_small_enough(limits: &Limits, size: usize, registers: usize) -> bool {
    let frame = CHANGE_FRAME + PART_FRAME * registers;
    size <= limits.max_document as usize && size + frame <= limits.max_group as usize
}

/// What a change takes beside its values, towards the limit of a transaction: ids, links and keys.
/// A hundred thousand changes of one boolean each must not pass as a hundred kilobytes.
fn frame(change: &Change) -> usize {
    let elements = |(_, list): (_, &Vec<String>)| list.len();
    let parts = change.registers.len()
        + change.increments.len()
        // Beside an edit stands the op it follows.
        + 2 * change.texts.len()
        + change.adds.iter().map(elements).sum::<usize>()
        + change.removes.iter().map(elements).sum::<usize>();
    CHANGE_FRAME + PART_FRAME * parts
}

fn admit_change(
    collection: &Collection,
    limits: &Limits,
    change: &mut Change,
    newer: bool,
) -> Result<usize, Refusal> {
    let mut size = change.document.as_str().len();
    for (id, value) in change.registers.iter_mut() {
        match collection.field_by_id(id) {
            Some(field) => {
                let given = std::mem::take(value);
                *value = admit_register(collection, field, limits, given, change.kind)?;
            }
            None if newer => {}
            None => return Err(unknown_field(collection, id)),
        }
        size += value.size();
    }
    if change.kind == ChangeKind::Insert && !newer {
        require_all(collection, change)?;
    }
    for (id, _) in change.increments.iter() {
        expect_kind(collection, id, FieldKind::Counter, newer)?;
        size += 8;
    }
    for (id, elements) in change.adds.iter().chain(change.removes.iter()) {
        expect_kind(collection, id, FieldKind::Set, newer)?;
        size += set_elements(collection, id, limits, elements)?;
    }
    for (id, edit) in change.texts.iter() {
        size += text_edit(collection, id, limits, edit)?;
    }
    let content = !(change.registers.is_empty()
        && change.increments.is_empty()
        && change.adds.is_empty()
        && change.removes.is_empty()
        && change.texts.is_empty());
    if content && matches!(change.kind, ChangeKind::Delete | ChangeKind::Restore) {
        return Err(Refusal::new(
            refusal::MALFORMED,
            format!("a {} carries no content", change.kind.name()),
        ));
    }
    if (change.clock > 0)
        != (collection.merge == MergePolicy::Document && !change.registers.is_empty())
    {
        let message = format!(
            "a revision clock belongs to writes of collections merged by document ({})",
            collection.name
        );
        return Err(Refusal::new(refusal::MALFORMED, message));
    }
    if size > limits.max_document as usize {
        let message = format!(
            "{size} bytes in one document of {}; at most {}",
            collection.name, limits.max_document
        );
        return Err(Refusal::new(refusal::DOCUMENT_TOO_LARGE, message));
    }
    Ok(size)
}

/// Checks one register's value; the device calls it for each field as the app sets it.
///
/// # Errors
/// When the field is no register, the value does not fit, is too large, or clears a required field.
pub fn admit_register(
    collection: &Collection,
    field: &Field,
    limits: &Limits,
    value: Value,
    kind: ChangeKind,
) -> Result<Value, Refusal> {
    let place = || format!("{}.{}", collection.name, field.name);
    if !field.kind.is_register() {
        let message = format!(
            "{} is a {}; it is not set as a whole",
            place(),
            field.kind.name()
        );
        return Err(Refusal::new(refusal::WRONG_KIND, message));
    }
    let value = value.admit(field.kind).map_err(|error: ValueError| {
        Refusal::new(refusal::WRONG_KIND, format!("{}: {error}", place()))
    })?;
    if value.is_null() && field.required {
        return Err(Refusal::new(
            refusal::REQUIRED,
            format!("{} is required ({})", place(), kind.name()),
        ));
    }
    let most = field
        .max_bytes
        .unwrap_or(limits.max_value)
        .min(limits.max_value) as usize;
    if value.size() > most {
        let message = format!("{}: {} bytes; at most {most}", place(), value.size());
        return Err(Refusal::new(refusal::VALUE_TOO_LARGE, message));
    }
    Ok(value)
}

fn require_all(collection: &Collection, change: &Change) -> Result<(), Refusal> {
    let missing = |field: &&Field| {
        field.required
            && field.default.is_none()
            && change.registers.get(field.id).is_none_or(Value::is_null)
    };
    match collection
        .fields
        .iter()
        .filter(|f| f.kind.is_register())
        .find(missing)
    {
        None => Ok(()),
        Some(field) => Err(Refusal::new(
            refusal::REQUIRED,
            format!("{}.{} is required (insert)", collection.name, field.name),
        )),
    }
}

fn expect_kind(
    collection: &Collection,
    id: u16,
    kind: FieldKind,
    newer: bool,
) -> Result<(), Refusal> {
    match collection.field_by_id(id) {
        Some(field) if field.kind == kind => Ok(()),
        Some(field) => {
            let message = format!(
                "{}.{} is a {}, not a {}",
                collection.name,
                field.name,
                field.kind.name(),
                kind.name()
            );
            Err(Refusal::new(refusal::WRONG_KIND, message))
        }
        None if newer => Ok(()),
        None => Err(unknown_field(collection, id)),
    }
}

fn set_elements(
    collection: &Collection,
    id: u16,
    limits: &Limits,
    elements: &[String],
) -> Result<usize, Refusal> {
    let place = || collection.place_of(id);
    if elements.len() > limits.max_set_elements as usize {
        return Err(Refusal::new(
            refusal::SET_TOO_LARGE,
            format!("{}: at most {} elements", place(), limits.max_set_elements),
        ));
    }
    let most = collection
        .field_by_id(id)
        .and_then(|f| f.max_bytes)
        .unwrap_or(limits.max_value) as usize;
    for element in elements {
        if element.len() > most {
            return Err(Refusal::new(
                refusal::VALUE_TOO_LARGE,
                format!(
                    "{}: an element of {} bytes; at most {most}",
                    place(),
                    element.len()
                ),
            ));
        }
        if element.as_bytes().contains(&0) {
            return Err(Refusal::new(
                refusal::WRONG_KIND,
                format!("{}: {}", place(), ValueError::Nul),
            ));
        }
    }
    Ok(elements.iter().map(String::len).sum())
}

/// What can be said of an edit without the text it is made to; the rest is said where it is merged.
///
/// A text field of a newer app is refused: without its kind nobody could tell what the bytes do.
fn text_edit(
    collection: &Collection,
    id: u16,
    limits: &Limits,
    edit: &TextEdit,
) -> Result<usize, Refusal> {
    let Some(field) = collection.field_by_id(id) else {
        return Err(unknown_field(collection, id));
    };
    let place = || format!("{}.{}", collection.name, field.name);
    if !field.kind.is_text() {
        let message = format!("{} is a {}, not a text or list", place(), field.kind.name());
        return Err(Refusal::new(refusal::WRONG_KIND, message));
    }
    let most = limits.max_document as usize;
    let size = edit.update.len();
    if size > most {
        let message = format!("{}: an edit of {size} bytes; at most {most}", place());
        return Err(Refusal::new(refusal::VALUE_TOO_LARGE, message));
    }
    Ok(size)
}

fn unknown_field(collection: &Collection, id: u16) -> Refusal {
    Refusal::new(
        refusal::UNKNOWN_FIELD,
        format!("{} has no field {id}", collection.name),
    )
}
