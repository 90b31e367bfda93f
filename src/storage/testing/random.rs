//! Random schedules: everything that can happen to a file, in any order, checked after every step.

use std::collections::HashMap;

use driftline_core::id::{FieldId, OpId};

use super::draft::{STEPS, STORY};
use super::server::Key;
use super::*;

/// What a world plays with.
#[derive(Clone, Copy, PartialEq)]
enum Play {
    /// All collections, two documents each, groups.
    Wide,
    /// Two collections, one document each.
    Narrow,
    /// One document that much is done to, heard of version by version.
    Deep,
}

/// What is happening in one seed's world.
struct World {
    seed: u64,
    dice: Dice,
    time: Time,
    directory: tempfile::TempDir,
    server: Server,
    devices: Vec<Device>,
    /// Answers on their way, by device.
    on_the_way: Vec<(usize, Exchange)>,
    copies: usize,
    play: Play,
    /// Words typed, by op. Only in worlds where nobody takes words away.
    words: HashMap<OpId, Vec<(Key, FieldId, String)>>,
    typed: usize,
}

impl World {
    fn new(seed: u64) -> World {
        let directory = tempfile::tempdir().unwrap();
        let time = Time::new();
        let server = Server::new(schema(), time.clone());
        let devices = (0..2)
            .map(|n| Device::open(directory.path(), &format!("d{n}"), &time, 10 * seed + n))
            .collect();
        let dice = Dice::new(seed);
        let play = [Play::Wide, Play::Narrow, Play::Deep][(seed % 3) as usize];
        World {
            seed,
            dice,
            time,
            directory,
            server,
            devices,
            on_the_way: Vec::new(),
            copies: 0,
            play,
            words: HashMap::new(),
            typed: 0,
        }
    }

    fn step(&mut self) -> String {
        self.time.pass(1_000);
        let d = self.dice.below(self.devices.len());
        if self.play == Play::Deep && self.dice.one_in(3) {
            return if self.dice.one_in(2) {
                self.write(d)
            } else {
                self.frame(d)
            };
        }
        match self.dice.below(20) {
            0..=6 => self.write(d),
            7..=9 => self.exchange(d),
            10 => self.lose_answer(d),
            11 => self.delay_answer(d),
            12 => self.late_answer(),
            13 => self.frame(d),
            14 => self.pull(d),
            15 => self.discard(d),
            16 => self.retry(d),
            17 => self.copy(d),
            18 => self.bootstrap(d),
            _ => self.restart_or_withdraw(d),
        }
    }

    fn draft(&mut self) -> Draft {
        let (collections, documents) = match self.play {
            Play::Wide => (3, 2),
            Play::Narrow => (2, 1),
            Play::Deep => (1, 1),
        };
        let collection = 1 + self.dice.below(collections) as u16;
        let document = ["a", "b"][self.dice.below(documents)];
        let value = format!("v{}", self.dice.below(1000));
        let field = 1 + self.dice.below(2) as u16;
        let element = ["x", "y"][self.dice.below(2)];
        let sets = collection != 3;
        if sets && self.dice.one_in(3) {
            let draft = match self.dice.below(8) {
                0 => Draft::insert(collection, document).set(1, &value),
                _ => Draft::update(collection, document),
            };
            return draft.types(self.typing());
        }
        match self.dice.below(12) {
            0 | 1 => Draft::insert(collection, document).set(1, &value),
            2 if sets => Draft::insert(collection, document)
                .set(2, &value)
                .count(1)
                .add(element),
            3 => Draft::delete(collection, document),
            4 => Draft::restore(collection, document),
            5 | 6 if sets => Draft::update(collection, document).count(1),
            7 | 8 if sets => Draft::update(collection, document).add(element),
            9 if sets => Draft::update(collection, document).remove(element),
            10 => Draft::update(collection, document)
                .set(1, &value)
                .set(2, &value),
            _ => Draft::update(collection, document).set(field, &value),
        }
    }

    fn typing(&mut self) -> Typed {
        self.typed += 1;
        // One character each: nothing can be put into the middle of it.
        let words = char::from_u32(0x4e00 + self.typed as u32).unwrap();
        let at = self.dice.next();
        // Where words are counted nobody takes any away.
        let cuts = self.seed.is_multiple_of(2);
        match self.dice.below(6) {
            0 => Typed::Element(at, format!("\"{words}\"")),
            1 => Typed::Move(at, self.dice.next()),
            2 | 3 if cuts => Typed::Cut(at, 1 + self.dice.below(6) as u32),
            _ => Typed::Words(at, words.to_string()),
        }
    }

