//! What must hold of the shared machine after each visit, and when everything is put right.

use std::collections::BTreeSet;

use driftline::{State, Sync};
use driftline_simvfs::{Disk, Process};
use rusqlite::{Connection, OpenFlags};

use super::{Household, WORKSPACE, path};
use crate::machine::{TokenTrouble, file_of};
use crate::oracles::{self, Judgement, object};
use crate::world::World;
use crate::world::heal::PATIENCE_MS;

/// The entries of a server's log and who sent them.
const LOG: &str = "SELECT accounts.name, log.entry FROM log \
     JOIN authors ON authors.number = log.author JOIN devices ON devices.number = authors.device \
     JOIN accounts ON accounts.number = devices.account";

/// Writes in quarantine that are tried again.
const MOST_RETRIED: usize = 1_000;

impl World<'_> {
    /// Looks for marks where they must not be.
    pub(super) fn look_at_home(&self, home: &Household) -> Judgement {
        for at in 0..home.files.len() {
            let whose = match home.files[at].owner {
                Some(owner) => owner.to_owned(),
                None => home.whose(at),
            };
            let files = home.device.disk.files().into_iter();
            for file in files.filter(|file| file.starts_with(&path(at))) {
                let bytes = home.device.disk.read(&file).unwrap_or_default();
                self.climate
                    .at_home(|known| known.marks.reaches(&whose, &bytes, "a file"))?;
            }
        }
        for (account, entry) in self.house_log() {
            self.climate
                .at_home(|known| known.marks.was_decided(&account, &entry))?;
        }
        Ok(())
    }

    /// What the server decided of the shared machine's writes. Read on a copy: opening a file puts it in
    /// order. A file that is being made is seen later.
    fn house_log(&self) -> Vec<(String, Vec<u8>)> {
        let Some(file) = file_of(WORKSPACE, &self.server.disk) else {
            return Vec::new();
        };
        let copy = Disk::from_image(&self.server.disk.image(), 0);
        let process = Process::start(&copy, 0);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
        let rows =
            Connection::open_with_flags_and_vfs(&file, flags, process.vfs()).and_then(|log| {
                let mut query = log.prepare(LOG)?;
                let rows = query.query_map((), |row| Ok((row.get(0)?, row.get(1)?)))?;
                rows.collect()
            });
        rows.unwrap_or_default()
    }

    /// Nothing is in the way any more: whoever has an account signs in once more, what is left to send is
    /// sent, and what was acknowledged is there.
    pub(in crate::world) fn household_meets(&mut self) -> Judgement {
        let Some(mut home) = self.household.take() else {
            return Ok(());
        };
        let judged = self.settle_home(&mut home);
        home.end();
        oracles::held_little(home.device.held, "the shared machine")?;
        self.household = Some(home);
        judged
    }

    fn settle_home(&mut self, home: &mut Household) -> Judgement {
        home.lives();
        home.shut();
        home.end();
        home.device.tokens.set(TokenTrouble::NONE);
        home.device.clock.set_skew(0);
        let due = home.export.as_ref().filter(|export| !export.taken);
        if let Some((whose, None)) = due.map(|export| (export.whose, export.into)) {
            let into = home.add_file(Some(whose));
            home.export
                .iter_mut()
                .for_each(|export| export.into = Some(into));
        }
        let mut refused = BTreeSet::new();
        let mut last = None;
        for at in 0..home.files.len() {
            let file = &home.files[at];
            if file.owner.is_none() || file.left {
                continue;
            }
            if self.settle_file(home, at)? {
                refused.insert(at);
            }
            last = Some(at);
        }
        if let Some(at) = last {
            self.settle_file_and(home, at, |world, home| world.all_is_there(home, &refused))?;
        }
        self.look_at_home(home)?;
        for at in 0..home.files.len() {
            home.turn_to(at);
            oracles::sound(home.device.check(), &path(at))?;
        }
        Ok(())
    }

    /// Everything in a file is sent. Says whether the server refuses some of it for good.
    fn settle_file(&mut self, home: &mut Household, at: usize) -> Result<bool, oracles::Violation> {
        let (mut refuses, mut tried) = (false, BTreeSet::new());
        self.settle_file_and(home, at, |world, home| {
            let Some(outbox) = home.device.database().map(driftline::Database::outbox) else {
                return Ok(());
            };
            // A quota that is no more may have been in the way.
            let quarantined = || outbox.quarantined(None, MOST_RETRIED).unwrap_or_default();
            // An insert takes along what waits for it.
            while let Some(write) = quarantined().first()
                && tried.insert(write.id.clone())
            {
                oracles::works(
                    outbox.retry(&write.id),
                    "trying again on the shared machine",
                )?;
            }
            world.until_sent(home)?;
            refuses = !quarantined().is_empty();
            Ok(())
        })?;
        Ok(refuses)
    }

    fn settle_file_and(
        &mut self,
        home: &mut Household,
        at: usize,
        then: impl FnOnce(&mut Self, &Household) -> Judgement,
    ) -> Judgement {
        self.climate.partition(super::ENGINES + at, false);
        self.sign_in(home, at)?;
        self.until_sent(home)?;
        then(self, home)?;
        home.shut();
        Ok(())
    }

    /// Time passes until the open file has nothing to send and has heard everything.
    fn until_sent(&mut self, home: &Household) -> Judgement {
        if let Some(sync) = home.device.sync() {
            sync.sync_now();
        }
        let deadline = self.tasks.now() + PATIENCE_MS;
        let is_settled = || {
            home.device.sync().map(Sync::status).is_some_and(|status| {
                status.state == State::Idle && status.last_sync.is_some() && status.pending == 0
            })
        };
        let settled = self.tasks.run_until(deadline, is_settled);
        let settled = oracles::time_passed(settled)?;
        self.look()?;
        match settled {
            true => Ok(()),
            false => object(
                "O14 liveness",
                format!(
                    "the shared machine does not get to an end: {:?}",
                    home.device.sync().map(Sync::status)
                ),
            ),
        }
    }

    /// What was acknowledged and not dropped is in the documents. A server that was restored may have lost
    /// what nobody sends any more.
    fn all_is_there(&self, home: &Household, refused: &BTreeSet<usize>) -> Judgement {
        if self.histories.changed() {
            return Ok(());
        }
        let shown = oracles::sound(home.device.documents(), "the shared machine")?;
        let shown: String = shown.values().map(ToString::to_string).collect();
        let sent = |at: usize| home.files[at].owner.is_some() && !refused.contains(&at);
        let kept = home.kept.iter().filter(|(_, at)| sent(**at));
        let marks = kept.map(|(mark, _)| mark.as_str());
        oracles::marks_are_there(&shown, marks)
    }
}
