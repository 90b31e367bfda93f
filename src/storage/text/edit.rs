//! Texts that a transaction of the app edits: what it does to one text becomes one update.

use driftline_core::id::{CollectionId, DocumentId, FieldId};
use driftline_core::merge::TextState;
use driftline_core::op::{Change, ChangeKind, Refusal, TextEdit, Update, refusal};
use driftline_core::text::{Delta, ListChange, Mark, OffsetUnit, TextBody, TextChange, TextError};

use super::super::error::{Result, StorageError};
use super::super::local::LocalWrite;
use super::super::read::ReadTx;
use super::super::{Storage, meta, row};
use super::body::{Body, Elements};
use super::crdt::TextPlace;
use super::open::{OpenText, Opening, PendingEdit, edits_in, open, open_stored};
use super::show::opening;
use super::shown;

/// A text that the transaction has looked at.
pub(crate) struct EditedText {
    pub(crate) place: TextPlace,
    opening: Opening,
    open: OpenText,
    /// What the document said of it before the transaction, and own edits from before.
    shown: Option<TextState>,
    pending: Vec<PendingEdit>,
    /// What the transaction did to a list, and the update if it was one call.
    list: Vec<ListChange>,
    list_update: Option<Vec<u8>>,
    /// Whether it shows something that its row does not.
    behind: bool,
}

