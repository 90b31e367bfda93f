//! Every decision of the server, judged by what the authors had really seen.

use std::sync::Arc;

use driftline_core::id::OpId;
use driftline_core::ledger::{LossRule, Lost, LostPart};
use driftline_core::merge::{DocumentState, Verdict};
use driftline_core::op::{Change, ChangeKind, Op};
use driftline_core::schema::{DeletePolicy, MergePolicy};

use super::server::{Decided, Entry};
use super::{BOOTS, World, Write, mask, number, schema};

/// One change of a decided op.
#[derive(Clone, Copy)]
struct Case<'a> {
    op: &'a Op,
    change: &'a Change,
    before: Option<&'a DocumentState>,
    after: &'a DocumentState,
    lost: &'a [&'a Lost],
    /// The log before it.
    log: &'a [Arc<Entry>],
}

impl World {
    /// Judges a decision of the server by what the author had really seen.
    pub(super) fn judge(&mut self, decided: &Decided) {
        let Some(accepted) = &decided.decision.accepted else {
            return;
        };
        let op = &decided.op;
        self.losses
            .extend(accepted.lost.iter().map(|(_, _, lost)| lost.clone()));
        let root = self.truth[number(op.id)].root;
        let Some(Verdict::Accepted(version)) = decided.decision.verdict else {
            return;
        };
        let log: Vec<_> = self.server.log[..version as usize - 1].to_vec();
        if log
            .iter()
            .any(|e| self.truth[number(e.names[0])].root == root)
        {
            self.problem(format!("{} was applied twice", op.id));
        }
        for change in &op.body.changes {
            let key = (change.collection, change.document.clone());
            let lost: Vec<&Lost> = accepted
                .lost
                .iter()
                .filter(|l| (l.0, &l.1) == (key.0, &key.1))
                .map(|l| &l.2)
                .collect();
            let before = decided.before.get(&key);
            let touched = accepted
                .documents
                .iter()
                .find(|t| (t.collection, &t.document) == (key.0, &key.1));
            let Some(after) = touched.map(|t| &t.after).or(before) else {
                continue;
            };
            let case = Case {
                op,
                change,
                before,
                after,
                lost: &lost,
                log: &log,
            };
            self.judge_change(&case);
        }
    }

    fn judge_change(&mut self, case: &Case<'_>) {
        let Case {
            op,
            change,
            before,
            after,
            lost,
            ..
        } = *case;
        use LossRule::{DeleteCancelled, Deleted, GenerationGone};
        let late = |l: &&&Lost| {
            l.loser.op == op.id && matches!(l.rule, GenerationGone | Deleted | DeleteCancelled)
        };
        let ledgered = lost.iter().find(late).map(|l| l.rule);
        self.ledgered &= !mask(op.id);
        if ledgered.is_some() {
            self.ledgered |= mask(op.id);
            let rows = lost.iter().filter(late).count();
            let parts = change.registers.len()
                + change.increments.len()
                + change.adds.len()
                + change.removes.len()
                + change.texts.len()
                + usize::from(change.kind == ChangeKind::Delete);
            if rows != parts {
                self.problem(format!("{}: {rows} ledger rows for {parts} parts", op.id));
            }
        }
        if self.restored {
            return;
        }
        match (ledgered, change.kind) {
            (Some(DeleteCancelled), _) => self.judge_delete(case, true),
            (Some(_), _) => self.judge_ledgered(case),
            (None, ChangeKind::Delete) => self.judge_delete(case, false),
            (None, ChangeKind::Restore) => {
                if !after.is_alive() {
                    self.problem(format!("{} restored nothing", op.id));
                }
            }
            (None, _) => {
                let fresh =
                    change.kind == ChangeKind::Insert && before.is_none_or(|b| !b.is_alive());
                let case = Case {
                    before: before.filter(|_| !fresh),
                    ..*case
                };
                self.judge_registers(&case);
                self.judge_rest(&case);
            }
        }
    }

