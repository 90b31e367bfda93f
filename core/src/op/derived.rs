//! Ids of the ops that insert a guest's documents when its file is attached, and writers of their texts.
//!
//! They are derived: the same document of the same file gets the same ones each time. So an attach that
//! was interrupted, repeated, or made from a copy of the file is applied once.

use super::Change;
use crate::id::{CollectionId, DocumentId, FieldId, OpId};
use crate::text::MAX_WRITER;

/// Bits of the time that derived ids fill: up to the year 1987, below what a clock draws.
const TIME_BITS: u32 = 39;

impl OpId {
    /// Above every derived id, below every one drawn since.
    pub const ABOVE_DERIVED: OpId =
        OpId(((1u128 << (TIME_BITS + 80)) | (0x7 << 76) | (0b10 << 62)).to_be_bytes());

    /// The id of the op that inserts a document as the guest's file named `file` holds it: a UUIDv8.
    /// It sorts below every id drawn by a clock, so that it never moves the queue's end. No two of a
    /// file may share their [`head`](OpId::head); for the one among millions that would, there is
    /// another `attempt`.
    pub fn derived(file: &str, insert: &Change, attempt: u32) -> OpId {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"driftline attach 1");
        hasher.update(&attempt.to_be_bytes());
        hasher.update(&(file.len() as u64).to_be_bytes());
        hasher.update(file.as_bytes());
        // Writing to memory cannot fail.
        hasher.update(&minicbor::to_vec(insert).unwrap_or_default());
        let digest = hasher.finalize();
        let (hash, _) = digest.as_bytes().split_at(16);
        let hash = hash
            .iter()
            .fold(0u128, |n, byte| n << 8 | u128::from(*byte));
        let bytes = (hash & ((1 << (TIME_BITS + 80)) - 1)).to_be_bytes();
        OpId(*uuid::Builder::from_custom_bytes(bytes).as_uuid().as_bytes())
    }
}

/// The 12 bits of an id that count within a millisecond.
const COUNT: u16 = 0xfff;

impl OpId {
    /// How many ids fit behind a derived one, before the place of another.
    pub fn room_behind(self) -> u16 {
        COUNT - (self.head() as u16 & COUNT)
    }

    /// The id of the op `places` behind a derived one that goes on saying what one op is too small for;
    /// at most [`OpId::room_behind`].
    pub fn derived_behind(self, places: u16, says: &Change) -> OpId {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"driftline attach on 1");
        hasher.update(&self.0);
        hasher.update(&places.to_be_bytes());
        // Writing to memory cannot fail.
        hasher.update(&minicbor::to_vec(says).unwrap_or_default());
        let mut bytes = [0; 16];
        hasher.finalize_xof().fill(&mut bytes);
        let id = OpId(*uuid::Builder::from_custom_bytes(bytes).as_uuid().as_bytes());
        id.with_head(self.head() + i64::from(places.min(self.room_behind())))
    }
}

/// Who writes a guest's text again for the account: nobody else, and nothing but this `content`. A copy
/// of the file in which it has other content by now does so under another name.
pub fn derived_writer(
    file: &str,
    (collection, document, field): (CollectionId, &DocumentId, FieldId),
    content: &[u8],
) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"driftline attach text 1");
    for part in [file.as_bytes(), document.as_str().as_bytes(), content] {
        hasher.update(&(part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher.update(&collection.to_be_bytes());
    hasher.update(&field.to_be_bytes());
    let mut writer = [0; 8];
    hasher.finalize_xof().fill(&mut writer);
    (u64::from_be_bytes(writer) & MAX_WRITER).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::ChangeKind;
    use crate::value::Value;

    fn insert(id: &str, title: &str) -> Change {
        let document = DocumentId::new(id).unwrap();
        let mut change = Change::new(1, document, ChangeKind::Insert);
        change.registers.insert(1, Value::Text(title.to_owned()));
        change
    }

    #[test]
    fn the_same_document_of_the_same_file_has_one_id() {
        let id = OpId::derived("f", &insert("a", "x"), 0);
        assert_eq!(id, OpId::derived("f", &insert("a", "x"), 0));
        for other in [
            OpId::derived("g", &insert("a", "x"), 0),
            OpId::derived("f", &insert("b", "x"), 0),
            OpId::derived("f", &insert("a", "y"), 0),
        ] {
            assert_ne!(id, other);
        }
        let uuid = uuid::Uuid::from_bytes(id.0);
        assert_eq!(uuid.get_version_num(), 8);
        assert_eq!(uuid.get_variant(), uuid::Variant::RFC4122);
        assert!(id < OpId::ABOVE_DERIVED);
        let in_1990 = OpId::next(631_152_000_000, [0; 10], None);
        assert!(
            OpId::ABOVE_DERIVED < in_1990,
            "below whatever a clock draws"
        );
        assert!(id > OpId::ZERO);
    }

    #[test]
    fn what_follows_stands_behind_it_and_before_any_other_place() {
        let mut first = OpId::derived("f", &insert("a", "x"), 0);
        first.0[7] = 0xf0;
        assert!(first.room_behind() >= 15);
        let mut before = first;
        for places in 1..=15 {
            let id = first.derived_behind(places, &insert("a", "y"));
            assert_eq!(id, first.derived_behind(places, &insert("a", "y")));
            assert_eq!(id.head(), first.head() + i64::from(places));
            assert!(id > before && id < OpId::ABOVE_DERIVED);
            let uuid = uuid::Uuid::from_bytes(id.0);
            assert_eq!(uuid.get_version_num(), 8);
            assert_eq!(uuid.get_variant(), uuid::Variant::RFC4122);
            before = id;
        }
        let (one, two) = (insert("a", "y"), insert("a", "z"));
        assert_ne!(first.derived_behind(1, &one), first.derived_behind(1, &two));
    }

    #[test]
    fn the_same_text_of_the_same_file_has_one_writer() {
        let id = |id: &str| DocumentId::new(id).unwrap();
        let of = |file: &str, document: &str, field, content: &[u8]| {
            derived_writer(file, (1, &id(document), field), content)
        };
        let writer = of("f", "a", 7, b"words");
        assert_eq!(writer, of("f", "a", 7, b"words"));
        for other in [
            of("g", "a", 7, b"words"),
            of("f", "b", 7, b"words"),
            of("f", "a", 8, b"words"),
            of("f", "a", 7, b"word"),
        ] {
            assert_ne!(writer, other);
        }
        assert!((1..=MAX_WRITER).contains(&writer));
    }
}
