//! Recordings of real writing, from the public editing-traces collection: not part of the project.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::path::PathBuf;

use flate2::read::GzDecoder;
use serde::Deserialize;

use crate::Outcome;
use crate::bare::BareText;

/// Names the folder with the recordings.
const FOLDER: &str = "DRIFTLINE_DATA";
const USUAL_FOLDER: &str = "../shared/data";

/// One edit, in UTF-16 units, on what the one before left.
#[derive(Clone, Debug)]
pub(crate) struct Edit {
    pub(crate) at: u32,
    pub(crate) delete: u32,
    pub(crate) insert: String,
}

/// What happens in a recording.
pub(crate) enum Step {
    /// Somebody types.
    Type { agent: usize, edits: Vec<Edit> },
    /// Everybody hears everything.
    Exchange,
}

/// A recording.
pub(crate) struct Recording {
    pub(crate) steps: Vec<Step>,
    /// What the text says at the end.
    pub(crate) end: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Trace {
    end_content: String,
    txns: Vec<Transaction>,
}

#[derive(Deserialize)]
struct Transaction {
    #[serde(default)]
    parents: Vec<usize>,
    #[serde(default)]
    agent: usize,
    patches: Vec<(u32, u32, String)>,
}

/// One author's edits that nobody heard in between.
struct Batch {
    agent: usize,
    /// The number of its last transaction in the recording.
    last: usize,
    /// The last transaction of others that its author had heard of.
    heard: Option<usize>,
    edits: Vec<Edit>,
}

impl Recording {
    /// Reads a recording, in batches of `most` edits. `None`, and says so, if it is not there.
    pub(crate) fn load(name: &str, most: usize) -> Outcome<Option<Recording>> {
        let folder = std::env::var_os(FOLDER).unwrap_or_else(|| USUAL_FOLDER.into());
        let path = PathBuf::from(folder).join(name);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) => {
                eprintln!(
                    "skipped, {name} cannot be read ({error}): {FOLDER} names the folder with recordings"
                );
                return Ok(None);
            }
        };
        let trace: Trace = serde_json::from_reader(GzDecoder::new(file))?;
        if trace.end_content.chars().any(|c| c.len_utf16() > 1) {
            return Err("offsets beyond the basic plane are not converted".into());
        }
        let end = trace.end_content;
        let batches = batches(trace.txns, most)?;
        let steps = match batches.iter().all(|batch| batch.agent == 0) {
            true => batches.into_iter().map(Batch::into_step).collect(),
            false => exchanged(batches)?,
        };
        Ok(Some(Recording { steps, end }))
    }
}

impl Batch {
    fn into_step(self) -> Step {
        Step::Type {
            agent: self.agent,
            edits: self.edits,
        }
    }
}

/// Joins each author's edits as long as nobody hears in between.
fn batches(transactions: Vec<Transaction>, most: usize) -> Outcome<Vec<Batch>> {
    // What each one's author had heard of others, and where somebody stopped to hear.
    let mut agents: Vec<usize> = Vec::with_capacity(transactions.len());
    let mut heard: Vec<Option<usize>> = Vec::with_capacity(transactions.len());
    let mut cuts = HashSet::new();
    for transaction in &transactions {
        let mut known = agents
            .iter()
            .rposition(|agent| *agent == transaction.agent)
            .and_then(|own| heard[own]);
        for parent in &transaction.parents {
            let of = agents.get(*parent).ok_or("a parent comes later")?;
            if *of != transaction.agent {
                known = known.max(Some(*parent));
            }
        }
        cuts.extend(known);
        agents.push(transaction.agent);
        heard.push(known);
    }
    let mut batches: Vec<Batch> = Vec::new();
    let mut open: HashMap<usize, usize> = HashMap::new();
    for (n, transaction) in transactions.into_iter().enumerate() {
        let goes_on = open.get(&transaction.agent).copied().filter(|at| {
            let batch = &batches[*at];
            batch.heard == heard[n] && !cuts.contains(&batch.last) && batch.edits.len() < most
        });
        let at = goes_on.unwrap_or_else(|| {
            batches.push(Batch {
                agent: transaction.agent,
                last: n,
                heard: heard[n],
                edits: Vec::new(),
            });
            batches.len() - 1
        });
        open.insert(transaction.agent, at);
        batches[at].last = n;
        let edits = transaction.patches.into_iter();
        batches[at]
            .edits
            .extend(edits.map(|(at, delete, insert)| Edit { at, delete, insert }));
    }
    Ok(batches)
}

