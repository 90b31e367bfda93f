//! Integers in the JSON form: a number up to ±(2⁵³ − 1), a string beyond. Both are read.
//!
//! A JSON number beyond that loses digits in most languages, silently.

use std::fmt::Display;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::value::MAX_SAFE_INTEGER;

/// An integer that keeps its digits.
#[derive(Clone, Copy)]
pub(crate) struct Exact<T>(pub(crate) T);

/// The integers that may need it.
pub trait Wide: Copy + Display + FromStr + TryFrom<i64> + TryFrom<u64> {
    /// The integer as a JSON number, if it keeps its digits there.
    fn small(self) -> Option<i64>;
}

impl Wide for u64 {
    fn small(self) -> Option<i64> {
        i64::try_from(self).ok().and_then(Wide::small)
    }
}

impl Wide for i64 {
    fn small(self) -> Option<i64> {
        (-MAX_SAFE_INTEGER..=MAX_SAFE_INTEGER)
            .contains(&self)
            .then_some(self)
    }
}

impl<T: Wide> Serialize for Exact<T> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self.0.small() {
            Some(small) => s.serialize_i64(small),
            None => s.collect_str(&self.0),
        }
    }
}

impl<'de, T: Wide> Deserialize<'de> for Exact<T> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Visitor<T>(PhantomData<T>);
        impl<T: Wide> de::Visitor<'_> for Visitor<T> {
            type Value = Exact<T>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a 64-bit integer in range, as a number or a string")
            }
            fn visit_u64<E: de::Error>(self, n: u64) -> Result<Exact<T>, E> {
                let exact = T::try_from(n).map(Exact);
                exact.map_err(|_| E::invalid_value(de::Unexpected::Unsigned(n), &self))
            }
            fn visit_i64<E: de::Error>(self, n: i64) -> Result<Exact<T>, E> {
                let exact = T::try_from(n).map(Exact);
                exact.map_err(|_| E::invalid_value(de::Unexpected::Signed(n), &self))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Exact<T>, E> {
                let exact = text.parse().map(Exact);
                exact.map_err(|_| E::invalid_value(de::Unexpected::Other("a string"), &self))
            }
        }
        d.deserialize_any(Visitor(PhantomData))
    }
}

/// Writes a `u64` or `i64` member.
///
/// # Errors
/// What the writer says.
pub fn serialize<T: Wide, S: Serializer>(n: &T, s: S) -> Result<S::Ok, S::Error> {
    Exact(*n).serialize(s)
}

/// Reads one.
///
/// # Errors
/// No integer, or one out of range.
pub fn deserialize<'de, T: Wide, D: Deserializer<'de>>(d: D) -> Result<T, D::Error> {
    Ok(Exact::deserialize(d)?.0)
}

/// The same for the integers in a map by field number.
pub mod fields {
    use super::*;
    use crate::op::FieldMap;

    /// Writes it.
    ///
    /// # Errors
    /// What the writer says.
    pub fn serialize<S: Serializer>(map: &FieldMap<i64>, s: S) -> Result<S::Ok, S::Error> {
        let exact: FieldMap<Exact<i64>> = map.iter().map(|(f, n)| (f, Exact(*n))).collect();
        exact.serialize(s)
    }

    /// Reads it.
    ///
    /// # Errors
    /// No map of integers.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<FieldMap<i64>, D::Error> {
        let exact = FieldMap::<Exact<i64>>::deserialize(d)?;
        Ok(exact.into_iter().map(|(f, n)| (f, n.0)).collect())
    }
}

/// The same for a list of ops with their versions: `[["<op id>", <version>], …]`.
pub mod tags {
    use super::*;
    use crate::id::{OpId, Version};

    /// Writes it.
    ///
    /// # Errors
    /// What the writer says.
    pub fn serialize<S: Serializer>(tags: &[(OpId, Version)], s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(tags.iter().map(|(op, version)| (op, Exact(*version))))
    }

    /// Reads it.
    ///
    /// # Errors
    /// No such list.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<(OpId, Version)>, D::Error> {
        let tags = Vec::<(OpId, Exact<Version>)>::deserialize(d)?;
        Ok(tags
            .into_iter()
            .map(|(op, version)| (op, version.0))
            .collect())
    }
}

/// The same for such lists by element.
pub mod elements {
    use std::collections::BTreeMap;

    use super::*;
    use crate::id::{OpId, Version};

    type Held<V> = BTreeMap<String, Vec<(OpId, V)>>;

    /// Writes it.
    ///
    /// # Errors
    /// What the writer says.
    pub fn serialize<S: Serializer>(elements: &Held<Version>, s: S) -> Result<S::Ok, S::Error> {
        s.collect_map(elements.iter().map(|(element, held)| {
            let held: Vec<_> = held
                .iter()
                .map(|(op, version)| (op, Exact(*version)))
                .collect();
            (element, held)
        }))
    }

    /// Reads it.
    ///
    /// # Errors
    /// No such map.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Held<Version>, D::Error> {
        let elements = Held::<Exact<Version>>::deserialize(d)?;
        let plain = |held: Vec<(OpId, Exact<Version>)>| {
            held.into_iter()
                .map(|(op, version)| (op, version.0))
                .collect()
        };
        Ok(elements
            .into_iter()
            .map(|(element, held)| (element, plain(held)))
            .collect())
    }
}

/// The same for the marks of a text.
pub mod marks {
    use super::*;
    use crate::id::{OpId, Version};
    use crate::text::Mark;

    #[derive(Serialize, Deserialize)]
    #[serde(rename = "mark")]
    struct Written {
        #[serde(with = "super")]
        writer: u64,
        next: u32,
        last: OpId,
        #[serde(with = "super")]
        version: Version,
    }

    /// Writes them.
    ///
    /// # Errors
    /// What the writer says.
    pub fn serialize<S: Serializer>(marks: &[Mark], s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(marks.iter().map(|mark| Written {
            writer: mark.writer,
            next: mark.next,
            last: mark.last,
            version: mark.version,
        }))
    }

    /// Reads them.
    ///
    /// # Errors
    /// No such list, or not in the order of writers.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<Mark>, D::Error> {
        let written = Vec::<Written>::deserialize(d)?;
        if !written.is_sorted_by(|a, b| a.writer < b.writer) {
            return Err(de::Error::custom("expected marks in the order of writers"));
        }
        let mark = |mark: Written| Mark {
            writer: mark.writer,
            next: mark.next,
            last: mark.last,
            version: mark.version,
        };
        Ok(written.into_iter().map(mark).collect())
    }
}
