//! O11 on the server: its file holds what its documents and the log are, and nothing beside.
//!
//! What is kept for good is the log, a verdict for every id, the documents with their tombstones, the state
//! of every text of a document, and the ledger ([storage.md](../../../docs/storage.md)). How much of that
//! there is follows from the versions that devices are told of; the file is then measured, table by table.

use std::collections::BTreeMap;

use super::{Judgement, object};

const ORACLE: &str = "O11 tidy";

/// What else a row takes: numbers, hashes, ids, a document's name.
const A_ROW: u64 = 200;

/// What tables take of which the design says nothing in numbers: who wrote, and what the file is.
const ALL_ELSE: u64 = 64 << 10;

/// The most bytes of a value that apps of the worlds write, and of what stands beside it in the ledger.
const A_LOSS: u64 = 8 << 10;

/// SQLite's pages.
const PAGE: u64 = 4 << 10;

/// Pages of the log above which it is moved into the file, and begins again: twice what the server strives
/// for, because those who read may keep it for a while, and room for the largest commit.
const LOG_PAGES: u64 = 3_000;

/// What the server must keep, by what it told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Ids that it decided, or may have.
    pub ids: u64,
    /// Versions.
    pub versions: u64,
    /// Changes of documents, of all ops.
    pub changes: u64,
    /// Bytes of what devices are told of versions.
    pub entries: u64,
    /// Of these, edits of texts.
    pub typed: u64,
    /// Documents, tombstones included.
    pub documents: u64,
    /// Bytes of their states.
    pub states: u64,
    /// Texts that documents have.
    pub texts: u64,
    /// Values lost, by its own word.
    pub losses: u64,
}

/// What the server's file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// Bytes of rows by table; indexes are counted with what they index.
    pub tables: BTreeMap<String, u64>,
    /// The file's bytes.
    pub file: u64,
    /// Bytes of its log.
    pub log: u64,
    /// Edits that stand in a tail although they are in the text's state.
    pub folded: u64,
    /// Edits that are not folded yet, of texts that can be.
    pub unfolded: u64,
}

impl Kept {
    /// The most that the rows of a table may take; `None` for those that share what is left.
    fn most(&self, table: &str) -> Option<u64> {
        Some(match table {
            "log" => self.entries + self.versions * A_ROW + self.changes * A_ROW / 2,
            // The state, and the same as JSON with names in place of numbers.
            "documents" => 3 * self.states + 2 * self.documents * A_ROW,
            "verdicts" => 2 * self.ids * A_ROW + self.changes * A_ROW / 2,
            // What was typed as a state of its own, as text, and as a delta.
            "texts" => 8 * self.typed + 4 * self.texts * A_ROW,
            "losses" => self.losses * A_LOSS,
            // All was folded.
            "text_tail" => 0,
            _ => return None,
        })
    }
}

/// Once all texts are folded the file holds what is to be kept and no more.
pub fn server_keeps_no_more(kept: &Kept, room: &Room) -> Judgement {
    if room.folded > 0 {
        let rows = room.folded;
        return object(ORACLE, format!("{rows} edits were folded and are kept"));
    }
    if room.unfolded > 0 {
        let rows = room.unfolded;
        return object(ORACLE, format!("{rows} edits are not folded"));
    }
    let (mut most, mut else_there) = (ALL_ELSE, 0);
    for (table, bytes) in &room.tables {
        match kept.most(table) {
            Some(allowed) if *bytes > allowed && table != "text_tail" => {
                return object(
                    ORACLE,
                    format!(
                        "the server's {table} takes {bytes} bytes, of {allowed} that follow from {kept:?}"
                    ),
                );
            }
            Some(allowed) => most += allowed,
            None => else_there += bytes,
        }
    }
    if else_there > ALL_ELSE {
        return object(ORACLE, format!("all else takes {else_there} bytes"));
    }
    // Pages are half full at least, trees of few rows take a page or two, what is long pages of its own; and
    // as much may be free: what was folded was there.
    let pages = PAGE * 4 * (room.tables.len() as u64 + kept.texts + kept.losses);
    let allowed = 4 * most + pages;
    if room.file > allowed {
        let file = room.file;
        return object(
            ORACLE,
            format!("the server's file takes {file} bytes, of {allowed} that follow from {kept:?}"),
        );
    }
    match room.log > LOG_PAGES * PAGE {
        true => object(ORACLE, format!("the server's log takes {} bytes", room.log)),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept() -> Kept {
        Kept {
            ids: 10,
            versions: 8,
            changes: 12,
            entries: 2_000,
            typed: 300,
            documents: 5,
            states: 600,
            texts: 1,
            losses: 1,
        }
    }

    fn room() -> Room {
        let tables = [
            ("log", 4_000),
            ("documents", 2_000),
            ("verdicts", 800),
            ("texts", 1_500),
            ("losses", 300),
            ("authors", 200),
        ];
        Room {
            tables: tables.map(|(name, n)| (name.to_owned(), n)).into(),
            file: 100_000,
            log: 1 << 20,
            folded: 0,
            unfolded: 0,
        }
    }

    #[test]
    fn what_is_to_be_kept_fits() {
        assert_eq!(server_keeps_no_more(&kept(), &room()), Ok(()));
    }

    #[test]
    fn what_is_kept_beside_is_refused() {
        type Spoil = fn(&mut Room);
        let spoil: [Spoil; 6] = [
            |room| room.folded = 1,
            |room| room.unfolded = 1,
            |room| room.log = LOG_PAGES * PAGE + 1,
            |room| room.file = 10 << 20,
            |room| *room.tables.entry("log".to_owned()).or_default() = 5_000,
            |room| *room.tables.entry("authors".to_owned()).or_default() = ALL_ELSE + 1,
        ];
        for spoil in spoil {
            let mut room = room();
            spoil(&mut room);
            assert!(server_keeps_no_more(&kept(), &room).is_err(), "{room:?}");
        }
        let nothing = Kept::default();
        assert!(server_keeps_no_more(&nothing, &room()).is_err());
    }
}
