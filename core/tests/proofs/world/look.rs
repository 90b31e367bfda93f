//! Looking at a world: what a person sees, and a number for all that matters.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use driftline_core::id::OpId;
use driftline_core::merge::{DocumentState, Verdict};
use driftline_core::value::Value;

use super::file::File;
use super::server::Server;
use super::{A, B, COUNT, Key, TAGS, TEXT, World, schema};

/// What a person sees of a document.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Content {
    pub(crate) alive: bool,
    pub(crate) registers: BTreeMap<u16, (OpId, Value)>,
    pub(crate) count: i64,
    pub(crate) tags: Vec<String>,
    /// How many letters its text has, and the op that typed last.
    pub(crate) typed: Option<(u32, OpId)>,
}

/// What a person sees of a document's state.
pub(crate) fn content(state: &DocumentState) -> Content {
    let registers = state
        .registers
        .iter()
        .map(|(f, r)| (f, (r.write.op, r.value.clone())));
    Content {
        alive: state.is_alive(),
        registers: registers.collect(),
        count: state.counters.get(COUNT).copied().unwrap_or(0),
        tags: state
            .sets
            .get(TAGS)
            .map(|s| s.elements.keys().cloned().collect())
            .unwrap_or_default(),
        typed: state.texts.get(TEXT).map(|text| {
            let letters = text.marks.iter().map(|mark| mark.next).sum();
            (letters, text.last)
        }),
    }
}

/// What a person sees of the document, as values.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Seen {
    pub(crate) alive: bool,
    pub(crate) a: Option<i64>,
    pub(crate) b: Option<i64>,
    pub(crate) count: i64,
    pub(crate) tags: Vec<String>,
}

impl World {
    /// What a file shows, document by document.
    pub(crate) fn content(&self, at: usize) -> Vec<Option<Content>> {
        let Some(file) = &self.files[at] else {
            return Vec::new();
        };
        let shown = |key: &Key| file.shown(schema(), key, self.time);
        self.keys()
            .iter()
            .map(|key| shown(key).as_ref().map(content))
            .collect()
    }

    /// A number for everything that matters to what can happen next.
    pub(crate) fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        digest_server(&self.server, &mut hasher);
        for file in &self.files {
            digest_file(file.as_deref(), &mut hasher);
        }
        digest_file(self.backup.as_deref(), &mut hasher);
        if let Some(server) = &self.server_backup {
            digest_server(server, &mut hasher);
        }
        format!("{:?}", self.network).hash(&mut hasher);
        for truth in self.truth.iter() {
            (truth.write, truth.saw, truth.displayed).hash(&mut hasher);
            (truth.took_back, truth.root).hash(&mut hasher);
        }
        (
            self.poison,
            self.ledgered,
            self.writes,
            self.time,
            self.restored,
            self.delayed,
        )
            .hash(&mut hasher);
        hasher.finish()
    }

    /// The world, if nothing is wrong with it.
    pub(crate) fn well(self) -> World {
        assert!(self.problems.is_empty(), "{:#?}", self.problems);
        self
    }

    /// What a file shows of the document; `None` if there is no such file or document.
    pub(crate) fn seen(&self, at: usize) -> Option<Seen> {
        let content = self.content(at).into_iter().next()??;
        let integer = |field: u16| match content.registers.get(&field)?.1 {
            Value::Integer(n) => Some(n),
            _ => None,
        };
        let (a, b) = (integer(A), integer(B));
        Some(Seen {
            alive: content.alive,
            a,
            b,
            count: content.count,
            tags: content.tags,
        })
    }
}

fn digest_server(server: &Server, hasher: &mut DefaultHasher) {
    server.cursor().hash(hasher);
    for (id, record) in &server.records {
        (
            id,
            matches!(record.verdict, Verdict::Accepted(_)),
            record.covers.len(),
        )
            .hash(hasher);
    }
}

fn digest_file(file: Option<&File>, hasher: &mut DefaultHasher) {
    let Some(file) = file else {
        return 0.hash(hasher);
    };
    file.cursor.hash(hasher);
    for queued in file.queue.iter().chain(&file.quarantine) {
        (
            queued.op.id,
            queued.accepted,
            queued.op.body.withdraw,
            queued.op.body.base,
        )
            .hash(hasher);
        (
            &queued.op.body.covers,
            queued
                .op
                .body
                .changes
                .iter()
                .map(|c| {
                    (
                        c.prev,
                        c.generation,
                        format!(
                            "{:?}",
                            c.texts.get(TEXT).map(|e| (e.writer, e.after, &e.update.0))
                        ),
                    )
                })
                .collect::<Vec<_>>(),
        )
            .hash(hasher);
        (
            queued.op.written.wall,
            queued.op.written.boot,
            queued.op.written.mono,
        )
            .hash(hasher);
    }
    file.queue.len().hash(hasher);
    for departed in &file.departed {
        (
            departed.op,
            departed.named.is_some(),
            departed.prevs.iter().map(|p| p.1).collect::<Vec<_>>(),
        )
            .hash(hasher);
    }
    file.staged.as_ref().map(|s| s.cursor()).hash(hasher);
    (
        file.boot,
        file.booted,
        file.skew,
        file.displayed,
        file.base_names,
        file.ever,
    )
        .hash(hasher);
    (file.writer, file.draws, file.unfit).hash(hasher);
    (
        file.written,
        file.discarded,
        file.aside,
        file.took_back,
        file.gone,
    )
        .hash(hasher);
}
