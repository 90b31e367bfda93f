//! Writing text again under a new writer.
//!
//! A file's writer cannot go on when its clocks were used by a copy of the file, when something before
//! its updates is missing, or when one of its updates was rejected. Then a new writer is drawn, and
//! everything that no page has named yet is written again, in queue order, on what the field contains
//! now. The ops keep their ids; only their updates change.
//!
//! It is done with two texts side by side. *Whole* takes every pending update as it was written,
//! so that each shows what its author saw it do. *Kept* is written by the new writer: what an
//! update did to the whole text, it does there, at the same place among what both hold. So words
//! appear once, and with nothing left out the text looks as before.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::align::Alignment;
use super::body::{BodyLimits, TextBody};
use super::guard::{self, Check, Checked, CheckedState, GuardLimits, Reader, Refused, Unit, Why};
use super::list::ListBody;
use super::list_edit::{ElementId, ListChange, Which};
use super::mark::Mark;
use super::renumber::{Names, Neighbours};
use super::{MAX_WRITER, TextError, TextKind};
use crate::id::OpId;
use crate::mutant::{Mutant, planted};

/// One pending op's update.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pending<'a> {
    /// The update as it was written.
    pub update: &'a [u8],
    /// Who wrote it.
    pub writer: u64,
    /// Whether it is written again. An op that was rejected or taken back is not, but is told here
    /// all the same: later ones were written on it.
    pub keep: bool,
    /// Whether it was rejected once, and what was typed behind it since stands where it stood: then it
    /// goes in front of that, next to what it stood behind.
    pub retried: bool,
}

/// What became of a pending update.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Rewritten {
    /// This update says it now.
    Update(Vec<u8>),
    /// It was left out, or what it changed is not there.
    Nothing,
    /// Its bytes cannot be read.
    Unreadable(Why),
}

/// Writes `pending` (in queue order; none of it contained in `base`) again on `base` under
/// `writer`, which must be new to the field.
///
/// # Errors
/// [`TextError::Broken`] if Yrs fails on it.
pub fn again(
    base: CheckedState<'_>,
    pending: &[Pending<'_>],
    writer: u64,
    limits: BodyLimits,
) -> Result<Vec<Rewritten>, TextError> {
    // What was within its limits when it was written is not refused now.
    let limits = BodyLimits {
        max_bytes: usize::MAX,
        ..limits
    };
    let mut whole = Whole::new(base, pending, writer, &limits.guard);
    match base.kind() {
        TextKind::RichText => {
            let mut text = TextBody::load(writer, base, limits)?;
            let mut kept = TextBody::load(writer, base, limits)?;
            let mut aligned = Alignment::equal(text.units()?);
            whole.each(&mut text, |text, checked, keep| {
                let change = text.apply_watched(std::slice::from_ref(checked))?;
                let change = aligned.follow(change, keep);
                Ok(kept.edit_delta(change)?.map(|edited| edited.update))
            })
        }
        TextKind::List => {
            let mut list = ListBody::load(writer, base, limits)?;
            let mut kept = Elements {
                kept: ListBody::load(writer, base, limits)?,
                names: BTreeMap::new(),
                left_out: BTreeSet::new(),
            };
            whole.each(&mut list, |list, checked, keep| {
                kept.follow(list, checked, keep)
            })
        }
    }
}

/// The text with everything in it, on the side of names: which updates fit as they are, and under
/// which names the others do.
struct Whole<'a, 'b> {
    pending: &'b [Pending<'a>],
    base: CheckedState<'b>,
    marks: Vec<Mark>,
    /// Stands in for writers whose clocks are taken, and apart from that for those of what is tried
    /// again.
    stand_ins: BTreeMap<(u64, bool), u64>,
    agreed: BTreeMap<u64, u32>,
    writer: u64,
    limits: &'b GuardLimits,
}

