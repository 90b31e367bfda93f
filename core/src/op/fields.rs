//! A small map from field number to something, in order of the numbers.

use std::marker::PhantomData;

use minicbor::decode::{self, Decoder};
use minicbor::encode::{self, Encoder, Write};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::id::FieldId;

/// Sorted pairs: a document has a handful of fields, and a flat list beats a tree there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldMap<V>(Vec<(FieldId, V)>);

impl<V> Default for FieldMap<V> {
    fn default() -> Self {
        FieldMap(Vec::new())
    }
}

impl<V> FieldMap<V> {
    /// Whether no field is in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many fields are in it.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// What `field` holds.
    pub fn get(&self, field: FieldId) -> Option<&V> {
        // Mostly fields are numbered from 1 without a gap, and all are there.
        let usual = usize::from(field).checked_sub(1);
        match usual.and_then(|at| self.0.get(at)) {
            Some((there, value)) if *there == field => return Some(value),
            _ => {}
        }
        let at = self.0.binary_search_by_key(&field, |(f, _)| *f).ok()?;
        self.0.get(at).map(|(_, v)| v)
    }

    /// What `field` holds, to change.
    pub fn get_mut(&mut self, field: FieldId) -> Option<&mut V> {
        let at = self.0.binary_search_by_key(&field, |(f, _)| *f).ok()?;
        self.0.get_mut(at).map(|(_, v)| v)
    }

    /// What `field` holds, made by `make` if it is not there yet.
    #[expect(clippy::indexing_slicing, reason = "what was not found was put there")]
    pub fn entry(&mut self, field: FieldId, make: impl FnOnce() -> V) -> &mut V {
        let at = match self.0.binary_search_by_key(&field, |(f, _)| *f) {
            Ok(at) => at,
            Err(at) => {
                self.0.insert(at, (field, make()));
                at
            }
        };
        &mut self.0[at].1
    }

    /// Sets `field`, returning what it held.
    pub fn insert(&mut self, field: FieldId, value: V) -> Option<V> {
        // Fields mostly arrive in order; appending needs no search.
        if self.0.last().is_none_or(|(last, _)| *last < field) {
            self.0.push((field, value));
            return None;
        }
        match self.0.binary_search_by_key(&field, |(f, _)| *f) {
            Ok(at) => {
                let held = self.0.get_mut(at);
                held.map(|(_, held)| std::mem::replace(held, value))
            }
            Err(at) => {
                self.0.insert(at, (field, value));
                None
            }
        }
    }

    /// Makes room for so many more.
    pub fn reserve(&mut self, more: usize) {
        self.0.reserve(more);
    }

    /// Takes `field` out.
    pub fn remove(&mut self, field: FieldId) -> Option<V> {
        let at = self.0.binary_search_by_key(&field, |(f, _)| *f).ok()?;
        Some(self.0.remove(at).1)
    }

    /// The pairs in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (FieldId, &V)> {
        self.0.iter().map(|(f, v)| (*f, v))
    }

    /// The pairs in order, to change.
    pub fn iter_mut(&mut self) -> impl ExactSizeIterator<Item = (FieldId, &mut V)> {
        self.0.iter_mut().map(|(f, v)| (*f, v))
    }

    /// Takes in the pairs of another map, in place of those that are there.
    pub fn extend(&mut self, other: FieldMap<V>) {
        for (field, value) in other {
            self.insert(field, value);
        }
    }

    /// Keeps the pairs for which `keep` says so.
    pub fn retain(&mut self, mut keep: impl FnMut(FieldId, &mut V) -> bool) {
        self.0.retain_mut(|(f, v)| keep(*f, v));
    }
}

impl<V> FromIterator<(FieldId, V)> for FieldMap<V> {
    fn from_iter<I: IntoIterator<Item = (FieldId, V)>>(pairs: I) -> Self {
        let mut map = FieldMap::default();
        for (field, value) in pairs {
            map.insert(field, value);
        }
        map
    }
}

impl<V> IntoIterator for FieldMap<V> {
    type Item = (FieldId, V);
    type IntoIter = std::vec::IntoIter<(FieldId, V)>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// How much room to make for what a message says comes: it may claim anything.
pub(crate) fn room_for(length: u64) -> usize {
    usize::try_from(length).map_or(0, |length| length.min(16))
}

impl<C, V: minicbor::Encode<C>> minicbor::Encode<C> for FieldMap<V> {
    fn encode<W: Write>(
        &self,
        e: &mut Encoder<W>,
        ctx: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        e.map(self.0.len() as u64)?;
        for (field, value) in &self.0 {
            e.u16(*field)?;
            value.encode(e, ctx)?;
        }
        Ok(())
    }
}

impl<'b, C, V: minicbor::Decode<'b, C>> minicbor::Decode<'b, C> for FieldMap<V> {
    fn decode(d: &mut Decoder<'b>, ctx: &mut C) -> Result<Self, decode::Error> {
        let mut map = FieldMap::default();
        let length = d
            .map()?
            .ok_or_else(|| decode::Error::message("a map must say its length"))?;
        map.reserve(room_for(length));
        for _ in 0..length {
            let field = d.u16()?;
            if map.insert(field, V::decode(d, ctx)?).is_some() {
                return Err(decode::Error::message("a field occurs twice"));
            }
        }
        Ok(map)
    }
}

impl<V: Serialize> Serialize for FieldMap<V> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut map = s.serialize_map(Some(self.0.len()))?;
        for (field, value) in &self.0 {
            map.serialize_entry(field, value)?;
        }
        map.end()
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for FieldMap<V> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Visitor<V>(PhantomData<V>);
        impl<'de, V: Deserialize<'de>> serde::de::Visitor<'de> for Visitor<V> {
            type Value = FieldMap<V>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object keyed by field numbers")
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut access: A,
            ) -> Result<FieldMap<V>, A::Error> {
                let mut map = FieldMap::default();
                while let Some((field, value)) = access.next_entry::<FieldId, V>()? {
                    if map.insert(field, value).is_some() {
                        return Err(serde::de::Error::custom("a field occurs twice"));
                    }
                }
                Ok(map)
            }
        }
        d.deserialize_map(Visitor(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_sorted_and_round_trips_in_both_forms() {
        let map: FieldMap<i64> = [(7, 1), (2, 2), (7, 3), (4, 4)].into_iter().collect();
        assert_eq!(
            map.iter().map(|(f, v)| (f, *v)).collect::<Vec<_>>(),
            [(2, 2), (4, 4), (7, 3)]
        );
        let cbor = minicbor::to_vec(&map).unwrap();
        assert_eq!(minicbor::decode::<FieldMap<i64>>(&cbor).unwrap(), map);
        let json = serde_json::to_string(&map).unwrap();
        assert_eq!(json, r#"{"2":2,"4":4,"7":3}"#);
        assert_eq!(serde_json::from_str::<FieldMap<i64>>(&json).unwrap(), map);
    }

    #[test]
    fn a_field_twice_is_refused() {
        assert!(minicbor::decode::<FieldMap<i64>>(&[0xa2, 1, 1, 1, 2]).is_err());
        assert!(serde_json::from_str::<FieldMap<i64>>(r#"{"1":1,"1":2}"#).is_err());
    }

    #[test]
    fn a_hostile_length_reserves_nothing() {
        assert!(
            minicbor::decode::<FieldMap<i64>>(&[
                0xbb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff
            ])
            .is_err()
        );
    }
}
