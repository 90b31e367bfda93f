//! O3: what an acknowledged write asked, document by document and field by field, is what its op says.

use std::collections::{BTreeMap, BTreeSet};

use driftline_core::id::OpId;
use driftline_core::op::{Change, ChangeKind};
use driftline_core::schema::{Collection, FieldKind, MergePolicy, Schema};
use driftline_core::value::Value;

use super::{Judgement, Key, Queued, Violation, object};

const ORACLE: &str = "O3 acknowledged";

/// A call of a transaction that changed something.
#[derive(Clone, Debug, PartialEq)]
pub enum Ask {
    /// A document is made, or merged into.
    Insert(Vec<(u16, Value)>),
    /// Registers are written.
    Update(Vec<(u16, Value)>),
    /// So much is added to a counter.
    Increment(u16, i64),
    /// Elements are added to a set.
    Add(u16, Vec<String>),
    /// Elements that a set showed are removed from it.
    Remove(u16, Vec<String>),
    /// The document is deleted.
    Delete,
    /// The document is brought back.
    Restore,
    /// A text or list is edited, with this said in it: nothing where something is taken out or moved.
    Edit(u16, String),
}

/// All that a transaction asked, in order.
pub type Asked = Vec<(Key, Ask)>;

/// What one change of an op has to say.
#[derive(Debug)]
struct Part {
    kind: ChangeKind,
    registers: BTreeMap<u16, Value>,
    increments: BTreeMap<u16, i64>,
    adds: BTreeMap<u16, BTreeSet<String>>,
    removes: BTreeMap<u16, BTreeSet<String>>,
    edits: BTreeMap<u16, Vec<String>>,
}

/// One of the ops that are new says all that was asked, and nothing else: that one.
pub fn says_what_was_asked(
    asked: &Asked,
    new: &[&Queued],
    schema: &Schema,
    what: &str,
) -> Result<OpId, Violation> {
    let parts = parts(asked);
    let mut odd = None;
    for queued in new {
        match differs(&parts, &queued.body.changes, schema) {
            None => return Ok(queued.id),
            Some(why) => odd = Some(format!("{} {why}", queued.id)),
        }
    }
    let odd = odd.unwrap_or_else(|| "nothing is queued".to_owned());
    Err(Violation {
        oracle: ORACLE,
        what: format!("{what} returned, and {odd}"),
    })
}

/// The ops that are new say together what was asked, and nothing else.
pub fn say_what_was_asked(
    asked: &Asked,
    new: &[&Queued],
    schema: &Schema,
    what: &str,
) -> Judgement {
    let changes = new.iter().flat_map(|queued| &queued.body.changes);
    let changes: Vec<Change> = changes.cloned().collect();
    match differs(&parts(asked), &changes, schema) {
        None => Ok(()),
        Some(why) => object(ORACLE, format!("{what} returned, and what is new {why}")),
    }
}

/// Whoever stands for an earlier op of the queue writes all again that it wrote.
pub fn covers_what_was_asked(before: &[Queued], new: &[&Queued]) -> Judgement {
    let joined = new.iter().filter(|queued| queued.body.retry_of.is_none());
    for queued in joined {
        let covers = &queued.body.covers;
        for earlier in before.iter().filter(|earlier| covers.contains(&earlier.id)) {
            let forgets = |change: &&Change| {
                let changes = queued.body.changes.iter();
                let mut here = changes.filter(|c| c.is_on(change.collection, &change.document));
                let again = here.any(|again| {
                    let mut registers = change.registers.iter();
                    registers.all(|(field, _)| again.registers.get(field).is_some())
                });
                let plain = change.increments.is_empty()
                    && change.adds.is_empty()
                    && change.removes.is_empty()
                    && change.texts.is_empty();
                !again || !plain || change.kind != ChangeKind::Update
            };
            if let Some(change) = earlier.body.changes.iter().find(forgets) {
                return object(
                    ORACLE,
                    format!(
                        "{} stands for {} and does not say all of {change:?}",
                        queued.id, earlier.id
                    ),
                );
            }
        }
    }
    Ok(())
}

/// What the changes of an op have to be: an update goes with the insert or update of its document right
/// before it, all else stands alone.
fn parts(asked: &Asked) -> BTreeMap<&Key, Vec<Part>> {
    let mut parts: BTreeMap<&Key, Vec<Part>> = BTreeMap::new();
    for (key, ask) in asked {
        let kind = match ask {
            Ask::Insert(_) => ChangeKind::Insert,
            Ask::Delete => ChangeKind::Delete,
            Ask::Restore => ChangeKind::Restore,
            _ => ChangeKind::Update,
        };
        let here = parts.entry(key).or_default();
        let joins = here.last().is_some_and(|last| {
            let open = matches!(last.kind, ChangeKind::Insert | ChangeKind::Update);
            kind == ChangeKind::Update && open
        });
        if !joins {
            here.push(Part {
                kind,
                registers: BTreeMap::new(),
                increments: BTreeMap::new(),
                adds: BTreeMap::new(),
                removes: BTreeMap::new(),
                edits: BTreeMap::new(),
            });
        }
        if let Some(part) = here.last_mut() {
            part.take(ask);
        }
    }
    parts
}

