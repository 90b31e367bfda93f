//! What a register may hold, and how a value is checked against its field's kind.

use minicbor::decode::{self, Decoder};
use minicbor::encode::{self, Encoder, Write};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::schema::FieldKind;

/// Integers beyond this do not survive a JSON number in most languages.
pub const MAX_SAFE_INTEGER: i64 = (1 << 53) - 1;

/// One field's value.
///
/// `timestamp` travels as [`Value::Integer`] (milliseconds UTC), `uuid`, `json` and `order_key` as
/// [`Value::Text`].
#[derive(Clone, PartialEq, Debug, Default)]
pub enum Value {
    /// No value; what an optional field holds until it is set.
    #[default]
    Null,
    /// `boolean`.
    Boolean(bool),
    /// `integer`, `timestamp`, `counter`.
    Integer(i64),
    /// `real`: finite.
    Real(f64),
    /// `text`, `uuid`, `json`, `order_key`.
    Text(String),
    /// `bytes`.
    Bytes(Vec<u8>),
}

/// A value where it stands: in a [`Value`], or in the bytes of a message.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum ValueRef<'v> {
    /// [`Value::Null`].
    Null,
    /// [`Value::Boolean`].
    Boolean(bool),
    /// [`Value::Integer`].
    Integer(i64),
    /// [`Value::Real`].
    Real(f64),
    /// [`Value::Text`].
    Text(&'v str),
    /// [`Value::Bytes`].
    Bytes(&'v [u8]),
}

/// Why a value does not fit its field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// The value is of another kind.
    #[error("expected {expected}, got {got}")]
    Kind {
        /// What the field holds.
        expected: &'static str,
        /// What was given.
        got: &'static str,
    },
    /// NaN and the infinities cannot be ordered or written as JSON.
    #[error("a real number must be finite")]
    NotFinite,
    /// A uuid must be in canonical lower case.
    #[error("expected a uuid in canonical lower-case form")]
    NotAUuid,
    /// A `json` field holds one valid JSON text.
    #[error("expected valid JSON: {0}")]
    NotJson(String),
    /// An order key is made by the order key functions only.
    #[error("expected an order key")]
    NotAnOrderKey,
    /// Bytes in the JSON form are base64.
    #[error("expected base64")]
    NotBase64,
    /// Text must not contain NUL: SQLite's text functions stop there.
    #[error("text must not contain NUL")]
    Nul,
}

impl Value {
    /// The kind of this value, for error messages.
    pub fn kind_name(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Boolean(_) => "boolean",
            Value::Integer(_) => "integer",
            Value::Real(_) => "real",
            Value::Text(_) => "text",
            Value::Bytes(_) => "bytes",
        }
    }

    /// How many bytes the value takes, as counted by limits.
    pub fn size(&self) -> usize {
        self.as_ref().size()
    }

    /// The value where it stands.
    pub fn as_ref(&self) -> ValueRef<'_> {
        match self {
            Value::Null => ValueRef::Null,
            Value::Boolean(b) => ValueRef::Boolean(*b),
            Value::Integer(n) => ValueRef::Integer(*n),
            Value::Real(x) => ValueRef::Real(*x),
            Value::Text(text) => ValueRef::Text(text),
            Value::Bytes(bytes) => ValueRef::Bytes(bytes),
        }
    }

    /// Whether this is [`Value::Null`].
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// Checks the value against `kind` and brings it into the one stored form.
    ///
    /// A real field takes an integer; in the JSON form an integer beyond ±2⁵³ arrives as a string
    /// and bytes as base64. Null is judged by the caller, who knows whether the field is required.
    ///
    /// # Errors
    /// [`ValueError`] says what was expected.
    pub fn admit(self, kind: FieldKind) -> Result<Value, ValueError> {
        let wrong = |value: &Value| ValueError::Kind {
            expected: kind.name(),
            got: value.kind_name(),
        };
        match (kind, self) {
            (_, Value::Null) => Ok(Value::Null),
            (FieldKind::Boolean, value @ Value::Boolean(_)) => Ok(value),
            (
                FieldKind::Integer | FieldKind::Timestamp | FieldKind::Counter,
                value @ Value::Integer(_),
            ) => Ok(value),
            (FieldKind::Integer | FieldKind::Timestamp | FieldKind::Counter, Value::Text(text)) => {
                text.parse()
                    .map(Value::Integer)
                    .map_err(|_| wrong(&Value::Text(text)))
            }
            (FieldKind::Real, Value::Integer(n)) => Ok(Value::Real(n as f64)),
            (FieldKind::Real, Value::Real(x)) if x.is_finite() => Ok(Value::Real(x)),
            (FieldKind::Real, Value::Real(_)) => Err(ValueError::NotFinite),
            (FieldKind::Text, Value::Text(text)) if text.as_bytes().contains(&0) => {
                Err(ValueError::Nul)
            }
            (FieldKind::Text, value @ Value::Text(_)) => Ok(value),
            (FieldKind::Uuid, Value::Text(text)) => match uuid::Uuid::parse_str(&text) {
                Ok(uuid) if uuid.as_hyphenated().to_string() == text => Ok(Value::Text(text)),
                _ => Err(ValueError::NotAUuid),
            },
            (FieldKind::Json, Value::Text(text)) => {
                match serde_json::from_str::<serde::de::IgnoredAny>(&text) {
                    Ok(_) => Ok(Value::Text(text)),
                    Err(error) => Err(ValueError::NotJson(format!(
                        "line {} column {}",
                        error.line(),
                        error.column()
                    ))),
                }
            }
            (FieldKind::OrderKey, Value::Text(text)) => match crate::order_key::is_valid(&text) {
                true => Ok(Value::Text(text)),
                false => Err(ValueError::NotAnOrderKey),
            },
            (FieldKind::Bytes, value @ Value::Bytes(_)) => Ok(value),
            (FieldKind::Bytes, Value::Text(text)) => {
                use base64::Engine;
                let bytes = base64::engine::general_purpose::STANDARD.decode(text.as_bytes());
                bytes.map(Value::Bytes).map_err(|_| ValueError::NotBase64)
            }
            (_, other) => Err(wrong(&other)),
        }
    }
}

