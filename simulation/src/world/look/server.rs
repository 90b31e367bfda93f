//! Looking at the server: what it did since, also by what a dead one left on its disk.

use driftline_core::id::OpId;
use driftline_simvfs::Disk;

use crate::machine::workspace_file;
use crate::model::{Accepted, Model};
use crate::oracles::{self, Judgement, object};
use crate::world::World;
use crate::world::watch::{Served, Watcher};

impl World<'_> {
    /// Ends the server's process.
    pub(in crate::world) fn kill_server(&mut self) {
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

    pub(super) fn look_at_server(&mut self) -> Judgement {
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
    pub(super) fn look_at_dead_server(&mut self) -> Judgement {
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
    pub(in crate::world) fn server_lost_power(&mut self) -> Judgement {
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

    /// The server's log ends somewhere else: it was restored.
    pub(in crate::world) fn server_was_restored(&mut self) -> Judgement {
        self.may_be_lost = None;
        let Served { log, rejected, .. } = self.read_dead_server(0).unwrap_or_default();
        // A backup may hold a commit that had failed, of which nobody was told: another one came to be that
        // version since, and this one is read like a new one.
        let present = &self.histories.current;
        let known = log.iter().take_while(|row| present.has(row.cursor));
        let head = known.count() as u64;
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
}
