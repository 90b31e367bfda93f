//! Formats between JSON and Yrs.

use std::sync::Arc;

use serde_json::Value;
use yrs::types::Attrs;
use yrs::{Any, Number};

use super::TextError;
use super::delta::Attributes;
use super::guard::GuardLimits;

/// Checks a format and brings its value into the one form that survives Yrs' encoding.
pub(super) fn admit(name: &str, value: Value, limits: &GuardLimits) -> Result<Value, TextError> {
    if name.is_empty() || name.len() > limits.max_format_key || name.contains('\0') {
        return Err(TextError::FormatName);
    }
    let value = match value {
        Value::Null | Value::Bool(_) => value,
        Value::String(text) => {
            // Encoded once to be measured: escapes count.
            let size = serde_json::to_string(&text).map_or(usize::MAX, |json| json.len());
            if size > limits.max_format_value {
                return Err(TextError::FormatValue);
            }
            Value::String(text)
        }
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(_), _) => Value::Number(number),
            // Read back, a whole number is an integer, whatever it was written as.
            (None, Some(real)) if real.trunc() == real && real.abs() <= 9e15 => {
                Value::from(real as i64)
            }
            (None, Some(real)) => Value::from(real),
            (None, None) => return Err(TextError::FormatValue),
        },
        Value::Array(_) | Value::Object(_) => return Err(TextError::FormatValue),
    };
    Ok(value)
}

pub(super) fn to_any(value: &Value) -> Any {
    match value {
        Value::Null | Value::Array(_) | Value::Object(_) => Any::Null,
        Value::Bool(flag) => Any::Bool(*flag),
        Value::String(text) => Any::String(Arc::from(text.as_str())),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => Any::Number(Number::Int(integer)),
            (None, real) => Any::Number(Number::Float(real.unwrap_or_default())),
        },
    }
}

pub(super) fn from_any(any: &Any) -> Value {
    match any {
        Any::Bool(flag) => Value::Bool(*flag),
        Any::String(text) => Value::from(text.as_ref()),
        Any::Number(Number::Int(integer)) => Value::from(*integer),
        Any::Number(Number::Float(real)) => Value::from(*real),
        // The guard lets no other value of a format through.
        _ => Value::Null,
    }
}

pub(super) fn from_attrs(attrs: Option<&Attrs>) -> Attributes {
    let pairs = attrs.into_iter().flatten();
    pairs
        .map(|(name, value)| (name.to_string(), from_any(value)))
        .collect()
}