impl Part {
    fn take(&mut self, ask: &Ask) {
        match ask {
            Ask::Insert(fields) | Ask::Update(fields) => {
                self.registers.extend(fields.iter().cloned());
            }
            Ask::Increment(field, by) => *self.increments.entry(*field).or_default() += by,
            Ask::Add(field, elements) => {
                let added = self.adds.entry(*field).or_default();
                added.extend(elements.iter().cloned());
            }
            Ask::Remove(field, elements) => {
                if let Some(added) = self.adds.get_mut(field) {
                    added.retain(|element| !elements.contains(element));
                }
                let removed = self.removes.entry(*field).or_default();
                removed.extend(elements.iter().cloned());
            }
            Ask::Edit(field, said) => self.edits.entry(*field).or_default().push(said.clone()),
            Ask::Delete | Ask::Restore => {}
        }
    }

    /// What a change says otherwise.
    fn differs(&self, change: &Change, rules: Option<&Collection>) -> Option<String> {
        if change.kind != self.kind {
            return Some(format!("is no {}", self.kind.name()));
        }
        for (field, value) in &self.registers {
            let said = change.registers.get(*field);
            if said != Some(value) {
                return Some(format!("says {said:?} in field {field} and not {value:?}"));
            }
        }
        // A document that merges as a whole goes as a whole, and a new one is given its place.
        let as_one = rules.is_some_and(|rules| rules.merge == MergePolicy::Document);
        let is_drawn = |field| {
            let declared = rules.and_then(|rules| rules.field_by_id(field));
            let order = declared.is_some_and(|field| field.kind == FieldKind::OrderKey);
            order && change.kind == ChangeKind::Insert
        };
        let mut registers = change.registers.iter();
        let odd = registers
            .find(|(field, _)| !self.registers.contains_key(field) && !as_one && !is_drawn(*field));
        if let Some((field, value)) = odd {
            return Some(format!("says {value:?} in field {field} unasked"));
        }
        let increments: BTreeMap<u16, i64> =
            change.increments.iter().map(|(f, n)| (f, *n)).collect();
        if increments != self.increments {
            return Some(format!("adds {increments:?} and not {:?}", self.increments));
        }
        for (asked, said, word) in [
            (&self.adds, &change.adds, "adds"),
            (&self.removes, &change.removes, "removes"),
        ] {
            let said: BTreeMap<u16, BTreeSet<String>> = said
                .iter()
                .map(|(field, elements)| (field, elements.iter().cloned().collect()))
                .collect();
            if !asked.iter().filter(|(_, list)| !list.is_empty()).eq(&said) {
                return Some(format!("{word} {said:?} and not {asked:?}"));
            }
        }
        let fields = change.texts.iter().map(|(field, _)| field);
        if !fields.eq(self.edits.keys().copied()) {
            return Some(format!("edits other texts than {:?}", self.edits));
        }
        for (field, edit) in change.texts.iter() {
            let bytes = &edit.update.0;
            let mut said = self.edits.get(&field).into_iter().flatten();
            if let Some(word) = said.find(|word| !holds(bytes, word.as_bytes())) {
                return Some(format!("does not say {word} in text {field}"));
            }
        }
        None
    }
}

/// Whether an update has these bytes in it: Yrs keeps text that is put in at once in one piece.
fn holds(update: &[u8], word: &[u8]) -> bool {
    match word.len() {
        0 => !update.is_empty(),
        length => update.windows(length).any(|there| there == word),
    }
}

