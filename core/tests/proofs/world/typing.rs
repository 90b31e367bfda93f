//! Text in a small world: every write types one letter of its own, behind the letter its file typed
//! before under the same writer.
//!
//! To see whether it ended up there, the letter behind which it was typed is typed once more with it:
//! an update is a pair, and in a text that is whole every pair repeats the letter before it.

use std::collections::BTreeMap;

use driftline_core::id::OpId;
use driftline_core::merge::TextState;
use driftline_core::op::{TextEdit, Update};
use driftline_core::schema::Schema;
use driftline_core::text::Mark;

use super::file::File;
use super::server::Part;
use super::{Key, TEXT};

/// What stands for "nothing" where a writer typed first.
const FIRST: char = '·';

/// Where the letters of ops begin: two bytes of UTF-8 each, as [`FIRST`] has.
const LETTERS: u32 = 0x100;

/// The letter of the op of this number.
fn letter(number: usize) -> char {
    char::from_u32(LETTERS + number as u32).unwrap()
}

/// A text as Yrs would hold it: what stands at each clock of each writer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Text {
    root: OpId,
    letters: BTreeMap<(u64, u32), char>,
}

/// Texts by document.
pub(crate) type Texts = BTreeMap<Key, Text>;

/// Takes over what a version did to a document's text.
pub(crate) fn take(texts: &mut Texts, part: &Part) {
    let state = part.state.texts.get(TEXT);
    if part.whole && texts.get(&part.key).map(|t| t.root) != state.map(|s| s.root) {
        texts.remove(&part.key);
    }
    let (Some(state), Some(update)) = (state, part.texts.get(TEXT)) else {
        return;
    };
    let text = texts.entry(part.key.clone()).or_insert_with(|| Text {
        root: state.root,
        letters: BTreeMap::new(),
    });
    let (writer, from, typed) = read(update);
    for (clock, letter) in (from..).zip(typed) {
        text.letters.insert((writer, clock), letter);
    }
}

/// What is wrong with a text, given what its document's state says of it.
pub(crate) fn wrong(text: Option<&Text>, state: Option<&TextState>) -> Option<String> {
    let (text, state) = match (text, state) {
        (None, None) => return None,
        (Some(text), Some(state)) => (text, state),
        (text, state) => return Some(format!("text {text:?}, state {state:?}")),
    };
    let marked: u32 = state.marks.iter().map(|mark| mark.next).sum();
    let within = |(writer, clock): &(u64, u32)| *clock < Mark::next_of(&state.marks, *writer);
    if text.root != state.root
        || text.letters.len() != marked as usize
        || !text.letters.keys().all(within)
    {
        return Some(format!("marks {:?} of {text:?}", state.marks));
    }
    let mut own: Vec<char> = Vec::new();
    for ((writer, clock), letter) in &text.letters {
        if clock % 2 == 1 {
            own.push(*letter);
            continue;
        }
        let before = clock
            .checked_sub(1)
            .and_then(|c| text.letters.get(&(*writer, c)));
        if *letter != before.copied().unwrap_or(FIRST) {
            return Some(format!("typed behind {letter}, stands behind {before:?}"));
        }
    }
    own.sort_unstable();
    let twice = own.windows(2).find(|pair| pair[0] == pair[1]);
    twice.map(|pair| format!("{} is there twice", pair[0]))
}

/// Whether a text has the letter of an op.
pub(crate) fn has(text: &Text, number: usize) -> bool {
    let own =
        |((_, clock), found): (&(u64, u32), &char)| clock % 2 == 1 && *found == letter(number);
    text.letters.iter().any(own)
}

/// The update that types `number`'s letter at a writer's clock, behind `behind`.
fn update(writer: u64, from: u32, behind: char, number: usize) -> Update {
    let mut bytes = vec![1, 1];
    unsigned(&mut bytes, writer);
    unsigned(&mut bytes, from.into());
    match from.checked_sub(1) {
        None => bytes.extend([4, 1, 1, b't']),
        Some(before) => {
            bytes.push(0x84);
            unsigned(&mut bytes, writer);
            unsigned(&mut bytes, before.into());
        }
    }
    let typed: String = [behind, letter(number)].into_iter().collect();
    bytes.push(typed.len() as u8);
    bytes.extend(typed.bytes());
    bytes.push(0);
    Update(bytes)
}

