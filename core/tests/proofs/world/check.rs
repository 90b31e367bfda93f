//! What must hold after every step and after healing.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use driftline_core::fold::BaseImage;
use driftline_core::id::OpId;
use driftline_core::ledger::{LossRule, Lost, LostPart};
use driftline_core::merge::{DocumentState, Verdict};
use driftline_core::op::{Change, ChangeKind, Op};
use driftline_core::schema::{DeletePolicy, MergePolicy};
use driftline_core::time::{Contact, place};
use driftline_core::value::Value;

use super::file::File;
use super::server::{Decided, Entry, Server};
use super::{A, Action, B, BOOTS, COUNT, Key, TAGS, World, Write, mask, number, schema};

/// What a person sees of a document.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Content {
    pub(crate) alive: bool,
    pub(crate) registers: BTreeMap<u16, (OpId, Value)>,
    pub(crate) count: i64,
    pub(crate) tags: Vec<String>,
}

/// What a person sees of a document's state.
pub(crate) fn content(state: &DocumentState) -> Content {
    let registers = state
        .registers
        .iter()
        .map(|(f, r)| (f, (r.write.op, r.value.clone())));
    Content {
        alive: state.is_alive(),
        registers: registers.collect(),
        count: state.counters.get(COUNT).copied().unwrap_or(0),
        tags: state
            .sets
            .get(TAGS)
            .map(|s| s.elements.keys().cloned().collect())
            .unwrap_or_default(),
    }
}

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
    fn keys(&self) -> [Key; 2] {
        [self.key(), self.other_key()]
    }

    /// What a file shows, document by document.
    pub(crate) fn content(&self, at: usize) -> Vec<Option<Content>> {
        let Some(file) = &self.files[at] else {
            return Vec::new();
        };
        let shown = |key: &Key| file.shown(schema(), key, self.time);
        self.keys()
            .iter()
            .map(|key| shown(key).as_ref().map(content))
            .collect()
    }

    /// The file whose screen must not change by an answer alone.
    pub(super) fn acting(&self, action: Action) -> Option<usize> {
        match action {
            Action::Push(file) | Action::PushOne(file) => Some(file),
            _ => None,
        }
    }

    fn problem(&mut self, what: impl Into<String>) {
        self.problems.push(what.into());
    }

    /// Judges a decision of the server by what the author had really seen.
    pub(super) fn judge(&mut self, decided: &Decided) {
        let Some(accepted) = &decided.decision.accepted else {
            return;
        };
        let op = &decided.op;
        self.losses
            .extend(accepted.lost.iter().map(|(_, _, lost)| lost.clone()));
        let root = self.truth[number(op.id)].root;
        let Verdict::Accepted(version) = decided.decision.verdict else {
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
        if !unseen && !late && op.body.retry_of.is_none() {
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
            match (row, !seen && other) {
                (true, false) => self.problem(format!(
                    "{}: a loss row over {} too many",
                    op.id, current.op
                )),
                (false, true) => {
                    self.problem(format!("{}: no loss row over {}", op.id, current.op))
                }
                _ => {}
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

    /// What must hold after every step.
    pub(super) fn check(&mut self, action: Action, shown: Option<Vec<Option<Content>>>) {
        for at in 0..self.files.len() {
            if let Some(file) = self.files[at].clone() {
                self.check_file(at, &file);
            }
        }
        if let (Some(at), Some(before)) = (self.acting(action), shown) {
            self.check_screen(at, &before);
        }
        if let Action::Write(at, write) | Action::Poison(at, write) | Action::Save(at, write) =
            action
        {
            self.check_own_write(at, write);
        }
    }

    fn check_file(&mut self, at: usize, file: &File) {
        let known = self.server.knows(&file.cursor);
        if known && file.base != self.server.documents[file.cursor.version as usize] {
            self.problem(format!(
                "file {at}: base is not the server's state at its cursor"
            ));
        }
        if file
            .queue
            .iter()
            .any(|q| !q.op.body.withdraw && file.base_names & q.names() != 0)
        {
            self.problem(format!(
                "file {at}: base holds an op that is also folded on top"
            ));
        }
        for key in self.keys() {
            let Some(shown) = file.shown(schema(), &key, self.time) else {
                continue;
            };
            let base = file.base.get(&key);
            let image = BaseImage::between(base, &shown);
            if BaseImage::base(image, shown).as_ref() != base {
                self.problem(format!("file {at}: the image does not lead back to base"));
            }
        }
        let held = file
            .queue
            .iter()
            .chain(&file.quarantine)
            .fold(0, |all, q| all | q.stands_for());
        let gone = file.written & !(held | file.base_names | file.discarded | file.aside);
        if gone != 0 {
            self.problem(format!("file {at}: writes {gone:b} are nowhere"));
        }
        if known && file.cursor == self.server.cursor() {
            self.check_prediction(at, file);
        }
    }

    /// At the head, the server's result of a push is what the device shows.
    fn check_prediction(&mut self, at: usize, file: &File) {
        let records = &self.server.records;
        let open = |id: &OpId| !records.contains_key(id);
        let undecided = file.queue.iter().all(|q| {
            let first = q.op.body.retry_of.and_then(|id| records.get(&id));
            let rejected = first.is_none_or(|r| matches!(r.verdict, Verdict::Rejected(_)));
            q.accepted.is_none() && open(&q.op.id) && q.op.body.covers.iter().all(open) && rejected
        });
        // After a restore of the server an op may name a generation that another op opened anew;
        // only the server knows where that one landed. And chains may lead over ops that only the
        // lost history decided.
        let lost = |id: &OpId| open(id) && file.queue.iter().all(|q| q.op.id != *id);
        let foreign = file.queue.iter().flat_map(|q| &q.op.body.changes).any(|c| {
            let base = file.base.get(&(c.collection, c.document.clone()));
            base.is_none_or(|b| c.generation.is_some_and(|g| g != b.generation.opener))
                || c.prev.as_ref().is_some_and(lost)
        });
        if file.queue.is_empty() || !undecided || (self.restored && foreign) {
            return;
        }
        let mut server = Server::clone(&self.server);
        let contact = Contact {
            device: file.reading(self.time),
            server: self.time,
        };
        for queued in &file.queue {
            let stamp = place(queued.op.written, &contact);
            server.decide(&self.rules, schema(), queued.op.clone(), stamp, false);
        }
        for key in self.keys() {
            let predicted = file.shown(schema(), &key, self.time).as_ref().map(content);
            let decided = server.now().get(&key).map(content);
            if predicted != decided {
                self.problem(format!(
                    "file {at}: predicted {predicted:?}, decided {decided:?}"
                ));
            }
        }
    }

    /// An answer that brings no page and rejects nothing changes nothing on the screen.
    fn check_screen(&mut self, at: usize, before: &[Option<Content>]) {
        let rejected = self.files[at]
            .as_ref()
            .is_some_and(|f| !f.quarantine.is_empty());
        if !rejected && !self.restored && self.content(at) != before {
            self.problem(format!("file {at}: the screen flickered at an answer"));
        }
    }

    /// Whoever wrote sees it.
    fn check_own_write(&mut self, at: usize, write: Write) {
        let Some(file) = &self.files[at] else { return };
        let Some(op) = file.queue.last().map(|q| q.op.clone()) else {
            return;
        };
        for change in &op.body.changes {
            let key = (change.collection, change.document.clone());
            let Some(shown) = file.shown(schema(), &key, self.time).as_ref().map(content) else {
                return self.problem(format!("file {at} does not see its own write"));
            };
            let wrote = |field: u16| shown.registers.get(&field).is_some_and(|r| r.0 == op.id);
            let sees = match write {
                Write::SetA | Write::Same | Write::Other | Write::Pair => wrote(A),
                Write::SetB => wrote(B),
                Write::SetBoth => wrote(A) && wrote(B),
                Write::Insert | Write::InsertOther => shown.alive && wrote(A),
                Write::Count | Write::CountPair => shown.count & (1 << number(op.id)) != 0,
                Write::Add => shown.tags == ["e"],
                Write::Remove => shown.tags.is_empty(),
                Write::Restore => shown.alive,
                Write::Delete => !shown.alive,
            };
            if !sees {
                return self.problem(format!("file {at} does not see its own {write:?}"));
            }
        }
    }

    /// What must hold once everybody has synced.
    pub(super) fn check_healed(&mut self) {
        for at in 0..self.files.len() {
            let Some(file) = self.files[at].clone() else {
                continue;
            };
            if !file.queue.is_empty() || file.staged.is_some() {
                self.problem(format!("file {at}: the queue did not drain"));
            }
            if file.base != *self.server.now() {
                self.problem(format!("file {at}: not converged"));
            }
            if file
                .quarantine
                .iter()
                .any(|q| file.base_names & q.names() != 0)
            {
                self.problem(format!("file {at}: quarantined though applied"));
            }
            let told = file
                .quarantine
                .iter()
                .fold(file.discarded | file.aside | file.base_names, |all, q| {
                    all | q.stands_for()
                });
            for (id, record) in &self.server.records {
                if file.written & !told & mask(*id) != 0
                    && matches!(record.verdict, Verdict::Rejected(_))
                {
                    self.problems
                        .push(format!("file {at}: not told that {id} was rejected"));
                }
            }
        }
        self.check_log();
        self.check_gone();
    }

    /// What was taken back in time has no effect.
    fn check_gone(&mut self) {
        let gone = self
            .files
            .iter()
            .flatten()
            .fold(0, |all, file| all | file.gone);
        let applied = self
            .server
            .log
            .iter()
            .fold(0, |all, entry| all | mask(entry.names[0]));
        if gone & applied != 0 && !self.restored {
            self.problem(format!(
                "{:b} was taken back in time and applied",
                gone & applied
            ));
        }
    }

    /// Every accepted id is in the log, and counters are what was counted, each op once.
    fn check_log(&mut self) {
        for (id, record) in &self.server.records {
            let Verdict::Accepted(version) = record.verdict else {
                continue;
            };
            let root = self.truth[number(*id)].root;
            let there = self
                .server
                .log
                .get(version as usize - 1)
                .is_some_and(|entry| {
                    entry
                        .names
                        .iter()
                        .any(|n| n == id || self.truth[number(*n)].root == root)
                });
            if !there {
                self.problems
                    .push(format!("{id} was accepted and is in no version"));
            }
        }
        for key in self.keys() {
            let mut count = 0;
            let Some(state) = self.server.now().get(&key) else {
                continue;
            };
            for entry in &self.server.log {
                let id = entry.names[0];
                let counts = match self.truth[number(id)].write {
                    Write::Count => key == self.key(),
                    Write::CountPair => true,
                    _ => false,
                };
                if counts && self.ledgered & mask(id) == 0 {
                    count += 1 << self.truth[number(id)].root;
                }
            }
            let fresh = self.server.log.iter().filter(|e| {
                matches!(
                    self.truth[number(e.names[0])].write,
                    Write::Insert | Write::Delete
                )
            });
            // Deletes and later inserts start over; worlds with them check every single addition.
            if fresh.count() <= 1 && content(state).count != count {
                self.problems.push(format!(
                    "counted {count:b}, shown {:b}",
                    content(state).count
                ));
            }
        }
    }

    /// A number for everything that matters to what can happen next.
    pub(crate) fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        digest_server(&self.server, &mut hasher);
        for file in &self.files {
            digest_file(file.as_deref(), &mut hasher);
        }
        digest_file(self.backup.as_deref(), &mut hasher);
        if let Some(server) = &self.server_backup {
            digest_server(server, &mut hasher);
        }
        format!("{:?}", self.network).hash(&mut hasher);
        for truth in self.truth.iter() {
            (truth.write, truth.saw, truth.took_back, truth.root).hash(&mut hasher);
        }
        (
            self.poison,
            self.ledgered,
            self.writes,
            self.time,
            self.restored,
            self.delayed,
        )
            .hash(&mut hasher);
        hasher.finish()
    }
}

fn digest_server(server: &Server, hasher: &mut DefaultHasher) {
    server.cursor().hash(hasher);
    for (id, record) in &server.records {
        (
            id,
            matches!(record.verdict, Verdict::Accepted(_)),
            record.covers.len(),
        )
            .hash(hasher);
    }
}

fn digest_file(file: Option<&File>, hasher: &mut DefaultHasher) {
    let Some(file) = file else {
        return 0.hash(hasher);
    };
    file.cursor.hash(hasher);
    for queued in file.queue.iter().chain(&file.quarantine) {
        (
            queued.op.id,
            queued.accepted,
            queued.op.body.withdraw,
            queued.op.body.base,
        )
            .hash(hasher);
        (
            &queued.op.body.covers,
            queued
                .op
                .body
                .changes
                .iter()
                .map(|c| (c.prev, c.generation))
                .collect::<Vec<_>>(),
        )
            .hash(hasher);
        (
            queued.op.written.wall,
            queued.op.written.boot,
            queued.op.written.mono,
        )
            .hash(hasher);
    }
    file.queue.len().hash(hasher);
    for departed in &file.departed {
        (
            departed.op,
            departed.named.is_some(),
            departed.prevs.iter().map(|p| p.1).collect::<Vec<_>>(),
        )
            .hash(hasher);
    }
    file.staged.as_ref().map(|s| s.cursor()).hash(hasher);
    (
        file.boot,
        file.booted,
        file.skew,
        file.base_names,
        file.ever,
    )
        .hash(hasher);
    (
        file.written,
        file.discarded,
        file.aside,
        file.took_back,
        file.gone,
    )
        .hash(hasher);
}

impl World {
    /// The world, if nothing is wrong with it.
    pub(crate) fn well(self) -> World {
        assert!(self.problems.is_empty(), "{:#?}", self.problems);
        self
    }
}

/// What a person sees of the document, as values.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Seen {
    pub(crate) alive: bool,
    pub(crate) a: Option<i64>,
    pub(crate) b: Option<i64>,
    pub(crate) count: i64,
    pub(crate) tags: Vec<String>,
}

impl World {
    /// What a file shows of the document; `None` if there is no such file or document.
    pub(crate) fn seen(&self, at: usize) -> Option<Seen> {
        let content = self.content(at).into_iter().next()??;
        let integer = |field: u16| match content.registers.get(&field)?.1 {
            Value::Integer(n) => Some(n),
            _ => None,
        };
        let (a, b) = (integer(A), integer(B));
        Some(Seen {
            alive: content.alive,
            a,
            b,
            count: content.count,
            tags: content.tags,
        })
    }
}
