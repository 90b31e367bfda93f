//! What a file takes from the server: answers, pages, bootstraps, another history.

use std::sync::Arc;

use driftline_core::id::{OpId, Version};
use driftline_core::merge::Verdict;
use driftline_core::op::refusal;
use driftline_core::protocol::Cursor;

use super::file::{Departed, File, Queued};
use super::server::{Documents, Entry, Outcome, Server};
use super::typing::{self, Texts};
use super::{Key, Rules, mask};

/// A bootstrap under way: state pinned at a cursor, and the answer for the ids asked about.
#[derive(Clone, Debug)]
pub(crate) struct Staged {
    cursor: Cursor,
    documents: Arc<Documents>,
    texts: Arc<Texts>,
    named: Vec<Named>,
    all_names: u64,
}

impl Staged {
    /// Where it was pinned.
    pub(crate) fn cursor(&self) -> Cursor {
        self.cursor
    }
}

/// An id that base contains from here on.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    ids: u64,
    version: Version,
    landed: Vec<(Key, OpId)>,
}

impl File {
    /// Takes the results of a request that was asked at `asked`.
    pub(crate) fn answer(&mut self, rules: &Rules, asked: Cursor, results: &[(OpId, Outcome)]) {
        let mut contained = Vec::new();
        for (id, outcome) in results {
            let Some(at) = self.queue.iter().position(|q| q.op.id == *id) else {
                continue;
            };
            match outcome {
                Outcome::Decided(Verdict::Accepted(version)) => {
                    let below = asked == self.cursor && *version <= asked.version;
                    if below || !rules.by_name {
                        let landed = Vec::new();
                        contained.push(Named {
                            ids: mask(*id),
                            version: *version,
                            landed,
                        });
                    } else {
                        self.queue[at].accepted = Some(*version);
                    }
                }
                Outcome::Decided(Verdict::Rejected(why)) => {
                    let mut queued = self.queue.remove(at);
                    queued.accepted = None;
                    let rejected = self.rejected();
                    let mut named = queued.op.body.changes.iter().filter_map(|c| c.generation);
                    queued.blocked = why.code == refusal::BLOCKED_BY
                        || named.any(|opener| rejected.contains(&opener));
                    if queued.op.body.withdraw {
                        self.gone |= mask(queued.op.id);
                        self.discarded |= queued.stands_for();
                        self.depart(rules, &queued, None);
                    } else {
                        self.quarantine.push(queued);
                        for departed in self.departed.clone() {
                            if let Some((_, landed)) = &departed.named {
                                self.settle_quarantined(departed.op, landed);
                            }
                        }
                    }
                }
                Outcome::Unknown => self.queue[at].accepted = None,
                Outcome::Rebase => self.unfit = true,
                Outcome::RetryLater => {}
            }
        }
        self.leave(rules, &contained);
    }

    /// Applies one version of the log.
    pub(crate) fn page(
        &mut self,
        rules: &Rules,
        (version, entry): (Version, &Entry),
        to: Cursor,
        last: bool,
    ) {
        let documents = Arc::make_mut(&mut self.base);
        for part in &entry.parts {
            typing::take(Arc::make_mut(&mut self.texts), part);
            match documents.get_mut(&part.key) {
                Some(document) if !part.whole => document.take(part.state.clone()),
                _ => {
                    documents.insert(part.key.clone(), part.state.clone());
                }
            }
        }
        self.cursor = to;
        let ids = entry.names.iter().fold(0, |all, id| all | mask(*id));
        self.base_names |= ids;
        self.leave(
            rules,
            &[Named {
                ids,
                version,
                landed: entry.landed.clone(),
            }],
        );
        self.forget(last);
    }

    /// Links are needed while something is queued, and until base holds what was decided by then.
    pub(super) fn forget(&mut self, at_head: bool) {
        if at_head && self.queue.is_empty() {
            self.departed.clear();
        }
    }

    /// Every op that is named from here on leaves, queue and quarantine alike.
    fn leave(&mut self, rules: &Rules, named: &[Named]) {
        for departed in &mut self.departed {
            // Given up here, accepted through a copy's retry.
            if let Some(by) = named.iter().find(|n| n.ids & mask(departed.op) != 0) {
                departed.named = Some((by.version, by.landed.clone()));
            }
        }
        let find = |queued: &Queued| named.iter().find(|n| n.ids & queued.names() != 0).cloned();
        let mut gone = Vec::new();
        self.queue.retain(|queued| match find(queued) {
            None => true,
            Some(by) => {
                gone.push((queued.clone(), by));
                false
            }
        });
        for (queued, by) in gone {
            if by.ids & mask(queued.op.id) == 0 {
                // A copy's retry was accepted instead: the same content under another id.
                self.discarded |= mask(queued.op.id);
                if rules.relink {
                    self.relink(&queued);
                }
            }
            self.settle_quarantined(queued.name(), &by.landed);
            self.depart(rules, &queued, Some((by.version, by.landed)));
        }
        if rules.quarantine_by_name {
            // Its links are as needed as those of queued ops: later ones lead over it.
            let (gone, kept) = std::mem::take(&mut self.quarantine)
                .into_iter()
                .partition(|queued| find(queued).is_some());
            self.quarantine = kept;
            for (queued, by) in Vec::into_iter(gone).filter_map(|q| Some((q.clone(), find(&q)?))) {
                self.depart(rules, &queued, Some((by.version, by.landed)));
            }
        }
    }