impl ValueRef<'_> {
    /// A copy.
    pub fn to_value(self) -> Value {
        match self {
            ValueRef::Null => Value::Null,
            ValueRef::Boolean(b) => Value::Boolean(b),
            ValueRef::Integer(n) => Value::Integer(n),
            ValueRef::Real(x) => Value::Real(x),
            ValueRef::Text(text) => Value::Text(text.to_owned()),
            ValueRef::Bytes(bytes) => Value::Bytes(bytes.to_owned()),
        }
    }

    /// How many bytes the value takes, as counted by limits.
    pub fn size(self) -> usize {
        match self {
            ValueRef::Null | ValueRef::Boolean(_) => 1,
            ValueRef::Integer(_) | ValueRef::Real(_) => 8,
            ValueRef::Text(text) => text.len(),
            ValueRef::Bytes(bytes) => bytes.len(),
        }
    }

    /// Whether [`Value::admit`] takes the value as it is, as can be told at a glance: what is validated
    /// there, or brought into another form, is not.
    pub fn is_plainly(self, kind: FieldKind) -> bool {
        match (kind, self) {
            (_, ValueRef::Null)
            | (FieldKind::Boolean, ValueRef::Boolean(_))
            | (FieldKind::Integer | FieldKind::Timestamp, ValueRef::Integer(_))
            | (FieldKind::Bytes, ValueRef::Bytes(_)) => true,
            (FieldKind::Real, ValueRef::Real(x)) => x.is_finite(),
            (FieldKind::Text, ValueRef::Text(text)) => !text.as_bytes().contains(&0),
            _ => false,
        }
    }
}

impl From<bool> for Value {
    fn from(b: bool) -> Value {
        Value::Boolean(b)
    }
}
impl From<i64> for Value {
    fn from(n: i64) -> Value {
        Value::Integer(n)
    }
}
impl From<i32> for Value {
    fn from(n: i32) -> Value {
        Value::Integer(n.into())
    }
}
impl From<f64> for Value {
    fn from(x: f64) -> Value {
        Value::Real(x)
    }
}
impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Text(text.to_owned())
    }
}
impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::Text(text)
    }
}
impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Value {
        Value::Bytes(bytes)
    }
}
impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Value {
        value.map_or(Value::Null, Into::into)
    }
}

impl<C> minicbor::Encode<C> for Value {
    fn encode<W: Write>(
        &self,
        e: &mut Encoder<W>,
        ctx: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        self.as_ref().encode(e, ctx)
    }
}

impl<C> minicbor::Encode<C> for ValueRef<'_> {
    fn encode<W: Write>(
        &self,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        match *self {
            ValueRef::Null => e.null()?.ok(),
            ValueRef::Boolean(b) => e.bool(b)?.ok(),
            ValueRef::Integer(n) => e.i64(n)?.ok(),
            ValueRef::Real(x) => e.f64(x)?.ok(),
            ValueRef::Text(text) => e.str(text)?.ok(),
            ValueRef::Bytes(bytes) => e.bytes(bytes)?.ok(),
        }
    }
}