/// How the changes differ from what they have to be.
fn differs(
    parts: &BTreeMap<&Key, Vec<Part>>,
    changes: &[Change],
    schema: &Schema,
) -> Option<String> {
    let key_of = |change: &Change| (change.collection, change.document.as_str().to_owned());
    if let Some(odd) = changes
        .iter()
        .find(|change| !parts.contains_key(&key_of(change)))
    {
        return Some(format!("changes {:?} unasked", key_of(odd)));
    }
    for (key, parts) in parts {
        let rules = schema.collection_by_id(key.0);
        let here: Vec<&Change> = changes.iter().filter(|c| key_of(c) == **key).collect();
        if here.len() != parts.len() {
            let (is, asked) = (here.len(), parts.len());
            return Some(format!("has {is} changes of {key:?} and not {asked}"));
        }
        let odd = parts.iter().zip(here);
        if let Some(why) = odd
            .filter_map(|(part, change)| part.differs(change, rules))
            .next()
        {
            return Some(format!("of {key:?} {why}"));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracles::testing::{COLLECTION, counting, covering, insert, update, view_with};
    use crate::world::Schemas;

    fn key(document: &str) -> Key {
        (COLLECTION, document.to_owned())
    }

    fn title(value: &str) -> Vec<(u16, Value)> {
        vec![(1, Value::Text(value.to_owned()))]
    }

    /// What is wrong with one op that stands for what was asked.
    fn judged(asked: &[(&str, Ask)], body: driftline_core::op::OpBody) -> Judgement {
        let schema = Schemas::new().app;
        let view = view_with(&[(1, body)]);
        let asked = asked.iter().map(|(d, ask)| (key(d), ask.clone())).collect();
        let new: Vec<&Queued> = view.queue.iter().collect();
        says_what_was_asked(&asked, &new, &schema, "w").map(drop)
    }

    #[test]
    fn an_op_that_leaves_out_a_part_of_what_was_asked_is_refused() {
        let asked = [("a", Ask::Insert(title("x")))];
        assert_eq!(judged(&asked, insert("a", "x")), Ok(()));
        assert!(judged(&asked, insert("a", "y")).is_err());
        assert!(judged(&asked, insert("b", "x")).is_err());
        assert!(judged(&asked, update("a", "x")).is_err());
        let both = [
            ("a", Ask::Insert(title("x"))),
            ("b", Ask::Insert(title("x"))),
        ];
        assert!(judged(&both, insert("a", "x")).is_err());
        let mut group = insert("a", "x");
        group.changes.extend(insert("b", "x").changes);
        assert_eq!(judged(&both, group.clone()), Ok(()));
        assert!(judged(&asked, group).is_err(), "nobody asked for the other");
    }

    #[test]
    fn a_count_or_an_element_that_is_not_what_was_asked_is_refused() {
        let asked = [("a", Ask::Increment(3, 2)), ("a", Ask::Increment(3, 5))];
        assert_eq!(judged(&asked, counting("a", 7)), Ok(()));
        assert!(judged(&asked, counting("a", 2)).is_err());
        let list = |elements: &[&str]| -> Vec<String> {
            elements.iter().map(|e| (*e).to_owned()).collect()
        };
        let asked = [
            ("a", Ask::Add(4, list(&["e", "f"]))),
            ("a", Ask::Remove(4, list(&["e"]))),
        ];
        let sets = |adds: &[&str], removes: &[&str]| {
            let mut body = counting("a", 0);
            body.changes[0].increments = Default::default();
            body.changes[0].adds.insert(4, list(adds));
            body.changes[0].removes.insert(4, list(removes));
            body
        };
        assert_eq!(judged(&asked, sets(&["f"], &["e"])), Ok(()));
        assert!(judged(&asked, sets(&["f"], &["g"])).is_err());
        assert!(judged(&asked, sets(&["e", "f"], &["e"])).is_err());
    }

    #[test]
    fn a_text_that_does_not_say_the_word_is_refused() {
        let asked = [("a", Ask::Edit(2, "[x]".to_owned()))];
        let edit = |bytes: &[u8]| {
            let mut body = crate::oracles::testing::typed("a", 7);
            if let Some(edit) = body.changes[0].texts.get_mut(2) {
                edit.update.0 = bytes.to_vec();
            }
            body
        };
        assert_eq!(judged(&asked, edit(b"1[x]2")), Ok(()));
        assert!(judged(&asked, edit(b"1[y]2")).is_err());
        assert!(judged(&asked, counting("a", 1)).is_err());
        let taken_out = [("a", Ask::Edit(2, String::new()))];
        assert_eq!(judged(&taken_out, edit(b"1")), Ok(()));
        assert!(judged(&taken_out, edit(b"")).is_err());
    }

    #[test]
    fn an_op_that_stands_for_another_and_says_less_is_refused() {
        let mut earlier = update("a", "x");
        let view = view_with(&[(2, covering(update("a", "y"), 1))]);
        let new: Vec<&Queued> = view.queue.iter().collect();
        let judge = |earlier| covers_what_was_asked(&view_with(&[(1, earlier)]).queue, &new);
        assert_eq!(judge(earlier.clone()), Ok(()));
        earlier.changes[0].registers.insert(2, Value::Null);
        assert!(judge(earlier).is_err());
        assert!(judge(counting("a", 1)).is_err());
    }
}
