//! A small world: a server, up to three files of which two may be copies, a network that delays,
//! and a watcher that knows what every author had seen.

mod check;
pub(crate) mod explore;
pub(crate) mod file;
mod judge;
mod look;
mod receive;
mod rules;
mod screen;
pub(crate) mod server;
pub(crate) mod truth;
mod typing;
pub(crate) mod write;

use std::sync::{Arc, OnceLock};

use driftline_core::id::{CollectionId, DocumentId, OpId};
use driftline_core::ledger::Lost;
use driftline_core::schema::Schema;

use file::File;
pub(crate) use look::Seen;
pub(crate) use rules::{Action, Rules};
use server::{Request, Sent, Server};
use truth::Truth;
pub(crate) use write::Write;

/// A document's place.
pub(crate) type Key = (CollectionId, DocumentId);

/// Collections of the schema: merge per field or per document, delete or update wins.
pub(crate) const FIELDS: CollectionId = 1;
pub(crate) const FIELDS_UPDATE_WINS: CollectionId = 2;
pub(crate) const WHOLE: CollectionId = 3;
pub(crate) const WHOLE_UPDATE_WINS: CollectionId = 4;

/// Registers, the counter and the set of every field-merged collection.
pub(crate) const A: u16 = 1;
pub(crate) const B: u16 = 2;
pub(crate) const COUNT: u16 = 3;
pub(crate) const TAGS: u16 = 4;
pub(crate) const TEXT: u16 = 5;

/// The files: X, its copy Y, and another device Z.
pub(crate) const X: usize = 0;
pub(crate) const Y: usize = 1;
pub(crate) const Z: usize = 2;

/// The schema of all small worlds.
pub(crate) fn schema() -> &'static Schema {
    static SCHEMA: OnceLock<Schema> = OnceLock::new();
    SCHEMA.get_or_init(|| {
        let fields = "a = { id = 1, kind = \"integer\" }\nb = { id = 2, kind = \"integer\" }\n";
        let more = "n = { id = 3, kind = \"counter\" }\ns = { id = 4, kind = \"set\" }\n\
                    t = { id = 5, kind = \"rich_text\" }\n";
        let mut text = "[schema]\nname = \"world\"\nversion = 1\n".to_owned();
        let collections = [
            ("fields", 1, "on_conflict_delete = \"delete_wins\"", more),
            ("fields_uw", 2, "on_conflict_delete = \"update_wins\"", more),
            ("whole", 3, "merge = \"document\"", ""),
            (
                "whole_uw",
                4,
                "merge = \"document\"\non_conflict_delete = \"update_wins\"",
                "",
            ),
        ];
        for (name, id, policies, more) in collections {
            text += &format!("[collections.{name}]\nid = {id}\n{policies}\n");
            text += &format!("[collections.{name}.fields]\n{fields}{more}");
        }
        Schema::parse(&text).unwrap()
    })
}

/// An op's id, by its number in the world.
pub(crate) fn op_id(number: usize) -> OpId {
    OpId((number as u128 + 1).to_be_bytes())
}

/// An op's number in the world.
pub(crate) fn number(id: OpId) -> usize {
    usize::from(id.0[15]) - 1
}

/// The bit of an op in the watcher's masks.
pub(crate) fn mask(id: OpId) -> u64 {
    1 << number(id)
}

/// Boot sessions there are at the beginning.
pub(crate) const BOOTS: u32 = 3;

/// The most ops of one world.
const MOST_OPS: usize = 60;

/// Everything there is.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) rules: Rules,
    pub(crate) collection: CollectionId,
    pub(crate) server: Arc<Server>,
    pub(crate) files: [Option<Arc<File>>; 3],
    pub(crate) network: Option<Request>,
    pub(crate) backup: Option<Arc<File>>,
    pub(crate) server_backup: Option<Arc<Server>>,
    pub(crate) truth: Arc<Vec<Truth>>,
    /// Ops that the server will reject.
    pub(crate) poison: u64,
    /// Ops that were accepted and went to the ledger instead of the document.
    pub(crate) ledgered: u64,
    /// Ops the app wrote; further ones are not applicable.
    pub(crate) writes: usize,
    pub(crate) most_writes: usize,
    pub(crate) boots: u32,
    /// A request was delayed once, and what it carried placed that much later.
    pub(crate) delayed: bool,
    pub(crate) time: i64,
    /// The server went back once: what ops had seen is under-counted from then on.
    pub(crate) restored: bool,
    pub(crate) problems: Vec<String>,
    /// Every loss the server found.
    pub(crate) losses: Vec<Lost>,
}

