//! What several misfortunes together bring about, and whether it truly came about: a combination that no
//! world comes to is tried by nobody.
//!
//! Nothing here is drawn or traced: a world does the same whether it is counted or not.

use std::collections::{BTreeMap, BTreeSet};

use driftline::Durability;
use driftline_core::id::{OpId, Version};
use driftline_core::op::{ChangeKind, OpBody};
use driftline_core::protocol::Cursor;
use serde::Serialize;

use super::World;
use super::site::Site;
use super::wire::read;
use crate::oracles::{History, QueueState, VersionSeen};

const BOOTSTRAP: &str = "an answer lost, then a bootstrap";
const CLOCK: &str = "a clock set between a write and its contact";
const POWER: &str = "what was sent under Normal, lost with the power";
const TEXT_ALONE: &str = "a text op rejected, alone";
const TEXT_IN_GROUP: &str = "a text op rejected, in a group";
const INSERT_ALONE: &str = "an insert rejected, alone";
const INSERT_IN_GROUP: &str = "an insert rejected, in a group";
const OVERTAKEN: &str = "a restored server that overtakes a cursor";
const OLD_BACKUP: &str = "a backup older than ids that were decided";
const LARGE_GROUP: &str = "a group larger than a page";
const STALE_FRAME: &str = "a stale live frame";
const SEVERAL: &str = "several of these in one seed";

/// All of them.
const ALL: [&str; 12] = [
    BOOTSTRAP,
    CLOCK,
    POWER,
    TEXT_ALONE,
    TEXT_IN_GROUP,
    INSERT_ALONE,
    INSERT_IN_GROUP,
    OVERTAKEN,
    OLD_BACKUP,
    LARGE_GROUP,
    STALE_FRAME,
    SEVERAL,
];

/// Several are at least so many different ones.
const SOME: usize = 3;

/// How often a combination came about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Times {
    /// In all.
    pub times: u64,
    /// In how many seeds.
    pub seeds: u64,
}

/// Every combination, with how often it came about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Combinations(BTreeMap<&'static str, Times>);

impl Default for Combinations {
    fn default() -> Combinations {
        Combinations(ALL.map(|what| (what, Times::default())).into())
    }
}

impl Combinations {
    /// Adds what one seed came to.
    pub fn add_seed(&mut self, reached: &BTreeMap<&'static str, u64>) {
        for (what, times) in reached {
            let all = self.0.entry(what).or_default();
            all.times += times;
            all.seeds += 1;
        }
    }

    /// Adds what other seeds came to.
    pub fn join(&mut self, other: &Combinations) {
        for (what, more) in &other.0 {
            let all = self.0.entry(what).or_default();
            all.times += more.times;
            all.seeds += more.seeds;
        }
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, Times)> {
        self.0.iter().map(|(what, times)| (*what, *times))
    }

    /// Those that no seed came to.
    pub fn missing(&self) -> Vec<&'static str> {
        let never = self.iter().filter(|(_, times)| times.seeds == 0);
        never.map(|(what, _)| what).collect()
    }
}

/// What was seen on the way, in order.
pub(super) enum Seen {
    /// The server answers this request of a device, and the answer is lost.
    AnswerLost(usize, Vec<u8>),
    /// A device asks for a snapshot.
    SnapshotAsked(usize),
    /// Versions behind this cursor arrive at a device that did not ask for them.
    Frame(usize, Cursor),
}

/// What a world has come to, and what may still become of what it did.
#[derive(Default)]
pub(super) struct Reached {
    times: BTreeMap<&'static str, u64>,
    /// Where each machine stood when the step began.
    stood: Vec<Cursor>,
    /// Ops whose answer was lost.
    unanswered: BTreeSet<(usize, OpId)>,
    /// Ops that nobody had heard of when their device's clock was set.
    out_of_time: BTreeSet<(usize, OpId)>,
    /// Ops that were sent before the power went under `Normal`, where nobody has looked since.
    powerless: BTreeMap<usize, BTreeSet<OpId>>,
    /// Machines restored from a backup, where nobody has looked since.
    put_back: BTreeSet<usize>,
    overtaken: BTreeSet<(usize, Version, [u8; 8])>,
    rejected: BTreeSet<OpId>,
    /// Versions that are groups larger than a page, and how far was looked for them.
    large: BTreeSet<Version>,
    head: Version,
}

