//! A digest of content: equal on any two replicas that show the same documents, in whatever order
//! they were read and however they got there.
//!
//! It is the sum modulo 2¹²⁸ of a hash per live document, so that it can be kept up to date by one
//! subtraction and one addition a change. Provenance (who, when, which generation) is left out: the
//! digest answers whether people see the same, not whether they came the same way.
//!
//! Of a text it takes in who wrote how much and the last op that changed it, not the words. The words
//! are not in a document's state, and reading them would make every digest as dear as all texts
//! together. It is enough: a field takes only updates that go on from its marks, in the server's one
//! order, so equal marks and an equal last op are the same updates.

use std::fmt;

use crate::id::{CollectionId, DocumentId};
use crate::merge::DocumentState;
use crate::value::Value;

/// Changes with every change of what is hashed, so that two builds never compare unlike sums.
const DOMAIN: &[u8] = b"driftline content 2";

// Tags of what follows; every part has one and a length, so that no two documents share bytes.
const REGISTER: u8 = 1;
const COUNTER: u8 = 2;
const SET: u8 = 3;
const TEXT: u8 = 4;

/// The digest of a set of documents.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Digest {
    sum: u128,
    documents: u64,
}

impl Digest {
    /// Takes a document in; a deleted one counts as none.
    pub fn add(&mut self, collection: CollectionId, document: &DocumentId, state: &DocumentState) {
        if state.is_alive() {
            self.sum = self.sum.wrapping_add(hash(collection, document, state));
            self.documents += 1;
        }
    }

    /// Takes out a document that was taken in with the same content.
    pub fn remove(
        &mut self,
        collection: CollectionId,
        document: &DocumentId,
        state: &DocumentState,
    ) {
        if state.is_alive() {
            self.sum = self.sum.wrapping_sub(hash(collection, document, state));
            self.documents = self.documents.saturating_sub(1);
        }
    }

    /// How many live documents are in it.
    pub fn documents(&self) -> u64 {
        self.documents
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.sum)
    }
}

fn hash(collection: CollectionId, document: &DocumentId, state: &DocumentState) -> u128 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(DOMAIN);
    hasher.update(&collection.to_be_bytes());
    part(&mut hasher, 0, document.as_str().as_bytes());
    for (field, register) in state.registers.iter() {
        // A field set to null and one never set show the same.
        if !register.value.is_null() {
            head(&mut hasher, REGISTER, field);
            value(&mut hasher, &register.value);
        }
    }
    for (field, sum) in state.counters.iter().filter(|(_, sum)| **sum != 0) {
        head(&mut hasher, COUNTER, field);
        hasher.update(&sum.to_be_bytes());
    }
    for (field, set) in state.sets.iter() {
        let held = set.elements.iter().filter(|(_, tags)| !tags.is_empty());
        for (element, _) in held {
            head(&mut hasher, SET, field);
            part(&mut hasher, 0, element.as_bytes());
        }
    }
    for (field, text) in state.texts.iter() {
        head(&mut hasher, TEXT, field);
        part(&mut hasher, 0, &text.last.0);
        for mark in &text.marks {
            hasher.update(&[1]);
            hasher.update(&mark.writer.to_be_bytes());
            hasher.update(&mark.next.to_be_bytes());
        }
    }
    let mut low = [0; 16];
    low.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    u128::from_be_bytes(low)
}

fn head(hasher: &mut blake3::Hasher, tag: u8, field: u16) {
    hasher.update(&[tag]);
    hasher.update(&field.to_be_bytes());
}

fn value(hasher: &mut blake3::Hasher, value: &Value) {
    match value {
        Value::Null => part(hasher, 0, &[]),
        Value::Boolean(b) => part(hasher, 1, &[u8::from(*b)]),
        Value::Integer(n) => part(hasher, 2, &n.to_be_bytes()),
        // SQLite keeps no negative zero.
        Value::Real(x) => part(
            hasher,
            3,
            &if *x == 0.0 { 0.0f64 } else { *x }.to_be_bytes(),
        ),
        Value::Text(text) => part(hasher, 4, text.as_bytes()),
        Value::Bytes(bytes) => part(hasher, 5, bytes),
    }
}

fn part(hasher: &mut blake3::Hasher, tag: u8, bytes: &[u8]) {
    hasher.update(&[tag]);
    hasher.update(&(bytes.len() as u64).to_be_bytes());
    hasher.update(bytes);
}

