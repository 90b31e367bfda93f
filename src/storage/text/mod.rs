//! Texts and lists that people write together.
//!
//! Base and pending stand apart: what the server said is in `_dl_crdt`, own edits are in the ops of
//! the outbox, and a text is opened by applying one after the other. What a text shows stands once
//! more as plain text, for queries, in `_dl_texts`.

mod base;
mod body;
mod crdt;
mod edit;
mod editing;
mod guest;
mod open;
mod rewrite;
mod show;
pub(crate) mod shown;

pub(crate) use base::{check_snapshot, keep_own, keep_result, keep_snapshot};
pub(crate) use crdt::{TextPlace, clear};
pub(crate) use edit::{EditedText, read, refuse_readers};
pub(crate) use editing::{Editing, News};
pub(crate) use guest::{as_edits, forget_deleted, forget_guests};
pub(crate) use open::edits_among;
pub(crate) use show::{forget_gone, show_again, show_changed, show_stale_texts};
pub(crate) use shown::{SHOWN_EVERY, Showing, clear_shown, note_unshown};
#[cfg(test)]
pub(crate) use {body::Body, open::open_stored, show::opening};
