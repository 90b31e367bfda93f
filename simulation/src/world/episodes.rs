//! What takes several steps in a row, and would hardly come about by chance.

use driftline::{Durability, State};
use driftline_simvfs::{Fault, Random};

use super::World;
use super::asking::Asking;
use super::heal::syncs;
use super::schema::STRICT_BODY;
use super::script::Act;
use super::words::Typed;
use super::write::{Done, letter};
use crate::machine::Device;
use crate::oracles::{self, Judgement};

/// What several apps do to one document at a moment.
const TOGETHER: [Act; 8] = [
    Act::Update,
    Act::Increment,
    Act::Add,
    Act::Add,
    Act::Remove,
    Act::Remove,
    Act::Delete,
    Act::Insert,
];

/// More I/O calls than a write makes.
const A_WRITE: u64 = 60;

/// Within this a process asks the one that syncs, waits, and takes its place.
const SUCCESSION_MS: i64 = 45_000;

/// What a request and its answer take in fine weather.
const ANSWER_MS: i64 = 80;

/// Less than a process waits for an answer before it takes another's place.
const BEFORE_SUCCESSION_MS: i64 = 1_000;

impl World<'_> {
    /// Whether this kind of step is an episode; if so, has it happen.
    pub(super) fn episode(
        &mut self,
        act: Act,
        at: usize,
        random: &mut Random,
    ) -> Option<Judgement> {
        Some(match act {
            Act::Keystrokes => self.keystrokes(at, random),
            Act::Together => self.together(random),
            Act::LostLog => self.lost_log(at, random),
            Act::ServerLostLog => self.server_lost_log(at, random),
            Act::Replaced => self.replaced(at, random),
            Act::Rewound => self.rewound(at, random),
            Act::Full => self.full(at, random),
            Act::BehindRefused => self.behind_refused(at, random),
            _ => return None,
        })
    }

    /// Takes a step of an episode. What it wrote is looked at before anything is sent.
    pub(super) fn then(&mut self, act: Act, at: usize, random: &mut Random) -> Judgement {
        self.act(act, at, random)?;
        self.look()
    }

    pub(super) fn wait(&mut self, millis: i64) -> Judgement {
        self.pass(millis)?;
        self.look()
    }

    /// Another machine than that one.
    fn another(&self, at: usize, random: &mut Random) -> usize {
        (at + 1 + random.below(self.sites.len() - 1)) % self.sites.len()
    }

    /// One thing is written again and again, over a line on which sending takes long, and others write
    /// meanwhile.
    fn keystrokes(&mut self, at: usize, random: &mut Random) -> Judgement {
        let act = [Act::Update, Act::Update, Act::Increment][random.below(3)];
        let (same, other) = (random.next(), self.another(at, random));
        let device = self.sites[at].device.options.number;
        self.start(at, false)?;
        self.start_server()?;
        self.look()?;
        self.then(Act::Insert, at, &mut Random::new(same))?;
        let cut_off = self.climate.is_partitioned(device);
        self.climate.partition(device, false);
        self.climate.slow_uploads(device, true);
        for _ in 0..6 + random.below(5) {
            self.then(act, at, &mut Random::new(same))?;
            if random.one_in(2) {
                self.then(Act::Twins, other, &mut random.fork())?;
            }
            self.wait(random.below(2_000) as i64)?;
        }
        self.climate.slow_uploads(device, false);
        self.climate.partition(device, cut_off);
        Ok(())
    }

    /// All write one document, with nothing heard from each other, a few times.
    fn together(&mut self, random: &mut Random) -> Judgement {
        let same = random.next();
        for _ in 0..2 + random.below(3) {
            for at in 0..self.sites.len() {
                let act = TOGETHER[random.below(TOGETHER.len())];
                self.then(act, at, &mut Random::new(same))?;
            }
            self.wait(random.below(6_000) as i64)?;
        }
        Ok(())
    }

    /// A process ends over a sync that failed. The next one writes, and the power goes.
    fn lost_log(&mut self, at: usize, random: &mut Random) -> Judgement {
        // Under `Normal` nothing is promised that rests on a sync.
        let full = |at: &usize| self.sites[*at].device.options.durability == Durability::Full;
        let sites = self.sites.len();
        let at = (at..at + sites).map(|at| at % sites).find(full);
        let Some(at) = at else {
            return Ok(());
        };
        self.start(at, false)?;
        self.look()?;
        if self.sites[at].companion.is_some() {
            self.sites[at].kill(true);
        }
        if let Some(process) = self.sites[at].device.process() {
            let first = process.calls() + 1;
            (first..first + A_WRITE).for_each(|call| process.arm(call, Fault::SyncLoss));
            self.sites[at].fragile = true;
        }
        self.then(Act::Insert, at, random)?;
        self.sites[at].kill_all();
        self.mend(at);
        self.start(at, false)?;
        self.look()?;
        for _ in 0..1 + random.below(3) {
            self.then(Act::Insert, at, random)?;
        }
        self.act(Act::PowerLoss, at, random)
    }

    /// The server's process ends over a sync that failed. The next one answers, and the power goes: what it
    /// answered is there.
    fn server_lost_log(&mut self, at: usize, random: &mut Random) -> Judgement {
        self.start(at, false)?;
        self.start_server()?;
        self.meet_soon(&[at])?;
        if let Some(process) = self.server.process() {
            let first = process.calls() + 1;
            (first..first + A_WRITE).for_each(|call| process.arm(call, Fault::SyncLoss));
        }
        self.then(Act::Insert, at, random)?;
        self.meet_soon(&[at])?;
        self.act(Act::ServerKill, at, random)?;
        self.start_server()?;
        for _ in 0..1 + random.below(3) {
            self.then(Act::Insert, at, random)?;
            self.meet_soon(&[at])?;
        }
        self.act(Act::ServerPowerLoss, at, random)?;
        self.start_server()
    }

    /// The process that syncs a file is frozen over a request, and another takes its place. When the
    /// first goes on it has to find out before it changes anything.
    fn replaced(&mut self, at: usize, random: &mut Random) -> Judgement {
        self.start(at, false)?;
        self.companion(at)?;
        self.wait(2_000)?;
        let site = &self.sites[at];
        let (one, other) = (is_elected(&site.device), site.companion.as_ref());
        let companion = !one;
        if one == other.is_none_or(is_elected) {
            return Ok(());
        }
        let device = site.device.options.number;
        let cut_off = self.climate.is_partitioned(device);
        self.climate.partition(device, false);
        self.then(Act::Twins, at, random)?;
        self.until_answered(device)?;
        self.sites[at].program_mut(companion).freeze();
        self.climate.partition(device, true);
        let deadline = self.tasks.now() + SUCCESSION_MS;
        let sites = &self.sites;
        let next = || is_elected(sites[at].program(!companion));
        // A task that spins shows when time passes next.
        let replaced = self.tasks.run_until(deadline, next).unwrap_or(false);
        self.look()?;
        self.sites[at].program_mut(!companion).freeze();
        self.climate.partition(device, cut_off);
        self.sites[at].program_mut(companion).thaw();
        let before = self.sites[at].view.clone();
        self.wait(BEFORE_SUCCESSION_MS)?;
        let site = &mut self.sites[at];
        // One that died may be replaced at once.
        let there = site.watcher.is_some() && site.programs().count() == 2;
        if replaced && there && site.program(!companion).is_alive() {
            oracles::replaced_changes_nothing(&before, &site.view)?;
            self.count("processes that were replaced");
        }
        self.sites[at].program_mut(!companion).thaw();
        Ok(())
    }

    /// Until an answer is on its last piece of way to a device, or some moments later.
    fn until_answered(&mut self, device: usize) -> Judgement {
        let before = self.climate.answers(device);
        let deadline = self.tasks.now() + ANSWER_MS;
        let answered = || self.climate.answers(device) > before;
        // A task that spins shows when time passes next.
        let _ = self.tasks.run_until(deadline, answered);
        self.look()
    }

    /// Somebody types, somebody else takes it out and cannot be heard; the server is restored to before
    /// that, and the first types again.
    fn rewound(&mut self, at: usize, random: &mut Random) -> Judgement {
        let letter = &*letter(random);
        let other = self.another(at, random);
        for at in [at, other] {
            self.start(at, false)?;
        }
        self.start_server()?;
        self.look()?;
        self.type_word(at, letter, random)?;
        self.meet_soon(&[at, other])?;
        self.act(Act::ServerBackup, at, random)?;
        let word = self.type_word(at, letter, random)?;
        self.meet_soon(&[at, other])?;
        let device = self.sites[other].device.options.number;
        let cut_off = self.climate.is_partitioned(device);
        self.climate.partition(device, true);
        self.take_out(other, letter, &word, random)?;
        self.act(Act::ServerRestore, at, random)?;
        self.meet_soon(&[at])?;
        self.type_word(at, letter, random)?;
        self.meet_soon(&[at])?;
        self.climate.partition(device, cut_off);
        self.meet_soon(&[other, at])
    }

    /// Text is typed behind some that goes with what a strict server refuses, and more is written that
    /// builds on it; all of it is sent at once.
    fn behind_refused(&mut self, at: usize, random: &mut Random) -> Judgement {
        let letter = &*letter(random);
        self.start(at, false)?;
        self.look()?;
        let refused = self.sites[at].value();
        self.write(at, random, |tx| {
            let body = format!("{refused} {}", "long ".repeat(STRICT_BODY));
            tx.insert_with_id("notes", "n0", [("body", body)])?;
            type_at_the_end(tx, letter, &refused)
        })?;
        for _ in 0..1 + random.below(2) {
            self.type_word(at, letter, random)?;
        }
        let title = self.sites[at].value();
        self.write(at, random, |tx| {
            tx.update("letters", letter, [("title", title.as_str())])?;
            Ok(Done::default())
        })?;
        self.meet_soon(&[at])
    }

    /// Those sync, one after the other, and some seconds pass.
    pub(super) fn meet_soon(&mut self, sites: &[usize]) -> Judgement {
        self.look()?;
        for at in sites {
            for sync in self.sites[*at].programs().filter_map(Device::sync) {
                sync.sync_now();
            }
            self.wait(2_000)?;
        }
        Ok(())
    }

    /// Types a word at the end of a letter. Returns the word.
    fn type_word(&mut self, at: usize, letter: &str, random: &mut Random) -> Judged<String> {
        let value = self.sites[at].value();
        self.write(at, random, |tx| type_at_the_end(tx, letter, &value))?;
        Ok(format!("[{value}]"))
    }

    /// Takes a word out of a letter, if it is there.
    fn take_out(&mut self, at: usize, letter: &str, word: &str, random: &mut Random) -> Judgement {
        // No value is told twice, also where none is written.
        self.sites[at].value();
        self.write(at, random, |tx| {
            if tx.get("letters", letter)?.is_none() {
                return Ok(Done::default());
            }
            let Some(begin) = tx.words(letter)?.find(word) else {
                return Ok(Done::default());
            };
            tx.take_word(letter, begin, word.len())?;
            Ok(Done::typing(Typed::taken_out(letter, "words", word)))
        })?;
        self.look()
    }
}

/// Types a word of its own at the end of a letter.
fn type_at_the_end(tx: &mut Asking<'_, '_>, letter: &str, value: &str) -> driftline::Result<Done> {
    if tx.get("letters", letter)?.is_none() {
        tx.insert_with_id("letters", letter, [("title", value)])?;
    }
    let word = format!("[{value}]");
    let end = tx.words(letter)?.len();
    tx.type_word(letter, end, &word)?;
    Ok(Done::typing(Typed::put(letter, "words", &word)))
}

/// What was judged on the way.
type Judged<T> = Result<T, oracles::Violation>;

/// Whether a program syncs its file, or would if it could.
fn is_elected(program: &Device) -> bool {
    let apart = |state| matches!(state, State::Disconnected | State::Stopped);
    let state = program.sync().map(|sync| sync.status().state);
    program.is_alive() && state.is_some_and(|state| !apart(state)) && syncs(program)
}
