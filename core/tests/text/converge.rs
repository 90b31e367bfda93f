//! Devices that hear others' updates in the server's order and make their own at once end equal,
//! and equal to the server, by content.

use driftline_core::id::OpId;
use driftline_core::text::author::{Pending, Rewritten, again};
use driftline_core::text::guard::{Check, check, check_state};
use driftline_core::text::{BodyLimits, Mark, TextKind};

use crate::random::Random;
use crate::world::{LIMITS, Open, admit, op, writer};

struct Peer {
    writer: u64,
    kind: TextKind,
    open: Open,
    marks: Vec<Mark>,
    /// How much of the log it has heard.
    cursor: usize,
    unsent: Vec<Vec<u8>>,
}

impl Peer {
    fn new(writer: u64, kind: TextKind) -> Peer {
        Peer {
            writer,
            kind,
            open: Open::load(writer, kind, &[0, 0], &[]),
            marks: Vec::new(),
            cursor: 0,
            unsent: Vec::new(),
        }
    }

    fn edit(&mut self, random: &mut Random) {
        if let Some(update) = self.open.edit(random) {
            let fits = admit(&update, self.writer, self.kind, &mut self.marks);
            assert_eq!(fits, Ok(true), "an honest update was refused");
            self.unsent.push(update);
        }
    }

    fn hear(&mut self, update: &[u8], by: u64) {
        match check(update, by, self.kind, &self.marks, &LIMITS).unwrap() {
            Check::Contained => {}
            Check::Fits(checked) => {
                self.open.apply(&checked);
                admit(update, by, self.kind, &mut self.marks).unwrap();
            }
        }
    }

    fn listen(&mut self, log: &[(u64, Vec<u8>)], most: usize) {
        let end = log.len().min(self.cursor.saturating_add(most));
        for (by, update) in &log[self.cursor..end] {
            // Its own come back as well; an update that only deletes is not told from a new one,
            // and does nothing twice.
            self.hear(update, *by);
        }
        self.cursor = end;
    }

    /// Closed and opened again.
    fn reload(&mut self) {
        let state = self.open.state();
        self.open = Open::load(self.writer, self.kind, &state, &self.marks);
    }
}

fn history(kind: TextKind, seed: u64) {
    let mut random = Random::new(seed);
    let devices = 2 + random.below(3) as usize;
    let mut peers: Vec<Peer> = (1..=devices as u64)
        .map(|n| Peer::new(writer(n), kind))
        .collect();
    let mut server = Peer::new(writer(99), kind);
    let mut log: Vec<(u64, Vec<u8>)> = Vec::new();
    for _ in 0..30 + random.below(30) {
        let peer = &mut peers[random.below(devices as u32) as usize];
        match random.below(10) {
            0..=4 => peer.edit(&mut random),
            5 | 6 => {
                let some = random.below(peer.unsent.len() as u32 + 1) as usize;
                let by = peer.writer;
                log.extend(peer.unsent.drain(..some).map(|update| (by, update)));
            }
            7 | 8 => peer.listen(&log, 1 + random.below(8) as usize),
            _ => peer.reload(),
        }
    }
    for peer in &mut peers {
        let by = peer.writer;
        log.extend(peer.unsent.drain(..).map(|update| (by, update)));
    }
    server.listen(&log, usize::MAX);
    let content = server.open.content();
    for peer in &mut peers {
        peer.listen(&log, usize::MAX);
        assert_eq!(peer.open.content(), content, "{kind:?}, seed {seed}");
        peer.reload();
        assert_eq!(
            peer.open.content(),
            content,
            "{kind:?}, seed {seed}, read again"
        );
    }
    let mut late = Open::load(writer(7), kind, &server.open.state(), &server.marks);
    assert_eq!(late.content(), content, "{kind:?}, seed {seed}, a snapshot");
}

#[test]
fn histories_in_server_order_end_equal() {
    for seed in 0..400 {
        history(TextKind::RichText, seed);
        history(TextKind::List, seed);
    }
}

#[test]
#[ignore = "two minutes; run after every change of the Yrs version"]
fn twenty_thousand_histories_end_equal() {
    for seed in 10_000..20_000 {
        history(TextKind::RichText, seed);
        history(TextKind::List, seed);
    }
}

/// A server's side of one field, with the check that only the ops' ids can make: the update before
/// under the same writer is the last one accepted.
struct Desk {
    marks: Vec<Mark>,
    log: Vec<(u64, Vec<u8>)>,
}

#[derive(Debug, PartialEq)]
enum Answer {
    Accepted,
    Rebase,
}

