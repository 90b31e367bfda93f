//! O6: a device shows its own writes. Every value is written once in a world, so what is shown tells
//! who wrote it.

use std::collections::BTreeSet;

use driftline_core::id::{OpId, Version};
use driftline_core::op::{Change, ChangeKind, OpBody};
use driftline_core::schema::{MergePolicy, Schema};
use driftline_core::value::Value;

use super::{FileView, Judgement, Key, QueueState, Queued, object};

const ORACLE: &str = "O6 own writes";

/// The values that a write was acknowledged for are shown when it returns. (Not while the file stands
/// at the beginning because the server's history changed: a write then claims to have seen nothing.)
pub fn written_shows(view: &FileView, written: &[(Key, u16, Value)]) -> Judgement {
    if view.cursor.version == 0 && !view.base.is_empty() {
        return Ok(());
    }
    for (key, field, value) in written {
        let shown = view.shown.get(key).and_then(|state| state.value(*field));
        if shown != Some(value) {
            return object(
                ORACLE,
                format!("{key:?}.{field} was set to {value:?} and shows {shown:?}"),
            );
        }
    }
    Ok(())
}

/// A write that was joined with an earlier one says of what that one wrote that its author had seen no
/// more than they had: what came between the two would count as overwritten on purpose.
pub fn joined_on_one_base(before: &FileView, view: &FileView) -> Judgement {
    let fresh = |queued: &&Queued| !before.holds(queued.id) && queued.body.retry_of.is_none();
    for queued in view.queue.iter().filter(fresh) {
        let gone =
            |earlier: &&Queued| !view.holds(earlier.id) && earlier.body.base < queued.body.base;
        for earlier in before.queue.iter().filter(gone) {
            if let Some(place) = written_by_both(&earlier.body, &queued.body) {
                return object(
                    ORACLE,
                    format!(
                        "{} was written at {} and stands in {} as written at {}: {place:?}",
                        earlier.id, earlier.body.base, queued.id, queued.body.base
                    ),
                );
            }
        }
    }
    Ok(())
}

/// A register that holds the same value in both.
fn written_by_both(earlier: &OpBody, later: &OpBody) -> Option<(Key, u16)> {
    let registers = |body: &OpBody| -> Vec<((Key, u16), Value)> {
        let changes = body.changes.iter();
        let all = changes.flat_map(|change| {
            let key = (change.collection, change.document.as_str().to_owned());
            let registers = change.registers.iter();
            registers.map(move |(field, value)| ((key.clone(), field), value.clone()))
        });
        all.filter(|(_, value)| *value != Value::Null).collect()
    };
    let later = registers(later);
    let same = registers(earlier)
        .into_iter()
        .find(|one| later.contains(one));
    same.map(|(place, _)| place)
}

/// The newest queued write of a register is shown, unless base holds a value that it had not seen.
pub fn own_writes_show(view: &FileView, schema: &Schema) -> Judgement {
    let mut later: Vec<&Queued> = Vec::new();
    for queued in view.shown_ops().rev() {
        for change in &queued.body.changes {
            check(view, schema, queued, change, &later)?;
        }
        later.push(queued);
    }
    Ok(())
}

fn check(
    view: &FileView,
    schema: &Schema,
    queued: &Queued,
    change: &Change,
    later: &[&Queued],
) -> Judgement {
    let key: Key = (change.collection, change.document.as_str().to_owned());
    let by_field = schema
        .collection_by_id(change.collection)
        .is_some_and(|collection| collection.merge == MergePolicy::Field);
    let (Some(base), Some(shown)) = (view.base.get(&key), view.shown.get(&key)) else {
        return Ok(());
    };
    let same_life = base.is_alive() && change.generation == Some(base.generation.opener);
    let plain = change.kind == ChangeKind::Update && by_field && same_life;
    let turned = |change: &Change| change.kind != ChangeKind::Update;
    let here = |other: &&Change| other.is_on(change.collection, &change.document);
    let own = view.shown_ops().flat_map(|queued| &queued.body.changes);
    if !plain || own.filter(here).any(turned) {
        return Ok(());
    }
    for (field, value) in change.registers.iter() {
        let again = |queued: &&Queued| {
            let mut changes = queued.body.changes.iter().filter(here);
            changes.any(|change| change.registers.get(field).is_some())
        };
        let twice = queued.body.changes.iter().filter(here).count() > 1;
        let seen = base
            .registers
            .get(field)
            .is_none_or(|register| register.write.version <= queued.body.base);
        if later.iter().any(again) || twice || !seen {
            continue;
        }
        if shown.value(field) != Some(value) {
            let id: OpId = queued.id;
            return object(
                ORACLE,
                format!(
                    "{id} set {key:?}.{field} to {value:?}, it is pending, and {:?} shows",
                    shown.value(field)
                ),
            );
        }
    }
    Ok(())
}

