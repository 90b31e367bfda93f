//! A write inside of a write is refused.

use std::cell::RefCell;

use super::Storage;
use super::error::{Result, StorageError};

thread_local! {
    /// Storages this thread is writing to, by address.
    static ENTERED: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// A thread that is inside a write of a file: a second one there would wait for itself for ever.
pub(super) struct Entered(usize);

impl Entered {
    pub(super) fn new(storage: &Storage) -> Result<Entered> {
        let address = std::ptr::from_ref(storage).addr();
        ENTERED.with_borrow_mut(|entered| {
            if entered.contains(&address) {
                return Err(StorageError::Nested);
            }
            entered.push(address);
            Ok(Entered(address))
        })
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        ENTERED.with_borrow_mut(|entered| entered.retain(|address| *address != self.0));
    }
}