impl World {
    /// X and Z on a workspace of one document `d`, or of none.
    pub(crate) fn new(collection: CollectionId, with_document: bool, most_writes: usize) -> World {
        let mut world = World {
            rules: Rules::DESIGN,
            collection,
            server: Arc::new(Server::new()),
            files: [None, None, None],
            network: None,
            backup: None,
            server_backup: None,
            truth: Arc::default(),
            poison: 0,
            ledgered: 0,
            writes: 0,
            most_writes: usize::MAX,
            boots: BOOTS,
            delayed: false,
            time: 10_000_000,
            restored: false,
            problems: Vec::new(),
            losses: Vec::new(),
        };
        let time = world.time - 1_000_000;
        world.files[Z] = Some(Arc::new(File::new(&world.server, 2, time)));
        if with_document {
            world = world.after(&[
                Action::Write(Z, Write::Insert),
                Action::Push(Z),
                Action::Pull(Z),
            ]);
        }
        world.files[X] = Some(Arc::new(File::new(&world.server, 1, time)));
        world.writes = 0;
        world.most_writes = most_writes;
        world
    }

    /// The same with some rules broken.
    pub(crate) fn with(mut self, breaks: impl FnOnce(&mut Rules)) -> World {
        breaks(&mut self.rules);
        self
    }

    /// The document everything is about.
    pub(crate) fn key(&self) -> Key {
        (self.collection, DocumentId::new("d").unwrap())
    }

    /// The second document of groups.
    pub(crate) fn other_key(&self) -> Key {
        (self.collection, DocumentId::new("e").unwrap())
    }

    /// A file that is there.
    pub(crate) fn file(&self, at: usize) -> &File {
        self.files[at].as_ref().unwrap()
    }

    fn file_mut(&mut self, at: usize) -> Option<&mut File> {
        self.files[at].as_mut().map(Arc::make_mut)
    }

    /// The world after all of `actions`, each of which must be applicable.
    pub(crate) fn after(mut self, actions: &[Action]) -> World {
        for action in actions {
            self = self
                .step(*action)
                .unwrap_or_else(|| panic!("{action:?} is not applicable"));
        }
        self
    }

    /// The world after one action; `None` where it is not applicable or changes nothing.
    pub(crate) fn step(&self, action: Action) -> Option<World> {
        let mut world = self.clone();
        let shown = self.acting(action).map(|file| self.content(file));
        world.act(action)?;
        world.write_texts_again();
        world.check(action, shown);
        Some(world)
    }

    fn act(&mut self, action: Action) -> Option<()> {
        let rules = self.rules;
        match action {
            Action::Write(file, write) => self.write(file, write, false, false),
            Action::Poison(file, write) => self.write(file, write, true, false),
            Action::Save(file, write) => self.write(file, write, false, true),
            Action::Push(file) => self.push(file, false, true),
            Action::PushOne(file) => {
                let request = self.files[file].as_ref()?.queue.len() > 1;
                request.then_some(())?;
                self.push(file, true, true)
            }
            Action::PushLost(file) => self.push(file, false, false),
            Action::PushLate(file) => {
                self.network.is_none().then_some(())?;
                self.delayed = true;
                self.network = Some(self.files[file].as_ref()?.request(self.time, false)?);
                Some(())
            }
            Action::Arrive => {
                let request = self.network.take()?;
                let _ = self.deliver(&request);
                Some(())
            }
            Action::ArriveTwice => {
                let request = self.network.clone()?;
                let _ = self.deliver(&request);
                Some(())
            }
            Action::Pull(file) => self.pull(file, u64::MAX),
            Action::PullOne(file) => self.pull(file, 1),
            Action::Ask(file) => {
                let server = Arc::clone(&self.server);
                self.file_mut(file)?.ask_bootstrap(&server).then_some(())
            }
            Action::Swap(file) => self.file_mut(file)?.swap(&rules).then_some(()),
            Action::Copy => {
                self.files[Y].is_none().then_some(())?;
                self.boots += 1;
                let mut copy = File::clone(self.files[X].as_ref()?);
                (copy.boot, copy.booted, copy.skew) = (self.boots, self.time, 7_000);
                self.files[Y] = Some(Arc::new(copy));
                Some(())
            }
            Action::Backup => {
                self.backup.is_none().then_some(())?;
                self.backup = self.files[X].clone();
                Some(())
            }
            Action::Revert => {
                let mut file = File::clone(self.backup.take()?.as_ref());
                self.boots += 1;
                (file.boot, file.booted) = (self.boots, self.time);
                self.files[X] = Some(Arc::new(file));
                Some(())
            }
            Action::ServerBackup => {
                self.server_backup.is_none().then_some(())?;
                self.server_backup = Some(Arc::clone(&self.server));
                Some(())
            }
            Action::ServerRestore => {
                let server = self.server_backup.take()?;
                (server.head() != self.server.head()).then_some(())?;
                self.server = server;
                self.restored = true;
                Some(())
            }
            Action::Retry(file) => self.retry(file),
            Action::Discard(file, at) => self.file_mut(file)?.discard(&rules, at).then_some(()),
            Action::GiveUp(file) => self.file_mut(file)?.give_up(&rules).then_some(()),
            Action::ClockAhead(file) => {
                self.file_mut(file)?.skew += 3_600_000;
                Some(())
            }
            Action::ClockBack(file) => {
                self.file_mut(file)?.skew -= 7_200_000;
                Some(())
            }
            Action::Reboot(file) => {
                self.boots += 1;
                let (boot, time) = (self.boots, self.time);
                let file = self.file_mut(file)?;
                (file.boot, file.booted) = (boot, time);
                Some(())
            }
        }
    }