impl Reached {
    fn count(&mut self, what: &'static str) {
        *self.times.entry(what).or_default() += 1;
    }

    /// What came about how often, all in all.
    pub(super) fn times(&self) -> BTreeMap<&'static str, u64> {
        let mut times = self.times.clone();
        if times.len() >= SOME {
            times.insert(SEVERAL, 1);
        }
        times
    }

    /// The machine's file does not go on from where it stood.
    fn stands_nowhere(&mut self, machine: usize) {
        if let Some(stood) = self.stood.get_mut(machine) {
            *stood = Cursor::START;
        }
    }

    /// What was rejected since.
    fn rejections(&mut self, rejected: &BTreeSet<OpId>, body: impl Fn(OpId) -> Option<OpBody>) {
        if self.rejected.len() == rejected.len() {
            return;
        }
        let new: Vec<OpId> = rejected.difference(&self.rejected).copied().collect();
        for body in new.into_iter().filter_map(body) {
            for what in of_a_rejection(&body) {
                self.count(what);
            }
        }
        self.rejected.clone_from(rejected);
    }

    /// Groups that do not fit into a page, and who crossed one.
    fn groups(&mut self, history: &History, page_bytes: usize, crossed: &[Crossing<'_>]) {
        let head = history.head();
        if head < self.head {
            self.large.retain(|version| *version <= head);
        }
        for version in self.head.min(head) + 1..=head {
            let seen = history.version(version);
            if seen.is_some_and(|seen| is_larger(seen, page_bytes)) {
                self.large.insert(version);
            }
        }
        self.head = head;
        let of_another = |version: &Version, by: &str| {
            let seen = history.version(*version);
            seen.is_some_and(|seen| seen.row.label != by)
        };
        for crossing in crossed
            .iter()
            .filter(|crossing| crossing.to > crossing.from)
        {
            let between = self.large.range(crossing.from + 1..=crossing.to);
            let met = between.filter(|version| of_another(version, crossing.by));
            (0..met.count()).for_each(|_| self.count(LARGE_GROUP));
        }
    }
}

/// A machine that went from one version to another.
struct Crossing<'a> {
    from: Version,
    to: Version,
    by: &'a str,
}

fn is_larger(seen: &VersionSeen, page_bytes: usize) -> bool {
    let entry = &seen.row.entry;
    let bytes = || minicbor::to_vec(entry).map_or(0, |bytes| bytes.len());
    page_bytes > 0 && entry.documents.len() > 1 && bytes() > page_bytes
}

/// What it means that somebody honest is refused this.
fn of_a_rejection(body: &OpBody) -> Vec<&'static str> {
    let typed = body.changes.iter().any(|change| !change.texts.is_empty());
    let inserts = body
        .changes
        .iter()
        .any(|change| change.kind == ChangeKind::Insert);
    let mut what = Vec::new();
    match (body.changes.len(), typed, inserts) {
        (1, true, _) => what.push(TEXT_ALONE),
        (1, false, true) => what.push(INSERT_ALONE),
        (2.., typed, inserts) => {
            what.extend(typed.then_some(TEXT_IN_GROUP));
            what.extend(inserts.then_some(INSERT_IN_GROUP));
        }
        _ => {}
    }
    what
}

