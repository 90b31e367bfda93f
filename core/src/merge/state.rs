//! A document with the provenance of everything in it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::{OpId, Version};
use crate::op::FieldMap;
use crate::protocol::json;
use crate::text::Mark;
use crate::time::Stamp;
use crate::value::Value;

/// Who wrote a value and where it stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Write {
    /// The op that wrote it.
    pub op: OpId,
    /// Its effective stamp.
    pub stamp: Stamp,
    /// The op's version; [`crate::id::PENDING`] while it is the device's own.
    #[serde(with = "json")]
    pub version: Version,
}

/// One field's value with its provenance.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Register {
    /// What it holds.
    pub value: Value,
    /// Who wrote it.
    #[serde(flatten)]
    pub write: Write,
}

/// A set: for each element the adds that still hold it. No tag, no element.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SetState {
    /// Element to the ops (and their versions) that added it and were not removed since.
    #[serde(with = "json::elements")]
    pub elements: BTreeMap<String, Vec<(OpId, Version)>>,
}

/// A text or list as the merge knows it: who wrote how much of it. What it says is kept apart, by
/// document, field and root.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TextState {
    /// The opener of the generation in which it first got content. A fresh insert over a tombstone
    /// begins an empty text; a document brought back keeps the one it had.
    pub root: OpId,
    /// The last op that changed it.
    pub last: OpId,
    /// That op's version.
    #[serde(with = "json")]
    pub version: Version,
    /// Bytes of content, as counted by limits: all that was inserted, less what is known to be
    /// deleted again.
    #[serde(default, skip_serializing_if = "is_zero", with = "json")]
    pub bytes: u64,
    /// Its writers, in their order. In a part those that changed; one whose last op is zero is gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "json::marks")]
    pub marks: Vec<Mark>,
}

impl TextState {
    /// An empty one.
    pub(super) fn empty(root: OpId, by: OpId, version: Version) -> TextState {
        TextState {
            root,
            last: by,
            version,
            bytes: 0,
            marks: Vec::new(),
        }
    }

    /// Takes over what `part` says; a part of another root is all of that text.
    fn take(&mut self, part: TextState) {
        if self.root != part.root {
            *self = part;
        } else {
            let marks = part.marks.into_iter();
            marks.for_each(|mark| Mark::put(&mut self.marks, mark));
            (self.last, self.version, self.bytes) = (part.last, part.version, part.bytes);
        }
        self.marks.retain(|mark| mark.last != OpId::ZERO);
    }
}

/// One life of a document, named by the op that opened it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Generation {
    /// The op that opened it.
    pub opener: OpId,
    /// That op's version.
    #[serde(with = "json")]
    pub version: Version,
}

/// Whether the document is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Life {
    /// It is.
    #[default]
    Alive,
    /// It was deleted by this write; what it held is kept for a restore.
    Deleted(Write),
}

impl Life {
    fn is_alive(&self) -> bool {
        *self == Life::Alive
    }
}

/// What an update that brought a document back remembers of the delete it undid: late ops that name
/// the old generation and had not seen that delete still apply.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Reopened {
    /// The opener of the generation that was deleted.
    pub generation: OpId,
    /// The delete.
    pub delete: OpId,
    /// The delete's version.
    #[serde(with = "json")]
    pub delete_version: Version,
}

/// Everything known of a document, live or deleted.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct DocumentState {
    /// Its current generation.
    pub generation: Generation,
    /// Whether it is there.
    #[serde(default, skip_serializing_if = "Life::is_alive")]
    pub life: Life,
    /// Set when the generation was opened by an update (`update_wins`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reopened: Option<Reopened>,
    /// The revision clock, where the collection merges whole documents; else 0.
    #[serde(default, skip_serializing_if = "is_zero", with = "json")]
    pub clock: u64,
    /// The last version that touched it.
    #[serde(with = "json")]
    pub version: Version,
    /// Registers that somebody wrote.
    #[serde(default, skip_serializing_if = "FieldMap::is_empty")]
    pub registers: FieldMap<Register>,
    /// Counters that somebody incremented.
    #[serde(
        default,
        skip_serializing_if = "FieldMap::is_empty",
        with = "json::fields"
    )]
    pub counters: FieldMap<i64>,
    /// Sets that somebody touched.
    #[serde(default, skip_serializing_if = "FieldMap::is_empty")]
    pub sets: FieldMap<SetState>,
    /// Texts and lists that somebody edited.
    #[serde(default, skip_serializing_if = "FieldMap::is_empty")]
    pub texts: FieldMap<TextState>,
    /// Updates in this generation that no later one had seen, kept only where updates can cancel
    /// deletes (`update_wins`).
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "json::tags")]
    pub updates: Vec<(OpId, Version)>,
    /// Updates up to this version were forgotten from [`Self::updates`].
    #[serde(default, skip_serializing_if = "is_zero", with = "json")]
    pub updates_forgotten: Version,
}