    /// A retry that left because a copy's retry was accepted is an id the server never heard of:
    /// what follows it follows what it followed.
    fn relink(&mut self, left: &Queued) {
        for change in self.queue.iter_mut().flat_map(|q| &mut q.op.body.changes) {
            if change.prev == Some(left.op.id) {
                change.prev = left.op.body.prev_on(change.collection, &change.document);
            }
        }
    }

    /// Quarantined ops outlive the departed links: they name the generation itself from now on.
    fn settle_quarantined(&mut self, opener: OpId, landed: &[(Key, OpId)]) {
        for change in self
            .quarantine
            .iter_mut()
            .flat_map(|q| &mut q.op.body.changes)
        {
            let there = landed.iter().find(|(key, _)| change.is_on(key.0, &key.1));
            if let Some((_, landed)) = there.filter(|_| change.generation == Some(opener)) {
                change.generation = Some(*landed);
            }
        }
    }

    pub(super) fn depart(
        &mut self,
        rules: &Rules,
        queued: &Queued,
        named: Option<(Version, Vec<(Key, OpId)>)>,
    ) {
        if rules.departed {
            let prevs = queued.op.body.changes.iter();
            let prevs: Vec<_> = prevs
                .map(|c| ((c.collection, c.document.clone()), c.prev))
                .collect();
            let covers = queued.op.body.stands_for();
            if let (Some(first), true) = (queued.op.body.retry_of, named.is_some()) {
                // Followers name an opener by its first id; its place in the chain stays.
                match self.departed.iter_mut().find(|d| d.op == first) {
                    Some(known) => known.named = named.clone(),
                    None => {
                        let (prevs, covers, named) = (prevs.clone(), covers.clone(), named.clone());
                        self.departed.push(Departed {
                            op: first,
                            name: first,
                            prevs,
                            covers,
                            named,
                        });
                    }
                }
            }
            let (op, name) = (queued.op.id, queued.name());
            self.departed.push(Departed {
                op,
                name,
                prevs,
                covers,
                named,
            });
        }
    }

    /// Asks for a bootstrap; the answer covers the queued and quarantined ids.
    pub(crate) fn ask_bootstrap(&mut self, server: &Server) -> bool {
        if self.staged.is_some() || !server.knows(&self.cursor) || self.cursor == server.cursor() {
            return false;
        }
        self.staged = Some(Staged {
            cursor: server.cursor(),
            documents: Arc::clone(server.now()),
            texts: Arc::clone(server.texts_now()),
            named: self.answers(server),
            all_names: all_names(server),
        });
        true
    }

    /// Swaps the staged state in.
    pub(crate) fn swap(&mut self, rules: &Rules) -> bool {
        let Some(staged) = self.staged.take() else {
            return false;
        };
        self.base = staged.documents;
        self.texts = staged.texts;
        self.cursor = staged.cursor;
        self.base_names = staged.all_names;
        self.leave(rules, &staged.named);
        self.forget(true);
        true
    }

    /// The server has another history: the file is copied aside, verdicts and base versions of
    /// queued ops are forgotten, base is taken anew.
    pub(crate) fn history_changed(&mut self, rules: &Rules, server: &Server) {
        let held = self
            .queue
            .iter()
            .chain(&self.quarantine)
            .fold(0, |all, q| all | q.stands_for());
        self.aside |= self.written & !held;
        for queued in &mut self.queue {
            queued.accepted = None;
            queued.op.body.base = 0;
        }
        for (_, landed) in self.departed.iter_mut().filter_map(|d| d.named.as_mut()) {
            landed.clear();
        }
        self.staged = None;
        let named = self.answers(server);
        self.adopt(server);
        self.leave(rules, &named);
        self.forget(true);
    }

    pub(super) fn adopt(&mut self, server: &Server) {
        self.base = Arc::clone(server.now());
        self.texts = Arc::clone(server.texts_now());
        self.cursor = server.cursor();
        self.base_names = all_names(server);
    }

    fn answers(&self, server: &Server) -> Vec<Named> {
        let mut named = Vec::new();
        for queued in self.queue.iter().chain(&self.quarantine) {
            let ids = [Some(queued.op.id), queued.op.body.retry_of];
            for id in ids.into_iter().flatten() {
                if let Some((version, entry)) = server.named(id) {
                    named.push(Named {
                        ids: mask(id),
                        version,
                        landed: entry.landed.clone(),
                    });
                }
            }
        }
        named
    }
}

fn all_names(server: &Server) -> u64 {
    server
        .log
        .iter()
        .flat_map(|entry| &entry.names)
        .fold(0, |all, id| all | mask(*id))
}