/// What two people do who hear each other at least as soon as in the recording: a device cannot hear
/// only a part of what the server has. Each edit is moved to where it belongs in what its author shows.
fn exchanged(batches: Vec<Batch>) -> Outcome<Vec<Step>> {
    let agents = batches.iter().map(|batch| batch.agent).max().unwrap_or(0) + 1;
    // As it was recorded, and as it is played.
    let recorded: Vec<BareText> = (1..).take(agents).map(BareText::new).collect();
    let played: Vec<BareText> = (101..).take(agents).map(BareText::new).collect();
    let mut shown = vec![String::new(); agents];
    let mut updates: Vec<Vec<Vec<u8>>> = Vec::with_capacity(batches.len());
    let (mut heard, mut exchanged) = (vec![0; agents], 0);
    let mut steps = Vec::new();
    for batch in &batches {
        let agent = batch.agent;
        let (as_recorded, as_played) = (&recorded[agent], &played[agent]);
        let next = &mut heard[agent];
        while let Some(other) = batches[..updates.len()].get(*next) {
            if other.agent != agent {
                if batch.heard.is_none_or(|heard| other.last > heard) {
                    break;
                }
                for update in &updates[*next] {
                    as_recorded.apply(update)?;
                }
                if *next >= exchanged {
                    steps.push(Step::Exchange);
                    for (of, updates) in batches.iter().zip(&updates).skip(exchanged) {
                        for to in (0..agents).filter(|to| *to != of.agent) {
                            updates
                                .iter()
                                .try_for_each(|update| played[to].apply(update))?;
                        }
                    }
                    exchanged = updates.len();
                    shown = played.iter().map(BareText::content).collect();
                }
            }
            *next += 1;
        }
        let (mut own, mut edits) = (Vec::new(), Vec::new());
        for edit in &batch.edits {
            let update = as_recorded.edit(std::slice::from_ref(edit));
            as_played.apply(&update)?;
            let now = as_played.content();
            edits.extend(difference(&shown[agent], &now));
            shown[agent] = now;
            own.push(update);
        }
        updates.push(own);
        steps.push(Step::Type { agent, edits });
    }
    steps.push(Step::Exchange);
    Ok(steps)
}

/// The edit between two texts, if they differ.
fn difference(before: &str, after: &str) -> Option<Edit> {
    let (before, after): (Vec<char>, Vec<char>) =
        (before.chars().collect(), after.chars().collect());
    let same =
        |pairs: &mut dyn Iterator<Item = (&char, &char)>| pairs.take_while(|(a, b)| a == b).count();
    let at = same(&mut before.iter().zip(&after));
    let behind = same(&mut before[at..].iter().rev().zip(after[at..].iter().rev()));
    let edit = Edit {
        at: u32::try_from(at).ok()?,
        delete: u32::try_from(before.len() - behind - at).ok()?,
        insert: after[at..after.len() - behind].iter().collect(),
    };
    (edit.delete > 0 || !edit.insert.is_empty()).then_some(edit)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn typed(agent: usize, parents: &[usize], at: u32, insert: &str) -> Transaction {
        Transaction {
            parents: parents.to_vec(),
            agent,
            patches: vec![(at, 0, insert.to_owned())],
        }
    }

    #[test]
    fn edits_are_moved_to_where_they_belong_in_what_their_author_shows() {
        // The second writes behind "ab" without having heard "ab!", and then hears of all.
        let recorded = vec![
            typed(0, &[], 0, "ab"),
            typed(0, &[0], 0, ">"),
            typed(1, &[0], 2, "cd"),
            typed(0, &[1], 3, "!"),
            typed(1, &[2, 3], 0, "#"),
        ];
        let steps = exchanged(batches(recorded, 16).unwrap()).unwrap();
        let texts = [BareText::new(1), BareText::new(2)];
        let mut untold: Vec<(usize, Vec<u8>)> = Vec::new();
        for step in steps {
            match step {
                Step::Type { agent, edits } => untold.push((agent, texts[agent].edit(&edits))),
                Step::Exchange => {
                    for (by, update) in untold.drain(..) {
                        texts[1 - by].apply(&update).unwrap();
                    }
                }
            }
        }
        assert_eq!(texts[0].content(), texts[1].content());
        let mut letters: Vec<char> = texts[0].content().chars().collect();
        letters.sort_unstable();
        assert_eq!(letters.iter().collect::<String>(), "!#>abcd");
    }

    #[test]
    fn one_difference_is_found() {
        let edit = difference("one two", "one, two").unwrap();
        assert_eq!((edit.at, edit.delete, edit.insert.as_str()), (3, 0, ","));
        let edit = difference("aaa", "aa").unwrap();
        assert_eq!((edit.delete, edit.insert.as_str()), (1, ""));
        assert!(difference("a", "a").is_none());
    }
}
