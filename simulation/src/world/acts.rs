//! What apps do beside writing.

use driftline::{Database, LossFilter, NewDocument, Result, Value};
use driftline_core::id::OpId;
use driftline_simvfs::Random;

use super::World;
use super::schema::PAPERS;
use super::script::Act;
use super::write::draw_document;
use crate::oracles::{self, Ask, Asked, Judgement, QueueState, Queued};

impl World<'_> {
    /// Takes a step.
    pub(super) fn act(&mut self, act: Act, at: usize, random: &mut Random) -> Judgement {
        self.count(act.name());
        if let Some(judged) = self.write_act(act, at, random) {
            return judged;
        }
        if let Some(judged) = self.fault_act(act, at, random) {
            return judged;
        }
        if let Some(judged) = self.episode(act, at, random) {
            return judged;
        }
        match act {
            Act::Bulk => self.bulk(at, random),
            Act::Retry => self.retry(at, random),
            Act::Discard => self.discard(at, random),
            Act::Reclaim => self.reclaim(at, random),
            Act::DropAll => self.drop_all(at),
            Act::SyncNow => self.sync(at, random, |sync, _| sync.sync_now()),
            Act::Pass => self.pass(random.below(7_000) as i64),
            Act::PassLong => {
                // Nobody looks at a broken disk for so long.
                (0..self.sites.len()).for_each(|at| self.mend(at));
                self.pass([60_000, 300_000, 900_000][random.below(3)])
            }
            Act::Flush => self.call(at, random, Database::flush),
            Act::Suspend => self.call(at, random, Database::suspend),
            Act::Resume => self.call(at, random, Database::resume),
            Act::Background => self.sync(at, random, |sync, random| match random.one_in(2) {
                true => sync.background(),
                false => sync.foreground(),
            }),
            Act::Online => self.sync(at, random, |sync, random| {
                sync.network_changed(random.one_in(2));
            }),
            Act::Pause => self.sync(at, random, |sync, random| match random.one_in(2) {
                true => sync.pause(),
                false => sync.resume(),
            }),
            Act::Reopen => self.reopen(at, random),
            Act::Start => self.start(at, false),
            Act::Companion => self.companion(at),
            Act::Household => self.visit(random),
            _ => Ok(()),
        }
    }

    /// A call whose result nothing else depends on.
    fn call(
        &mut self,
        at: usize,
        random: &mut Random,
        call: impl FnOnce(&Database) -> Result<()>,
    ) -> Judgement {
        if let Some(database) = self.database(at, random) {
            let result = call(&database);
            drop(database);
            self.told(at, &result);
        }
        Ok(())
    }

    fn sync(
        &mut self,
        at: usize,
        random: &mut Random,
        call: impl FnOnce(&driftline::Sync, &mut Random),
    ) -> Judgement {
        let program = self.sites[at].program(random.one_in(2));
        if let Some(sync) = program.sync() {
            call(sync, random);
        }
        Ok(())
    }

    fn database(&self, at: usize, random: &mut Random) -> Option<Database> {
        let program = self.sites[at].program(random.one_in(2));
        program.database().filter(|_| program.is_alive()).cloned()
    }

    /// Starts what is not there: the process, the database, the connection.
    pub(super) fn start(&mut self, at: usize, companion: bool) -> Judgement {
        let site = &mut self.sites[at];
        let program = site.program_mut(companion);
        program.thaw();
        if !program.is_alive() {
            program.start(|_| {});
        }
        if program.database().is_none() {
            let opened = program.open();
            self.told(at, &opened);
            if opened.is_err() {
                return Ok(());
            }
        }
        let program = self.sites[at].program_mut(companion);
        if program.sync().is_none() {
            let connected = program.connect();
            self.told(at, &connected);
        }
        Ok(())
    }

    fn reopen(&mut self, at: usize, random: &mut Random) -> Judgement {
        let companion = random.one_in(2) && self.sites[at].companion.is_some();
        if self.sites[at].program(companion).is_frozen() {
            return Ok(());
        }
        // What only looks must not be the last to close the file.
        self.sites[at].watcher = None;
        let closed = self.sites[at].program_mut(companion).close();
        self.told(at, &closed);
        self.pass(random.below(2_000) as i64)?;
        if random.one_in(4) {
            return Ok(());
        }
        self.start(at, companion)
    }

    pub(super) fn companion(&mut self, at: usize) -> Judgement {
        let site = &mut self.sites[at];
        if site.companion.is_none() && site.is_open() {
            site.companion = Some(site.device.companion());
            site.shared = true;
        }
        match site.companion {
            Some(_) => self.start(at, true),
            None => Ok(()),
        }
    }

    fn bulk(&mut self, at: usize, random: &mut Random) -> Judgement {
        let Some(database) = self.database(at, random) else {
            return Ok(());
        };
        let value = self.sites[at].value();
        let filler = "filler ".repeat(20 + random.below(400));
        let documents: Vec<NewDocument> = (0..3 + random.below(20))
            .map(|_| {
                let (_, _, id) = draw_document(random);
                let fields = [("title", value.clone()), ("body", filler.clone())];
                NewDocument::from(fields).with_id(id.replace(['p', 'q'], "n"))
            })
            .collect();
        let asked = documents.iter().map(|document| {
            let fields = [1, 2].into_iter().zip(&document.fields);
            let fields = fields.map(|(field, (_, value))| (field, value.clone()));
            let id = document.id.clone().unwrap_or_default();
            ((PAPERS, id), Ask::Insert(fields.collect()))
        });
        let asked: Asked = asked.collect();
        let before = self.sites[at].view.clone();
        let result = database.write_bulk("papers", documents);
        drop(database);
        let failed = result.is_err();
        self.trace
            .line(format_args!("    s{at} bulk failed: {failed}"));
        let looked = self.sites[at].watcher.is_some() && !self.sites[at].fragile;
        self.look_at(at)?;
        let site = &self.sites[at];
        if failed || !looked || site.watcher.is_none() {
            return Ok(());
        }
        let new = site.view.queue.iter();
        let new: Vec<&Queued> = new.filter(|op| !before.holds(op.id)).collect();
        let what = format!("a bulk of s{at}");
        oracles::say_what_was_asked(&asked, &new, &self.schemas.app, &what)
    }

    /// The ids in a machine's queue or quarantine.
    fn queued(&self, at: usize, state: QueueState) -> Vec<OpId> {
        let queue = self.sites[at].view.queue.iter();
        queue
            .filter(|queued| queued.state == state)
            .map(|queued| queued.id)
            .collect()
    }

    fn retry(&mut self, at: usize, random: &mut Random) -> Judgement {
        let quarantined = self.queued(at, QueueState::Quarantined);
        let (Some(id), Some(database)) = (
            random.pick(&quarantined).copied(),
            self.database(at, random),
        ) else {
            return Ok(());
        };
        let result = database.outbox().retry(&id.to_string());
        drop(database);
        self.told(at, &result);
        Ok(())
    }

    fn discard(&mut self, at: usize, random: &mut Random) -> Judgement {
        let state = match random.one_in(2) {
            true => QueueState::Quarantined,
            false => QueueState::Pending,
        };
        let ids = self.queued(at, state);
        let (Some(id), Some(database)) = (random.pick(&ids).copied(), self.database(at, random))
        else {
            return Ok(());
        };
        // Noted first: a call that fails may have done it.
        self.sites[at].farewells.discarded.insert(id);
        let result = database.outbox().discard(&id.to_string());
        drop(database);
        self.told(at, &result);
        Ok(())
    }

    fn reclaim(&mut self, at: usize, random: &mut Random) -> Judgement {
        let Some(database) = self.database(at, random) else {
            return Ok(());
        };
        let losses = database.ledger().query(&LossFilter::default(), 20);
        let chosen = losses.ok().and_then(|losses| {
            // One twin alone is never written.
            let losses: Vec<_> = losses
                .iter()
                .filter(|loss| loss.collection != "twins")
                .collect();
            let loss = random.pick(&losses)?;
            Some((loss.id, loss.value.clone()))
        });
        if let Some((id, value)) = chosen {
            if let Value::Text(text) = value {
                self.words.restored(&text);
            }
            let result = database.ledger().restore(id);
            drop(database);
            self.told(at, &result);
        }
        Ok(())
    }

    fn drop_all(&mut self, at: usize) -> Judgement {
        let program = &self.sites[at].device;
        let Some(database) = program.database().filter(|_| program.is_alive()).cloned() else {
            return Ok(());
        };
        // What is queued now may be gone afterwards, whatever the call says.
        let ids: Vec<OpId> = self.sites[at]
            .view
            .queue
            .iter()
            .map(|queued| queued.id)
            .collect();
        self.sites[at].farewells.excused.extend(ids);
        let result = database.outbox().drop_all();
        drop(database);
        self.told(at, &result);
        Ok(())
    }

    /// Compares what apps show of watched queries with what these say. What another process wrote is told
    /// with the next look at the file.
    pub(super) fn watched_queries(&mut self) -> Judgement {
        for site in self.sites.iter_mut().filter(|site| !site.shared) {
            if let Some((shown, now)) = site.device.watched() {
                oracles::watched_shows_what_is_there(&shown, &now, site.number)?;
            }
        }
        Ok(())
    }

    /// Compares what devices at rest say of themselves with their files.
    pub(super) fn statuses(&self) -> Judgement {
        for site in self.sites.iter().filter(|site| site.companion.is_none()) {
            if let (Some(sync), true) = (site.device.sync(), site.watcher.is_some()) {
                oracles::status_tells_the_truth(&sync.status(), &site.view)?;
            }
        }
        Ok(())
    }
}
