//! Looking at everything that changed, and judging it.

use std::collections::{BTreeMap, BTreeSet};

use driftline_core::id::{OpId, Version};
use driftline_core::op::OpBody;
use driftline_simvfs::Disk;

use super::schema::TWINS;
use super::site::{FILE, Site};
use super::watch::{Bodies, Served, Watcher};
use super::{World, logs};
use crate::machine::workspace_file;
use crate::model::{Accepted, Model};
use crate::oracles::{
    self, FileView, History, Judgement, Known, LogRow, Retired, Violation, object,
};
use crate::panics;

/// Documents of the collection that is written together.
pub(super) const TWIN_IDS: [&str; 3] = ["t0", "t1", "t2"];

impl World<'_> {
    /// Looks at the server first: what a device has can only be what the server said.
    pub(super) fn look(&mut self) -> Judgement {
        oracles::nothing_panicked(panics::heard())?;
        self.server_answered()?;
        self.read_requests()?;
        self.bury()?;
        self.look_at_server()?;
        for at in 0..self.sites.len() {
            self.look_at(at)?;
        }
        self.judge_requests()?;
        self.judge_what_is_held()?;
        self.climate.judged()?;
        logs::judged()
    }

    /// What devices were answered, by a server whose disk never failed in this world.
    fn server_answered(&mut self) -> Judgement {
        let met_a_fault = self.server.met() > 0;
        let mut failed = self.climate.take_failed().into_iter();
        failed.try_for_each(|(device, status)| {
            oracles::server_answers(status, met_a_fault, &format!("a request of s{device}"))
        })
    }

    /// Processes that ended since have given back what they held.
    fn judge_what_is_held(&mut self) -> Judgement {
        for site in &mut self.sites {
            let held = std::mem::take(&mut site.held);
            oracles::held_little(held, &format!("s{}", site.number))?;
        }
        oracles::held_little(std::mem::take(&mut self.server.held), "the server")
    }

    /// Processes that died of a fault are dead for everybody.
    fn bury(&mut self) -> Judgement {
        for site in &mut self.sites {
            for companion in [true, false] {
                if companion && site.companion.is_none() {
                    continue;
                }
                let program = site.program(companion);
                if program.process().is_some() && !program.is_alive() {
                    self.trace
                        .line(format_args!("    s{} has died", site.number));
                    site.kill(companion);
                }
            }
        }
        let dead = self
            .server
            .process()
            .is_some_and(|process| !process.is_alive());
        if dead {
            self.trace.line(format_args!("    the server has died"));
            self.kill_server();
            return self.look_at_dead_server();
        }
        Ok(())
    }

    /// Ends the server's process.
    pub(super) fn kill_server(&mut self) {
        self.server_watcher = None;
        self.server.kill();
    }

    /// What the server did behind a version, as it lies on the disk of a server that is dead. Looked at
    /// on a copy: opening a file puts it in order.
    fn read_dead_server(&self, after: u64) -> Option<Served> {
        let copy = Disk::from_image(&self.server.disk.image(), 0);
        let watcher = Watcher::open(&copy, &workspace_file(&copy)?).ok()?;
        watcher.served(after).ok()
    }

    fn look_at_server(&mut self) -> Judgement {
        if self.server.process().is_none() {
            return Ok(());
        }
        let is_first_look = self.server_watcher.is_none();
        if is_first_look {
            let Some(file) = workspace_file(&self.server.disk) else {
                return Ok(());
            };
            self.server_watcher = Watcher::open(&self.server.disk, &file).ok();
        }
        let Some(watcher) = &mut self.server_watcher else {
            return Ok(());
        };
        let before = self.histories.current.head();
        let read = match watcher.changed() {
            Ok(false) => return Ok(()),
            Ok(true) => watcher.served(before),
            Err(error) => Err(error),
        };
        match read {
            Ok(served) => {
                // A server that is up again need not have opened the file yet: what is there at the first look
                // was left by the process before it. Once it commits, all of that is on the disk.
                if !served.log.is_empty() {
                    let sure = self.may_be_lost.unwrap_or(before);
                    self.may_be_lost = is_first_look.then_some(sure);
                }
                self.judge_log(served)
            }
            // A file that is just being made, or made again.
            Err(_) => {
                self.server_watcher = None;
                Ok(())
            }
        }
    }

    /// The server died by itself. It may have answered just before.
    fn look_at_dead_server(&mut self) -> Judgement {
        let head = self.histories.current.head();
        match self.read_dead_server(head) {
            Some(served) => {
                if !served.log.is_empty() {
                    self.may_be_lost.get_or_insert(head);
                }
                self.judge_log(served)
            }
            None => Ok(()),
        }
    }

    /// The server's power went: what it had said is still there.
    pub(super) fn server_lost_power(&mut self) -> Judgement {
        let head = self.histories.current.head();
        let Served { log, rejected, .. } = self.read_dead_server(0).unwrap_or_default();
        let left = log.len() as u64;
        let present = &self.histories.current;
        let told = self.sites.iter().map(|site| site.view.cursor);
        let told = told.filter(|cursor| present.has(*cursor));
        let told = told.map(|cursor| cursor.version).max().unwrap_or(0);
        let told = self.may_be_lost.take().map(|sure| sure.max(told));
        oracles::what_was_said_stays(head, left, told)?;
        if left >= head {
            return Ok(());
        }
        self.histories.forget_after(left);
        self.remodel(left, &rejected)
    }

    fn judge_log(&mut self, served: Served) -> Judgement {
        self.judge_rejections(&served)?;
        self.learn_rejections(served.rejected);
        for row in served.log {
            let (version, op) = (row.cursor.version, row.op);
            let said = self.bodies.get(op).map(in_short).unwrap_or_default();
            self.trace.line(format_args!("    v{version} {op}{said}"));
            let earlier = self.histories.current.documents();
            if version != self.histories.current.head() + 1 {
                return object("O8 cursor", format!("version {version} follows a gap"));
            }
            oracles::not_unwelcome(self.unwelcome.get(&op).copied(), op)?;
            self.judge_row(&row, &served.owners)?;
            let again = self.histories.current.append(row);
            oracles::named_once(&again, self.bodies.get(op), version)?;
            let Some(seen) = self.histories.current.version(version) else {
                continue;
            };
            oracles::no_resurrection(&earlier, &seen.documents)?;
            oracles::groups_are_whole(&seen.documents, TWINS, TWIN_IDS.len(), "the server")?;
            let body = self.bodies.get(op);
            let schema = &self.schemas.app;
            let lost = oracles::log_follows_the_model(&mut self.model, schema, seen, body)?;
            let told = served.losses.get(&version);
            let none = BTreeSet::new();
            let told = told.unwrap_or(&none);
            oracles::losses_are_told(version, &lost, told)?;
            let copied = self.sites.iter().any(|site| site.like != site.number);
            let history = &self.histories.current;
            self.words.are_told(&seen.row, told, history, copied)?;
        }
        Ok(())
    }

    /// Judges a version by itself.
    fn judge_row(&mut self, row: &LogRow, owners: &BTreeMap<u64, i64>) -> Judgement {
        let op = row.op;
        oracles::placed_in_time(row, self.wire.told(op))?;
        let number = row.label.strip_prefix("device ").map(str::parse::<usize>);
        let site = number.and_then(|number| self.sites.get(number.ok()?));
        let may_write = !site.is_some_and(|site| site.reader);
        let body = self.bodies.get(op);
        // Text may have been authored again, and any of the requests may be the one that counted.
        let sent = self.wire.bodies(op).iter();
        let sent = sent.chain(body.filter(|_| self.wire.bodies(op).is_empty()));
        oracles::written_by_its_author(row, sent, may_write, owners)?;
        let Some(body) = body else {
            return Ok(());
        };
        oracles::names_all(&row.entry.ids, op, body)?;
        let typed = |body: &OpBody| body.changes.iter().any(|change| !change.texts.is_empty());
        self.words.meddled |= typed(body) && self.wire.told(op).is_empty();
        let history = &self.histories.current;
        // A file that left a history since it was looked at may have heard before that what had become of
        // its queue; a copy of it that sends on does not answer for what another one waits for.
        let holds = |site: &&Site| site.view.holds(op) && copies_beside(site) == site.copies;
        if let Some(site) = site.filter(holds) {
            // Who stands before what a restored server lost knows what was decided there, as it is with
            // requests.
            let known: Vec<_> = self.histories.with(site.view.cursor).collect();
            let was_named = |id| known.iter().any(|history| history.named(id).is_some());
            oracles::nothing_was_overtaken(op, body, &site.view.queue, |id| {
                let excused = site.farewells.excused.contains(&id) || was_named(id);
                excused || history.named(id).is_some() || self.rejected.contains(&id)
            })?;
        }
        Ok(())
    }

    /// Judges what was rejected since. What a document was then it still was when the server was looked at
    /// before, or became since.
    fn judge_rejections(&self, served: &Served) -> Judgement {
        let new = |id: &&OpId| !self.rejected.contains(id);
        let mut missing = served.missing.iter().filter(new).peekable();
        if missing.peek().is_none() {
            return Ok(());
        }
        let documents = self.histories.current.documents();
        for id in missing {
            if let Some(body) = self.bodies.get(*id) {
                oracles::what_is_missing_never_was(*id, body, &documents)?;
            }
        }
        Ok(())
    }

    fn learn_rejections(&mut self, rejected: Vec<OpId>) {
        for id in rejected {
            if self.rejected.insert(id) {
                self.trace.line(format_args!("    rejected {id}"));
                for site in &mut self.sites {
                    site.farewells.rejected.insert(id);
                }
            }
            if let Some(body) = self.bodies.get(id) {
                self.model.reject(id, body);
            }
        }
    }

    /// The server's log ends somewhere else: it was restored.
    pub(super) fn server_was_restored(&mut self) -> Judgement {
        self.may_be_lost = None;
        let Served { log, rejected, .. } = self.read_dead_server(0).unwrap_or_default();
        let head = log.len() as u64;
        self.histories.restored_to(head);
        self.trace.line(format_args!("    restored to v{head}"));
        self.remodel(head, &rejected)
    }

    /// The model goes back to a version, with what had been rejected then.
    fn remodel(&mut self, head: u64, rejected: &[OpId]) -> Judgement {
        self.model = Model::default();
        self.rejected = rejected.iter().copied().collect();
        for id in rejected {
            if let Some(body) = self.bodies.get(*id) {
                self.model.reject(*id, body);
            }
        }
        for version in 1..=head {
            let Some(seen) = self.histories.current.version(version) else {
                return object(
                    "O8 cursor",
                    format!("there is a version {version} that never was"),
                );
            };
            let Some(body) = self.bodies.get(seen.row.op) else {
                continue;
            };
            let accepted = Accepted {
                id: seen.row.op,
                body,
                version,
                base: seen.row.base,
                written: seen.row.written,
            };
            if let Err(why) = self.model.accept(&self.schemas.app, accepted) {
                return object(
                    "O2 model",
                    format!("version {version} of the backup: {why}"),
                );
            }
        }
        Ok(())
    }

    /// Looks at a machine's file, if it changed.
    pub(super) fn look_at(&mut self, at: usize) -> Judgement {
        let Some(view) = self.fresh_view(at) else {
            return Ok(());
        };
        let schema = &self.schemas.app;
        let site = &mut self.sites[at];
        let names = copies_beside(site);
        let known_copies = std::mem::replace(&mut site.copies, names);
        let mut before = std::mem::take(&mut site.view);
        if std::mem::take(&mut site.lossy) {
            // What was lost is the end of what there was.
            oracles::lost_a_suffix(&before, &view, &self.histories)?;
            let present = &self.histories.current;
            let stands = view.cursor.version;
            let in_base = |id| present.named(id).is_some_and(|named| named <= stands);
            let excused = |id| site.farewells.excused.contains(&id);
            let lost = |id| !in_base(id) && !excused(id);
            let retired = Retired::by_a_loss(&before, &view, lost);
            site.retired.extend(retired);
            before = FileView::default();
        }
        self.trace.line(format_args!(
            "    s{at} v{} queue {} shows {}",
            view.cursor.version,
            view.queue.len(),
            view.shown.len()
        ));
        if site.reader {
            let ids = view.queue.iter().map(|queued| queued.id);
            self.unwelcome
                .extend(ids.map(|id| (id, "a reader's write")));
        }
        site.farewells.learn(&view);
        if let Some(before) = site.unknown.take() {
            let left = view.queue.iter().map(|queued| queued.id);
            site.untold.extend(left.filter(|id| !before.contains(id)));
        }
        // All of a history may have come and gone since, and all of the next one.
        let begins_anew = before.cursor.version > 0 && view.cursor.version == 0;
        // What lies beside a file that is looked at for the first time came along with it.
        let made_one = before.writer.is_some() && self.sites[at].copies != known_copies;
        if begins_anew || made_one {
            before = self.seen_in_a_copy(at, before, &view, &known_copies)?;
        }
        let site = &self.sites[at];
        let ids: BTreeSet<OpId> = before.queue.iter().map(|queued| queued.id).collect();
        let whose = format!("s{at}");
        oracles::base_is_the_servers(&before, &view, &self.histories)?;
        oracles::nothing_left_without_a_reason(&ids, &view, &self.histories, &site.farewells)?;
        oracles::counted_once(&view, TWINS)?;
        oracles::own_writes_show(&view, schema)?;
        oracles::joined_on_one_base(&before, &view)?;
        // What the file forgot with everything that was dropped, or with a history, it cannot know.
        let remembers = site.farewells.excused.is_empty() && !self.histories.changed();
        if remembers && view.cursor.version > 0 {
            let known = KnownOps(&self.bodies, &self.histories.current);
            oracles::own_elements_show(&view, &known)?;
            oracles::links_are_kept(&view, &known)?;
        }
        oracles::groups_are_whole(&view.shown, TWINS, TWIN_IDS.len(), &whose)?;
        oracles::cursor_goes_on(&before, &view, &self.histories)?;
        oracles::undone_stays_undone(&ids, &view, &site.undone)?;
        for queued in view.queue.iter().filter(|op| !op.body.covers.is_empty()) {
            let machine = site.device.options.number;
            oracles::stands_for_the_unseen(
                queued,
                |id| self.bodies.get(id),
                |id| self.wire.was_sent_in_full(machine, id),
            )?;
        }
        oracles::writes_under_another(&view, &site.retired)?;
        if site.device.options.host_token {
            oracles::writes_under_its_own_name(&view, &site.kin)?;
        }
        self.sites[at].view = view;
        Ok(())
    }

    /// The file left a history since it was seen: the copy that it made then says how it stood.
    fn seen_in_a_copy(
        &mut self,
        at: usize,
        before: FileView,
        view: &FileView,
        known: &BTreeSet<String>,
    ) -> Result<FileView, Violation> {
        // One that was made while the file waited for another history says nothing of its own.
        let mut copies = self.copies_aside(at);
        copies.retain(|(_, copy)| copy.cursor.version > 0);
        for (_, copy) in &copies {
            oracles::base_is_the_servers(&FileView::default(), copy, &self.histories)?;
        }
        let made = oracles::made_on_leaving(&before, &copies, known).cloned();
        let copies: Vec<FileView> = copies.into_iter().map(|(_, copy)| copy).collect();
        oracles::set_aside_first(&before, view, &copies)?;
        let Some(copy) = made else {
            return Ok(before);
        };
        let ids: BTreeSet<OpId> = before.queue.iter().map(|queued| queued.id).collect();
        let farewells = &self.sites[at].farewells;
        oracles::nothing_left_without_a_reason(&ids, &copy, &self.histories, farewells)?;
        Ok(copy)
    }

    /// The copies that a machine's file made of itself, with their names.
    fn copies_aside(&mut self, at: usize) -> Vec<(String, FileView)> {
        let site = &self.sites[at];
        let schema = &self.schemas.app;
        let views = copies_beside(site).into_iter().filter_map(|file| {
            let watcher = Watcher::open(&site.device.disk, &file).ok()?;
            let view = watcher.file(schema, &mut self.bodies).ok()??;
            Some((file, view))
        });
        views.collect()
    }

    /// The file as it is, if anybody has it open and something was committed.
    fn fresh_view(&mut self, at: usize) -> Option<FileView> {
        let site = &mut self.sites[at];
        if !site.is_open() {
            return None;
        }
        if site.watcher.is_none() {
            site.watcher = Watcher::open(&site.device.disk, FILE).ok();
        }
        let watcher = site.watcher.as_mut()?;
        let view = match watcher.changed() {
            Ok(false) => return None,
            Ok(true) => watcher.file(&self.schemas.app, &mut self.bodies),
            Err(error) => Err(error),
        };
        match view {
            Ok(view) => view,
            Err(error) => {
                // A file that is damaged shows when it is checked; one being made is seen later.
                self.trace
                    .line(format_args!("    s{at} cannot be read: {error}"));
                self.sites[at].watcher = None;
                None
            }
        }
    }
}

