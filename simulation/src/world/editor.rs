//! What apps do in editors: keystrokes that show at once and are stored within a frame, taken back and made
//! again.

use std::collections::BTreeSet;

use driftline::{Result, TextEdit, TextSession};
use driftline_core::id::OpId;
use driftline_simvfs::Random;

use super::World;
use super::asking::WORDS;
use super::schema::LETTERS;
use super::words::Typed;
use super::write::{draw_gap, letter};
use crate::oracles::{self, Ask, Asked, Judgement, Queued};

/// What became of the words of a text while somebody typed.
struct Keys {
    /// What was done, for the trace.
    done: String,
    /// The new one.
    put: Option<String>,
    /// They were there, and are not any more.
    gone: Vec<String>,
    /// They are there now, and were not.
    back: Vec<String>,
}

impl World<'_> {
    /// Somebody types a word into a letter that is open in an editor, deletes one, or takes back or makes
    /// again what was done there, and it is stored at once.
    pub(super) fn edit_text(&mut self, at: usize, value: &str, random: &mut Random) -> Judgement {
        let (companion, id) = (random.one_in(2), letter(random));
        let program = self.sites[at].program_mut(companion);
        if !program.is_alive() {
            return Ok(());
        }
        let session = match program.editor(&id) {
            Some(Ok(session)) => session,
            Some(Err(error)) => {
                self.told::<()>(at, &Err(error));
                return Ok(());
            }
            None => return Ok(()),
        };
        let keys = type_keys(&session, value, random);
        self.told(at, &keys);
        let Ok(keys) = keys else {
            // The letter may be gone: the next one opens it anew.
            self.sites[at].program_mut(companion).close_editor(&id);
            return self.look_at(at);
        };
        self.trace
            .line(format_args!("    s{at} edits {id}: {}", keys.done));
        for word in &keys.gone {
            let typed = Typed::taken_out(&id, WORDS.0, word);
            self.words.may_be(&typed);
        }
        keys.back.iter().for_each(|word| self.words.restored(word));
        self.store_keys(at, companion, (&id, &session), &keys)
    }

    /// Stores what was typed, and judges what the file says right after it.
    fn store_keys(
        &mut self,
        at: usize,
        companion: bool,
        (id, session): (&str, &TextSession),
        keys: &Keys,
    ) -> Judgement {
        let queue = self.sites[at].view.queue.iter();
        let before: BTreeSet<OpId> = queue.map(|queued| queued.id).collect();
        let stored = session.flush();
        self.told(at, &stored);
        // What is stored later, after others' edits, may come to stand inside of their words.
        self.words.meddled |= stored.is_err();
        self.look_at(at)?;
        let site = &self.sites[at];
        let watched = site.watcher.is_some() && site.program(companion).is_alive();
        if stored.is_err() || !watched {
            return Ok(());
        }
        let what = format!("an editor of s{at}");
        let new = site.view.queue.iter();
        let new: Vec<&Queued> = new.filter(|op| !before.contains(&op.id)).collect();
        let said = Ask::Edit(WORDS.1, keys.put.clone().unwrap_or_default());
        let asked: Asked = vec![((LETTERS, id.to_owned()), said)];
        let op = match oracles::says_what_was_asked(&asked, &new, &self.schemas.app, &what) {
            Ok(op) => op,
            Err(violation) if keys.put.is_some() => return Err(violation),
            // What was taken back may not have been stored yet.
            Err(_) => return Ok(()),
        };
        if let Some(word) = &keys.put {
            self.words.said(op, Typed::put(id, WORDS.0, word));
        }
        for word in &keys.gone {
            self.words.said(op, Typed::taken_out(id, WORDS.0, word));
        }
        Ok(())
    }
}

fn type_keys(session: &TextSession, value: &str, random: &mut Random) -> Result<Keys> {
    // As editors do. Who types before that finds places by what changed, and may meet the inside of a word
    // where the text had to be read anew.
    session.news()?;
    let said = session.content()?.text().to_owned();
    let gap = draw_gap(&said, random);
    let next = said.get(gap..).and_then(|rest| rest.find(']'));
    let mut put = None;
    match (random.below(8), next) {
        (0, _) => drop(session.undo()?),
        (1, _) => drop(session.redo()?),
        (2, _) => session.end_undo_step()?,
        (3, Some(end)) => session.edit([TextEdit::delete(gap as u32, end as u32 + 1)])?,
        _ => {
            let word = format!("[{value}]");
            session.edit([TextEdit::insert(gap as u32, &word)])?;
            put = Some(word);
        }
    }
    let now = session.content()?;
    let done = format!("{said} -> {}", now.text());
    let (before, now) = (words(&said), words(now.text()));
    let own = put.clone().into_iter().collect();
    let back = &(&now - &before) - &own;
    Ok(Keys {
        done,
        put,
        gone: (&before - &now).into_iter().collect(),
        back: back.into_iter().collect(),
    })
}

/// Everything in brackets.
fn words(text: &str) -> BTreeSet<String> {
    let ends = text.match_indices(']').map(|(end, _)| end);
    let word = |end: usize| {
        let rest = text.get(..=end)?;
        Some(rest.get(rest.rfind('[')?..)?.to_owned())
    };
    ends.filter_map(word).collect()
}