impl<'a, 'b> Whole<'a, 'b> {
    fn new(
        base: CheckedState<'b>,
        pending: &'b [Pending<'a>],
        writer: u64,
        limits: &'b GuardLimits,
    ) -> Whole<'a, 'b> {
        // What base has of a writer from the clock of its first pending update on is not what the
        // pending updates mean by those clocks.
        let mut agreed = BTreeMap::new();
        for one in pending {
            if let Some(from) = first_clock(one.update) {
                let least = agreed.entry(one.writer).or_insert(from);
                *least = from.min(*least);
            }
        }
        Whole {
            pending,
            base,
            marks: base.marks().to_vec(),
            stand_ins: BTreeMap::new(),
            agreed,
            writer,
            limits,
        }
    }

    /// Makes every pending update fit and hands it to `take`.
    fn each<B: Neighbours>(
        &mut self,
        body: &mut B,
        mut take: impl FnMut(&mut B, &Checked<'_>, bool) -> Result<Option<Vec<u8>>, TextError>,
    ) -> Result<Vec<Rewritten>, TextError> {
        let (kind, base) = (self.base.kind(), self.base.marks());
        let mut agreed = self.agreed.clone();
        for (writer, from) in &mut agreed {
            *from = (*from).min(Mark::next_of(base, *writer));
        }
        let mut names = Names::new(agreed);
        let mut results = Vec::with_capacity(self.pending.len());
        for one in self.pending {
            let fits = |update, by, marks: &[Mark]| match guard::check(
                update,
                by,
                kind,
                marks,
                self.limits,
            ) {
                Ok(Check::Fits(checked)) => Ok(Some(checked)),
                Ok(Check::Contained) | Err(Refused::Rebase(_)) => Ok(None),
                Err(Refused::Invalid(why)) => Err(why),
            };
            let direct = match fits(one.update, one.writer, &self.marks) {
                Err(why) => {
                    results.push(Rewritten::Unreadable(why));
                    continue;
                }
                Ok(direct) => direct.filter(|checked| {
                    // By its clocks alone what it refers to is told from nobody else's.
                    !one.retried
                        && !names.have_moved()
                        && checked.from() == names.ends(one.writer, &self.marks)
                }),
            };
            let rewritten;
            let checked = match direct {
                Some(checked) => checked,
                None => {
                    let by = self.stand_in(one);
                    let to = Unit {
                        writer: by,
                        clock: Mark::next_of(&self.marks, by),
                    };
                    let again =
                        names.rewrite(one.update, (kind, to), self.limits, &self.marks, body);
                    rewritten = again.map_err(|_| TextError::Broken)?;
                    match fits(&rewritten, by, &self.marks) {
                        Ok(Some(checked)) => checked,
                        _ => return Err(TextError::Broken),
                    }
                }
            };
            let update = take(body, &checked, one.keep)?;
            names.extend(checked.writer(), checked.next());
            let mark = Mark {
                writer: checked.writer(),
                next: checked.next(),
                last: OpId::ZERO,
                version: 0,
            };
            Mark::put(&mut self.marks, mark);
            results.push(update.map_or(Rewritten::Nothing, Rewritten::Update));
        }
        Ok(results)
    }

    /// A writer that stands in for one whose clocks are taken, or whose op is tried again: new to the
    /// text.
    ///
    /// Yrs puts what was written at one place in the order of the writers, formats among it: a writer
    /// next to the one it stands in for keeps the order, and the lowest goes in front of all of it.
    fn stand_in(&mut self, of: &Pending<'_>) -> u64 {
        let Pending {
            writer, retried, ..
        } = *of;
        if let Some(found) = self.stand_ins.get(&(writer, retried)) {
            return *found;
        }
        let taken = |candidate: &u64| {
            Mark::of(&self.marks, *candidate).is_some()
                || *candidate == self.writer
                || self.pending.iter().any(|one| one.writer == *candidate)
                || self.stand_ins.values().any(|used| used == candidate)
        };
        let above = if retried { 1 } else { writer + 1 };
        let above = (above..=MAX_WRITER).find(|candidate| !taken(candidate));
        let found = above.or_else(|| (1..writer).rev().find(|candidate| !taken(candidate)));
        let found = found.unwrap_or(1);
        self.stand_ins.insert((writer, retried), found);
        found
    }
}

