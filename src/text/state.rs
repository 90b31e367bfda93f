//! What an open text's session keeps: the text itself, what its editor has not been told of it, and
//! where the selection is.

use driftline_core::text::{Delta, TextChange};

use super::session::TextNews;
use super::untold::{Untold, difference, moved, moved_past};
use super::{Offsets, failed};
use crate::error::{Error, Fault, Result, Retry};
use crate::storage::text::{Editing, News};

/// The code of what fails once a session is closed.
pub(super) const CLOSED: &str = "text_closed";
const HAS_NEWS: &str = "text_has_news";

/// What a session keeps.
pub(super) struct State {
    /// `None` once closed.
    pub(super) editing: Option<Editing>,
    /// What others did that nobody has asked for yet.
    pub(super) untold: Untold,
    /// Where the selection begins and ends, in what the editor was told.
    pub(super) selection: (u32, u32),
    /// Whether the last attempt to store failed.
    pub(super) failed: bool,
    /// When the last edit was made, on the monotonic clock.
    pub(super) edited: i64,
}

impl State {
    pub(super) fn of(editing: Editing) -> State {
        State {
            editing: Some(editing),
            untold: Untold::default(),
            selection: (0, 0),
            failed: false,
            edited: 0,
        }
    }

    pub(super) fn editing(&mut self) -> Result<&mut Editing> {
        self.editing
            .as_mut()
            .ok_or_else(|| Error::other(CLOSED, Fault::App, Retry::No, "the text was closed"))
    }

    /// Whether there is anything to take back, and to make again.
    pub(super) fn steps(&mut self) -> Result<(bool, bool)> {
        let body = self.editing()?.body()?;
        Ok((body.can_undo(), body.can_redo()))
    }

    pub(super) fn tell(&mut self, news: News) -> Result<()> {
        match news {
            News::Edits(edits) => self.untold.add(edits),
            News::Anew(anew) => {
                let others = self.go_on_with(*anew)?;
                self.untold.begin_anew(others);
            }
        }
        Ok(())
    }

    /// Goes on with the text opened anew, and what the file does not have on top of it. Answers what
    /// that changes for whoever sees both already. If it does not fit nothing has changed.
    pub(super) fn go_on_with(&mut self, mut anew: Editing) -> Result<Delta> {
        let before = self.editing()?;
        let now = anew.body()?.text().map_err(failed)?;
        let mut others = difference(&before.text_in_file()?, &now);
        for own in before.ahead()? {
            let next = others.under(&own);
            let moved = own.over(&others);
            others = next;
            anew.body()?.stage_deltas(vec![moved]).map_err(failed)?;
        }
        self.editing = Some(anew);
        Ok(others)
    }

    /// Makes edits by the offsets of an editor that may not have been told everything.
    pub(super) fn edit(&mut self, changes: &[TextChange], offsets: Offsets) -> Result<()> {
        if self.untold.is_empty() {
            let made = self.editing()?.body()?.stage(changes, offsets.unit());
            let made = made.map_err(failed)?;
            made.iter().for_each(|change| self.move_selection(change));
            return Ok(());
        }
        if offsets != Offsets::Utf16 {
            let message = "others edited the text: ask for the news first";
            return Err(Error::other(HAS_NEWS, Fault::App, Retry::Later, message));
        }
        let end = self.units()?;
        let mut untold = self.untold.clone();
        let (own, moved) = untold.pass(changes, end).map_err(failed)?;
        let made = self.editing()?.body()?.stage(&moved, offsets.unit());
        made.map_err(failed)?;
        own.iter().for_each(|change| self.move_selection(change));
        self.untold = untold;
        Ok(())
    }

    /// How long the text is for the editor.
    pub(super) fn units(&mut self) -> Result<u32> {
        let units = self.editing()?.body()?.units().map_err(failed)?;
        Ok(self.untold.units_before(units))
    }

    /// Tells everything.
    pub(super) fn take_news(&mut self) -> Vec<TextNews> {
        let anew = self.untold.is_anew();
        let edits = self.take_edits();
        match anew {
            true => vec![TextNews::Anew],
            false => edits.into_iter().map(TextNews::Edited).collect(),
        }
    }

    pub(super) fn take_edits(&mut self) -> Vec<String> {
        let edits = std::mem::take(&mut self.untold).into_edits();
        edits.iter().for_each(|change| self.move_selection(change));
        edits.iter().map(json).collect()
    }

    pub(super) fn move_selection(&mut self, change: &Delta) {
        let (from, to) = self.selection;
        // A caret stays before what comes right there; what is selected stays selected, and no more.
        self.selection = match from < to {
            true => (
                moved_past(from, change).min(moved(to, change)),
                moved(to, change),
            ),
            false => (moved(from, change), moved(to, change)),
        };
    }
}

fn json(change: &Delta) -> String {
    // Strings and scalars always have a JSON form.
    serde_json::to_string(change).unwrap_or_else(|_| "[]".to_owned())
}