    fn saw(&self, op: OpId, other: OpId) -> bool {
        self.truth[number(op)].saw & mask(other) != 0
    }

    /// What an op stands for had not seen `replaced`, and lay above it on the author's screen, so that
    /// nobody who wrote this has ever looked at that.
    fn covered_up(&self, op: &Op, field: u16, replaced: OpId) -> bool {
        let above = |id: &OpId| {
            let unseen = !self.saw(*id, replaced);
            unseen && self.truth[number(*id)].write.sets(field)
        };
        let displayed = self.truth[number(op.id)].displayed & mask(replaced) != 0;
        !displayed && op.body.covers.iter().any(above)
    }

    /// A late write may only go to the ledger for a delete or a generation it had not seen.
    fn judge_ledgered(&mut self, case: &Case<'_>) {
        let op = case.op;
        let truth = &self.truth[number(op.id)];
        // What was taken back too late is gone on the screen and not on the server.
        let late = case
            .log
            .iter()
            .any(|e| truth.took_back & mask(e.names[0]) != 0);
        let unseen = case.log.iter().map(|e| e.names[0]).any(|id| {
            let turns = matches!(
                self.truth[number(id)].write,
                Write::Delete | Write::Insert | Write::Restore | Write::InsertOther
            );
            turns && !self.saw(op.id, id)
        });
        // A copy's retry may have put what it builds on into the ledger (a known limit of
        // `update_wins` with copies and rejections).
        let built_on = case
            .log
            .iter()
            .find(|e| e.names.iter().any(|id| case.change.generation == Some(*id)));
        let gone = built_on.is_some_and(|e| self.ledgered & mask(e.names[0]) != 0);
        if !unseen && !late && !gone && op.body.retry_of.is_none() {
            self.problem(format!(
                "{} went to the ledger though it had seen everything",
                op.id
            ));
        }
    }

    fn judge_registers(&mut self, case: &Case<'_>) {
        let Case {
            op,
            change,
            before,
            after,
            lost,
            ..
        } = *case;
        let whole =
            schema().collection_by_id(change.collection).unwrap().merge == MergePolicy::Document;
        let newest = before.and_then(|b| {
            b.registers
                .iter()
                .map(|(_, r)| r.write)
                .max_by_key(|w| w.version)
        });
        for (field, value) in change.registers.iter() {
            let there = before.and_then(|b| b.registers.get(field));
            let Some(current) = newest.filter(|_| whole).or(there.map(|r| r.write)) else {
                continue;
            };
            let seen = self.saw(op.id, current.op);
            if self.truth[number(op.id)].took_back & mask(current.op) != 0 {
                // Taken back too late: on the screen it is gone, on the server it is not.
                continue;
            }
            let won = after
                .registers
                .get(field)
                .is_some_and(|r| r.write.op == op.id);
            // A document that loses as a whole loses fields, too, that the winner does not have.
            let other = there.map_or(!won, |r| r.value != *value);
            let row = lost.iter().any(|l| {
                let ops = [l.loser.op, l.winner.op];
                matches!(&l.part, LostPart::Register(f, _) if *f == field) && ops.contains(&op.id)
            });
            if seen && !won {
                self.problem(format!(
                    "{} lost to {}, which it had seen",
                    op.id, current.op
                ));
            }
            let exact = self.boots == BOOTS && !self.delayed && !whole;
            if exact && !seen && won != (number(op.id) > number(current.op)) {
                // Every device was in one boot session and every request arrived at once.
                self.problem(format!(
                    "{} against {}: not the later one won",
                    op.id, current.op
                ));
            }
            if !seen && won && self.saw(current.op, op.id) {
                self.problem(format!("{} beat {}, which had seen it", op.id, current.op));
            }
            // Who wins a document as a whole replaces in this field what its own last write left there.
            let replaced = there.filter(|_| won).map_or(current.op, |r| r.write.op);
            if self.truth[number(op.id)].took_back & mask(replaced) != 0 {
                continue;
            }
            match (row, !self.saw(op.id, replaced) && other) {
                (true, false) => {
                    self.problem(format!("{}: a loss row over {replaced} too many", op.id))
                }
                (false, true) => self.problem(format!("{}: no loss row over {replaced}", op.id)),
                _ => {}
            }
            if !whole && won && other && !row && self.covered_up(op, field, replaced) {
                self.problem(format!("{} replaced {replaced} unlooked at", op.id));
            }
        }
    }