/// What is known of ops that left the file.
pub trait Known {
    /// What an op said.
    fn body(&self, id: OpId) -> Option<&OpBody>;
    /// Its version, if it was accepted.
    fn accepted(&self, id: OpId) -> Option<Version>;
}

/// The newest queued change of an element shows: one that was added is there, and one that was removed
/// is not, unless base holds an add that the removal had not seen. What it had seen is told by its base
/// version and by the chain of own ops behind it, those that left included.
pub fn own_elements_show(view: &FileView, known: &impl Known) -> Judgement {
    let queue: Vec<&Queued> = view.shown_ops().collect();
    for (at, queued) in queue.iter().enumerate() {
        for change in &queued.body.changes {
            let key: Key = (change.collection, change.document.as_str().to_owned());
            let here = |other: &&Change| other.is_on(change.collection, &change.document);
            let own = queue.iter().flat_map(|queued| &queued.body.changes);
            let (Some(base), Some(shown)) = (view.base.get(&key), view.shown.get(&key)) else {
                continue;
            };
            let same_life = base.is_alive() && change.generation == Some(base.generation.opener);
            if !same_life || own.filter(here).any(|own| own.kind != ChangeKind::Update) {
                continue;
            }
            let later = || {
                let later = queue.iter().skip(at + 1);
                later.flat_map(|queued| queued.body.changes.iter().filter(here))
            };
            let again = |field: u16, element: &String| {
                later().any(|change| {
                    let lists = [change.adds.get(field), change.removes.get(field)];
                    lists
                        .into_iter()
                        .flatten()
                        .any(|list| list.contains(element))
                })
            };
            let shows = |field: u16, element: &String| {
                let set = shown.sets.get(field);
                set.is_some_and(|set| set.elements.contains_key(element))
            };
            for (field, elements) in change.adds.iter() {
                let odd = |e: &&String| !again(field, e) && !shows(field, e);
                if let Some(element) = elements.iter().find(odd) {
                    return object(
                        ORACLE,
                        format!(
                            "{} added {element} to {key:?}, and it is not there",
                            queued.id
                        ),
                    );
                }
            }
            if change.removes.iter().next().is_none() {
                continue;
            }
            let seen = chain(queued, change, known);
            let added = |field, element: &String| {
                let adds = change.adds.get(field);
                adds.is_some_and(|adds| adds.contains(element))
            };
            for (field, elements) in change.removes.iter() {
                let all_seen = |element: &&String| {
                    let set = base.sets.get(field);
                    let tags = set.and_then(|set| set.elements.get(*element));
                    let mut tags = tags.into_iter().flatten();
                    tags.all(|(by, at)| *at <= queued.body.base || seen.contains(by))
                };
                let odd = |element: &&String| {
                    let plain = !again(field, element) && !added(field, element);
                    plain && all_seen(element) && shows(field, element)
                };
                if let Some(element) = elements.iter().find(odd) {
                    return object(
                        ORACLE,
                        format!("{} removed {element} of {key:?}, and it shows", queued.id),
                    );
                }
            }
        }
    }
    Ok(())
}

/// What a queued op had seen of its own file's ops can still be told: the one before it on a document is
/// in the queue, or in base by the op's own word, or its links are kept.
pub fn links_are_kept(view: &FileView, known: &impl Known) -> Judgement {
    // What is taken back may have been decided long ago.
    let waits = |queued: &&Queued| {
        let waits = matches!(queued.state, QueueState::Pending | QueueState::Hidden);
        waits && !queued.body.withdraw
    };
    for queued in view.queue.iter().filter(waits) {
        for change in &queued.body.changes {
            let Some(prev) = queued.body.prev_on(change.collection, &change.document) else {
                continue;
            };
            let left_since = |version| version > queued.body.base && version <= view.cursor.version;
            let key: Key = (change.collection, change.document.as_str().to_owned());
            if !view.holds(prev)
                && known.accepted(prev).is_some_and(left_since)
                && !view.departed.contains(&(prev, key))
            {
                return object(
                    ORACLE,
                    format!(
                        "{} goes on from {prev}, which left without a trace",
                        queued.id
                    ),
                );
            }
        }
    }
    Ok(())
}

