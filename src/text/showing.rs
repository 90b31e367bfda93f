//! Texts that keep changing are shown to queries about once a second, behind the edits.

use std::sync::{Arc, Weak};

use crate::storage::{Result, Storage, StorageError, text};

/// Has texts whose rows are behind written a moment later, for as long as the storage is there.
pub(crate) fn keep_up(storage: &Arc<Storage>) -> Result<()> {
    if !has_texts(storage) {
        return Ok(());
    }
    // Whoever had the file open before may have ended in the middle.
    storage.show_texts()?;
    let behind = Arc::downgrade(storage);
    storage.hooks().on_commit(move |_| {
        if let Some(storage) = behind.upgrade().filter(|s| s.showing().take_up()) {
            show_later(&storage, &behind, text::SHOWN_EVERY.unsigned_abs());
        }
    });
    Ok(())
}

/// While a disk fails, texts are tried again after twice the time, up to this.
const LONGEST_WAIT: u64 = 60_000;

fn show_later(storage: &Storage, behind: &Weak<Storage>, wait: u64) {
    let executor = Arc::clone(&storage.environment().executor);
    let (timer, behind) = (Arc::clone(&executor), behind.clone());
    let task = async move {
        timer.sleep(wait).await;
        let Some(storage) = behind.upgrade() else {
            return;
        };
        // From here on a text that falls behind needs somebody else.
        storage.showing().arrived();
        match storage.show_texts() {
            // Letting go of the file shows them.
            Ok(()) | Err(StorageError::Suspended | StorageError::Closed) => {}
            Err(error) => {
                tracing::warn!(%error, "texts could not be shown to queries");
                // Nobody else may ever change them again.
                storage.showing().note_behind();
                if storage.showing().take_up() {
                    show_later(&storage, &behind, (2 * wait).min(LONGEST_WAIT));
                }
            }
        }
    };
    executor.spawn("driftline-texts", Box::pin(task));
}

/// Shows everything before the file is let go of.
pub(crate) fn catch_up(storage: &Storage) -> Result<()> {
    match has_texts(storage) {
        true => storage.show_texts(),
        false => Ok(()),
    }
}

fn has_texts(storage: &Storage) -> bool {
    storage
        .layout()
        .tables()
        .any(|table| !table.texts.is_empty())
}
