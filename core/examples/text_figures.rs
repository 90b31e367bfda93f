//! What checking and keeping track cost beside Yrs alone, on a recording of real writing:
//!
//! ```sh
//! gzip -dc automerge-paper.json.gz | cargo run --release -p driftline-core --example text_figures
//! ```
//!
//! Takes the JSON of the public editing-traces collection, sequential or of several people; an argument
//! says how many edits make one update (16).
// It measures and reports; the crate does neither.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    clippy::unwrap_used
)]

use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::time::{Duration, Instant};

use driftline_core::id::OpId;
use driftline_core::text::guard::{Check, Checked, GuardLimits, check, check_state};
use driftline_core::text::{BodyLimits, Mark, OffsetUnit, TextBody, TextChange, TextKind};
use serde::Deserialize;
use yrs::updates::decoder::Decode;
use yrs::{
    ClientID, Doc, GetString, OffsetKind, Options, ReadTxn, StateVector, Text, Transact, Update,
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Recording {
    end_content: String,
    txns: Vec<Edit>,
}

#[derive(Deserialize)]
struct Edit {
    #[serde(default)]
    parents: Vec<usize>,
    #[serde(default)]
    agent: usize,
    patches: Vec<(u32, u32, String)>,
}

/// One update and what to hear before.
struct Batch {
    agent: usize,
    /// The number of its last edit in the recording.
    last: usize,
    /// The last edit of others that its author had heard of.
    heard: Option<usize>,
    patches: Vec<(u32, u32, String)>,
}

/// Least times of a few runs.
struct Times {
    author: Duration,
    guard: Duration,
    apply: Duration,
    state: Duration,
    load: Duration,
}

fn main() -> Result<(), Box<dyn Error>> {
    let recording: Recording = serde_json::from_reader(std::io::stdin().lock())?;
    let most = std::env::args()
        .nth(1)
        .map_or(Ok(16), |most| most.parse())?;
    let batches = batches(recording.txns, most);
    let agents = batches.iter().map(|batch| batch.agent).max().unwrap_or(0) + 1;
    println!(
        "{} batches of up to {most} edits by {agents}",
        batches.len()
    );
    let (bare, text) = bare(&batches, agents);
    let (ours, ours_text) = ours(&batches, agents);
    println!("equal to Yrs alone: {}", text == ours_text);
    println!(
        "equal to the recording's end: {}",
        text == recording.end_content
    );
    let line = |what, bare: Duration, ours: Duration| {
        let ratio = ours.as_secs_f64() / bare.as_secs_f64();
        println!("{what:24} {bare:>12.1?} {ours:>12.1?}  x {ratio:.3}");
    };
    println!("{:24} {:>12} {:>12}", "", "Yrs alone", "ours");
    line("write", bare.author, ours.author);
    line("apply", bare.apply, ours.apply);
    line("guard beside apply", bare.apply, ours.guard);
    line("guard a state / load", bare.load, ours.state);
    line("load with guard", bare.load, ours.state + ours.load);
    let each = ours.guard.as_nanos() / batches.len().max(1) as u128;
    println!("guard: {each} ns an update");
    Ok(())
}

/// Joins each author's edits as long as nobody hears in between.
fn batches(edits: Vec<Edit>, most: usize) -> Vec<Batch> {
    // What each edit's author had heard of others, and where somebody stopped to hear.
    let mut heard: Vec<Option<usize>> = Vec::with_capacity(edits.len());
    let mut cuts = HashSet::new();
    for edit in &edits {
        let of_parent = |parent: &usize| match edits[*parent].agent == edit.agent {
            true => heard[*parent],
            false => Some(*parent),
        };
        let known = edit.parents.iter().map(of_parent).max().flatten();
        cuts.extend(known);
        heard.push(known);
    }
    let mut batches: Vec<Batch> = Vec::new();
    let mut open: HashMap<usize, usize> = HashMap::new();
    for (n, edit) in edits.into_iter().enumerate() {
        let goes_on = open.get(&edit.agent).copied().filter(|at| {
            let batch = &batches[*at];
            batch.heard == heard[n] && !cuts.contains(&batch.last) && batch.patches.len() < most
        });
        let at = goes_on.unwrap_or_else(|| {
            batches.push(Batch {
                agent: edit.agent,
                last: n,
                heard: heard[n],
                patches: Vec::new(),
            });
            batches.len() - 1
        });
        open.insert(edit.agent, at);
        batches[at].last = n;
        batches[at].patches.extend(edit.patches);
    }
    batches
}

/// The batches of others that `agent` hears before a batch that had heard up to `heard`, from the
/// `cursor`th on.
fn news<'a>(
    batches: &'a [Batch],
    agent: usize,
    heard: Option<usize>,
    cursor: &'a mut usize,
) -> impl Iterator<Item = usize> + 'a {
    let from = *cursor;
    let known =
        |batch: &Batch| heard.is_some_and(|heard| batch.last <= heard) || batch.agent == agent;
    while *cursor < batches.len() && known(&batches[*cursor]) {
        *cursor += 1;
    }
    (from..*cursor).filter(move |at| batches[*at].agent != agent)
}

fn document(client: u64) -> Doc {
    Doc::with_options(Options {
        client_id: ClientID::new(client),
        guid: "".into(),
        collection_id: None,
        offset_kind: OffsetKind::Utf16,
        skip_gc: false,
        auto_load: false,
        should_load: true,
        cleanup_formatting: false,
    })
}