impl LocalWrite<'_> {
    /// Edits a rich text; checked in full before anything is done.
    pub(crate) fn edit_text(
        &mut self,
        place: &TextPlace,
        changes: &[TextChange],
        unit: OffsetUnit,
    ) -> Result<()> {
        refuse_readers(self.tx().storage())?;
        let text = self.open_text(place)?;
        let Body::RichText(body) = &mut text.open.body else {
            return Err(TextError::WrongText.into());
        };
        text.behind |= !body.stage(changes, unit)?.is_empty();
        Ok(())
    }

    /// Edits a list; checked in full before anything is done.
    pub(crate) fn edit_list(&mut self, place: &TextPlace, changes: Vec<ListChange>) -> Result<()> {
        refuse_readers(self.tx().storage())?;
        let text = self.open_text(place)?;
        let Body::List(body) = &mut text.open.body else {
            return Err(TextError::WrongText.into());
        };
        let update = body.edit(&changes)?;
        text.behind |= update.is_some();
        text.list_update = update.filter(|_| text.list.is_empty());
        text.list.extend(changes);
        Ok(())
    }

    /// What a rich text shows: its content, and its length in UTF-16 units.
    pub(crate) fn read_text<T>(
        &mut self,
        place: &TextPlace,
        read: impl FnOnce(&mut TextBody) -> std::result::Result<T, TextError>,
    ) -> Result<T> {
        match &mut self.open_text(place)?.open.body {
            Body::RichText(body) => Ok(read(body)?),
            Body::List(_) => Err(TextError::WrongText.into()),
        }
    }

    /// What a rich text holds, with its formats.
    pub(crate) fn content_of(&mut self, place: &TextPlace) -> Result<Delta> {
        self.read_text(place, |body| body.content())
    }

    /// The elements of a list.
    pub(crate) fn elements_of(&mut self, place: &TextPlace) -> Result<Elements> {
        Ok(self.open_text(place)?.open.body.elements()?)
    }

    /// What the texts of a document show to queries.
    pub(crate) fn texts_of(
        &mut self,
        collection: CollectionId,
        document: &DocumentId,
    ) -> Result<Vec<(FieldId, String)>> {
        let Some(table) = self.tx().layout().table(collection).cloned() else {
            return Ok(Vec::new());
        };
        let mut texts = Vec::new();
        for (field, _) in &table.texts {
            let edited = self.texts.iter_mut().find(|text| {
                text.place.field == *field
                    && text.place.document == *document
                    && text.place.collection == collection
            });
            if let Some(edited) = edited {
                texts.push((*field, edited.open.body.plain()?));
                continue;
            }
            let written = self.shown(collection, document)?;
            if written.is_some_and(|shown| shown.texts.get(*field).is_some()) {
                let shown = shown::read(self.tx().conn(), collection, document, *field)?;
                texts.extend(shown.map(|shown| (*field, shown)));
            }
        }
        Ok(texts)
    }

    fn open_text(&mut self, place: &TextPlace) -> Result<&mut EditedText> {
        let at = match self.texts.iter().position(|text| text.place == *place) {
            Some(at) => at,
            None => {
                let text = self.read_in(place)?;
                self.texts.push(text);
                self.texts.len() - 1
            }
        };
        let missing = || StorageError::Internal("a text was opened and is not there".to_owned());
        self.texts.get_mut(at).ok_or_else(missing)
    }

    fn read_in(&mut self, place: &TextPlace) -> Result<EditedText> {
        let tx = self.tx();
        let writer = writer(tx)?;
        let opening = opening(tx.layout(), place, writer);
        let opening = opening.ok_or(TextError::WrongText)?;
        // Before it is read: a guest's document becomes an op by being looked at.
        let shown = self.shown(place.collection, &place.document)?;
        let shown = shown
            .and_then(|shown| shown.texts.get(place.field))
            .cloned();
        let stored = tx.load(place.collection, &place.document)?;
        let pending = match &stored {
            Some(stored) => edits_in(tx.conn(), place, stored)?,
            None => Vec::new(),
        };
        let open = open(tx.conn(), place, opening, shown.as_ref(), &pending)?;
        Ok(EditedText {
            place: place.clone(),
            opening,
            open,
            shown,
            pending,
            list: Vec::new(),
            list_update: None,
            behind: false,
        })
    }

    /// Makes changes of the op out of edits of texts: of all of them, or of one document's before
    /// something is done to it as a whole.
    pub(crate) fn close_texts(&mut self, of: Option<(CollectionId, &DocumentId)>) -> Result<()> {
        let is_meant = |text: &EditedText| {
            of.is_none_or(|(collection, document)| {
                text.place.collection == collection && text.place.document == *document
            })
        };
        let mut closing: Vec<EditedText> =
            self.texts.extract_if(.., |text| is_meant(text)).collect();
        for text in &mut closing {
            if let Some(edit) = self.close(text)? {
                self.apart.extend(text.open.first_by_another(edit.writer));
                let place = &text.place;
                let (collection, document) = (place.collection, place.document.clone());
                let mut change = Change::new(collection, document, ChangeKind::Update);
                change.texts.insert(place.field, edit);
                self.apply(change)?;
            }
            self.show_text(text)?;
        }
        Ok(())
    }

    fn close(&self, text: &mut EditedText) -> Result<Option<TextEdit>> {
        let update = match &mut text.open.body {
            Body::RichText(body) => body.commit()?.map(|edited| edited.update),
            Body::List(_) if text.list.is_empty() => None,
            Body::List(_) => match text.list_update.take() {
                Some(update) => Some(update),
                None => self.repeat_list(text)?,
            },
        };
        let marks = text.shown.as_ref().map_or(&[][..], |shown| &shown.marks);
        let writer = text.opening.writer;
        Ok(update.map(|update| TextEdit {
            writer,
            update: Update(update),
            after: Mark::of(marks, writer).map(|mark| mark.last),
        }))
    }

    /// All edits of a list as one update: made once more on the list as it was.
    fn repeat_list(&self, text: &EditedText) -> Result<Option<Vec<u8>>> {
        let (conn, shown) = (self.tx().conn(), text.shown.as_ref());
        let mut before = open(conn, &text.place, text.opening, shown, &text.pending)?;
        match &mut before.body {
            Body::List(body) => Ok(body.edit(&text.list)?),
            Body::RichText(_) => Err(TextError::WrongText.into()),
        }
    }

    /// Writes what texts show, so that SQL in this transaction sees it.
    pub(crate) fn show_texts(&mut self) -> Result<()> {
        let mut texts = std::mem::take(&mut self.texts);
        let shown = texts.iter_mut().try_for_each(|text| self.show_text(text));
        self.texts = texts;
        shown
    }

    fn show_text(&self, text: &mut EditedText) -> Result<()> {
        if std::mem::take(&mut text.behind) {
            let plain = text.open.body.plain()?;
            shown::write(self.tx().conn(), &text.place, &plain)?;
            self.tx()
                .note_text(text.place.collection, &text.place.document);
        }
        Ok(())
    }
}

/// What a reader types the server would refuse, and spoil the writer's clocks with it.
pub(crate) fn refuse_readers(storage: &Storage) -> Result<()> {
    match storage.is_reader() {
        true => Err(Refusal::new(refusal::READ_ONLY, "the token's role is reader").into()),
        false => Ok(()),
    }
}

/// Who writes text in this file.
pub(crate) fn writer(tx: &ReadTx<'_>) -> Result<u64> {
    let writer = tx.meta::<i64>(meta::key::WRITER)?;
    let writer = writer.ok_or_else(|| StorageError::unreadable("writer"))?;
    Ok(writer.cast_unsigned())
}

/// A text of a live document, own pending edits included; `None` if there is no such document.
pub(crate) fn read(tx: &ReadTx<'_>, place: &TextPlace) -> Result<Option<Body>> {
    let Some(table) = tx.layout().table(place.collection) else {
        return Ok(None);
    };
    let stored = row::load_row(tx.conn(), table, &place.document)?;
    let Some(stored) = stored.filter(|stored| stored.shown.is_alive()) else {
        return Ok(None);
    };
    let opening = opening(tx.layout(), place, 1).ok_or(TextError::WrongText)?;
    Ok(Some(open_stored(tx.conn(), place, opening, &stored)?.body))
}
