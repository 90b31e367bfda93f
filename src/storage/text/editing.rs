//! A text that an editor has open: kept in step with the file, edited ahead of it by a frame.

use driftline_core::id::OpId;
use driftline_core::merge::TextState;
use driftline_core::op::{Change, ChangeKind, Refusal, TextEdit, Update, refusal};
use driftline_core::text::guard::{self, Check};
use driftline_core::text::{Delta, Mark, TextBody, TextError};

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
    /// What Yrs has of a transaction that has not ended, or not well.
    unsettled: Option<Unsettled>,
    /// What others did that was taken in while storing and nobody has asked for yet.
    heard: Vec<Delta>,
}

/// Edits of which it is not known that they are in the file.
#[derive(Default)]
struct Unsettled {
    changes: Vec<Delta>,
    /// What takes each of them back.
    inverses: Vec<Delta>,
    /// The op they were to become, once it was drawn.
    op: Option<OpId>,
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
            unsettled: None,
            heard: Vec::new(),
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
    /// got meanwhile. Answers the text opened anew, with nothing stored, if what is open is not a part of
    /// it.
    pub(crate) fn store(&mut self, tx: &WriteTx<'_>) -> Result<Option<Box<Editing>>> {
        if tx.storage().is_attaching() {
            attach::turn_at(tx, self.place.collection, &self.place.document)?;
        }
        let stored = live(tx, &self.place)?;
        match self.follow(tx, &stored)? {
            News::Edits(edits) => self.heard.extend(edits),
            News::Anew(anew) => return Ok(Some(anew)),
        }
        if self.body()?.is_staged() {
            self.unsettled = Some(Unsettled::default());
            if let Some(edited) = self.body()?.commit()? {
                self.unsettled = Some(Unsettled {
                    changes: edited.changes,
                    inverses: edited.inverses,
                    op: None,
                });
                self.write(tx, stored, edited.update)?;
            }
        }
        Ok(None)
    }

    /// What others did that storing took in, whether or not it ended well.
    pub(crate) fn take_heard(&mut self) -> Vec<Delta> {
        std::mem::take(&mut self.heard)
    }

    /// What was to be stored is in the file.
    pub(crate) fn settled(&mut self) {
        self.unsettled = None;
    }

    /// Whether a transaction did not end well: the text is to be opened anew before anything else.
    pub(crate) fn is_unsettled(&self) -> bool {
        self.unsettled.is_some()
    }

    /// Whether what was to be stored is in the file all the same, seen in the text opened anew.
    pub(crate) fn is_stored_in(&self, tx: &ReadTx<'_>, anew: &Editing) -> Result<bool> {
        let Some(op) = self.unsettled.as_ref().and_then(|unsettled| unsettled.op) else {
            return Ok(false);
        };
        let open = &anew.open;
        if open.pending.contains(&op) || open.marks.iter().any(|mark| mark.last == op) {
            return Ok(true);
        }
        let Some(seen) = &anew.seen else {
            return Ok(false);
        };
        let base = crdt::load(tx.conn(), &self.place, seen.root, 0)?;
        Ok(base.tail.iter().any(|tail| tail.op == op))
    }

    /// Whether something shows that the file does not have.
    pub(crate) fn is_ahead(&mut self) -> Result<bool> {
        Ok(self.is_unsettled() || self.body()?.is_staged())
    }

    /// What shows and the file does not have, in order.
    pub(crate) fn ahead(&mut self) -> Result<Vec<Delta>> {
        let unsettled = self.unsettled.as_ref();
        let mut ahead = unsettled.map_or_else(Vec::new, |unsettled| unsettled.changes.clone());
        ahead.extend_from_slice(self.body()?.staged());
        Ok(ahead)
    }

    /// The text without that.
    pub(crate) fn text_in_file(&mut self) -> Result<String> {
        let unsettled = self.unsettled.as_ref();
        let inverses = unsettled.map_or_else(Vec::new, |unsettled| unsettled.inverses.clone());
        Ok(self.body()?.text_before(&inverses)?)
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
        if let Some(unsettled) = &mut self.unsettled {
            unsettled.op = Mark::of(&self.open.marks, writer).map(|mark| mark.last);
        }
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
