//! The story, act by act.

mod conflicts;
mod entry;
mod healing;
mod journal;
mod meeting;
mod mending;
mod tables;
mod verdict;
mod watched;

pub(super) use conflicts::conflicts;
pub(super) use entry::entry;
pub(super) use healing::healing;
pub(super) use journal::{Notes, journal};
pub(super) use meeting::meeting;
pub(super) use mending::mending;
pub(super) use verdict::verdict;
pub(super) use watched::watched;