impl DocumentState {
    /// An empty live document opened by `opener`.
    pub fn opened(opener: OpId, version: Version) -> DocumentState {
        DocumentState {
            generation: Generation { opener, version },
            life: Life::Alive,
            reopened: None,
            clock: 0,
            version,
            registers: FieldMap::default(),
            counters: FieldMap::default(),
            sets: FieldMap::default(),
            texts: FieldMap::default(),
            updates: Vec::new(),
            updates_forgotten: 0,
        }
    }

    /// Whether the document is there.
    pub fn is_alive(&self) -> bool {
        self.life == Life::Alive
    }

    /// The same without the values of its registers.
    pub fn without_values(&self) -> DocumentState {
        let mut state = self.clone();
        for (_, register) in state.registers.iter_mut() {
            register.value = Value::Null;
        }
        state
    }

    /// Whether nothing differs between the two but the values of registers: the same fields, by the
    /// same writes.
    pub fn differs_in_values_alone(&self, other: &DocumentState) -> bool {
        // All fields are named, so that one that is added is thought of here.
        let DocumentState {
            generation,
            version,
            life,
            reopened,
            clock,
            registers,
            counters,
            sets,
            texts,
            updates,
            updates_forgotten,
        } = self;
        let mut written = registers.iter().zip(other.registers.iter());
        *generation == other.generation
            && *version == other.version
            && *life == other.life
            && *reopened == other.reopened
            && *clock == other.clock
            && registers.len() == other.registers.len()
            && *counters == other.counters
            && *sets == other.sets
            && *texts == other.texts
            && *updates == other.updates
            && *updates_forgotten == other.updates_forgotten
            && written.all(|((a, x), (b, y))| a == b && x.write == y.write)
    }

    /// Whether it is alive and of registers alone, with nothing to remember beside them: what an insert of
    /// registers brings into being.
    pub(super) fn is_of_registers_alone(&self) -> bool {
        // All fields are named, so that one that is added is thought of here.
        let DocumentState {
            generation: _,
            version: _,
            life,
            reopened,
            clock,
            registers: _,
            counters,
            sets,
            texts,
            updates,
            updates_forgotten,
        } = self;
        *life == Life::Alive
            && reopened.is_none()
            && *clock == 0
            && counters.is_empty()
            && sets.is_empty()
            && texts.is_empty()
            && updates.is_empty()
            && *updates_forgotten == 0
    }

    /// The value of a register, if somebody wrote one.
    pub fn value(&self, field: u16) -> Option<&Value> {
        self.registers.get(field).map(|r| &r.value)
    }

    /// How many bytes its content takes, as counted by limits and quotas.
    pub fn size(&self) -> usize {
        let registers: usize = self.registers.iter().map(|(_, r)| r.value.size()).sum();
        let elements = |set: &SetState| -> usize { set.elements.keys().map(String::len).sum() };
        let sets: usize = self.sets.iter().map(|(_, s)| elements(s)).sum();
        let texts: u64 = self.texts.iter().map(|(_, text)| text.bytes).sum();
        registers + sets + 8 * self.counters.len() + usize::try_from(texts).unwrap_or(usize::MAX)
    }

    /// Takes over the components that `part` holds: what a version of the log changed.
    ///
    /// Components are absolute, so applying a version twice, or over a later state that the same
    /// versions follow, ends at the same content.
    pub fn take(&mut self, part: DocumentState) {
        self.generation = part.generation;
        self.life = part.life;
        self.reopened = part.reopened;
        self.clock = part.clock;
        self.version = part.version;
        self.updates = part.updates;
        self.updates_forgotten = part.updates_forgotten;
        for (field, register) in part.registers {
            self.registers.insert(field, register);
        }
        for (field, value) in part.counters {
            self.counters.insert(field, value);
        }
        for (field, set) in part.sets {
            let mine = self.sets.entry(field, SetState::default);
            for (element, tags) in set.elements {
                if tags.is_empty() {
                    mine.elements.remove(&element);
                } else {
                    mine.elements.insert(element, tags);
                }
            }
        }
        self.drop_empty_sets();
        for (field, text) in part.texts {
            match self.texts.get_mut(field) {
                Some(mine) => mine.take(text),
                None => _ = self.texts.insert(field, text),
            }
        }
    }

    /// An emptied set and one never touched are the same thing.
    pub(super) fn drop_empty_sets(&mut self) {
        self.sets.retain(|_, set| !set.elements.is_empty());
    }
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}
