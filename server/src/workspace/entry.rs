//! The parts of a version: what the log, the audit and the devices hold of an accepted op.

use std::collections::{HashMap, HashSet};

use driftline_core::id::{CollectionId, DocumentId, OpId, Version};
use driftline_core::merge::{Accepted, DocumentState, Link, Touched};
use driftline_core::op::{Change, FieldMap, Update};
use driftline_core::protocol::Encoded;
use driftline_core::schema::{DeletePolicy, Schema};

use crate::problem::Problem;
use crate::store::Touch;

/// What most entries and states fit in: growing to it step by step costs more than the rest.
const USUAL_BYTES: usize = 512;

/// What an entry that only names its op fits in: each of a request is kept until the answer.
const SHORT_BYTES: usize = 96;

/// Room for the bytes of a usual entry or state.
pub(super) fn room() -> Vec<u8> {
    Vec::with_capacity(USUAL_BYTES)
}

/// A value's bytes.
pub(super) fn encoded<T: minicbor::Encode<()>>(value: &T) -> Result<Vec<u8>, Problem> {
    encoded_within(USUAL_BYTES, value)
}

/// The bytes of a short value.
pub(super) fn encoded_short<T: minicbor::Encode<()>>(value: &T) -> Result<Vec<u8>, Problem> {
    encoded_within(SHORT_BYTES, value)
}

fn encoded_within<T: minicbor::Encode<()>>(usual: usize, value: &T) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::with_capacity(usual);
    // Writing to memory cannot fail; were it to, nothing may be stored.
    minicbor::encode(value, &mut bytes).map_err(|_| Problem::Internal)?;
    Ok(bytes)
}

/// A version's entry: the bytes of a [`VersionEntry`](driftline_core::protocol::VersionEntry) around
/// those of the documents' states, which are `states` where all of a document is told.
pub(super) fn entry_of(
    version: Version,
    accepted: &Accepted,
    states: Vec<Encoded>,
    landed: &[Link],
) -> Result<Vec<u8>, Problem> {
    let part = |(touched, whole_state): (_, Encoded)| {
        let touched: &Touched = touched;
        let whole = touched.is_told_whole();
        let state = match whole {
            true => whole_state,
            false => Encoded(encoded(&touched.part())?),
        };
        Ok(Part {
            collection: touched.collection,
            document: &touched.document,
            whole,
            state,
            texts: &touched.texts,
        })
    };
    // It is kept until the answer: room for no more than is there.
    let room = SHORT_BYTES + states.iter().map(|state| state.0.len()).sum::<usize>();
    let parts = accepted.documents.iter().zip(states).map(part);
    let entry = Entry {
        version,
        ids: &accepted.names,
        documents: parts.collect::<Result<_, Problem>>()?,
        landed,
    };
    encoded_within(room, &entry)
}

/// The same of a version that brings one new document into being and is told by one name.
pub(super) fn entry_of_new(
    (version, op): (Version, OpId),
    (collection, document): (CollectionId, &DocumentId),
    state: Encoded,
) -> Result<Vec<u8>, Problem> {
    let room = SHORT_BYTES + state.0.len();
    let part = Part {
        collection,
        document,
        whole: true,
        state,
        texts: &FieldMap::default(),
    };
    let entry = Entry {
        version,
        ids: &[op],
        documents: vec![part],
        landed: &[],
    };
    encoded_within(room, &entry)
}

/// [`VersionEntry`](driftline_core::protocol::VersionEntry) as it is written to the log.
#[derive(minicbor::Encode)]
#[cbor(map)]
struct Entry<'a> {
    #[n(0)]
    version: Version,
    #[n(1)]
    ids: &'a [OpId],
    #[n(2)]
    #[cbor(skip_if = "Vec::is_empty")]
    documents: Vec<Part<'a>>,
    #[n(4)]
    #[cbor(skip_if = "is_empty")]
    landed: &'a [Link],
}

/// [`DocumentResult`](driftline_core::protocol::DocumentResult) around an encoded state.
#[derive(minicbor::Encode)]
#[cbor(map)]
struct Part<'a> {
    #[n(0)]
    collection: CollectionId,
    #[n(1)]
    document: &'a DocumentId,
    #[n(2)]
    #[cbor(skip_if = "is_false")]
    whole: bool,
    #[n(3)]
    state: Encoded,
    #[n(4)]
    #[cbor(skip_if = "no_texts")]
    texts: &'a FieldMap<Update>,
}

fn is_empty(landed: &&[Link]) -> bool {
    landed.is_empty()
}

fn is_false(b: &bool) -> bool {
    !*b
}