    fn judge_rest(&mut self, case: &Case<'_>) {
        let Case {
            op,
            change,
            before,
            after,
            ..
        } = *case;
        for (field, delta) in change.increments.iter() {
            let was = before
                .and_then(|b| b.counters.get(field))
                .copied()
                .unwrap_or(0);
            if after.counters.get(field) != Some(&(was + delta)) {
                self.problem(format!("{} was not added", op.id));
            }
        }
        let tags = |state: Option<&DocumentState>, field: u16, element: &str| -> Vec<OpId> {
            let set = state.and_then(|s| s.sets.get(field));
            set.and_then(|s| s.elements.get(element))
                .map(|t| t.iter().map(|t| t.0).collect())
                .unwrap_or_default()
        };
        for (field, elements) in change.removes.iter().chain(change.adds.iter()) {
            for element in elements {
                let left = tags(Some(after), field, element);
                for tag in tags(before, field, element) {
                    if left.contains(&tag) == self.saw(op.id, tag) {
                        self.problem(format!(
                            "{} and the tag {tag}: gone is not what was seen",
                            op.id
                        ));
                    }
                }
                if change.adds.get(field).is_some_and(|a| a.contains(element))
                    && !left.contains(&op.id)
                {
                    self.problem(format!("{} was not added to the set", op.id));
                }
            }
        }
    }

    /// A delete takes effect unless (`update_wins`) something it had not seen was written; what it
    /// takes away unseen is in the ledger.
    fn judge_delete(&mut self, case: &Case<'_>, cancelled: bool) {
        let Case {
            op,
            change,
            before,
            lost,
            log,
            ..
        } = *case;
        let Some(before) = before.filter(|b| b.is_alive()) else {
            return;
        };
        let policy = schema()
            .collection_by_id(change.collection)
            .unwrap()
            .on_conflict_delete;
        let opener = before.generation.opener;
        let key = (change.collection, change.document.clone());
        let written: Vec<&Arc<Entry>> = log
            .iter()
            .filter(|entry| {
                let id = entry.names[0];
                let here = entry
                    .landed
                    .iter()
                    .any(|(k, landed)| *k == key && *landed == opener);
                let writes = match self.truth[number(id)].write {
                    Write::Delete => false,
                    Write::Restore => entry.names.contains(&opener),
                    _ => true,
                };
                here && writes && self.ledgered & mask(id) == 0
            })
            .collect();
        let root = |id: &OpId| self.truth[number(*id)].root;
        // Who saw the rejected op saw the content of its retry, but not the retry.
        let half = |e: &Entry| {
            let mut same = e.names.iter().filter(|id| root(id) == root(&e.names[0]));
            !self.saw(op.id, e.names[0]) && same.any(|id| self.saw(op.id, *id))
        };
        let unseen = written.iter().any(|e| !self.saw(op.id, e.names[0]));
        let expected = policy == DeletePolicy::UpdateWins && unseen;
        if cancelled != expected && !written.iter().any(|e| half(e)) {
            self.problem(format!(
                "{}: cancelled is {cancelled}, should be {expected}",
                op.id
            ));
        }
        if !cancelled {
            let took_back = self.truth[number(op.id)].took_back;
            let kept = before
                .registers
                .iter()
                .filter(|(_, r)| took_back & mask(r.write.op) == 0);
            for (field, register) in kept {
                let row = lost
                    .iter()
                    .any(|l| matches!(&l.part, LostPart::Register(f, _) if *f == field));
                if row == self.saw(op.id, register.write.op) {
                    self.problem(format!("{}: deleted field {field}, row is {row}", op.id));
                }
            }
        }
    }
}