impl World<'_> {
    /// A step begins.
    pub(super) fn begin_counting(&mut self) {
        let stands = |site: &Site| site.view.cursor;
        self.reached.stood = self.sites.iter().map(stands).collect();
    }

    /// A step is over, and everything was looked at: counts what came about by it.
    pub(super) fn count_combinations(&mut self) {
        let mut reached = std::mem::take(&mut self.reached);
        self.count_what_was_seen(&mut reached);
        self.count_decided(&mut reached);
        self.count_losses(&mut reached);
        let honest = |id: OpId| !self.made_up.contains(&id) && !self.wire.told(id).is_empty();
        let body = |id: OpId| self.bodies.get(id).filter(|_| honest(id)).cloned();
        reached.rejections(&self.rejected, body);
        let labels: Vec<String> = self.sites.iter().map(label).collect();
        let stood = reached.stood.iter().map(|cursor| cursor.version);
        let crossed = self.sites.iter().zip(stood).zip(&labels);
        let crossed = crossed.map(|((site, from), by)| Crossing {
            from,
            to: site.view.cursor.version,
            by,
        });
        let crossed: Vec<Crossing<'_>> = crossed.collect();
        reached.groups(&self.histories.current, self.swarm.page_bytes, &crossed);
        self.reached = reached;
    }

    fn is_decided(&self, id: OpId) -> bool {
        self.histories.current.named(id).is_some() || self.rejected.contains(&id)
    }

    fn count_what_was_seen(&self, reached: &mut Reached) {
        for seen in self.climate.take_seen() {
            match seen {
                Seen::AnswerLost(machine, body) => {
                    let ops = read(&body).into_iter().flat_map(|request| request.ops);
                    let ids = ops.map(|op| (machine, op.id()));
                    reached.unanswered.extend(ids);
                }
                Seen::SnapshotAsked(machine) => {
                    let waits = |(of, id): &(usize, OpId)| *of == machine && self.is_decided(*id);
                    if reached.unanswered.iter().any(waits) {
                        reached.count(BOOTSTRAP);
                    }
                }
                Seen::Frame(machine, from) => {
                    let stood = reached.stood.get(machine);
                    if stood.is_some_and(|stood| from.version < stood.version) {
                        reached.count(STALE_FRAME);
                    }
                }
            }
        }
        let waits = |(at, id): &(usize, OpId)| self.sites[*at].view.holds(*id);
        reached.unanswered.retain(waits);
    }

    /// What became of ops on whose way a clock was set; cursors that are overtaken.
    fn count_decided(&self, reached: &mut Reached) {
        let (decided, left) = std::mem::take(&mut reached.out_of_time)
            .into_iter()
            .partition::<BTreeSet<_>, _>(|(_, id)| self.is_decided(*id));
        decided.iter().for_each(|_| reached.count(CLOCK));
        let waits = |(at, id): &(usize, OpId)| self.sites[*at].view.holds(*id);
        reached.out_of_time = left.into_iter().filter(waits).collect();
        let (all, current) = (&self.histories, &self.histories.current);
        for site in &self.sites {
            let stands = site.view.cursor;
            let is_lost = !current.has(stands) && all.with(stands).next().is_some();
            let key = (site.number, stands.version, stands.hash.0);
            if is_lost && current.head() >= stands.version && reached.overtaken.insert(key) {
                reached.count(OVERTAKEN);
            }
        }
    }

    /// What a loss of power, or a backup, left of a queue.
    fn count_losses(&self, reached: &mut Reached) {
        let looked = |at: &usize| {
            let site = &self.sites[*at];
            !site.lossy && site.view.writer.is_some()
        };
        let (seen, left) = std::mem::take(&mut reached.powerless)
            .into_iter()
            .partition::<BTreeMap<_, _>, _>(|(at, _)| looked(at));
        reached.powerless = left;
        for (at, sent) in seen {
            let view = &self.sites[at].view;
            let named = |id| self.histories.named_at(id, view.cursor);
            if sent.iter().any(|id| !view.holds(*id) && !named(*id)) {
                reached.count(POWER);
            }
        }
        let (seen, left) = std::mem::take(&mut reached.put_back)
            .into_iter()
            .partition::<BTreeSet<_>, _>(looked);
        reached.put_back = left;
        for at in seen {
            let mut queue = self.sites[at].view.queue.iter();
            let waits = |state| state == QueueState::Pending;
            if queue.any(|queued| waits(queued.state) && self.is_decided(queued.id)) {
                reached.count(OLD_BACKUP);
            }
        }
    }

    /// A machine's clock says something else than before.
    pub(super) fn clock_was_set(&mut self, at: usize) {
        let queue = self.sites[at].view.shown_ops().map(|queued| queued.id);
        let unsent = queue.filter(|id| !self.wire.was_sent(at, *id));
        let unsent = unsent.map(|id| (at, id));
        self.reached.out_of_time.extend(unsent);
    }

    /// A machine's power goes; what its file said was looked at before.
    pub(super) fn power_goes(&mut self, at: usize) {
        let site = &self.sites[at];
        if site.device.options.durability == Durability::Normal {
            let queue = site.view.queue.iter().map(|queued| queued.id);
            let sent: BTreeSet<OpId> = queue.filter(|id| self.wire.was_sent(at, *id)).collect();
            self.reached.powerless.entry(at).or_default().extend(sent);
        }
        self.reached.stands_nowhere(at);
    }

    /// A machine's file is one of an earlier day.
    pub(super) fn was_put_back(&mut self, at: usize) {
        self.reached.put_back.insert(at);
        self.reached.powerless.remove(&at);
        self.reached.stands_nowhere(at);
    }
}

