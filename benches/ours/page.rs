//! A page that an editor has open.

use driftline::{TextEdit, TextSession, Value};

use super::Ours;
use crate::Outcome;
use crate::recording::Edit;

const COLLECTION: &str = "pages";
const FIELD: &str = "body";

/// An open page.
pub(crate) struct Page {
    session: TextSession,
}

impl Ours {
    /// A new page that says `text`.
    pub(crate) fn insert_page(&self, id: &str, text: &str) -> Outcome<()> {
        self.database.write(|tx| {
            tx.insert_with_id(COLLECTION, id, [] as [(&str, Value); 0])?;
            if !text.is_empty() {
                tx.rich_text(COLLECTION, id, FIELD)?.insert(0, text)?;
            }
            Ok(())
        })?;
        Ok(())
    }

    /// Opens a page in an editor.
    pub(crate) fn open_page(&self, id: &str) -> Outcome<Page> {
        let session = self.database.open_text(COLLECTION, id, FIELD)?;
        Ok(Page { session })
    }

    /// What a page says to queries.
    pub(crate) fn page(&self, id: &str) -> Outcome<String> {
        let text = self.database.rich_text(COLLECTION, id, FIELD)?;
        Ok(text.ok_or("no such page")?.text().to_owned())
    }

    /// Reads a page's row, which lets its text be shown there and compacted.
    pub(crate) fn show_page(&self, id: &str) -> Outcome<()> {
        let sql = "SELECT length(body) FROM pages WHERE id = ?1";
        self.database.query(sql, [id])?;
        Ok(())
    }
}

impl Page {
    /// Makes edits and returns when they are durable and queued.
    pub(crate) fn edit(&self, edits: &[Edit]) -> Outcome<()> {
        self.session.edit(edits.iter().map(text_edit))?;
        Ok(self.session.flush()?)
    }

    /// The same where others may have taken away what an edit meant: it is made as far as it goes.
    pub(crate) fn edit_what_fits(&self, edits: &[Edit]) -> Outcome<()> {
        if self.edit(edits).is_ok() {
            return Ok(());
        }
        for edit in edits {
            let len = self.session.len()?;
            let at = edit.at.min(len);
            let delete = edit.delete.min(len - at);
            let fitting = Edit {
                at,
                delete,
                insert: edit.insert.clone(),
            };
            self.session.edit([text_edit(&fitting)])?;
        }
        Ok(self.session.flush()?)
    }

    /// Takes in what others wrote. Returns whether there was something.
    pub(crate) fn hear(&self) -> Outcome<bool> {
        Ok(!self.session.news()?.is_empty())
    }

    /// What the editor shows.
    pub(crate) fn content(&self) -> Outcome<String> {
        Ok(self.session.content()?.text().to_owned())
    }
}

fn text_edit(edit: &Edit) -> TextEdit {
    match (edit.delete, edit.insert.as_str()) {
        (0, insert) => TextEdit::insert(edit.at, insert),
        (delete, "") => TextEdit::delete(edit.at, delete),
        (delete, insert) => TextEdit::replace(edit.at, delete, insert),
    }
}
