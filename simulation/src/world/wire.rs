//! What devices sent, read as the server reads it.

use std::collections::{BTreeMap, BTreeSet};

use driftline_core::id::OpId;
use driftline_core::op::OpBody;
use driftline_core::protocol::{
    Cursor, Form, LiveFrame, SentOp, SyncRequest, When, decode, inflate,
};

use super::World;
use crate::oracles::{self, Judgement, Push, QueueState, Queued};

/// No request of a device is larger.
const MOST_BYTES: usize = 64 << 20;

/// All ops that were ever sent.
#[derive(Default)]
pub(super) struct Wire {
    ops: BTreeMap<OpId, Told>,
    /// Which machine sent which.
    by: BTreeSet<(usize, OpId)>,
    /// Of these, with what it says. Whoever asks what became of an op names it only, and nobody learns
    /// what it said by that.
    in_full: BTreeSet<(usize, OpId)>,
    /// Requests with the machine and its cursor.
    unjudged: Vec<(usize, Cursor, Push)>,
}

struct Told {
    /// As it was sent first, and each other way.
    bodies: Vec<OpBody>,
    /// When it was written, as each request told.
    when: Vec<When>,
}

impl Wire {
    /// The times that were told of an op.
    pub(super) fn told(&self, op: OpId) -> &[When] {
        self.ops.get(&op).map_or(&[], |told| &told.when)
    }

    /// The bodies that an op was sent with.
    pub(super) fn bodies(&self, op: OpId) -> &[OpBody] {
        self.ops.get(&op).map_or(&[], |told| &told.bodies)
    }

    /// Whether a machine sent an op.
    pub(super) fn was_sent(&self, machine: usize, op: OpId) -> bool {
        self.by.contains(&(machine, op))
    }

    /// Whether a machine sent what an op says.
    pub(super) fn was_sent_in_full(&self, machine: usize, op: OpId) -> bool {
        self.in_full.contains(&(machine, op))
    }

    /// The machine's file is another one from now on.
    pub(super) fn forget(&mut self, machine: usize) {
        self.by.retain(|(by, _)| *by != machine);
        self.in_full.retain(|(by, _)| *by != machine);
    }

    fn learn(&mut self, machine: usize, sent: SentOp, push: &mut Push) -> Judgement {
        let id = match &sent {
            SentOp::Full { id, .. } | SentOp::Named(id) => *id,
        };
        push.ids.insert(id);
        if let SentOp::Full { when, body, .. } = sent {
            let told = self.ops.entry(id).or_insert_with(|| Told {
                bodies: vec![body.clone()],
                when: Vec::new(),
            });
            if !told.when.contains(&when) {
                told.when.push(when);
            }
            oracles::says_the_same(id, &told.bodies[0], &body)?;
            if !told.bodies.contains(&body) {
                told.bodies.push(body.clone());
            }
            push.bodies.push((id, body));
            self.in_full.insert((machine, id));
        }
        if self.by.insert((machine, id)) {
            push.new.insert(id);
        }
        Ok(())
    }
}

impl World<'_> {
    /// Reads what devices sent since this was done last. What is no request of a sync is judged by what
    /// comes of it.
    pub(super) fn read_requests(&mut self) -> Judgement {
        for (machine, bytes) in self.climate.take_requests() {
            if let Some(request) = read(&bytes) {
                let mut push = Push::default();
                for op in request.ops {
                    self.wire.learn(machine, op, &mut push)?;
                }
                // What an editor stores by itself may be sent before anybody looks at the file.
                for (id, body) in &push.bodies {
                    if self.swarm.editors && self.bodies.get(*id).is_none() {
                        self.bodies.put(*id, body.clone());
                    }
                }
                let said = push.ids.iter().map(|id| format!(" {id}"));
                self.trace.line(format_args!(
                    "    s{machine} at v{} sends{}",
                    request.cursor.version,
                    said.collect::<String>()
                ));
                self.wire.unjudged.push((machine, request.cursor, push));
            }
        }
        Ok(())
    }

    /// Judges what was read, once the files were looked at.
    pub(super) fn judge_requests(&mut self) -> Judgement {
        for (machine, cursor, push) in std::mem::take(&mut self.wire.unjudged) {
            let site = &self.sites[machine];
            let waited = |queued: &Queued| {
                let now = &site.view.queue;
                now.iter().any(|there| is_still(there, queued))
            };
            // Who has not heard yet that the server was restored knows what was decided before, in whichever
            // of the histories that its cursor belongs to. An op that was told to be accepted there holds
            // up none that builds on it: the server does not wait for a `prev` that it does not know.
            let mut known: Vec<_> = self.histories.with(cursor).collect();
            if known.is_empty() {
                known.push(&self.histories.current);
            }
            let named = |id| known.iter().any(|history| history.named(id).is_some());
            let rejected = &self.rejected;
            oracles::sends_in_order(
                &site.waiting,
                &push,
                waited,
                |id| self.wire.was_sent(machine, id),
                |id| named(id) || rejected.contains(&id),
            )?;
        }
        for site in &mut self.sites {
            site.waiting.clone_from(&site.view.queue);
        }
        Ok(())
    }
}

fn is_still(there: &Queued, queued: &Queued) -> bool {
    let waits = |queued: &Queued| queued.state != QueueState::Quarantined;
    there.id == queued.id && waits(there) && waits(queued)
}

/// A request that a device sent, by itself or on its socket.
pub(super) fn read(bytes: &[u8]) -> Option<SyncRequest> {
    let plain = inflate(bytes, MOST_BYTES).ok()?;
    let by_socket = |form| match decode::<LiveFrame>(form, &plain) {
        Ok(LiveFrame::Request(request)) => Some(request),
        _ => None,
    };
    let as_it_is = |form| decode(form, &plain).ok().or_else(|| by_socket(form));
    as_it_is(Form::Cbor).or_else(|| as_it_is(Form::Json))
}
