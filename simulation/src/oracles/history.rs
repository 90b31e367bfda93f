//! What the server's log said, version by version, and what it said before it was restored.

use std::collections::BTreeMap;
use std::rc::Rc;

use driftline_core::id::{OpId, Version};
use driftline_core::protocol::{Cursor, VersionEntry};

use super::view::{Documents, Key};

/// A row of the server's log.
#[derive(Clone, Debug)]
pub struct LogRow {
    /// Where a device stands that has it.
    pub cursor: Cursor,
    /// The op.
    pub op: OpId,
    /// The version its author stood at when it wrote, as the author said when it was decided.
    pub base: Version,
    /// Where the server placed the write, in Unix milliseconds.
    pub written: i64,
    /// The server's time when it decided, in Unix milliseconds.
    pub at: i64,
    /// The account that sent it, by the server's number.
    pub account: i64,
    /// What the device that sent it calls itself.
    pub label: String,
    /// What devices are sent.
    pub entry: VersionEntry,
}

impl LogRow {
    /// Whether the version brought an edit to a text or list.
    pub fn took_text(&self, (collection, document): (u16, &str), field: u16) -> bool {
        self.entry.documents.iter().any(|result| {
            let here = result.collection == collection && result.document.as_str() == document;
            here && result.texts.get(field).is_some()
        })
    }
}

/// A version, and all documents as it left them.
#[derive(Clone, Debug)]
pub struct VersionSeen {
    /// The row.
    pub row: LogRow,
    /// All documents.
    pub documents: Documents,
}

/// One history of the server: its log.
#[derive(Clone, Debug, Default)]
pub struct History {
    versions: Vec<Rc<VersionSeen>>,
    names: BTreeMap<OpId, Version>,
}

impl History {
    /// The last version.
    pub fn head(&self) -> Version {
        self.versions.len() as Version
    }

    /// A version.
    pub fn version(&self, version: Version) -> Option<&Rc<VersionSeen>> {
        let at = usize::try_from(version.checked_sub(1)?).ok()?;
        self.versions.get(at)
    }

    /// All documents at a version.
    pub fn documents_at(&self, version: Version) -> Documents {
        self.version(version)
            .map_or_else(Documents::new, |seen| seen.documents.clone())
    }

    /// All documents now.
    pub fn documents(&self) -> Documents {
        self.documents_at(self.head())
    }

    /// The version that answers to an id.
    pub fn named(&self, id: OpId) -> Option<Version> {
        self.names.get(&id).copied()
    }

    /// The last version at which a document was dead; 0 if it never was.
    pub fn last_dead(&self, key: &Key) -> Version {
        let is_dead = |seen: &Rc<VersionSeen>| {
            let document = seen.documents.get(key);
            document.is_some_and(|document| !document.is_alive())
        };
        let dead = self.versions.iter().rposition(is_dead);
        dead.map_or(0, |at| at as Version + 1)
    }

    /// Whether a device that stands at the cursor stands in this history.
    pub fn has(&self, cursor: Cursor) -> bool {
        cursor.version == 0
            || self
                .version(cursor.version)
                .is_some_and(|seen| seen.row.cursor.hash == cursor.hash)
    }

    /// Adds the next version. Says which of its ids were named before.
    pub fn append(&mut self, row: LogRow) -> Vec<OpId> {
        let mut documents = self.documents();
        for result in &row.entry.documents {
            let key = (result.collection, result.document.as_str().to_owned());
            let state = match documents.get(&key) {
                Some(before) if !result.whole => {
                    let mut state = (**before).clone();
                    state.take(result.state.clone());
                    state
                }
                _ => result.state.clone(),
            };
            documents.insert(key, Rc::new(state));
        }
        let version = self.head() + 1;
        let mut again = Vec::new();
        for id in &row.entry.ids {
            if self.names.contains_key(id) {
                again.push(*id);
            } else {
                self.names.insert(*id, version);
            }
        }
        self.versions.push(Rc::new(VersionSeen { row, documents }));
        again
    }

    /// The same up to a version.
    fn up_to(&self, version: Version) -> History {
        let mut history = self.clone();
        history
            .versions
            .truncate(usize::try_from(version).unwrap_or(usize::MAX));
        history.names.retain(|_, at| *at <= version);
        history
    }
}

/// The server's history, and those that were lost when it was restored.
#[derive(Clone, Debug, Default)]
pub struct Histories {
    /// What the server says now.
    pub current: History,
    former: Vec<History>,
}

impl Histories {
    /// The server was restored: it begins again behind a version.
    pub fn restored_to(&mut self, version: Version) {
        let kept = self.current.up_to(version);
        self.former.push(std::mem::replace(&mut self.current, kept));
    }

    /// Versions behind this one never counted: the server died before it knew that they would last.
    pub fn forget_after(&mut self, version: Version) {
        self.current = self.current.up_to(version);
    }

    /// The histories in which a cursor is, the present one first.
    pub fn with(&self, cursor: Cursor) -> impl Iterator<Item = &History> {
        let all = std::iter::once(&self.current).chain(self.former.iter().rev());
        all.filter(move |history| history.has(cursor))
    }

    /// Whether the server was ever restored.
    pub fn changed(&self) -> bool {
        !self.former.is_empty()
    }

    /// Whether a version up to the cursor answers to the id, in any history in which the cursor is.
    pub fn named_at(&self, id: OpId, cursor: Cursor) -> bool {
        let named = |history: &History| history.named(id).is_some_and(|at| at <= cursor.version);
        self.with(cursor).any(named)
    }

    /// Whether the server ever had these documents at the cursor or behind it.
    pub fn stood_behind(&self, cursor: Cursor, documents: &Documents) -> bool {
        let mut all = self.with(cursor);
        all.any(|history| {
            let mut versions = cursor.version..=history.head();
            versions.any(|at| history.documents_at(at) == *documents)
        })
    }

    /// Whether the server has lost what once followed the cursor.
    pub fn lost_behind(&self, cursor: Cursor) -> bool {
        let followed = |history: &History| {
            let next = history.version(cursor.version + 1);
            next.is_some_and(|next| !self.current.has(next.row.cursor))
        };
        self.with(cursor).any(followed)
    }

    /// Whether any history ever named it.
    pub fn ever_named(&self, id: OpId) -> bool {
        let all = std::iter::once(&self.current).chain(&self.former);
        all.into_iter().any(|history| history.named(id).is_some())
    }
}