/// What the copies are called that a machine's file made of itself.
fn copies_beside(site: &Site) -> BTreeSet<String> {
    let files = site.device.disk.files().into_iter();
    let copies = files.filter(|file| {
        let name = file.strip_prefix(FILE);
        name.is_some_and(|end| end.starts_with(".aside-") && !end.contains("-journal"))
    });
    copies.collect()
}

/// What everybody together knows of ops.
struct KnownOps<'w>(&'w Bodies, &'w History);

impl Known for KnownOps<'_> {
    fn body(&self, id: OpId) -> Option<&OpBody> {
        self.0.get(id)
    }

    fn accepted(&self, id: OpId) -> Option<Version> {
        self.1.named(id)
    }
}

/// What an op says, for a trace.
fn in_short(body: &OpBody) -> String {
    use std::fmt::Write;
    let mut said = format!(" base {}", body.base);
    for id in body.stands_for() {
        let _ = write!(said, " for {id}");
    }
    for change in &body.changes {
        let (kind, collection, document) =
            (change.kind.name(), change.collection, &change.document);
        let _ = write!(said, "; {kind} {collection}/{document}");
        if let Some(generation) = change.generation {
            let _ = write!(said, " of {generation}");
        }
        if let Some(prev) = change.prev {
            let _ = write!(said, " after {prev}");
        }
    }
    said
}
