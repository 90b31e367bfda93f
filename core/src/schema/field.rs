//! Whether a field's keys fit its kind.

use super::name::check_name;
use super::parse::DraftField;
use super::place::{At, Findings};
use super::read::show_size;
use super::words::quote;
use super::{Field, FieldKind, Limits};
use crate::value::Value;

/// The field, if the draft is whole; what does not fit is added to `findings`.
pub(super) fn check_field(
    draft: &DraftField,
    limits: &Limits,
    findings: &mut Findings,
) -> Option<Field> {
    check_name(&draft.name, findings);
    let kind = draft.kind.as_ref().map(|at| at.value);
    let max_bytes = check_max_bytes(draft, kind, limits, findings);
    let kind = kind?;
    check_merge(draft, kind, findings);
    let required = check_required(draft, kind, findings);
    let most = max_bytes.unwrap_or(limits.max_value);
    let default = match &draft.default {
        Some(default) => Some(check_default(default, kind, most, findings)?),
        None => None,
    };
    let id = draft.id.as_ref()?.value;
    Some(Field {
        id,
        name: draft.name.value.clone(),
        kind,
        required,
        default,
        max_bytes,
    })
}

fn check_merge(draft: &DraftField, kind: FieldKind, findings: &mut Findings) {
    let Some(merge) = &draft.merge else { return };
    let expected = merge_of(kind);
    if merge.value != expected {
        let message = format!(
            "a field of kind {} merges by \"{expected}\", found {}",
            kind.name(),
            quote(merge.value)
        );
        findings.add(&merge.place, message);
    }
}

/// The word for how `kind` merges; a field cannot choose, only say so.
fn merge_of(kind: FieldKind) -> &'static str {
    match kind {
        FieldKind::Counter => "add",
        FieldKind::Set => "observed_remove",
        FieldKind::RichText => "text",
        FieldKind::List => "list",
        _ => "register",
    }
}

fn check_required(draft: &DraftField, kind: FieldKind, findings: &mut Findings) -> bool {
    let Some(required) = draft.required.as_ref().filter(|at| at.value) else {
        return false;
    };
    if !kind.is_register() {
        let name = kind.name();
        let message = format!("a {name} always has a value, remove required");
        findings.add(&required.place, message);
    }
    true
}

/// The bound in bytes, where the kind's values differ in size.
fn check_max_bytes(
    draft: &DraftField,
    kind: Option<FieldKind>,
    limits: &Limits,
    findings: &mut Findings,
) -> Option<u32> {
    let max_bytes = draft.max_bytes.as_ref()?;
    if let Some(kind) = kind.filter(|kind| !varies_in_size(*kind)) {
        let message = format!(
            "a field of kind {} has a fixed size, remove max_bytes",
            kind.name()
        );
        findings.add(&max_bytes.place, message);
    } else if max_bytes.value > limits.max_value.into() {
        let (most, found) = (
            show_size(limits.max_value.into()),
            show_size(max_bytes.value),
        );
        let message = format!("expected at most max_value ({most}), found {found}");
        findings.add(&max_bytes.place, message);
    }
    u32::try_from(max_bytes.value).ok()
}

fn varies_in_size(kind: FieldKind) -> bool {
    use FieldKind::{Bytes, Json, List, RichText, Set, Text};
    matches!(kind, Text | Json | Bytes | Set | RichText | List)
}

fn check_default(
    default: &At<Value>,
    kind: FieldKind,
    most: u32,
    findings: &mut Findings,
) -> Option<Value> {
    match fit_default(&default.value, kind, most) {
        Ok(value) => Some(value),
        Err(message) => {
            findings.add(&default.place, message);
            None
        }
    }
}

fn fit_default(found: &Value, kind: FieldKind, most: u32) -> Result<Value, String> {
    let expected = default_form(kind)?;
    // `admit` also takes the JSON form, in which large integers are strings; here they need not be.
    let typed = match kind {
        FieldKind::Integer | FieldKind::Timestamp => matches!(found, Value::Integer(_)),
        FieldKind::Real => matches!(found, Value::Integer(_) | Value::Real(_)),
        FieldKind::Boolean => matches!(found, Value::Boolean(_)),
        _ => matches!(found, Value::Text(_)),
    };
    if !typed {
        return Err(format!("expected {expected}, found {}", show(found)));
    }
    let value = found.clone().admit(kind);
    let value = value.map_err(|e| format!("expected {expected}, found {}: {e}", show(found)))?;
    if value.size() as u64 > most.into() {
        let (most, found) = (show_size(most.into()), show_size(value.size() as u64));
        return Err(format!(
            "expected a default of at most {most}, found {found}"
        ));
    }
    Ok(value)
}

/// How a default of `kind` is written, or why there is none.
fn default_form(kind: FieldKind) -> Result<&'static str, String> {
    Ok(match kind {
        FieldKind::Text => "a string",
        FieldKind::Integer => "an integer",
        FieldKind::Real => "a finite number",
        FieldKind::Boolean => "true or false",
        FieldKind::Timestamp => "milliseconds since 1970 UTC as an integer",
        FieldKind::Uuid => "a uuid in canonical lower case, as a string",
        FieldKind::Json => "a string of JSON",
        FieldKind::Bytes => "a string of base64",
        FieldKind::OrderKey => {
            return Err("an order key is drawn for each document, remove default".to_owned());
        }
        FieldKind::Counter => return Err("a counter starts at 0, remove default".to_owned()),
        FieldKind::Set | FieldKind::RichText | FieldKind::List => {
            return Err(format!("a {} starts empty, remove default", kind.name()));
        }
    })
}

fn show(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Boolean(value) => value.to_string(),
        Value::Integer(n) => n.to_string(),
        Value::Real(x) => x.to_string(),
        Value::Text(text) => quote(text),
        Value::Bytes(bytes) => format!("{} bytes", bytes.len()),
    }
}