/// What a machine calls itself to the server.
fn label(site: &Site) -> String {
    format!("device {}", site.device.options.number)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use driftline_core::id::DocumentId;
    use driftline_core::op::{Change, TextEdit};

    use super::*;

    fn body(kinds: &[(ChangeKind, bool)]) -> OpBody {
        let change = |(kind, typed): &(ChangeKind, bool)| {
            let mut change = Change::new(5, DocumentId::new("l0").unwrap(), *kind);
            if *typed {
                let edit = TextEdit {
                    writer: 7,
                    update: vec![0, 0].into(),
                    after: None,
                };
                change.texts.insert(2, edit);
            }
            change
        };
        OpBody {
            changes: kinds.iter().map(change).collect(),
            ..OpBody::default()
        }
    }

    #[test]
    fn a_rejection_is_of_texts_or_inserts_alone_or_in_a_group() {
        use ChangeKind::{Delete, Insert, Update};
        let of = |kinds: &[(ChangeKind, bool)]| of_a_rejection(&body(kinds));
        assert_eq!(of(&[(Update, true)]), [TEXT_ALONE]);
        assert_eq!(of(&[(Insert, true)]), [TEXT_ALONE]);
        assert_eq!(of(&[(Insert, false)]), [INSERT_ALONE]);
        assert_eq!(of(&[(Update, true), (Update, false)]), [TEXT_IN_GROUP]);
        assert_eq!(of(&[(Insert, false), (Delete, false)]), [INSERT_IN_GROUP]);
        let both = of(&[(Insert, false), (Update, true)]);
        assert_eq!(both, [TEXT_IN_GROUP, INSERT_IN_GROUP]);
        assert!(of(&[(Update, false)]).is_empty() && of(&[]).is_empty());
    }

    #[test]
    fn several_are_three_different_ones() {
        let mut reached = Reached::default();
        for what in [CLOCK, CLOCK, POWER] {
            reached.count(what);
        }
        assert!(!reached.times().contains_key(SEVERAL));
        reached.count(OVERTAKEN);
        assert_eq!(reached.times().get(SEVERAL), Some(&1));
        assert_eq!(reached.times().get(CLOCK), Some(&2));
    }

    #[test]
    fn what_no_seed_came_to_is_missing() {
        let mut all = Combinations::default();
        assert_eq!(all.missing().len(), ALL.len());
        all.add_seed(&[(CLOCK, 3), (POWER, 1)].into());
        let mut more = Combinations::default();
        more.add_seed(&[(CLOCK, 2)].into());
        all.join(&more);
        let of = |wanted| all.iter().find(|(what, _)| *what == wanted).unwrap().1;
        assert_eq!(of(CLOCK), Times { times: 5, seeds: 2 });
        assert_eq!(of(POWER), Times { times: 1, seeds: 1 });
        assert_eq!(all.missing().len(), ALL.len() - 2);
        assert!(!all.missing().contains(&CLOCK) && all.missing().contains(&SEVERAL));
        ALL.iter()
            .for_each(|what| more.add_seed(&[(*what, 1)].into()));
        assert!(more.missing().is_empty());
    }
}