    fn write(&mut self, d: usize) -> String {
        let mut drafts = vec![self.draft()];
        if self.play == Play::Wide && self.dice.one_in(3) {
            let more = self.draft();
            if !drafts[0]
                .change
                .is_on(more.change.collection, &more.change.document)
            {
                drafts.push(more);
            }
        }
        let op = self.devices[d].write(&drafts);
        for draft in &drafts {
            let key = (draft.change.collection, draft.change.document.clone());
            let words = draft.typed.iter().filter_map(|typed| match typed {
                Typed::Words(_, words) => Some((STORY, words.clone())),
                Typed::Element(_, json) => Some((STEPS, json.trim_matches('"').to_owned())),
                Typed::Cut(..) | Typed::Move(..) => None,
            });
            let words = words.map(|(field, words)| (key.clone(), field, words));
            let op = op.unwrap_or(OpId::ZERO);
            self.words.entry(op).or_default().extend(words);
        }
        if let Some(op) = op
            && self.dice.one_in(6)
        {
            self.server.refuse.insert(op);
        }
        format!(
            "d{d} writes {:?} as {op:?}",
            drafts
                .iter()
                .map(|d| (d.change.kind, d.change.collection))
                .collect::<Vec<_>>()
        )
    }

    fn sizes(&mut self) -> (usize, usize) {
        (
            [1, 2, 100][self.dice.below(3)],
            [1, 2, 100][self.dice.below(3)],
        )
    }

    fn exchange(&mut self, d: usize) -> String {
        let (ops, most) = self.sizes();
        let exchange = self.devices[d].send(&mut self.server, ops, most).unwrap();
        let applied = self.devices[d].take(&exchange).unwrap();
        format!("d{d} syncs {ops} ops, {most} versions: {applied:?}")
    }

    fn lose_answer(&mut self, d: usize) -> String {
        let (ops, most) = self.sizes();
        let _ = self.devices[d].send(&mut self.server, ops, most);
        format!("d{d} sends {ops} ops, the answer is lost")
    }

    fn delay_answer(&mut self, d: usize) -> String {
        let (ops, most) = self.sizes();
        let exchange = self.devices[d].send(&mut self.server, ops, most).unwrap();
        self.on_the_way.push((d, exchange));
        format!("d{d} sends {ops} ops, the answer is late")
    }

    fn late_answer(&mut self) -> String {
        if self.on_the_way.is_empty() {
            return "nothing is late".to_owned();
        }
        let at = self.dice.below(self.on_the_way.len());
        let (d, exchange) = self.on_the_way.remove(at);
        let applied = self.devices[d].take(&exchange).unwrap();
        format!("d{d} gets a late answer: {applied:?}")
    }

    fn frame(&mut self, d: usize) -> String {
        let most = 1 + self.dice.below(3);
        format!(
            "d{d} gets a frame: {:?}",
            self.devices[d].frame(&self.server, most).map(|a| a.moved)
        )
    }

    fn pull(&mut self, d: usize) -> String {
        let most = self.sizes().1;
        format!(
            "d{d} pulls {most}: {:?}",
            self.devices[d].pull(&mut self.server, most).moved
        )
    }

    fn discard(&mut self, d: usize) -> String {
        let queue = self.devices[d].queue();
        if queue.is_empty() {
            return "nothing to discard".to_owned();
        }
        let op = queue[self.dice.below(queue.len())].0;
        format!("d{d} discards {op}: {}", self.devices[d].discard(op))
    }

    fn retry(&mut self, d: usize) -> String {
        let quarantined = self.devices[d].quarantined();
        if quarantined.is_empty() {
            return "nothing to retry".to_owned();
        }
        let op = quarantined[self.dice.below(quarantined.len())];
        format!("d{d} retries {op}: {:?}", self.devices[d].retry(op))
    }

    fn copy(&mut self, d: usize) -> String {
        if self.copies == 2 || self.devices[d].is_staging() {
            return "no copy".to_owned();
        }
        self.copies += 1;
        let copy = self.devices[d].copy(
            self.directory.path(),
            &format!("c{}", self.copies),
            self.dice.next() >> 40,
        );
        self.devices.push(copy);
        format!("d{d} is copied")
    }