impl Desk {
    fn decide(&mut self, id: OpId, by: u64, update: &[u8], after: Option<OpId>) -> Answer {
        let last = Mark::of(&self.marks, by).map(|mark| mark.last);
        match check(update, by, TextKind::RichText, &self.marks, &LIMITS) {
            Ok(Check::Fits(checked)) if last == after => {
                let mark = Mark {
                    writer: by,
                    next: checked.next(),
                    last: id,
                    version: self.log.len() as u64 + 1,
                };
                Mark::put(&mut self.marks, mark);
                self.log.push((by, update.to_vec()));
                Answer::Accepted
            }
            _ => Answer::Rebase,
        }
    }

    fn read(&self) -> (Vec<u8>, String) {
        let mut reader = Peer::new(writer(50), TextKind::RichText);
        reader.listen(&self.log, usize::MAX);
        let Open::Text(body) = &reader.open else {
            unreachable!("a rich text");
        };
        (body.state().unwrap(), body.text().unwrap())
    }

    /// What a device does on `rebase`: everything not named again on base, the ids kept.
    fn written_again(&self, pending: &[(Vec<u8>, bool)], by: u64, new: u64) -> Vec<Vec<u8>> {
        let (state, _) = self.read();
        let base = check_state(&state, TextKind::RichText, &self.marks, &LIMITS).unwrap();
        let pending: Vec<Pending<'_>> = pending
            .iter()
            .map(|(update, keep)| Pending {
                update,
                writer: by,
                keep: *keep,
                retried: false,
            })
            .collect();
        let updates = again(base, &pending, new, BodyLimits::default()).unwrap();
        let written = |update| match update {
            Rewritten::Update(update) => Some(update),
            _ => None,
        };
        updates.into_iter().filter_map(written).collect()
    }
}

fn typed(device: &mut Peer, text: &str) -> Vec<u8> {
    use driftline_core::text::{OffsetUnit, TextChange};
    let Open::Text(body) = &mut device.open else {
        unreachable!("a rich text");
    };
    let change = TextChange::Insert {
        at: body.units().unwrap(),
        text: text.into(),
        attributes: None,
    };
    let edited = body.edit(&[change], OffsetUnit::Utf16).unwrap().unwrap();
    admit(
        &edited.update,
        device.writer,
        device.kind,
        &mut device.marks,
    )
    .unwrap();
    edited.update
}

/// K16: a file and its copy write at one Yrs clock; the copy's next update fits by its clocks, on
/// the other file's text.
#[test]
fn k16_a_copy_of_the_file_loses_and_doubles_no_word() {
    let me = writer(1);
    let (mut file, mut copy) = (
        Peer::new(me, TextKind::RichText),
        Peer::new(me, TextKind::RichText),
    );
    let mut desk = Desk {
        marks: Vec::new(),
        log: Vec::new(),
    };
    let u1 = typed(&mut file, "one ");
    let (u2, u3) = (typed(&mut copy, "two "), typed(&mut copy, "three "));
    assert_eq!(desk.decide(op(1), me, &u1, None), Answer::Accepted);
    assert_eq!(desk.decide(op(2), me, &u2, None), Answer::Rebase);
    // By its clocks it fits; what it follows is not what is there.
    let by_clocks = check(&u3, me, TextKind::RichText, &desk.marks, &LIMITS);
    assert!(matches!(by_clocks, Ok(Check::Fits(_))));
    assert_eq!(desk.decide(op(3), me, &u3, Some(op(2))), Answer::Rebase);
    let new = writer(2);
    let written = desk.written_again(&[(u2, true), (u3, true)], me, new);
    assert_eq!(desk.decide(op(2), new, &written[0], None), Answer::Accepted);
    assert_eq!(
        desk.decide(op(3), new, &written[1], Some(op(2))),
        Answer::Accepted
    );
    let (_, text) = desk.read();
    for word in ["one ", "two ", "three "] {
        assert_eq!(text.matches(word).count(), 1, "{text}");
    }
}

/// K17: an op is accepted and not yet named when its author discards it and writes on: a clock is
/// used twice.
#[test]
fn k17_what_is_written_after_a_discard_of_something_accepted_is_kept() {
    let me = writer(1);
    let mut device = Peer::new(me, TextKind::RichText);
    let mut desk = Desk {
        marks: Vec::new(),
        log: Vec::new(),
    };
    let t1 = typed(&mut device, "first ");
    assert_eq!(desk.decide(op(1), me, &t1, None), Answer::Accepted);
    // The answer is lost; the app discards; what is folded now is base alone.
    let mut device = Peer::new(me, TextKind::RichText);
    let t2 = typed(&mut device, "second ");
    assert_eq!(desk.decide(op(2), me, &t2, None), Answer::Rebase);
    let new = writer(2);
    let written = desk.written_again(&[(t2, true)], me, new);
    assert_eq!(desk.decide(op(2), new, &written[0], None), Answer::Accepted);
    let (_, text) = desk.read();
    assert_eq!(text.matches("first ").count(), 1, "{text}");
    assert_eq!(text.matches("second ").count(), 1, "{text}");
}
