//! What an op had seen. One definition decides losses, set removals, `update_wins` and stamps.

use std::collections::HashSet;

use super::{DocumentState, Life};
use crate::id::{CollectionId, DocumentId, OpId, Version};
use crate::mutant::{Mutant, planted};
use crate::op::{Change, ChangeKind};
use crate::schema::{Collection, DeletePolicy, MergePolicy};

/// What is remembered of an op's links on one document.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Linked {
    /// Its `prev` on the document.
    pub prev: Option<OpId>,
    /// The ops it stands for: [`OpBody::stands_for`](crate::op::OpBody::stands_for).
    pub covers: Vec<OpId>,
    /// Its version, if it was accepted.
    pub accepted: Option<Version>,
    /// The opener of the generation it opened or landed in, if it was accepted.
    pub landed: Option<OpId>,
}

/// Remembered ops, by id: the server's verdicts, or a device's queue and the links of what left it.
pub trait History {
    /// What the store behind it can fail with.
    type Error;

    /// The links of `op` on a document; `None` for an op never heard of.
    ///
    /// # Errors
    /// What the store says.
    fn linked(
        &mut self,
        op: OpId,
        collection: CollectionId,
        document: &DocumentId,
    ) -> Result<Option<Linked>, Self::Error>;
}

/// What one op had seen of one document.
///
/// An op has seen a value whose version is at most the op's base version, or whose op is on its
/// chain of `prev`. The chain runs through rejected and withdrawn ops and stops at the base
/// version; an id nobody knows ends it and is never waited for.
#[derive(Clone, Debug)]
pub struct Seen {
    base: Version,
    chain: Vec<OpId>,
}

impl Seen {
    /// Follows the chain of an op with id `op`, written at `base`, with `prev` and `covers`.
    ///
    /// # Errors
    /// What the history's store says.
    pub fn follow<H: History>(
        history: &mut H,
        place: (CollectionId, &DocumentId),
        op: OpId,
        base: Version,
        prev: Option<OpId>,
        covers: &[OpId],
    ) -> Result<Seen, H::Error> {
        let behind = covers.iter().copied().chain(prev).collect();
        Seen::follow_until(history, place, op, base, behind, |_| false)
    }

    /// The same, only as far as `change` asks when it meets the document as it is `before`.
    ///
    /// A thousand increments of one document are a chain of a thousand; followed to its end for
    /// each of them, the server would read half a million links to answer nothing.
    ///
    /// # Errors
    /// What the history's store says.
    pub(crate) fn of_change<H: History>(
        history: &mut H,
        op: OpId,
        base: Version,
        behind: Vec<OpId>,
        (change, collection): (&Change, &Collection),
        before: Option<&DocumentState>,
    ) -> Result<Seen, H::Error> {
        let place = (change.collection, &change.document);
        if collection.merge == MergePolicy::Document {
            // How many own ops stand behind it caps its clock: all of them count.
            return Seen::follow_until(history, place, op, base, behind, |_| false);
        }
        let mut asked = asked(change, collection, before);
        asked.retain(|(by, version)| *version > base && *by != op);
        let mut asked: HashSet<OpId> = asked.into_iter().map(|(by, _)| by).collect();
        if asked.is_empty() {
            return Ok(Seen {
                base,
                chain: vec![op],
            });
        }
        Seen::follow_until(history, place, op, base, behind, |id| {
            asked.remove(&id);
            asked.is_empty()
        })
    }

    fn follow_until<H: History>(
        history: &mut H,
        (collection, document): (CollectionId, &DocumentId),
        op: OpId,
        base: Version,
        behind: Vec<OpId>,
        mut enough: impl FnMut(OpId) -> bool,
    ) -> Result<Seen, H::Error> {
        let mut chain = vec![op];
        if behind.is_empty() {
            return Ok(Seen { base, chain });
        }
        let mut visited: HashSet<OpId> = chain.iter().copied().collect();
        let mut ahead = behind;
        while let Some(id) = ahead.pop() {
            if !visited.insert(id) {
                continue;
            }
            chain.push(id);
            if enough(id) {
                break;
            }
            let Some(linked) = history.linked(id, collection, document)? else {
                continue;
            };
            if linked.accepted.is_some_and(|version| version <= base) {
                continue;
            }
            ahead.extend(linked.covers);
            ahead.extend(linked.prev);
        }
        Ok(Seen { base, chain })
    }

    /// What an op with nothing behind it had seen: itself.
    pub(super) fn nothing(op: OpId) -> Seen {
        Seen {
            base: 0,
            chain: vec![op],
        }
    }

    /// Whether the op had seen what `op` wrote at `version`.
    pub fn has(&self, op: OpId, version: Version) -> bool {
        (version <= self.base && !planted(Mutant::BaseUnseen)) || self.chain.contains(&op)
    }

    /// How many ops of its own file stand behind it and are not in its base.
    pub fn own_before(&self) -> u64 {
        self.chain.len() as u64 - 1
    }
}

