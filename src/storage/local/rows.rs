//! The documents' rows, as the transaction leaves them.

use driftline_core::fold::BaseImage;
use driftline_core::op::{Change, OpBody};

use super::LocalWrite;
use crate::storage::error::{Result, StorageError};
use crate::storage::insert::Fresh;
use crate::storage::predict::Head;
use crate::storage::row::StoredDocument;
use crate::storage::text;

impl LocalWrite<'_> {
    /// Writes the documents' rows, so that SQL in this transaction sees them.
    pub(crate) fn flush(&mut self) -> Result<()> {
        let shown = self.write_what_shows();
        // What the app was refused it may leave out; a write that failed half way it may not.
        self.broken |= matches!(&shown, Err(error) if !matches!(error, StorageError::Refused(_)));
        shown
    }

    fn write_what_shows(&mut self) -> Result<()> {
        self.show_texts()?;
        (0..self.documents.len()).try_for_each(|at| self.show_fresh(at))?;
        self.write_rows(None)?;
        for working in &self.documents {
            if let Some(stored) = working.written.as_ref().or(working.before.as_ref()) {
                self.tx
                    .index_texts(working.collection, &working.id, stored)?;
            }
        }
        Ok(())
    }

    /// Writes what differs from the file. `body` is what the transaction said, once that is all.
    pub(super) fn write_rows(&mut self, body: Option<&OpBody>) -> Result<()> {
        let Some(head) = self.head else { return Ok(()) };
        let guest = self.tx.storage().is_guest();
        let last = body.is_some();
        if let Some(body) = body {
            self.write_fresh(body, head)?;
        }
        let mut insert = None;
        for working in self.documents.iter_mut().filter(|working| working.dirty) {
            let shown = match last {
                true => working.after.take(),
                false => working.after.clone(),
            };
            let Some(shown) = shown else { continue };
            let mut after = match guest {
                true => StoredDocument::new(shown, None, None),
                false => {
                    let before = working.before.as_ref();
                    let image = before.map_or(Some(BaseImage::Absent), |b| b.image_of(&shown));
                    StoredDocument::new(shown, image, Some(head.op))
                }
            };
            let before = working.written.as_deref().or(working.before.as_deref());
            let (collection, id) = (working.collection, &working.id);
            // Before its row, which is indexed by what its texts show.
            if let Some(before) = before.filter(|before| !before.shown.is_alive()) {
                text::show_again(self.tx, (collection, id), before, &after.shown)?;
            }
            match self.quiet {
                true => self.tx.store_quietly(collection, id, before, &mut after)?,
                false => self
                    .tx
                    .store_next(collection, id, before, &mut after, &mut insert)?,
            }
            if !last {
                working.written = Some(Box::new(after));
            }
            working.dirty = false;
        }
        Ok(())
    }

    /// Writes the rows of fresh documents.
    fn write_fresh(&mut self, body: &OpBody, head: Head) -> Result<()> {
        let mut changes: Vec<&Change> = Vec::new();
        for working in self.documents.iter_mut().filter(|working| working.fresh) {
            changes.extend(body.changes.get(working.first));
            working.dirty = false;
        }
        let guest = self.tx.storage().is_guest();
        for alike in changes.chunk_by(|a, b| have_same_fields(a, b)) {
            self.tx.insert_fresh(&Fresh {
                changes: alike,
                write: head.write(guest),
                pending: !guest,
            })?;
        }
        Ok(())
    }
}

/// Whether both are of one collection and write the same registers.
fn have_same_fields(a: &Change, b: &Change) -> bool {
    let (mine, others) = (a.registers.iter(), b.registers.iter());
    a.collection == b.collection
        && mine.len() == others.len()
        && mine
            .zip(others)
            .all(|((mine, _), (other, _))| mine == other)
}
