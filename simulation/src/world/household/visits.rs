//! What people do at the machine: somebody comes, works for a while, and leaves in one way or another.

use driftline::{Database, Result, TextEdit, Transaction};
use driftline_simvfs::{Fault, Random};

use super::{Household, PEOPLE, WORKSPACE, the_other};
use crate::machine::{Account, TokenTrouble};
use crate::oracles::{self, Judgement};
use crate::world::World;

/// How far ahead the app's process dies, in I/O calls.
const AHEAD: usize = 60;

const DEATHS: [Fault; 3] = [Fault::CrashBefore, Fault::CrashDuring, Fault::CrashAfter];

impl World<'_> {
    /// Somebody comes to the shared machine.
    pub(in crate::world) fn visit(&mut self, random: &mut Random) -> Judgement {
        let mut home = match self.household.take() {
            Some(home) => home,
            None => Box::new(Household::new(self)),
        };
        let judged = self.somebody_comes(&mut home, random);
        self.household = Some(home);
        judged
    }

    fn somebody_comes(&mut self, home: &mut Household, random: &mut Random) -> Judgement {
        if home.lives() && home.open.is_some() {
            self.work(home, random)?;
            self.leave(home, random)?;
        }
        self.try_the_door(home, random)?;
        match random.below(5) {
            0 => self.guest_comes(home, random)?,
            who => self.person_comes(home, PEOPLE[who % 2], random)?,
        }
        if home.open.is_some() {
            self.work(home, random)?;
            if random.below(3) > 0 {
                self.leave(home, random)?;
            }
        }
        self.look_at_home(home)
    }

    /// Somebody opens a file of an account that is not theirs.
    fn try_the_door(&mut self, home: &mut Household, random: &mut Random) -> Judgement {
        let theirs = |at: &usize| home.files[*at].settled && home.files[*at].owner.is_some();
        let theirs: Vec<usize> = (0..home.files.len()).filter(theirs).collect();
        let (chosen, tries) = (random.pick(&theirs).copied(), random.one_in(2));
        let Some(at) = chosen.filter(|_| tries) else {
            return Ok(());
        };
        home.turn_to(at);
        let intruder = the_other(&home.device.options.account.name);
        home.device.options.account = Account::writer(intruder);
        home.device.guest = random.one_in(3);
        if home.device.process().is_none() {
            home.device.start(|_| {});
        }
        let opened = home.device.open();
        self.count("household: somebody else's file");
        home.shut();
        match home.lives() {
            true => {
                let told = opened.as_ref().map_err(driftline::Error::code);
                oracles::told_whose_it_is(told, &format!("a file that {intruder} opened"))
            }
            false => Ok(()),
        }
    }

    fn guest_comes(&mut self, home: &mut Household, random: &mut Random) -> Judgement {
        let guests: Vec<usize> = (0..home.files.len())
            .filter(|at| home.files[*at].owner.is_none())
            .collect();
        let found = random.pick(&guests).copied();
        if let Some(at) = found.or_else(|| home.new_file(None)) {
            self.count("household: a guest");
            self.open_file(home, at)?;
        }
        Ok(())
    }

    fn person_comes(
        &mut self,
        home: &mut Household,
        person: &'static str,
        random: &mut Random,
    ) -> Judgement {
        let theirs = |at: &usize| {
            let file = &home.files[*at];
            file.owner == Some(person) && !file.left
        };
        let theirs: Vec<usize> = (0..home.files.len()).filter(theirs).collect();
        let found = match home.export.as_ref().filter(|it| it.is_due_for(person)) {
            // What was taken along goes into a file in which nothing was written before.
            Some(export) => export.into,
            None => random.pick(&theirs).copied(),
        };
        let Some(at) = found.or_else(|| home.new_file(Some(person))) else {
            return Ok(());
        };
        self.count("household: somebody signs in");
        self.sign_in(home, at)
    }

    /// Opens an account's file, takes in what was taken along, and begins to sync.
    pub(super) fn sign_in(&mut self, home: &mut Household, at: usize) -> Judgement {
        self.open_file(home, at)?;
        if home.open.is_none() || !self.take_in(home, at)? {
            return Ok(());
        }
        let connected = home.device.connect();
        if home.lives() {
            oracles::works(connected, "connecting on the shared machine")?;
        }
        Ok(())
    }

    /// Opens a file by whom it is for, and learns whose it is.
    fn open_file(&mut self, home: &mut Household, at: usize) -> Judgement {
        home.turn_to(at);
        if home.device.process().is_none() {
            home.device.start(|_| {});
        }
        let opened = home.device.open();
        if !home.lives() {
            return Ok(());
        }
        oracles::works(opened, "opening a file on the shared machine")?;
        let account = home.device.database().map(Database::account);
        let account = account.and_then(Result::ok).flatten();
        if !home.lives() {
            return Ok(());
        }
        let guest = home.whose(at);
        let file = &mut home.files[at];
        file.settled = true;
        if file.by_a_guest {
            file.owner = PEOPLE
                .into_iter()
                .find(|it| Some(*it) == account.as_deref());
            file.perhaps = None;
            let owner = file.owner;
            self.climate
                .at_home(|known| known.marks.attach(&guest, owner));
        }
        let whose = home.files[at].owner.unwrap_or(&guest);
        let number = home.device.options.number;
        self.climate.at_home(|known| known.engine_is(number, whose));
        self.trace
            .line(format_args!("    home: {whose} opens {at}"));
        home.open = Some(at);
        Ok(())
    }

    /// Takes in what its owner took along, and finds that nobody else's can be. Says whether the app goes on.
    fn take_in(
        &mut self,
        home: &mut Household,
        at: usize,
    ) -> std::result::Result<bool, oracles::Violation> {
        let (Some(export), Some(database)) = (&mut home.export, home.device.database()) else {
            return Ok(true);
        };
        let owner = home.files[at].owner;
        let own = owner == Some(export.whose);
        let elsewhere = export.into.is_some_and(|into| into != at);
        if own && (export.taken || elsewhere) {
            return Ok(true);
        }
        if own {
            export.into = Some(at);
        }
        let taken = database.outbox().import(&mut export.lines.as_slice());
        if !home.device.is_alive() {
            home.end();
            return Ok(false);
        }
        if !own {
            self.count("household: an export of somebody else's");
            let told = taken.as_ref().map_err(driftline::Error::code);
            oracles::told_whose_it_is(told, "an import of somebody else's writes")?;
            return Ok(true);
        }
        self.count("household: an export is taken in");
        oracles::works(taken, "importing on the shared machine")?;
        let from = export.from;
        export.taken = true;
        let moved = home.written.values_mut().chain(home.kept.values_mut());
        moved
            .filter(|file| **file == from)
            .for_each(|file| *file = at);
        Ok(true)
    }

    /// Whoever sits there writes, and time passes.
    fn work(&mut self, home: &mut Household, random: &mut Random) -> Judgement {
        if random.one_in(6)
            && let Some(process) = home.device.process()
        {
            let death = DEATHS[random.below(3)];
            process.arm(process.calls() + 1 + random.below(AHEAD) as u64, death);
        }
        for _ in 0..1 + random.below(3) {
            self.write_at_home(home, random);
        }
        let is_guests = |at: usize| home.files[at].owner.is_none();
        match (home.open.map(is_guests), random.below(6)) {
            (Some(true), 0..3) => self.attach(home, random)?,
            (Some(false), 0) => self.with_anothers_token(home, random)?,
            (Some(false), 1) => {
                let number = home.device.options.number;
                let cut_off = self.climate.is_partitioned(number);
                self.climate.partition(number, !cut_off);
            }
            (Some(false), _) => sync_now(home),
            _ => {}
        }
        self.wait(random.below(5_000) as i64)?;
        home.lives();
        Ok(())
    }

    /// A write of its own, marked.
    fn write_at_home(&mut self, home: &mut Household, random: &mut Random) {
        let (Some(at), Some(database)) = (home.open, home.device.database().cloned()) else {
            return;
        };
        let mark = home.next_mark(at);
        let (kind, number) = (random.below(3), home.marks);
        if kind == 2 {
            self.climate
                .at_home(|known| known.marks.type_in(mark.clone()));
        }
        let result = database.write(|tx| match kind {
            0 => {
                tx.insert_with_id("notes", &format!("h{number}"), [("title", mark.as_str())])?;
                Ok(true)
            }
            1 => {
                tx.insert_with_id("notes", "n0", [("body", mark.as_str())])?;
                Ok(false)
            }
            _ => type_mark(tx, &mark).map(|()| true),
        });
        drop(database);
        let said = result
            .as_ref()
            .map_or_else(driftline::Error::code, |_| "ok");
        self.trace
            .line(format_args!("    home: {mark} kind {kind} {said}"));
        // Register values are written over.
        if home.lives() && matches!(result, Ok(true)) {
            home.kept.insert(mark, at);
        }
    }

    /// A guest's file becomes somebody's, and nobody else's any more.
    fn attach(&mut self, home: &mut Household, random: &mut Random) -> Judgement {
        let (Some(at), Some(database)) = (home.open, home.device.database().cloned()) else {
            return Ok(());
        };
        let (guest, person) = (home.whose(at), PEOPLE[random.below(2)]);
        let number = home.device.options.number;
        self.climate.at_home(|known| {
            known.marks.attach(&guest, Some(person));
            known.engine_is(number, person);
        });
        home.files[at].perhaps = Some(person);
        home.turn_to(at);
        let attached = database.attach_account(person, WORKSPACE);
        let again = database.attach_account(the_other(person), WORKSPACE);
        drop(database);
        if !home.lives() {
            return Ok(());
        }
        self.count("household: a guest's file is attached");
        oracles::works(attached, "attaching a guest's file")?;
        let again = again.as_ref().map_err(driftline::Error::code);
        oracles::told_whose_it_is(again, "a second account of an attached file")?;
        home.files[at].owner = Some(person);
        home.files[at].perhaps = None;
        home.turn_to(at);
        let connected = home.device.connect();
        if home.lives() {
            oracles::works(connected, "connecting an attached file")?;
        }
        Ok(())
    }

    /// The app gives the engine tokens of whom it thinks is there; somebody else is.
    fn with_anothers_token(&mut self, home: &mut Household, random: &mut Random) -> Judgement {
        self.count("household: another's token");
        let trouble = |home: &Household, trouble| {
            home.device.tokens.set(trouble);
            if let Some(sync) = home.device.sync() {
                sync.token_changed();
            }
        };
        trouble(home, TokenTrouble::STRANGER);
        self.write_at_home(home, random);
        sync_now(home);
        self.wait(random.below(4_000) as i64)?;
        trouble(home, TokenTrouble::NONE);
        Ok(())
    }
}

fn sync_now(home: &Household) {
    if let Some(sync) = home.device.sync() {
        sync.sync_now();
    }
}

/// Types a mark at the end of a letter that all of them have.
fn type_mark(tx: &mut Transaction<'_>, mark: &str) -> Result<()> {
    if tx.get("letters", "l0")?.is_none() {
        tx.insert_with_id("letters", "l0", [("title", mark)])?;
    }
    let mut text = tx.rich_text("letters", "l0", "words")?;
    let end = text.read()?.text().len() as u32;
    text.edit([TextEdit::insert(end, mark)])?;
    Ok(())
}