/// The first clock that an update takes, if it takes any.
fn first_clock(update: &[u8]) -> Option<u32> {
    let mut reader = Reader::new(update);
    let one = reader.number().ok()? == 1;
    let _blocks = reader.number().ok()?;
    one.then(|| reader.unit().ok().map(|unit| unit.clock))
        .flatten()
}

/// The list without what was left out.
struct Elements {
    kept: ListBody,
    /// What elements of the whole list that were put in by pending updates are called here.
    names: BTreeMap<ElementId, ElementId>,
    /// Elements that were put in by what was left out.
    left_out: BTreeSet<ElementId>,
}

impl Elements {
    /// Does to the kept list what `checked` does to the whole one, element by element.
    fn follow(
        &mut self,
        whole: &mut ListBody,
        checked: &Checked<'_>,
        keep: bool,
    ) -> Result<Option<Vec<u8>>, TextError> {
        let before = ids(whole)?;
        whole.apply(checked)?;
        let put = guard::element_ids(checked);
        let there: BTreeSet<ElementId> = before.iter().copied().collect();
        if !keep {
            // What it moved was somebody's before.
            let own = |id: &&ElementId| {
                id.writer == checked.writer()
                    && (checked.from()..checked.next()).contains(&id.clock)
            };
            self.left_out.extend(put.iter().filter(own));
            return Ok(None);
        }
        let after = whole.elements()?;
        let remain: BTreeSet<ElementId> = after.iter().map(|(id, _)| *id).collect();
        let mut draft = KeptDraft {
            ids: ids(&mut self.kept)?,
            clock: self.kept.next(self.kept.writer())?,
            changes: Vec::new(),
        };
        let is_gone =
            |id: &&ElementId| !remain.contains(id) && !planted(Mutant::RemovalNotAuthoredAgain);
        for gone in before.iter().filter(is_gone) {
            draft.remove(self.name(*gone));
        }
        for (at, (id, json)) in after.iter().enumerate() {
            if !put.contains(id) || self.left_out.contains(id) {
                continue;
            }
            let left = after.iter().take(at).rev();
            let left = left
                .map(|(id, _)| self.name(*id))
                .find_map(|id| draft.find(id));
            let to = left.map_or(0, |left| left + 1);
            if there.contains(id) && draft.find(self.name(*id)).is_some() {
                draft.shift(self.name(*id), to);
            } else {
                let value: Value = serde_json::from_str(json).map_err(|_| TextError::Broken)?;
                let new = draft.insert(self.kept.writer(), to, value);
                self.names.insert(*id, new);
            }
        }
        self.kept.edit(&draft.changes)
    }

    fn name(&self, id: ElementId) -> ElementId {
        self.names.get(&id).copied().unwrap_or(id)
    }
}

fn ids(list: &mut ListBody) -> Result<Vec<ElementId>, TextError> {
    Ok(list.elements()?.into_iter().map(|(id, _)| id).collect())
}

/// Changes of the kept list, with what it shows after them.
struct KeptDraft {
    ids: Vec<ElementId>,
    /// The clock that the next slot takes.
    clock: u32,
    changes: Vec<ListChange>,
}

impl KeptDraft {
    fn find(&self, id: ElementId) -> Option<usize> {
        self.ids.iter().position(|held| *held == id)
    }

    fn remove(&mut self, id: ElementId) {
        if let Some(at) = self.find(id) {
            self.ids.remove(at);
            let element = Which::Element(id);
            self.changes.push(ListChange::Remove { element });
        }
    }

    /// Puts the element where `to` is before it is taken out of its old place.
    fn shift(&mut self, id: ElementId, to: usize) {
        let Some(from) = self.find(id) else {
            return;
        };
        self.ids.remove(from);
        let to = if from < to { to - 1 } else { to };
        self.ids.insert(to, id);
        self.clock += 1;
        self.changes.push(ListChange::Move {
            element: Which::Element(id),
            to: to as u32,
        });
    }

    fn insert(&mut self, writer: u64, at: usize, value: Value) -> ElementId {
        let id = ElementId {
            writer,
            clock: self.clock,
        };
        self.clock += 1;
        self.ids.insert(at, id);
        self.changes.push(ListChange::Insert {
            at: at as u32,
            values: vec![value],
        });
        id
    }
}