fn no_texts(texts: &&FieldMap<Update>) -> bool {
    texts.is_empty()
}

/// Bytes of the touched documents before and after, live ones only.
pub(super) fn sizes(accepted: &Accepted) -> (u64, u64) {
    let size = |state: &DocumentState| {
        if state.is_alive() {
            state.size() as u64
        } else {
            0
        }
    };
    let before = accepted
        .documents
        .iter()
        .filter_map(|touched| touched.before.as_ref())
        .map(size)
        .sum();
    let after = accepted
        .documents
        .iter()
        .map(|touched| size(&touched.after))
        .sum();
    (before, after)
}

/// What each change did, for the audit and for the way back.
pub(super) fn touches<'c>(changes: &'c [Change], accepted: &Accepted) -> Vec<Touch<'c>> {
    let documents = accepted.documents.iter();
    let previous: HashMap<_, _> = documents
        .filter_map(|touched| {
            let before = touched.before.as_ref()?;
            Some(((touched.collection, &touched.document), before.version))
        })
        .collect();
    let touch = |change: &'c Change| Touch {
        collection: change.collection,
        document: &change.document,
        kind: change.kind,
        previous: previous
            .get(&(change.collection, &change.document))
            .copied(),
    };
    changes.iter().map(touch).collect()
}

/// Where the op's followers find the generation they name by it: said where it is not their guess.
///
/// Followers name inserts and restores, and updates that their device expected to bring a document
/// back (`update_wins`); an update that landed where it was aimed needs no word.
pub(super) fn landed(schema: &Schema, changes: &[Change], links: &[Link]) -> Vec<Link> {
    let landed: HashMap<_, _> = (links.iter())
        .filter_map(|link| Some(((link.collection, &link.document), link.landed?)))
        .collect();
    if landed.is_empty() {
        return Vec::new();
    }
    let may_be_named = |change: &&Change| {
        let Some(landed) = landed.get(&(change.collection, &change.document)) else {
            return false;
        };
        let update_wins = schema
            .collection_by_id(change.collection)
            .is_some_and(|c| c.on_conflict_delete == DeletePolicy::UpdateWins);
        change.kind.is_opener() || (update_wins && Some(*landed) != change.generation)
    };
    let named: HashSet<_> = (changes.iter().filter(may_be_named))
        .map(|change| (change.collection, &change.document))
        .collect();
    let landed = (links.iter()).filter(|link| named.contains(&(link.collection, &link.document)));
    landed
        .map(|link| Link {
            prev: None,
            ..link.clone()
        })
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use driftline_core::merge::{Register, Write};
    use driftline_core::protocol::VersionEntry;
    use driftline_core::time::Stamp;
    use driftline_core::value::Value;

    use super::*;

    fn touched(number: u8, has_before: bool, whole: bool, texts: usize) -> Touched {
        let op = OpId([number; 16]);
        let before = DocumentState::opened(op, 1);
        let mut after = before.clone();
        after.version = 2;
        let write = Write {
            op,
            stamp: Stamp::at(7),
            version: 2,
        };
        let value = Value::Text("text".into());
        after.registers.insert(3, Register { value, write });
        let texts = (0..texts).map(|n| (n as u16, Update(vec![1, 2, 3])));
        Touched {
            collection: number.into(),
            document: DocumentId::new(format!("d{number}")).unwrap(),
            before: has_before.then_some(before),
            after,
            whole,
            texts: texts.collect(),
        }
    }

    #[test]
    fn an_entry_is_written_as_the_protocol_has_it() {
        let link = Link {
            collection: 1,
            document: DocumentId::new("d1").unwrap(),
            prev: None,
            landed: Some(OpId([9; 16])),
        };
        for landed in [vec![], vec![link]] {
            let accepted = Accepted {
                names: vec![OpId([1; 16]), OpId([2; 16])],
                documents: vec![
                    touched(1, false, false, 0),
                    touched(2, true, false, 0),
                    touched(3, true, true, 2),
                ],
                lost: Vec::new(),
                echo: None,
                new_writers: Vec::new(),
            };
            let states = accepted
                .documents
                .iter()
                .map(|t| encoded(&t.after).unwrap());
            let states = states.map(Encoded).collect();
            let entry = VersionEntry {
                version: 2,
                ids: accepted.names.clone(),
                documents: accepted.documents.iter().map(Touched::result).collect(),
                echo: None,
                landed: landed.clone(),
            };
            let written = entry_of(2, &accepted, states, &landed).unwrap();
            assert_eq!(written, encoded(&entry).unwrap());
        }
    }
}