/// The writer, the first clock and the letters of such an update.
fn read(update: &Update) -> (u64, u32, Vec<char>) {
    let mut bytes = update.0[2..].iter().copied();
    let writer = next_unsigned(&mut bytes);
    let from = next_unsigned(&mut bytes) as u32;
    let typed = &update.0[update.0.len() - 5..update.0.len() - 1];
    (
        writer,
        from,
        std::str::from_utf8(typed).unwrap().chars().collect(),
    )
}

fn unsigned(bytes: &mut Vec<u8>, mut n: u64) {
    while n > 0x7f {
        bytes.push(n as u8 | 0x80);
        n >>= 7;
    }
    bytes.push(n as u8);
}

fn next_unsigned(bytes: &mut impl Iterator<Item = u8>) -> u64 {
    let (mut n, mut shift) = (0, 0);
    for byte in bytes {
        n |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte < 0x80 {
            break;
        }
    }
    n
}

impl File {
    /// Whether pending text does not go on where base ends.
    pub(crate) fn has_unfit_text(&self, schema: &Schema, keys: &[Key], time: i64) -> bool {
        let unfit = |key: &Key| !self.folded(schema, key, time, &[]).rebase.is_empty();
        self.unfit || keys.iter().any(unfit)
    }

    /// Draws a new writer and writes all text that no page has named again, in queue order.
    pub(crate) fn write_texts_again(&mut self, schema: &Schema, roots: &[usize], time: i64) {
        self.unfit = false;
        self.draws += 1;
        // Boot sessions are each of one file, also after a copy.
        self.writer = u64::from(self.boot) * 1_000 + self.draws;
        for at in 0..self.queue.len() {
            self.write_text(schema, at, roots, time);
        }
    }

    /// Writes the texts of one queued op on what the file shows without it and those behind it.
    /// `roots` are the numbers of all ops' first tries.
    pub(crate) fn write_text(&mut self, schema: &Schema, at: usize, roots: &[usize], time: i64) {
        if self.queue[at]
            .op
            .body
            .changes
            .iter()
            .all(|c| c.texts.is_empty())
        {
            return;
        }
        let mut before = self.clone();
        before.queue.truncate(at);
        let queued = &mut self.queue[at];
        let number = roots[super::number(queued.op.id)];
        for change in queued
            .op
            .body
            .changes
            .iter_mut()
            .filter(|c| !c.texts.is_empty())
        {
            let key = (change.collection, change.document.clone());
            let edit = before.types(schema, &key, number, time);
            change.texts.insert(TEXT, edit);
        }
    }

    /// The edit that types the letter of `number` on what the file shows.
    pub(crate) fn types(&self, schema: &Schema, key: &Key, number: usize, time: i64) -> TextEdit {
        let shown = self.shown(schema, key, time);
        let text = shown.as_ref().and_then(|shown| shown.texts.get(TEXT));
        let mark = text.and_then(|text| Mark::of(&text.marks, self.writer));
        let from = mark.map_or(0, |mark| mark.next);
        let behind = mark.and_then(|mark| self.typed_last(key, mark));
        TextEdit {
            writer: self.writer,
            update: update(self.writer, from, behind.unwrap_or(FIRST), number),
            after: mark.map(|mark| mark.last),
        }
    }

    /// The last letter the file's writer typed, in base or pending.
    fn typed_last(&self, key: &Key, mark: &Mark) -> Option<char> {
        let pending = self
            .queue
            .iter()
            .find(|q| q.op.id == mark.last)
            .and_then(|q| {
                let change = q.op.body.changes.iter().find(|c| c.is_on(key.0, &key.1))?;
                read(&change.texts.get(TEXT)?.update).2.last().copied()
            });
        pending.or_else(|| {
            let text = self.texts.get(key)?;
            text.letters.get(&(self.writer, mark.next - 1)).copied()
        })
    }
}
