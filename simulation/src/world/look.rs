//! Looking at everything that changed, and judging it.

use std::collections::BTreeSet;

use driftline_core::id::OpId;
use driftline_core::op::OpBody;
use driftline_simvfs::Disk;

use super::World;
use super::schema::TWINS;
use super::site::FILE;
use super::watch::Watcher;
use crate::machine::workspace_file;
use crate::model::{Accepted, Model};
use crate::oracles::{self, FileView, Histories, Judgement, LogRow, object};

/// Documents of the collection that is written together.
pub(super) const TWIN_IDS: [&str; 3] = ["t0", "t1", "t2"];

impl World<'_> {
    /// Looks at the server first: what a device has can only be what the server said.
    pub(super) fn look(&mut self) -> Judgement {
        self.bury()?;
        self.look_at_server()?;
        for at in 0..self.sites.len() {
            self.look_at(at)?;
        }
        Ok(())
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
        self.server_met += self.server.process().map_or(0, |process| process.met());
        self.server.kill();
    }

    /// The server's log behind a version, and what it rejected, as it lies on the disk of a server
    /// that is dead. Looked at on a copy: opening a file puts it in order.
    fn read_dead_server(&self, after: u64) -> Option<(Vec<LogRow>, Vec<OpId>)> {
        let copy = Disk::from_image(&self.server.disk.image(), 0);
        let watcher = Watcher::open(&copy, &workspace_file(&copy)?).ok()?;
        Some((watcher.log(after).ok()?, watcher.rejected().ok()?))
    }

    fn look_at_server(&mut self) -> Judgement {
        if self.server.process().is_none() {
            return Ok(());
        }
        if self.server_watcher.is_none() {
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
            Ok(true) => watcher
                .log(before)
                .and_then(|log| Ok((log, watcher.rejected()?))),
            Err(error) => Err(error),
        };
        match read {
            Ok((log, rejected)) => {
                self.may_be_lost = None;
                self.judge_log(log, rejected)
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
            Some((log, rejected)) => {
                if !log.is_empty() {
                    self.may_be_lost = Some(head);
                }
                self.judge_log(log, rejected)
            }
            None => Ok(()),
        }
    }

    /// The server's power went: what it had said is still there.
    pub(super) fn server_lost_power(&mut self) -> Judgement {
        let head = self.histories.current.head();
        let (log, rejected) = self.read_dead_server(0).unwrap_or_default();
        let left = log.len() as u64;
        match self.may_be_lost.take() {
            _ if left >= head => Ok(()),
            Some(sure) if left >= sure => {
                self.histories.forget_after(left);
                self.remodel(left, &rejected)
            }
            _ => object(
                "O15 integrity",
                format!("the server had {head} versions, the loss of power left {left}"),
            ),
        }
    }

    fn judge_log(&mut self, log: Vec<LogRow>, rejected: Vec<OpId>) -> Judgement {
        self.learn_rejections(rejected);
        for row in log {
            let (version, op) = (row.cursor.version, row.op);
            let said = self.bodies.get(op).map(in_short).unwrap_or_default();
            self.trace.line(format_args!("    v{version} {op}{said}"));
            let earlier = self.histories.current.documents();
            if version != self.histories.current.head() + 1 {
                return object("O8 cursor", format!("version {version} follows a gap"));
            }
            oracles::not_unwelcome(self.unwelcome.get(&op).copied(), op)?;
            let again = self.histories.current.append(row);
            oracles::named_once(&again, self.bodies.get(op), version)?;
            let Some(seen) = self.histories.current.version(version) else {
                continue;
            };
            oracles::no_resurrection(&earlier, &seen.documents)?;
            oracles::groups_are_whole(&seen.documents, TWINS, TWIN_IDS.len(), "the server")?;
            let body = self.bodies.get(op);
            oracles::log_follows_the_model(&mut self.model, &self.schemas.app, seen, body)?;
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
        let (log, rejected) = self.read_dead_server(0).unwrap_or_default();
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
        let mut before = std::mem::take(&mut site.view);
        if std::mem::take(&mut site.lossy) {
            // What was lost is the end of what there was.
            lost_a_suffix(&before, &view, &self.histories)?;
            before = FileView::default();
        }
        let ids: BTreeSet<OpId> = before.queue.iter().map(|queued| queued.id).collect();
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
        let whose = format!("s{at}");
        oracles::base_is_the_servers(&before, &view, &self.histories)?;
        oracles::nothing_left_without_a_reason(&ids, &view, &self.histories, &site.farewells)?;
        oracles::counted_once(&view, TWINS)?;
        oracles::own_writes_show(&view, schema)?;
        oracles::groups_are_whole(&view.shown, TWINS, TWIN_IDS.len(), &whose)?;
        oracles::cursor_goes_on(&before, &view, &self.histories)?;
        site.view = view;
        Ok(())
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

/// Under `Normal` a loss of power takes the last commits, never one before another that is there.
fn lost_a_suffix(before: &FileView, view: &FileView, histories: &Histories) -> Judgement {
    let lost = |id: &OpId| !view.holds(*id) && !histories.ever_named(*id);
    let ids: Vec<OpId> = before.queue.iter().map(|queued| queued.id).collect();
    let Some(first) = ids.iter().copied().filter(lost).min() else {
        return Ok(());
    };
    match ids.iter().find(|id| **id > first && view.holds(**id)) {
        Some(id) => object(
            "O3 acknowledged",
            format!("the loss of power took {first} and left {id}"),
        ),
        None => Ok(()),
    }
}