fn timed<T>(total: &mut Duration, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    *total += start.elapsed();
    result
}

/// The least of five runs: what the work takes, not what the machine did meanwhile.
fn least<T>(mut work: impl FnMut() -> T) -> (Duration, T) {
    let mut best: Option<(Duration, T)> = None;
    for _ in 0..5 {
        let mut took = Duration::ZERO;
        let result = timed(&mut took, &mut work);
        if best.as_ref().is_none_or(|(least, _)| took < *least) {
            best = Some((took, result));
        }
    }
    best.unwrap()
}

/// Yrs alone: what is written, what hears it, and its own compacted state.
fn bare(batches: &[Batch], agents: usize) -> (Times, String) {
    let docs: Vec<Doc> = (0..agents).map(|n| document(1000 + n as u64)).collect();
    let mut author = Duration::ZERO;
    let mut updates: Vec<Vec<u8>> = Vec::new();
    let mut cursors = vec![0; agents];
    for batch in batches {
        let doc = &docs[batch.agent];
        let text = doc.get_or_insert_text("t");
        for at in news(batches, batch.agent, batch.heard, &mut cursors[batch.agent]) {
            let update = Update::decode_v1(&updates[at]).unwrap();
            doc.transact_mut().apply_update(update).unwrap();
        }
        updates.push(timed(&mut author, || {
            let mut txn = doc.transact_mut();
            for (at, deleted, inserted) in &batch.patches {
                if *deleted > 0 {
                    text.remove_range(&mut txn, *at, *deleted);
                }
                text.insert(&mut txn, *at, inserted);
            }
            txn.encode_update_v1()
        }));
    }
    let (apply, server) = least(|| {
        let doc = document(1);
        for update in &updates {
            let update = Update::decode_v1(update).unwrap();
            doc.transact_mut().apply_update(update).unwrap();
        }
        doc
    });
    let text = server.get_or_insert_text("t");
    let text = text.get_string(&server.transact());
    let state = server
        .transact()
        .encode_state_as_update_v1(&StateVector::default());
    let (load, _) = least(|| {
        let doc = document(2);
        let update = Update::decode_v1(&state).unwrap();
        doc.transact_mut().apply_update(update).unwrap();
        doc
    });
    let times = Times {
        author,
        apply,
        load,
        guard: Duration::ZERO,
        state: Duration::ZERO,
    };
    (times, text)
}

/// The same through what devices and the server use.
fn ours(batches: &[Batch], agents: usize) -> (Times, String) {
    let writer = |agent: usize| 1000 + agent as u64;
    let open = |writer| TextBody::new(writer, BodyLimits::default());
    let mut bodies: Vec<(TextBody, Vec<Mark>)> =
        (0..agents).map(|n| (open(writer(n)), Vec::new())).collect();
    let mut author = Duration::ZERO;
    let mut updates: Vec<(u64, Vec<u8>)> = Vec::new();
    let mut cursors = vec![0; agents];
    for batch in batches {
        let (body, marks) = &mut bodies[batch.agent];
        for at in news(batches, batch.agent, batch.heard, &mut cursors[batch.agent]) {
            let (by, update) = &updates[at];
            let checked = guard(marks, update, *by);
            body.apply_watched(&checked).unwrap();
        }
        let by = writer(batch.agent);
        let update = timed(&mut author, || {
            let edited = body.edit(&changes(batch), OffsetUnit::Utf16).unwrap();
            // What was typed and taken back within the batch is nothing.
            edited.map_or(Update::EMPTY_V1.to_vec(), |edited| edited.update)
        });
        guard(marks, &update, by);
        updates.push((by, update));
    }
    let (guarding, marks) = least(|| {
        let mut marks = Vec::new();
        for (by, update) in &updates {
            guard(&mut marks, update, *by);
        }
        marks
    });
    let (both, body) = least(|| {
        let (mut body, mut marks) = (open(1), Vec::new());
        for (by, update) in &updates {
            body.apply(&guard(&mut marks, update, *by)).unwrap();
        }
        body
    });
    let state = body.state().unwrap();
    let limits = GuardLimits::default();
    let check = || check_state(&state, TextKind::RichText, &marks, &limits).unwrap();
    let (state_guard, checked) = least(check);
    let (load, _) = least(|| TextBody::load(2, checked, BodyLimits::default()).unwrap());
    let times = Times {
        author,
        guard: guarding,
        apply: both.saturating_sub(guarding),
        state: state_guard,
        load,
    };
    (times, body.text().unwrap())
}

fn changes(batch: &Batch) -> Vec<TextChange> {
    let mut changes = Vec::with_capacity(2 * batch.patches.len());
    for (at, deleted, inserted) in &batch.patches {
        let (at, len) = (*at, *deleted);
        if len > 0 {
            changes.push(TextChange::Delete { at, len });
        }
        if !inserted.is_empty() {
            changes.push(TextChange::Insert {
                at,
                text: inserted.clone(),
                attributes: None,
            });
        }
    }
    changes
}

/// Lets an update through and moves its author's mark.
fn guard<'a>(marks: &mut Vec<Mark>, update: &'a [u8], by: u64) -> Checked<'a> {
    let limits = GuardLimits::default();
    let answer = check(update, by, TextKind::RichText, marks, &limits).unwrap();
    let Check::Fits(checked) = answer else {
        unreachable!("each update is new");
    };
    let mark = Mark {
        writer: by,
        next: checked.next(),
        last: OpId::ZERO,
        version: 1,
    };
    Mark::put(marks, mark);
    checked
}