impl<'b, C> minicbor::Decode<'b, C> for Value {
    fn decode(d: &mut Decoder<'b>, ctx: &mut C) -> Result<Self, decode::Error> {
        ValueRef::decode(d, ctx).map(ValueRef::to_value)
    }
}

impl<'b, C> minicbor::Decode<'b, C> for ValueRef<'b> {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        use minicbor::data::Type;
        Ok(match d.datatype()? {
            Type::Null | Type::Undefined => {
                d.skip()?;
                ValueRef::Null
            }
            Type::Bool => ValueRef::Boolean(d.bool()?),
            Type::F32 => finite(d.f32()?.into())?,
            Type::F64 => finite(d.f64()?)?,
            Type::String => ValueRef::Text(d.str()?),
            Type::Bytes => ValueRef::Bytes(d.bytes()?),
            _ => ValueRef::Integer(d.i64()?),
        })
    }
}

fn finite<'v>(x: f64) -> Result<ValueRef<'v>, decode::Error> {
    if x.is_finite() {
        Ok(ValueRef::Real(x))
    } else {
        Err(decode::Error::message("a real number must be finite"))
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Null => s.serialize_unit(),
            Value::Boolean(b) => s.serialize_bool(*b),
            Value::Integer(n) if (-MAX_SAFE_INTEGER..=MAX_SAFE_INTEGER).contains(n) => {
                s.serialize_i64(*n)
            }
            Value::Integer(n) => s.collect_str(n),
            Value::Real(x) => s.serialize_f64(*x),
            Value::Text(text) => s.serialize_str(text),
            Value::Bytes(bytes) => {
                use base64::Engine;
                s.serialize_str(&base64::engine::general_purpose::STANDARD.encode(bytes))
            }
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Value;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("null, a boolean, a number or a string")
            }
            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }
            fn visit_bool<E>(self, b: bool) -> Result<Value, E> {
                Ok(Value::Boolean(b))
            }
            fn visit_i64<E>(self, n: i64) -> Result<Value, E> {
                Ok(Value::Integer(n))
            }
            fn visit_u64<E: serde::de::Error>(self, n: u64) -> Result<Value, E> {
                i64::try_from(n)
                    .map(Value::Integer)
                    .map_err(|_| E::custom("integer out of range"))
            }
            fn visit_f64<E>(self, x: f64) -> Result<Value, E> {
                Ok(Value::Real(x))
            }
            fn visit_str<E>(self, text: &str) -> Result<Value, E> {
                Ok(Value::Text(text.to_owned()))
            }
        }
        d.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admits_only_what_the_kind_holds() {
        assert_eq!(
            Value::Integer(2).admit(FieldKind::Real),
            Ok(Value::Real(2.0))
        );
        assert_eq!(
            Value::Real(f64::NAN).admit(FieldKind::Real),
            Err(ValueError::NotFinite)
        );
        assert!(Value::Text("x".into()).admit(FieldKind::Integer).is_err());
        assert!(Value::Text("{".into()).admit(FieldKind::Json).is_err());
        assert!(
            Value::Text("A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11".into())
                .admit(FieldKind::Uuid)
                .is_err()
        );
        assert_eq!(
            Value::Text("aGk=".into()).admit(FieldKind::Bytes),
            Ok(Value::Bytes(b"hi".to_vec()))
        );
        assert_eq!(
            Value::Text("a\0".into()).admit(FieldKind::Text),
            Err(ValueError::Nul)
        );
    }

    #[test]
    fn json_keeps_integers_beyond_2_53() {
        let big = Value::Integer(9_007_199_254_740_993);
        let text = serde_json::to_string(&big).unwrap();
        assert_eq!(text, "\"9007199254740993\"");
        let back: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(back.admit(FieldKind::Integer), Ok(big));
    }

    #[test]
    fn cbor_round_trips_and_refuses_nan() {
        for value in [
            Value::Null,
            true.into(),
            i64::MIN.into(),
            1.5.into(),
            "é".into(),
            vec![0u8, 255].into(),
        ] {
            let bytes = minicbor::to_vec(&value).unwrap();
            assert_eq!(minicbor::decode::<Value>(&bytes).unwrap(), value);
        }
        assert!(minicbor::decode::<Value>(&minicbor::to_vec(f64::NAN).unwrap()).is_err());
    }
}