/// The own ops that one had seen of a document.
fn chain(queued: &Queued, change: &Change, known: &impl Known) -> BTreeSet<OpId> {
    let links = |body: &OpBody| {
        let prev = body.prev_on(change.collection, &change.document);
        body.stands_for()
            .into_iter()
            .chain(prev)
            .collect::<Vec<_>>()
    };
    let mut chain = BTreeSet::from([queued.id]);
    let mut ahead = links(&queued.body);
    while let Some(id) = ahead.pop() {
        let in_base = |version| version <= queued.body.base;
        if chain.insert(id)
            && !known.accepted(id).is_some_and(in_base)
            && let Some(body) = known.body(id)
        {
            ahead.extend(links(body));
        }
    }
    chain
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracles::testing::{self, COLLECTION, update, view_with, wrote};

    #[test]
    fn a_write_that_was_joined_over_a_page_is_refused() {
        let at = |base: u64, title: &str| {
            let mut body = update("a", title);
            body.base = base;
            body
        };
        let before = view_with(&[(1, at(1, "x"))]);
        let joined = |base| view_with(&[(2, at(base, "x"))]);
        assert_eq!(joined_on_one_base(&before, &joined(1)), Ok(()));
        assert!(joined_on_one_base(&before, &joined(2)).is_err());
        let apart = view_with(&[(1, at(1, "x")), (2, at(2, "y"))]);
        assert_eq!(joined_on_one_base(&before, &apart), Ok(()));
    }

    #[test]
    fn a_write_that_does_not_show_is_refused() {
        let histories = testing::histories(&[wrote(1, "a", "x")]);
        let mut view = testing::at(&histories, 1);
        let key = (COLLECTION, "a".to_owned());
        let written = [(key.clone(), 1, Value::Text("y".to_owned()))];
        assert!(written_shows(&view, &written).is_err());
        view.shown.insert(key.clone(), testing::title("y", 2));
        assert_eq!(written_shows(&view, &written), Ok(()));

        let schema = &crate::world::Schemas::new().app;
        let mut body = update("a", "y");
        body.base = 1;
        body.changes[0].generation = Some(testing::id(1));
        view.queue = view_with(&[(2, body)]).queue;
        assert_eq!(own_writes_show(&view, schema), Ok(()));
        view.shown.insert(key, testing::title("x", 1));
        assert!(own_writes_show(&view, schema).is_err());
    }

    /// Op 2 removed something, and left.
    struct Left(OpBody);

    impl Known for Left {
        fn body(&self, id: OpId) -> Option<&OpBody> {
            (id == testing::id(2)).then_some(&self.0)
        }
        fn accepted(&self, id: OpId) -> Option<Version> {
            (id == testing::id(2)).then_some(3)
        }
    }

    #[test]
    fn an_element_that_shows_although_it_was_removed_is_refused() {
        let on = |n: u8| {
            let mut body = update("a", "x");
            body.changes[0].generation = Some(testing::id(1));
            body.changes[0].prev = Some(testing::id(n));
            body
        };
        let mut removes = on(2);
        removes.changes[0].removes.insert(4, vec!["e".to_owned()]);
        let mut view = view_with(&[(3, removes)]);
        let key = (COLLECTION, "a".to_owned());
        // Op 1 added it at version 2, which the removal had seen through op 2.
        let held = testing::holding("e", 1, 2);
        view.base.insert(key.clone(), held.clone());
        view.shown.insert(key.clone(), held);
        assert!(own_elements_show(&view, &Left(on(1))).is_err());
        let unlinked = Left(update("a", "x"));
        assert_eq!(own_elements_show(&view, &unlinked), Ok(()));
        view.shown.insert(key, testing::title("x", 1));
        assert_eq!(own_elements_show(&view, &Left(on(1))), Ok(()));
        let mut adds = on(2);
        adds.changes[0].adds.insert(4, vec!["e".to_owned()]);
        view.queue = view_with(&[(3, adds)]).queue;
        assert!(own_elements_show(&view, &Left(on(1))).is_err());
    }

    #[test]
    fn an_op_whose_predecessor_left_without_a_trace_is_refused() {
        let mut body = update("a", "x");
        body.changes[0].prev = Some(testing::id(2));
        let mut view = view_with(&[(3, body)]);
        let known = Left(update("a", "x"));
        assert_eq!(links_are_kept(&view, &known), Ok(()), "it has not left yet");
        view.cursor.version = 3;
        assert!(links_are_kept(&view, &known).is_err());
        let key = (COLLECTION, "a".to_owned());
        view.departed.insert((testing::id(2), key));
        assert_eq!(links_are_kept(&view, &known), Ok(()));
    }
}
