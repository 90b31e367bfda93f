//! Ops that no server may accept, whoever sends them.

use std::collections::BTreeSet;

use driftline_core::id::DocumentId;
use driftline_core::op::{Change, ChangeKind, OpBody, TextEdit};
use driftline_core::text::{Attributes, BodyLimits, Delta, TextBody};
use driftline_core::value::Value;
use driftline_simvfs::Random;

use super::World;
use super::schema::LETTERS;

/// The letters' rich text.
const WORDS: u16 = 2;

/// Documents that nobody else writes.
const NOWHERE: &str = "nowhere";

impl World<'_> {
    /// Text that begins behind what the server has of its writer.
    pub(super) fn text_behind_a_gap(&self, body: &mut OpBody, random: &mut Random) {
        let mut updates = typed(random.next() >> 12 | 1, 3);
        if let Some(edit) = updates.pop() {
            body.changes = vec![text_change(edit)];
        }
    }

    /// Text under a writer that is somebody else's.
    pub(super) fn text_of_anothers_writer(&self, body: &mut OpBody) {
        let history = &self.histories.current;
        let ops = (1..=history.head()).filter_map(|version| history.version(version));
        let honest = ops.filter(|seen| !self.made_up.contains(&seen.row.op));
        let honest = honest.filter_map(|seen| self.bodies.get(seen.row.op));
        // What a stranger typed may be under a writer of their own, or under one whose owner came later and
        // wrote its text again.
        let theirs = self.made_up.iter().filter_map(|op| self.bodies.get(*op));
        let theirs: BTreeSet<u64> = theirs.flat_map(writers).collect();
        // The first alone: of others an op's first words may be under a writer that the server never saw.
        let writer = honest.flat_map(writers).next();
        let writer = writer.filter(|writer| !theirs.contains(writer));
        if let Some(edit) = writer.and_then(|writer| typed(writer, 1).pop()) {
            body.changes = vec![text_change(edit)];
        }
    }

    /// A group whose last part is about a document that never was.
    pub(super) fn group_with_a_bad_part(&self, body: &mut OpBody) {
        let mut change = Change::new(LETTERS, nowhere(), ChangeKind::Update);
        change.registers.insert(1, Value::Text("never".to_owned()));
        body.changes.push(change);
    }

    /// A second try of what was accepted at first.
    pub(super) fn retry_of_accepted(&self, body: &mut OpBody, random: &mut Random) {
        let history = &self.histories.current;
        let version = 1 + random.below(history.head().max(1) as usize) as u64;
        body.retry_of = history.version(version).map(|seen| seen.row.op);
    }
}

/// Under whom an op edits texts.
fn writers(body: &OpBody) -> impl Iterator<Item = u64> {
    let edits = body.changes.iter().flat_map(|change| change.texts.iter());
    edits.map(|(_, edit)| edit.writer)
}

fn nowhere() -> DocumentId {
    DocumentId::new(NOWHERE).unwrap_or_else(|_| unreachable!("a short id"))
}

fn text_change(edit: TextEdit) -> Change {
    let mut change = Change::new(LETTERS, nowhere(), ChangeKind::Insert);
    change.texts.insert(WORDS, edit);
    change
}

/// So many edits of an empty text, one after the other.
fn typed(writer: u64, edits: usize) -> Vec<TextEdit> {
    let mut text = TextBody::new(writer, BodyLimits::default());
    let typed = (0..edits).filter_map(|_| {
        let word = Delta::new().insert("[forged]", Attributes::new());
        let edited = text.edit_delta(word).ok()??;
        Some(TextEdit {
            writer,
            update: edited.update.into(),
            after: None,
        })
    });
    typed.collect()
}