    fn bootstrap(&mut self, d: usize) -> String {
        if self.dice.one_in(2) {
            self.devices[d].bootstrap(&mut self.server);
            return format!("d{d} bootstraps");
        }
        // Others go on meanwhile, and so does its own app.
        self.devices[d].begin_bootstrap(&self.server);
        let mut meanwhile = Vec::new();
        let mut left = true;
        for _ in 0..6 {
            self.time.pass(1_000);
            match self.dice.below(4) {
                0 => meanwhile.push(self.write(d)),
                1 => {
                    let other = self.dice.below(self.devices.len());
                    meanwhile.push(self.exchange(other));
                }
                2 => meanwhile.push(self.discard(d)),
                _ => left = left && !self.devices[d].stage_some(&self.server, 1),
            }
            check_device(&self.devices[d], &self.server);
        }
        while left {
            left = !self.devices[d].stage_some(&self.server, 1);
        }
        self.devices[d].finish_bootstrap(&mut self.server);
        format!("d{d} bootstraps, meanwhile {meanwhile:?}")
    }

    fn restart_or_withdraw(&mut self, d: usize) -> String {
        if self.dice.one_in(2) {
            self.devices[d].accepted.clear();
            return format!("d{d} forgets what it held in memory");
        }
        let pending = self.devices[d].pending();
        if pending.is_empty() {
            return "nothing to withdraw".to_owned();
        }
        let op = pending[self.dice.below(pending.len())];
        format!(
            "d{d} withdraws {op}: {}",
            self.devices[d].withdraw_undeliverable(op)
        )
    }

    fn heal(&mut self) {
        for _ in 0..4 {
            for d in 0..self.devices.len() {
                self.time.pass(1_000);
                self.devices[d].sync(&mut self.server);
                self.devices[d].pull(&mut self.server, 1_000);
                check_device(&self.devices[d], &self.server);
            }
        }
        check_healed(&self.devices, &self.server);
        if self.seed % 2 == 1 {
            self.check_words();
        }
    }

    /// What every accepted op brought into a text that is still there stands in it once.
    fn check_words(&self) {
        let version = self.server.version();
        for (names, key, field, root) in self.server.typed() {
            let text = self.server.state_at(version)[&key].texts.get(field);
            if text.is_none_or(|text| text.root != root) {
                continue;
            }
            let mut body = self.server.text_at(version, &key, field).unwrap();
            let text = body.plain().unwrap();
            let typed = names
                .iter()
                .filter_map(|name| self.words.get(name))
                .flatten();
            for (_, _, words) in typed.filter(|(k, f, _)| (k, *f) == (&key, field)) {
                let count = text.matches(words.as_str()).count();
                assert_eq!(count, 1, "{words} of {names:?} in {text}");
            }
        }
    }
}

fn play(seed: u64, steps: usize) {
    let mut world = World::new(seed);
    let mut story = Vec::new();
    let played = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        for _ in 0..steps {
            story.push(world.step());
            for device in &world.devices {
                check_device(device, &world.server);
                check_prediction(device, &world.server);
                check_texts(device);
            }
        }
        story.push("all sync".to_owned());
        world.heal();
    }));
    if let Err(failure) = played {
        eprintln!("seed {seed}:\n{}", story.join("\n"));
        std::panic::resume_unwind(failure);
    }
}

/// A bootstrap cleared what the text of a deleted document showed; restoring it must write that again.
#[test]
fn a_text_brought_back_after_a_bootstrap_shows_again() {
    play(1_153, 30);
}

/// `DRIFTLINE_SEEDS` plays more of them, `DRIFTLINE_SEED` one alone.
#[test]
fn base_is_the_server_s_and_what_shows_is_the_queue_on_top() {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse::<u64>().ok())
    };
    if let Some(seed) = number("DRIFTLINE_SEED") {
        return play(seed, 30);
    }
    let seeds = number("DRIFTLINE_SEEDS").unwrap_or(2_000);
    let workers = 2;
    std::thread::scope(|scope| {
        for worker in 0..workers {
            scope.spawn(move || {
                (worker..seeds)
                    .step_by(workers as usize)
                    .for_each(|seed| play(seed, 30))
            });
        }
    });
}
