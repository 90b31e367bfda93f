//! What must hold after every step and after healing.

use driftline_core::fold::BaseImage;
use driftline_core::id::OpId;
use driftline_core::merge::Verdict;
use driftline_core::time::{Contact, place};

use super::file::File;
use super::look::{Content, content};
use super::server::Server;
use super::{A, Action, B, Key, TEXT, World, Write, mask, number, schema, typing};

impl World {
    pub(super) fn keys(&self) -> [Key; 2] {
        [self.key(), self.other_key()]
    }

    /// The file whose screen must not change by an answer alone.
    pub(super) fn acting(&self, action: Action) -> Option<usize> {
        match action {
            Action::Push(file) | Action::PushOne(file) => Some(file),
            _ => None,
        }
    }

    pub(super) fn problem(&mut self, what: impl Into<String>) {
        self.problems.push(what.into());
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
        if known && file.texts != self.server.texts[file.cursor.version as usize] {
            self.problem(format!(
                "file {at}: texts are not the server's at its cursor"
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
        let mut displayed = 0;
        for key in self.keys() {
            let Some(shown) = file.shown(schema(), &key, self.time) else {
                continue;
            };
            let registers = shown.registers.iter();
            displayed |= registers.fold(0, |all, (_, r)| all | mask(r.write.op));
            let base = file.base.get(&key);
            let state = base.and_then(|base| base.texts.get(TEXT));
            if let Some(wrong) = typing::wrong(file.texts.get(&key), state) {
                self.problem(format!("file {at}: {wrong}"));
            }
            let image = BaseImage::between(base, &shown);
            if BaseImage::base(image, shown).as_ref() != base {
                self.problem(format!("file {at}: the image does not lead back to base"));
            }
        }
        if displayed & !file.displayed != 0
            && let Some(file) = self.file_mut(at)
        {
            file.displayed |= displayed;
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
        let retried = file
            .queue
            .iter()
            .filter_map(|q| q.op.body.retry_of)
            .any(|id| lost(&id));
        let foreign = foreign || retried;
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
                Write::Type => shown.typed.is_some_and(|(_, last)| last == op.id),
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
        self.check_typed();
    }

    /// What was accepted and not ledgered is in the text, where nothing began it anew.
    fn check_typed(&mut self) {
        let began_anew = self
            .server
            .log
            .iter()
            .any(|entry| matches!(self.truth[number(entry.names[0])].write, Write::Delete));
        if began_anew {
            return;
        }
        let text = self.server.texts_now().get(&self.key()).cloned();
        for entry in self.server.log.clone() {
            let id = entry.names[0];
            let truth = &self.truth[number(id)];
            let typed = truth.write == Write::Type && self.ledgered & mask(id) == 0;
            if typed
                && !text
                    .as_ref()
                    .is_some_and(|text| typing::has(text, truth.root))
            {
                self.problem(format!("{id} typed and is nowhere"));
            }
        }
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
}
