//! The end: everything is put right, and all must meet.

use std::collections::BTreeMap;
use std::time::Duration;

use driftline::{Cause, State, SyncEvent};
use driftline_simvfs::Random;

use super::World;
use super::schema::LETTERS;
use super::script::Act;
use super::site::Site;
use super::watch::Watcher;
use crate::machine::{Device, workspace_file};
use crate::oracles::{self, Judgement, Standing, object};

/// Simulated time in which all must have met once nothing is in the way: several rounds of the
/// slowest retry.
pub(super) const PATIENCE_MS: i64 = 40 * 60_000;

/// After that the server folds texts, also where it just failed to.
const FOLDING_MS: i64 = 15_000;

/// Within this every socket that nothing passes through has been found out and replaced.
const SOCKETS_MS: i64 = 200_000;

/// How long a version takes to those who listen, at most.
const NEWS_MS: i64 = 10_000;

/// What a slow handshake of a live socket takes.
pub(super) const HANDSHAKE_MS: i64 = 3_000;

/// How often all may settle before they stand at one version.
const ROUNDS: usize = 20;

impl World<'_> {
    /// Puts everything right and checks that all meet.
    pub(super) fn heal(&mut self) -> Judgement {
        self.trace
            .line(format_args!("healing at t={}", self.tasks.now()));
        self.listen()?;
        self.put_right()?;
        self.meet()?;
        self.pass(FOLDING_MS)?;
        self.look()?;
        self.one_syncs_each_file()?;
        self.statuses()?;
        // By now everybody has looked at the file.
        self.sites.iter_mut().for_each(|site| site.shared = false);
        self.watched_queries()?;
        self.ledgers_are_whole()?;
        self.compare()?;
        self.household_meets()?;
        self.close()
    }

    /// The network is well again, and nobody asks for anything: who has a socket hears of everything
    /// all the same.
    fn listen(&mut self) -> Judgement {
        if self.swarm.live == 0 {
            return Ok(());
        }
        self.climate.clears_up();
        (0..self.sites.len()).for_each(|at| self.mend(at));
        self.mend_server();
        self.start_server()?;
        self.pass(SOCKETS_MS)?;
        self.look()?;
        for at in 0..self.sites.len() {
            let mut random = Random::new(self.seed ^ at as u64);
            self.act(Act::Insert, at, &mut random)?;
            self.look()?;
        }
        self.pass(NEWS_MS)?;
        self.look()?;
        self.listeners_hear()?;
        self.opens_late()
    }

    /// A socket takes its time to open, and somebody writes meanwhile: whoever listens then hears of that
    /// as well.
    fn opens_late(&mut self) -> Judgement {
        self.climate.slow_handshakes(true);
        let each = |world: &World<'_>, tell: fn(&driftline::Sync)| {
            let programs = world.sites.iter().flat_map(Site::programs);
            programs.filter_map(Device::sync).for_each(tell);
        };
        each(self, driftline::Sync::background);
        self.pass(100)?;
        each(self, driftline::Sync::foreground);
        self.pass(HANDSHAKE_MS / 3)?;
        self.look()?;
        let writes = (self.seed % self.sites.len() as u64) as usize;
        self.act(Act::Insert, writes, &mut Random::new(self.seed))?;
        self.look()?;
        for sync in self.sites[writes].programs().filter_map(Device::sync) {
            sync.sync_now();
        }
        self.pass(NEWS_MS)?;
        self.look()?;
        self.climate.slow_handshakes(false);
        self.listeners_hear()
    }

    fn listeners_hear(&mut self) -> Judgement {
        let before = self.standings();
        let head = self.histories.current.head();
        self.pass(NEWS_MS)?;
        self.look()?;
        oracles::listeners_hear(&before, &self.standings(), head)
    }

    /// How every machine stands.
    fn standings(&self) -> Vec<Standing> {
        let standing = |site: &Site| Standing {
            number: site.number,
            version: site.view.cursor.version,
            settled: is_settled(site),
            listens: listens(site),
        };
        self.sites.iter().map(standing).collect()
    }

    fn put_right(&mut self) -> Judgement {
        self.climate.clears_up();
        self.server.clock.set_skew(0);
        self.mend_server();
        self.start_server()?;
        let started = self.server.process().ok_or("it has no process");
        oracles::works(started, "starting the server")?;
        for at in 0..self.sites.len() {
            self.mend(at);
            let tokens_are_back = self.sites[at].device.tokens.end();
            self.sites[at].device.clock.set_skew(0);
            for companion in [false, true] {
                if companion && self.sites[at].companion.is_none() {
                    continue;
                }
                self.start(at, companion)?;
                // Before anything is sent, as after every step.
                self.look_at(at)?;
                let program = self.sites[at].program(companion);
                let database = program.database().ok_or("it is not open");
                let database = oracles::works(database, &format!("opening s{at}"))?;
                oracles::works(database.resume(), &format!("resuming s{at}"))?;
                if let Some(sync) = program.sync() {
                    if tokens_are_back {
                        sync.token_changed();
                    }
                    sync.resume();
                    sync.network_changed(true);
                    sync.foreground();
                }
            }
        }
        Ok(())
    }

    /// Time passes until all stand where the server stands, with nothing left to send.
    fn meet(&mut self) -> Judgement {
        let deadline = self.tasks.now() + PATIENCE_MS;
        for _ in 0..ROUNDS {
            let sites = &self.sites;
            let settled = self
                .tasks
                .run_until(deadline, || sites.iter().all(is_settled));
            if !oracles::time_passed(settled)? {
                break;
            }
            self.look()?;
            let head = self.histories.current.head();
            if self
                .sites
                .iter()
                .all(|site| site.view.cursor.version == head)
            {
                return Ok(());
            }
            // Somebody settled before somebody else's last write came.
            for site in &self.sites {
                for sync in site.programs().filter_map(|program| program.sync()) {
                    sync.sync_now();
                }
            }
            self.pass(10_000)?;
        }
        self.look()?;
        let head = self.histories.current.head();
        oracles::all_arrive(&self.standings(), head, |number| {
            let site = &self.sites[number];
            let status = site.device.sync().map(driftline::Sync::status);
            format!("{status:?}; {:?}", self.last_words(site))
        })
    }

    /// What a device says of one more try.
    fn last_words(&self, site: &Site) -> Vec<String> {
        let Some(sync) = site.device.sync() else {
            return Vec::new();
        };
        let events = sync.events();
        sync.sync_now();
        let deadline = self.tasks.now() + 10_000;
        // Whether it spins was judged before.
        let _ = self.tasks.run_until(deadline, || false);
        let mut words = Vec::new();
        while let Some(event) = events.next_timeout(Duration::ZERO) {
            if let SyncEvent::Error { code, message } = event {
                words.push(format!("{code}: {message}"));
            }
        }
        words
    }

    /// What all show is the same, on devices and on the server.
    fn compare(&self) -> Judgement {
        let served = oracles::sound(self.server.documents(), "the server")?;
        if let Some(watcher) = &self.server_watcher {
            let table = oracles::sound(watcher.table(), "the server")?;
            oracles::states_agree(&self.histories.current.documents(), &table)?;
            self.server_is_tidy()?;
        }
        let mut first: Option<(usize, BTreeMap<String, serde_json::Value>)> = None;
        for site in &self.sites {
            let shown = site.device.documents();
            let shown = oracles::sound(shown, &format!("s{}", site.number))?;
            let whose = format!("s{} and the server", site.number);
            oracles::all_show_the_same(&shown, &served, &whose)?;
            oracles::nothing_is_left_over(&site.view, site.device.disk.used())?;
            match &first {
                None => {
                    self.check_words(&shown)?;
                    self.words_stay(&shown)?;
                    first = Some((site.number, shown));
                }
                Some((number, other)) => {
                    let whose = format!("s{} and s{number}", site.number);
                    oracles::all_show_the_same(&shown, other, &whose)?;
                }
            }
        }
        let (Some((_, shown)), Some(watcher)) = (first, &self.server_watcher) else {
            return Ok(());
        };
        let texts = oracles::sound(watcher.texts(), "the server")?;
        oracles::texts_are_the_servers(&shown, texts, "words")
    }

    fn check_words(&self, shown: &BTreeMap<String, serde_json::Value>) -> Judgement {
        let letters = format!("{LETTERS}/");
        let letters = shown
            .iter()
            .filter(|(place, _)| place.starts_with(&letters));
        for (place, document) in letters {
            if let Some(words) = document.get("words").and_then(|words| words.as_str()) {
                self.words.are_there_once(words, place)?;
            }
        }
        Ok(())
    }

    fn words_stay(&self, shown: &BTreeMap<String, serde_json::Value>) -> Judgement {
        let letters = format!("{LETTERS}/");
        // A copy of a file, one from a backup, and whoever meets another history may write again what others
        // know by another name, and take out no more.
        let same = self.sites.iter().all(|site| site.like == site.number);
        let restored = self.counts.contains_key(Act::RestoreBackup.name());
        let one_name = same && !restored && !self.histories.changed();
        for (place, document) in shown {
            let history = &self.histories.current;
            let Some(place) = place.strip_prefix(&letters) else {
                continue;
            };
            if let Some(words) = document.get("words").and_then(|words| words.as_str()) {
                self.words.are_there(place, "words", words, history)?;
                if one_name {
                    self.words.are_gone(place, "words", words, history)?;
                }
            }
            if let Some(items) = document.get("items") {
                let items = items.to_string();
                self.words.are_there(place, "items", &items, history)?;
                if one_name {
                    self.words.are_gone(place, "items", &items, history)?;
                }
            }
        }
        Ok(())
    }

    /// Files keep what they say they received of the ledger.
    fn ledgers_are_whole(&self) -> Judgement {
        let Some(watcher) = &self.server_watcher else {
            return Ok(());
        };
        let told = oracles::sound(watcher.loss_numbers(), "the server")?;
        for site in &self.sites {
            let Some(Ok((device, kept))) = site.watcher.as_ref().map(Watcher::losses_kept) else {
                continue;
            };
            if let Some(told) = told.get(&device) {
                oracles::losses_are_kept(told, &kept, site.view.losses_ack)?;
            }
        }
        Ok(())
    }

    /// Of two programs on one file one syncs; the other one finds out if it was replaced.
    fn one_syncs_each_file(&mut self) -> Judgement {
        let deadline = self.tasks.now() + PATIENCE_MS;
        let sites = &self.sites;
        let alone = |site: &Site| site.programs().filter(|program| syncs(program)).count() <= 1;
        let one_each = self.tasks.run_until(deadline, || sites.iter().all(alone));
        match oracles::time_passed(one_each)? {
            true => self.look(),
            false => object("O12 status", "two programs of one file both sync it"),
        }
    }

    /// Everything is closed, and what lies on disks is sound.
    fn close(&mut self) -> Judgement {
        for site in &mut self.sites {
            site.watcher = None;
            if let Some(companion) = &mut site.companion {
                // What it says does not matter: the file is looked at.
                let _ = companion.close();
            }
            let whose = format!("s{}", site.number);
            oracles::works(site.device.close(), &format!("closing {whose}"))?;
            site.kill_all();
            oracles::sound(site.device.check(), &whose)?;
            for file in site.device.disk.files() {
                let bytes = site.device.disk.read(&file).unwrap_or_default();
                oracles::no_canary(&bytes, &file)?;
            }
        }
        self.server_watcher = None;
        self.server.stop();
        if let Some(file) = workspace_file(&self.server.disk) {
            let bytes = self.server.disk.read(&file).unwrap_or_default();
            oracles::no_canary(&bytes, &file)?;
        }
        oracles::sound(self.server.check(), "the server")
    }
}

/// Whether a program believes that it is the one that syncs.
pub(super) fn syncs(program: &Device) -> bool {
    let status = program.sync().map(driftline::Sync::status);
    status.is_some_and(|status| status.cause != Cause::OtherProcess)
}

/// Whether a program of the machine has a socket, and nothing else to do.
fn listens(site: &Site) -> bool {
    site.programs().any(|program| {
        program.sync().is_some_and(|sync| {
            let status = sync.status();
            program.is_alive() && status.live && status.state == State::Idle
        })
    })
}

/// Whether a program of the machine has nothing to send and has heard everything; another one may
/// leave that to it.
fn is_settled(site: &Site) -> bool {
    let mut one = false;
    let all = site.programs().all(|program| {
        program.sync().is_some_and(|sync| {
            let status = sync.status();
            let idle = status.state == State::Idle && status.last_sync.is_some();
            one |= idle && status.pending == 0;
            idle || status.cause == Cause::OtherProcess
        })
    });
    one && all
}