/// Every write of the document that the merge of `change` may compare with.
fn asked(
    change: &Change,
    collection: &Collection,
    before: Option<&DocumentState>,
) -> Vec<(OpId, Version)> {
    let Some(before) = before else {
        return Vec::new();
    };
    let mut asked: Vec<(OpId, Version)> = Vec::new();
    let whole = change.kind == ChangeKind::Delete;
    for (field, register) in before.registers.iter() {
        if whole || change.registers.get(field).is_some() {
            asked.push((register.write.op, register.write.version));
        }
    }
    for (field, set) in before.sets.iter() {
        let named = |element: &String| {
            let lists = [change.adds.get(field), change.removes.get(field)];
            lists
                .into_iter()
                .flatten()
                .any(|list| list.contains(element))
        };
        for (element, tags) in &set.elements {
            if whole || named(element) {
                asked.extend(tags);
            }
        }
    }
    for (_, text) in before.texts.iter().filter(|_| whole) {
        asked.extend(text.marks.iter().map(|mark| (mark.last, mark.version)));
    }
    if collection.on_conflict_delete == DeletePolicy::UpdateWins {
        asked.extend(&before.updates);
        asked.push((before.generation.opener, before.generation.version));
        asked.push((OpId::ZERO, before.updates_forgotten));
        if let Life::Deleted(by) = before.life {
            asked.push((by.op, by.version));
        }
        asked.extend(before.reopened.map(|r| (r.delete, r.delete_version)));
    }
    asked
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::convert::Infallible;

    use super::*;
    use crate::merge::{Register, Write};
    use crate::time::Stamp;
    use crate::value::Value;

    impl Seen {
        /// All versions up to `base`, and some ops.
        pub(crate) fn through(base: Version, chain: &[OpId]) -> Seen {
            Seen {
                base,
                chain: chain.to_vec(),
            }
        }
    }

    const fn id(n: u8) -> OpId {
        OpId([n; 16])
    }

    /// Links, counting how often they are read.
    #[derive(Default)]
    struct Links {
        known: BTreeMap<OpId, Linked>,
        reads: usize,
    }

    impl History for Links {
        type Error = Infallible;
        fn linked(
            &mut self,
            op: OpId,
            _: CollectionId,
            _: &DocumentId,
        ) -> Result<Option<Linked>, Infallible> {
            self.reads += 1;
            Ok(self.known.get(&op).cloned())
        }
    }

    /// An op, its `prev`, what it covers and the version it was accepted as.
    type Link<'a> = (u8, Option<u8>, &'a [u8], Option<Version>);

    fn chain(links: &[Link<'_>]) -> Links {
        let linked = |(n, prev, covers, accepted): &Link<'_>| {
            let covers = covers.iter().map(|n| id(*n)).collect();
            let (prev, accepted) = (prev.map(id), *accepted);
            (
                id(*n),
                Linked {
                    prev,
                    covers,
                    accepted,
                    landed: None,
                },
            )
        };
        Links {
            known: links.iter().map(linked).collect(),
            reads: 0,
        }
    }

    fn document() -> DocumentId {
        DocumentId::new("d").unwrap()
    }

    fn follow(links: &mut Links, base: Version, prev: u8) -> Seen {
        let Ok(seen) = Seen::follow(links, (1, &document()), id(9), base, Some(id(prev)), &[]);
        seen
    }

    #[test]
    fn the_chain_runs_through_rejected_ops_and_what_they_cover() {
        let mut links = chain(&[
            (3, Some(2), &[7], None),
            (2, Some(1), &[], Some(8)),
            (1, None, &[], Some(4)),
        ]);
        let seen = follow(&mut links, 5, 3);
        for op in [9, 3, 7, 2, 1] {
            assert!(seen.has(id(op), 100), "{op}");
        }
        assert!(!seen.has(id(4), 6) && seen.has(id(4), 5));
        assert_eq!(seen.own_before(), 4);
    }

    #[test]
    fn it_stops_at_the_base_version_and_at_unknown_ids() {
        let mut links = chain(&[(3, Some(2), &[], Some(5)), (2, None, &[], None)]);
        let seen = follow(&mut links, 5, 3);
        assert!(seen.has(id(3), 100) && !seen.has(id(2), 100));
        assert!(follow(&mut chain(&[]), 0, 3).has(id(3), 100));
    }

    #[test]
    fn a_circle_ends() {
        let mut links = chain(&[(3, Some(2), &[], None), (2, Some(3), &[], None)]);
        assert_eq!(follow(&mut links, 0, 3).own_before(), 2);
    }

    #[test]
    fn a_chain_is_read_only_as_far_as_it_is_asked() {
        let schema = "[schema]\nname = \"t\"\nversion = 1\n[collections.c]\nid = 1\n\
             [collections.c.fields]\na = { id = 1, kind = \"text\" }\nn = { id = 2, kind = \"counter\" }\n";
        let schema = crate::schema::Schema::parse(schema).unwrap();
        let collection = schema.collection_by_id(1).unwrap();
        let mut before = DocumentState::opened(id(1), 1);
        let write = Write {
            op: id(7),
            stamp: Stamp::ZERO,
            version: 8,
        };
        before.registers.insert(
            1,
            Register {
                value: Value::Null,
                write,
            },
        );
        let links = [
            (8, Some(7), &[] as &[u8], None),
            (7, Some(6), &[], None),
            (6, None, &[], None),
        ];
        let asks = |change: &Change, base: Version| {
            let mut links = chain(&links);
            let behind = vec![id(8)];
            let Ok(seen) = Seen::of_change(
                &mut links,
                id(9),
                base,
                behind,
                (change, collection),
                Some(&before),
            );
            (links.reads, seen.has(id(7), 8))
        };
        let mut change = Change::new(1, document(), ChangeKind::Update);
        change.increments.insert(2, 1);
        assert_eq!(asks(&change, 0), (0, false), "an increment asks nothing");
        change.registers.insert(1, Value::Null);
        assert_eq!(asks(&change, 0), (1, true), "found behind the first link");
        assert_eq!(asks(&change, 8), (0, true), "in base anyway");
    }
}
