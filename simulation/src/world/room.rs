//! How much the server's file takes, and how much of that follows from what it told.

use driftline_core::protocol::VersionEntry;

use super::World;
use crate::machine::workspace_file;
use crate::oracles::{self, Judgement, Kept};

impl World<'_> {
    /// Once all is folded the server's file holds what is to be kept and no more.
    pub(super) fn server_is_tidy(&self) -> Judgement {
        let Some(watcher) = &self.server_watcher else {
            return Ok(());
        };
        let mut room = oracles::sound(watcher.room(), "the server")?;
        if let Some(file) = workspace_file(&self.server.disk) {
            let log = self.server.disk.read(&format!("{file}-wal"));
            room.log = log.map_or(0, |log| log.len() as u64);
        }
        let losses = oracles::sound(watcher.loss_numbers(), "the server")?;
        let losses = losses.values().map(|numbers| numbers.len() as u64).sum();
        oracles::server_keeps_no_more(&self.kept(losses), &room)
    }

    /// What the server must keep, by what devices were told of.
    fn kept(&self, losses: u64) -> Kept {
        let history = &self.histories.current;
        let documents = history.documents();
        let mut kept = Kept {
            ids: self.bodies.count() + self.rejected.len() as u64,
            versions: history.head(),
            documents: documents.len() as u64,
            states: documents.values().map(|state| bytes(&**state)).sum(),
            texts: documents
                .values()
                .map(|state| state.texts.iter().count() as u64)
                .sum(),
            changes: self.bodies.changes(),
            losses,
            ..Kept::default()
        };
        for version in 1..=history.head() {
            if let Some(seen) = history.version(version) {
                let entry = &seen.row.entry;
                kept.entries += bytes(entry);
                kept.typed += typed(entry);
                kept.ids += entry.ids.len() as u64;
                kept.changes += entry.documents.len() as u64;
            }
        }
        kept
    }
}

/// Bytes of edits in a version.
fn typed(entry: &VersionEntry) -> u64 {
    let texts = entry
        .documents
        .iter()
        .flat_map(|result| result.texts.iter());
    texts.map(|(_, update)| bytes(update)).sum()
}

fn bytes<T: minicbor::Encode<()>>(value: &T) -> u64 {
    // Writing to memory cannot fail.
    minicbor::to_vec(value).map_or(0, |bytes| bytes.len() as u64)
}
