//! A text that an editor has open: kept in step with the file, edited ahead of it by a frame.

use driftline_core::id::OpId;
use driftline_core::merge::TextState;
use driftline_core::op::{Change, ChangeKind, Refusal, TextEdit, Update, refusal};
use driftline_core::text::guard::{self, Check};
use driftline_core::text::{Delta, Mark, Step, TextBody, TextError};

use super::super::attach;
use super::super::error::{Result, StorageError};
use super::super::local::LocalWrite;
use super::super::read::ReadTx;
use super::super::row::{self, StoredDocument};
use super::super::write::WriteTx;
use super::body::Body;
use super::crdt::{self, TextPlace};
use super::edit::writer;
use super::open::{OpenText, Opening, PendingEdit, edits_in, note, open_stored, shown_edits};
use super::show::opening;
use super::shown;

/// A rich text that is open.
pub(crate) struct Editing {
    place: TextPlace,
    opening: Opening,
    open: OpenText,
    /// What the document said of the text when it was last looked at.
    seen: Option<TextState>,
    /// Edits that Yrs has and whose transaction has not ended yet.
    unstored: Vec<Delta>,
}

/// What happened to a text since it was last looked at.
pub(crate) enum News {
    /// Others edited it so.
    Edits(Vec<Delta>),
    /// It had to be opened anew: this is all of it.
    Anew(Box<Editing>),
}

impl Editing {
    /// Opens a text of a live document.
    pub(crate) fn open(tx: &ReadTx<'_>, place: &TextPlace) -> Result<Editing> {
        Editing::of(tx, place, &live(tx, place)?)
    }

    fn of(tx: &ReadTx<'_>, place: &TextPlace, stored: &StoredDocument) -> Result<Editing> {
        let opening = opening(tx.layout(), place, writer(tx)?).ok_or(TextError::WrongText)?;
        let mut open = open_stored(tx.conn(), place, opening, stored)?;
        match &mut open.body {
            Body::RichText(body) => body.keep_history(),
            Body::List(_) => return Err(TextError::WrongText.into()),
        }
        Ok(Editing {
            place: place.clone(),
            opening,
            open,
            seen: stored.shown.texts.get(place.field).cloned(),
            unstored: Vec::new(),
        })
    }

    /// The open text itself.
    pub(crate) fn body(&mut self) -> Result<&mut TextBody> {
        match &mut self.open.body {
            Body::RichText(body) => Ok(body),
            Body::List(_) => Err(TextError::WrongText.into()),
        }
    }

    /// Takes in what the file has got since.
    pub(crate) fn catch_up(&mut self, tx: &ReadTx<'_>) -> Result<News> {
        let stored = live(tx, &self.place)?;
        self.follow(tx, &stored)
    }

    fn follow(&mut self, tx: &ReadTx<'_>, stored: &StoredDocument) -> Result<News> {
        let shown = stored.shown.texts.get(self.place.field);
        let same_writer = writer(tx)? == self.opening.writer;
        if same_writer && shown == self.seen.as_ref() {
            return Ok(News::Edits(Vec::new()));
        }
        let root = |text: Option<&TextState>| text.map(|text| text.root);
        let begun = self.seen.is_none() && self.open.marks.is_empty();
        let goes_on = same_writer && (begun || root(shown) == root(self.seen.as_ref()));
        let news = match shown.filter(|_| goes_on) {
            Some(shown) => self.take_news(tx, stored, shown)?,
            None => None,
        };
        match news {
            Some(edits) => {
                self.seen = shown.cloned();
                Ok(News::Edits(edits))
            }
            None => Ok(News::Anew(Box::new(Editing::of(tx, &self.place, stored)?))),
        }
    }