    /// Files whose pending text does not fit write it again, in the transaction that made it so.
    fn write_texts_again(&mut self) {
        let (time, keys, roots) = (self.time, self.keys(), self.roots());
        for file in self.files.iter_mut().flatten() {
            if file.has_unfit_text(schema(), &keys, time) {
                Arc::make_mut(file).write_texts_again(schema(), &roots, time);
            }
        }
    }

    fn roots(&self) -> Vec<usize> {
        self.truth.iter().map(|truth| truth.root).collect()
    }

    fn push(&mut self, at: usize, alone: bool, answered: bool) -> Option<()> {
        let request = self.files[at].as_ref()?.request(self.time, alone)?;
        let results = self.deliver(&request);
        if !answered {
            return Some(());
        }
        let (rules, server) = (self.rules, Arc::clone(&self.server));
        let file = self.file_mut(at)?;
        match results {
            Some(results) => file.answer(&rules, request.cursor, &results),
            None => file.history_changed(&rules, &server),
        }
        Some(())
    }

    /// The server handles a request; `None` if it has another history.
    fn deliver(&mut self, request: &Request) -> Option<Vec<(OpId, server::Outcome)>> {
        let mut request = request.clone();
        if !self.rules.age {
            // One wrong clock for all: every op counts as written in another boot session.
            for sent in &mut request.ops {
                if let Sent::Full(op) = sent {
                    op.written.boot.0 = !request.now.boot.0;
                }
            }
        }
        let mut server = Arc::clone(&self.server);
        let (rules, poison, time) = (self.rules, self.poison, self.time);
        let mut decided = Vec::new();
        let results = Arc::make_mut(&mut server).handle(
            &rules,
            schema(),
            &request,
            time,
            &|id| poison & mask(id) != 0,
            &mut |decision| decided.push(decision),
        );
        self.server = server;
        decided.iter().for_each(|decision| self.judge(decision));
        results.ok()
    }

    fn pull(&mut self, at: usize, most: u64) -> Option<()> {
        let (rules, server) = (self.rules, Arc::clone(&self.server));
        let file = self.file_mut(at)?;
        if !server.knows(&file.cursor) {
            file.history_changed(&rules, &server);
            return Some(());
        }
        let (from, head) = (file.cursor.version, server.head());
        let to = head.min(from.saturating_add(most));
        // Pulling the last version alone is pulling everything.
        if from == head || (rules.still && file.staged.is_some()) || (most == 1 && to == head) {
            return None;
        }
        for version in from + 1..=to {
            let at = version as usize;
            let entry = &*server.log[at - 1];
            file.page(
                &rules,
                (version, entry),
                server.cursors[at],
                version == head,
            );
        }
        Some(())
    }

    fn retry(&mut self, at: usize) -> Option<()> {
        let rules = self.rules;
        let number = self.truth.len();
        (number < MOST_OPS && self.writes < self.most_writes).then_some(())?;
        self.files[at].as_ref()?.can_retry().then_some(())?;
        self.time += 1_000;
        self.writes += 1;
        let time = self.time;
        let truths = Arc::clone(&self.truth);
        let file = self.file_mut(at)?;
        let old = file.quarantine.remove(0);
        let mut op = old.op.clone();
        if !rules.retry_of {
            file.discarded |= mask(old.op.id);
        }
        if rules.retry_at_end {
            op.id = op_id(number);
            op.written = file.reading(time);
            op.body.base = file.cursor.version;
            for change in &mut op.body.changes {
                change.prev = file.prev(&(change.collection, change.document.clone()));
            }
        } else {
            // The ablation: the old place in the order under a new name.
            op.id = op_id(number);
        }
        op.body.retry_of = rules
            .retry_of
            .then_some(old.op.body.retry_of.unwrap_or(old.op.id));
        file.put_aside(&rules, &old);
        file.queue.push(file::Queued::new(op.clone()));
        file.written |= mask(op.id);
        let truth = Truth::retry(&op, &old.op, file, &truths);
        Arc::make_mut(&mut self.truth).push(truth);
        let roots = self.roots();
        let file = self.file_mut(at)?;
        let last = file.queue.len() - 1;
        file.write_text(schema(), last, &roots, time);
        Some(())
    }

    /// All nets are emptied and everybody syncs until nothing moves; what is wrong then is found.
    pub(crate) fn healed(&self) -> World {
        let mut world = self.clone();
        while let Some(next) = world.step(Action::Arrive) {
            world = next;
        }
        for _ in 0..12 {
            let before = world.digest();
            for file in [X, Y, Z] {
                for action in [Action::Swap(file), Action::Push(file), Action::Pull(file)] {
                    if let Some(next) = world.step(action) {
                        world = next;
                    }
                }
            }
            if world.digest() == before {
                world.check_healed();
                return world;
            }
        }
        world
            .problems
            .push("still moving after twelve rounds".to_owned());
        world
    }
}
