//! What an app writes, as far as its screen allows it.

use std::sync::Arc;

use driftline_core::merge::DocumentState;
use driftline_core::op::{Change, ChangeKind, Op, OpBody};
use driftline_core::schema::MergePolicy;
use driftline_core::value::Value;

use super::truth::Truth;
use super::{A, B, COUNT, Key, MOST_OPS, TAGS, TEXT, World, mask, op_id, schema};

/// The kinds of write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Write {
    /// Sets register A to a value of its own.
    SetA,
    /// Sets register B.
    SetB,
    /// Sets both.
    SetBoth,
    /// Sets register A to the same value as everybody who does this.
    Same,
    /// Adds a power of two of its own to the counter.
    Count,
    /// Adds the element to the set.
    Add,
    /// Removes it.
    Remove,
    /// Types a letter of its own.
    Type,
    /// Inserts the document (register A).
    Insert,
    /// Deletes it.
    Delete,
    /// Restores it.
    Restore,
    /// Inserts the second document.
    InsertOther,
    /// Sets A of the second document.
    Other,
    /// Sets A of both documents, in one group.
    Pair,
    /// Counts on both documents, in one group.
    CountPair,
}

impl Write {
    /// Whether it sets a register of the document everything is about.
    pub(super) fn sets(self, field: u16) -> bool {
        match self {
            Write::SetA | Write::Same | Write::Insert | Write::Pair => field == A,
            Write::SetB => field == B,
            Write::SetBoth => field == A || field == B,
            _ => false,
        }
    }

    fn kind(self) -> ChangeKind {
        match self {
            Write::Insert | Write::InsertOther => ChangeKind::Insert,
            Write::Delete => ChangeKind::Delete,
            Write::Restore => ChangeKind::Restore,
            _ => ChangeKind::Update,
        }
    }
}

impl World {
    pub(super) fn write(
        &mut self,
        at: usize,
        write: Write,
        poison: bool,
        save: bool,
    ) -> Option<()> {
        let number = self.truth.len();
        (number < MOST_OPS && self.writes < self.most_writes).then_some(())?;
        self.files[at].as_ref()?;
        self.time += 1_000;
        self.writes += 1;
        let mut body = OpBody {
            schema: 1,
            ..OpBody::default()
        };
        let keys = match write {
            Write::InsertOther | Write::Other => vec![self.other_key()],
            Write::Pair | Write::CountPair => vec![self.key(), self.other_key()],
            _ => vec![self.key()],
        };
        for key in &keys {
            body.changes.push(self.change(at, key, write, number)?);
        }
        let (rules, time) = (self.rules, self.time);
        let file = Arc::make_mut(self.files[at].as_mut()?);
        body.base = file.cursor.version;
        let op = Op {
            id: op_id(number),
            written: file.reading(time),
            body,
        };
        let truth = Truth::of(&op, write, file, &self.truth);
        file.written |= mask(op.id);
        let absorbed = file.append(&rules, op, save);
        // A save that stands for nothing is a plain write; the world has that already.
        (absorbed || !save).then_some(())?;
        Arc::make_mut(&mut self.truth).push(truth);
        if poison {
            self.poison |= 1 << number;
        }
        Some(())
    }

    fn change(&self, at: usize, key: &Key, write: Write, number: usize) -> Option<Change> {
        let file = self.file(at);
        let shown = file.shown(schema(), key, self.time);
        let alive = shown.as_ref().is_some_and(DocumentState::is_alive);
        let kind = write.kind();
        let allowed = match kind {
            ChangeKind::Insert => !alive,
            ChangeKind::Restore => shown.is_some() && !alive,
            ChangeKind::Update | ChangeKind::Delete => alive,
        };
        allowed.then_some(())?;
        let mut change = Change::new(key.0, key.1.clone(), kind);
        change.prev = file.prev(key).filter(|_| self.rules.prev);
        if let Some(shown) = shown.as_ref().filter(|_| !kind.is_opener()) {
            change.generation = Some(if self.rules.own_opener {
                file.generation(key, shown, self.time)
            } else {
                file.base.get(key).unwrap_or(shown).generation.opener
            });
        }
        let value = Value::Integer(number as i64);
        match write {
            Write::SetA | Write::Insert | Write::InsertOther | Write::Other | Write::Pair => {
                change.registers.insert(A, value);
            }
            Write::SetB => {
                change.registers.insert(B, value);
            }
            Write::SetBoth => {
                change.registers.insert(A, value.clone());
                change.registers.insert(B, value);
            }
            Write::Same => {
                change.registers.insert(A, Value::Integer(-1));
            }
            Write::Count | Write::CountPair => {
                change.increments.insert(COUNT, 1 << number);
            }
            Write::Add => {
                change.adds.insert(TAGS, vec!["e".to_owned()]);
            }
            Write::Remove => {
                change.removes.insert(TAGS, vec!["e".to_owned()]);
            }
            Write::Type => {
                let edit = file.types(schema(), key, number, self.time);
                change.texts.insert(TEXT, edit);
            }
            Write::Delete | Write::Restore => {}
        }
        let whole = schema().collection_by_id(key.0)?.merge == MergePolicy::Document;
        if whole && !change.registers.is_empty() {
            // The whole document is one register: an op carries all of it.
            for (field, register) in shown
                .iter()
                .filter(|s| s.is_alive())
                .flat_map(|s| s.registers.iter())
            {
                change.registers.entry(field, || register.value.clone());
            }
            change.clock = shown.as_ref().map_or(0, |s| s.clock) + 1;
        }
        Some(change)
    }
}