    /// `None` if the text has to be opened anew: what is open is not a part of it.
    fn take_news(
        &mut self,
        tx: &ReadTx<'_>,
        stored: &StoredDocument,
        shown: &TextState,
    ) -> Result<Option<Vec<Delta>>> {
        let base = crdt::load(tx.conn(), &self.place, shown.root, self.open.end)?;
        if base.state.is_some() {
            return Ok(None);
        }
        let pending = edits_in(tx.conn(), &self.place, stored)?;
        let pending: Vec<&PendingEdit> = shown_edits(shown, &pending);
        // What was pending is still, or has become part of base; else it was left out.
        let known = |op: &OpId| {
            pending.iter().any(|edit| edit.op == *op) || base.tail.iter().any(|tail| tail.op == *op)
        };
        if !self.open.pending.iter().all(known) {
            return Ok(None);
        }
        let of_base = base
            .tail
            .iter()
            .map(|tail| (tail.op, tail.writer, &*tail.body));
        let own = pending
            .iter()
            .filter(|edit| !self.open.pending.contains(&edit.op))
            .map(|edit| (edit.op, edit.edit.writer, &*edit.edit.update.0));
        let (kind, limits) = (self.opening.kind, self.opening.limits.guard);
        let (mut marks, mut news) = (self.open.marks.clone(), Vec::new());
        for (op, by, update) in of_base.chain(own) {
            match guard::check(update, by, kind, &marks, &limits) {
                Ok(Check::Fits(checked)) => {
                    note(&mut marks, op, &checked);
                    news.push(checked);
                }
                Ok(Check::Contained) => {}
                Err(_) => return Ok(None),
            }
        }
        let edit = self.body()?.apply_watched(&news)?;
        self.open.marks = marks;
        self.open.end = base.tail.last().map_or(self.open.end, |tail| tail.seq);
        self.open.pending = pending.iter().map(|edit| edit.op).collect();
        Ok(Some(match edit.is_empty() {
            true => Vec::new(),
            false => vec![edit],
        }))
    }

    /// Stores what was edited since the last time, in one op of its own, on top of what the file has
    /// got meanwhile.
    pub(crate) fn store(&mut self, tx: &WriteTx<'_>) -> Result<News> {
        if tx.storage().is_attaching() {
            attach::turn_at(tx, self.place.collection, &self.place.document)?;
        }
        let stored = live(tx, &self.place)?;
        let news = self.follow(tx, &stored)?;
        if let News::Edits(_) = &news
            && let Some(edited) = self.body()?.commit()?
        {
            self.unstored = edited.changes;
            self.write(tx, stored, edited.update)?;
        }
        Ok(news)
    }

    /// The transaction has ended; answers what is in the file only if it was committed.
    pub(crate) fn stored(&mut self) -> Vec<Delta> {
        std::mem::take(&mut self.unstored)
    }

    /// What could not be stored waits for the next attempt.
    pub(crate) fn keep_unstored(&mut self, unstored: Vec<Delta>) {
        self.unstored = unstored;
    }

    /// Whether something shows that the file does not have.
    pub(crate) fn is_ahead(&mut self) -> Result<bool> {
        Ok(!self.unstored.is_empty() || self.body()?.is_staged())
    }

    /// Puts an edit that could not be stored on top of what the file has now; where it does not fit
    /// any more its words go to the end.
    pub(crate) fn put_back(&mut self, change: Delta) -> Result<()> {
        let words: String = change
            .steps()
            .iter()
            .filter_map(|step| match step {
                Step::Insert { text, .. } => Some(text.as_str()),
                _ => None,
            })
            .collect();
        let body = self.body()?;
        if body.stage_deltas(vec![change]).is_err() {
            let end = body.units()?;
            body.stage_deltas(vec![
                Delta::new().retain(end).insert(words, Default::default()),
            ])?;
        }
        Ok(())
    }

    fn write(&mut self, tx: &WriteTx<'_>, stored: StoredDocument, update: Vec<u8>) -> Result<()> {
        let writer = self.opening.writer;
        let marks = self.seen.as_ref().map_or(&[][..], |seen| &seen.marks);
        let edit = TextEdit {
            writer,
            update: Update(update),
            after: Mark::of(marks, writer).map(|mark| mark.last),
        };
        let (collection, document) = (self.place.collection, self.place.document.clone());
        let mut change = Change::new(collection, document, ChangeKind::Update);
        change.texts.insert(self.place.field, edit);
        let mut write = LocalWrite::new(tx);
        write.be_quiet();
        write.apart.extend(self.open.first_by_another(writer));
        write.expect_stored(&self.place, stored);
        write.apply(change)?;
        let shown = write.shown(collection, &self.place.document)?;
        let shown = shown.and_then(|shown| shown.texts.get(self.place.field));
        self.seen = shown.cloned();
        let text = self.seen.as_ref().ok_or(TextError::Broken)?;
        self.open.marks.clone_from(&text.marks);
        self.open
            .pending
            .extend(write.finish()?.map(|queued| queued.op));
        shown::note_stale(tx.conn(), &self.place)?;
        tx.storage().showing().note_behind();
        Ok(())
    }
}

fn live(tx: &ReadTx<'_>, place: &TextPlace) -> Result<StoredDocument> {
    let table = tx.layout().table(place.collection).cloned();
    let stored = match &table {
        Some(table) => row::load_row(tx.conn(), table, &place.document)?,
        None => None,
    };
    stored
        .filter(|stored| stored.shown.is_alive())
        .ok_or_else(|| {
            StorageError::from(Refusal::new(
                refusal::NOT_FOUND,
                "the document is not there",
            ))
        })
}