/// A name for the file of an account (`None`: a guest) and a workspace: the same for the same pair,
/// and telling neither.
pub fn file_name(account: Option<&str>, workspace: &str) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"driftline file 1");
    part(
        &mut hasher,
        u8::from(account.is_some()),
        account.unwrap_or_default().as_bytes(),
    );
    part(&mut hasher, 2, workspace.as_bytes());
    let mut name = hasher.finalize().to_hex().to_string();
    name.truncate(32);
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::OpId;
    use crate::merge::{Life, Register, SetState, TextState, Write};
    use crate::text::Mark;
    use crate::time::Stamp;

    fn op(n: u8) -> OpId {
        OpId([n; 16])
    }

    fn register(value: impl Into<Value>, by: u8) -> Register {
        let write = Write {
            op: op(by),
            stamp: Stamp::ZERO,
            version: by.into(),
        };
        Register {
            value: value.into(),
            write,
        }
    }

    fn bird(by: u8, mass: i64) -> DocumentState {
        let mut state = DocumentState::opened(op(by), by.into());
        state.registers.insert(1, register("Adelie", by));
        state.registers.insert(2, register(mass, by));
        state.counters.insert(3, 4);
        let mut tags = SetState::default();
        tags.elements
            .insert("banded".to_owned(), vec![(op(by), by.into())]);
        state.sets.insert(4, tags);
        state
    }

    fn digest(documents: &[(&str, &DocumentState)]) -> Digest {
        let mut digest = Digest::default();
        for (id, state) in documents {
            digest.add(1, &DocumentId::new(*id).unwrap(), state);
        }
        digest
    }

    #[test]
    fn each_account_and_workspace_has_a_file_of_its_own() {
        let names = [
            file_name(None, "w"),
            file_name(Some(""), "w"),
            file_name(Some("a"), "w"),
            file_name(Some("aw"), ""),
            file_name(Some("a"), "v"),
        ];
        let different: std::collections::BTreeSet<&String> = names.iter().collect();
        assert_eq!(different.len(), names.len());
        assert_eq!(names[2], file_name(Some("a"), "w"));
        assert!(names.iter().all(|name| name.len() == 32));
    }

    #[test]
    fn order_and_history_do_not_matter_but_content_does() {
        let (a, b) = (bird(1, 3750), bird(2, 3800));
        assert_eq!(
            digest(&[("a", &a), ("b", &b)]),
            digest(&[("b", &b), ("a", &a)])
        );
        assert_eq!(digest(&[("a", &a)]), digest(&[("a", &bird(9, 3750))]));
        assert_ne!(digest(&[("a", &a)]), digest(&[("a", &b)]));
        assert_ne!(
            digest(&[("a", &a), ("b", &b)]),
            digest(&[("b", &a), ("a", &b)])
        );
    }

    #[test]
    fn what_shows_the_same_counts_the_same() {
        let plain = bird(1, 3750);
        let mut cleared = plain.clone();
        cleared.registers.insert(9, register(Value::Null, 5));
        cleared.counters.insert(8, 0);
        cleared.sets.insert(7, SetState::default());
        assert_eq!(digest(&[("a", &plain)]), digest(&[("a", &cleared)]));
        let mut deleted = plain;
        deleted.life = Life::Deleted(Write {
            op: op(6),
            stamp: Stamp::ZERO,
            version: 6,
        });
        assert_eq!(digest(&[("a", &deleted)]), Digest::default());
    }

    #[test]
    fn every_component_counts() {
        let plain = bird(1, 3750);
        let mut counted = plain.clone();
        counted.counters.insert(3, 5);
        let mut tagged = plain.clone();
        tagged
            .sets
            .entry(4, SetState::default)
            .elements
            .insert("seen".to_owned(), vec![(op(3), 3)]);
        let mut moved = plain.clone();
        let species = moved.registers.get(1).cloned().unwrap();
        moved.registers.insert(5, species);
        let typed = |writer, next, last| {
            let mut state = plain.clone();
            let mark = Mark {
                writer,
                next,
                last: op(last),
                version: last.into(),
            };
            let text = TextState {
                root: op(1),
                last: op(last),
                version: last.into(),
                bytes: 2,
                marks: vec![mark],
            };
            state.texts.insert(7, text);
            state
        };
        let texts = [
            typed(7, 2, 1),
            typed(8, 2, 1),
            typed(7, 3, 1),
            typed(7, 2, 2),
        ];
        for (n, text) in texts.iter().enumerate() {
            for other in texts.iter().take(n) {
                assert_ne!(digest(&[("a", text)]), digest(&[("a", other)]));
            }
        }
        for other in [&counted, &tagged, &moved, &texts[0]] {
            assert_ne!(digest(&[("a", &plain)]), digest(&[("a", other)]));
        }
        let (minus, plus) = (Value::Real(-0.0), Value::Real(0.0));
        let real = |value: Value| {
            let mut state = plain.clone();
            state.registers.insert(6, register(value, 1));
            state
        };
        assert_eq!(
            digest(&[("a", &real(minus))]),
            digest(&[("a", &real(plus))])
        );
    }

    #[test]
    fn a_sum_can_be_kept_up_to_date() {
        let (a, b, c) = (bird(1, 1), bird(2, 2), bird(3, 3));
        let mut kept = digest(&[("a", &a), ("b", &b)]);
        let id = DocumentId::new("b").unwrap();
        kept.remove(1, &id, &b);
        kept.add(1, &id, &c);
        assert_eq!(kept, digest(&[("a", &a), ("b", &c)]));
        assert_eq!(kept.documents(), 2);
        assert_eq!(kept.to_string().len(), 32);
    }
}
