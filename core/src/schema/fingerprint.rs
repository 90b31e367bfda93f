//! A short text that differs whenever the meaning of a schema differs, and only then: it is kept in
//! files and compared between builds.

use super::{Collection, DeletePolicy, Field, Index, Limits, MergePolicy, Schema};
use crate::value::Value;

pub(super) fn of(schema: &Schema) -> String {
    // Every member is named, here and below: a new one does not compile until it is put in.
    let Schema {
        name,
        version,
        collections,
        limits,
    } = schema;
    let mut hash = Hash(blake3::Hasher::new());
    hash.text("driftline schema 1");
    hash.text(name);
    hash.number((*version).into());
    hash.list(collections, Hash::collection);
    hash.limits(limits);
    let mut fingerprint = hash.0.finalize().to_hex().to_string();
    fingerprint.truncate(16);
    fingerprint
}

/// Takes parts so that no two different sequences of them look the same.
struct Hash(blake3::Hasher);

impl Hash {
    fn number(&mut self, n: u64) {
        self.0.update(&n.to_be_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.update(bytes);
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn list<T>(&mut self, items: &[T], each: fn(&mut Hash, &T)) {
        self.number(items.len() as u64);
        items.iter().for_each(|item| each(self, item));
    }

    fn optional<T>(&mut self, item: Option<T>, put: impl FnOnce(&mut Hash, T)) {
        self.number(item.is_some().into());
        if let Some(item) = item {
            put(self, item);
        }
    }

    fn collection(&mut self, collection: &Collection) {
        let Collection {
            id,
            name,
            fields,
            indexes,
            search,
            on_conflict_delete,
            merge,
        } = collection;
        self.number((*id).into());
        self.text(name);
        self.list(fields, Hash::field);
        self.list(indexes, Hash::index);
        self.list(search, |hash, field| hash.number((*field).into()));
        self.text(match on_conflict_delete {
            DeletePolicy::DeleteWins => "delete_wins",
            DeletePolicy::UpdateWins => "update_wins",
        });
        self.text(match merge {
            MergePolicy::Field => "field",
            MergePolicy::Document => "document",
        });
    }

    fn field(&mut self, field: &Field) {
        let Field {
            id,
            name,
            kind,
            required,
            default,
            max_bytes,
        } = field;
        self.number((*id).into());
        self.text(name);
        self.text(kind.name());
        self.number((*required).into());
        self.optional(default.as_ref(), Hash::value);
        self.optional(*max_bytes, |hash, most| hash.number(most.into()));
    }

    fn index(&mut self, index: &Index) {
        let Index { name, fields } = index;
        self.text(name);
        self.list(fields, |hash, field| hash.number((*field).into()));
    }

    fn value(&mut self, value: &Value) {
        self.text(value.kind_name());
        match value {
            Value::Null => {}
            Value::Boolean(b) => self.number((*b).into()),
            Value::Integer(n) => self.number(n.cast_unsigned()),
            Value::Real(x) => self.number(x.to_bits()),
            Value::Text(text) => self.text(text),
            Value::Bytes(bytes) => self.bytes(bytes),
        }
    }

    fn limits(&mut self, limits: &Limits) {
        let Limits {
            max_value,
            max_document,
            max_group,
            max_set_elements,
            max_queue_ops,
            max_queue_bytes,
            quota,
        } = limits;
        for bound in [
            max_value,
            max_document,
            max_group,
            max_set_elements,
            max_queue_ops,
        ] {
            self.number((*bound).into());
        }
        self.number(*max_queue_bytes);
        self.optional(*quota, Hash::number);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const NOTES: &str = r#"
        [schema]
        name = "notes"
        version = 1
        [limits]
        quota = "5 MiB"
        [collections.notes]
        id = 1
        search = ["title"]
        indexes = [ { name = "by_rank", fields = ["rank"] } ]
        on_conflict_delete = "update_wins"
        [collections.notes.fields]
        title = { id = 1, kind = "text", required = true, max_bytes = 100 }
        rank = { id = 2, kind = "integer", default = 3 }
    "#;

    fn fingerprint(toml: &str) -> String {
        Schema::parse(toml).unwrap().fingerprint()
    }

    /// The same in every build, or a file would take an unchanged schema for a changed one.
    #[test]
    fn it_is_pinned() {
        assert_eq!(fingerprint(NOTES), "0be2144ab3b69dcd");
    }

    #[test]
    fn every_change_of_meaning_shows_and_a_change_of_form_does_not() {
        let mut seen = vec![fingerprint(NOTES)];
        for (from, to) in [
            ("\"notes\"\n", "\"other\"\n"),
            ("version = 1", "version = 2"),
            ("5 MiB", "6 MiB"),
            ("quota = \"5 MiB\"", ""),
            (
                "[collections.notes]\n        id = 1",
                "[collections.notes]\n        id = 2",
            ),
            ("search = [\"title\"]", ""),
            ("by_rank", "by_place"),
            ("fields = [\"rank\"]", "fields = [\"rank\", \"title\"]"),
            ("update_wins", "delete_wins"),
            ("required = true", "required = false"),
            ("max_bytes = 100", "max_bytes = 101"),
            ("default = 3", "default = 4"),
            (", default = 3", ""),
            ("id = 2, kind = \"integer\"", "id = 3, kind = \"integer\""),
            ("kind = \"integer\"", "kind = \"timestamp\""),
            ("rank = {", "rang = {"),
        ] {
            let mut changed = NOTES.replace(from, to);
            if to.starts_with("rang") {
                changed = changed.replace("[\"rank\"]", "[\"rang\"]");
            }
            assert_ne!(changed, NOTES, "{from}");
            let other = fingerprint(&changed);
            assert!(!seen.contains(&other), "{from} to {to}");
            seen.push(other);
        }
        let reformed = NOTES.replace("    ", "").replace("100", "\"100 B\"");
        assert_eq!(fingerprint(&reformed), seen[0]);
    }
}
