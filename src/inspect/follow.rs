//! What changes in a file while others work on it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::{QueueCounts, View, read};
use crate::document::FieldValue;
use crate::error::Result;

/// File times tick this coarsely: a write so soon after the last one seen may not show in them.
const TICK: Duration = Duration::from_millis(50);

/// Follows a file. Nothing in it changes, and nothing is held between two looks.
///
/// A look reads every document where anything has changed; whoever looks decides how often.
#[derive(Debug)]
pub struct Follower {
    path: PathBuf,
    stamp: Stamp,
    /// Whether the last write was so recent that another one may look the same.
    unsettled: bool,
    known: Known,
}

/// One thing that changed.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum FileChange {
    /// A document came, went, or has other content.
    Document {
        /// Its collection.
        collection: String,
        /// Its id.
        id: String,
        /// What happened to it.
        kind: DocumentChange,
        /// Fields that differ, by name.
        fields: BTreeMap<String, FieldChange>,
    },
    /// The outbox or quarantine changed.
    Queue(QueueCounts),
    /// The server's changes up to this version are in the file.
    Version {
        /// The version before,
        from: u64,
        /// and now.
        to: u64,
    },
    /// The loss ledger has so many rows now.
    Losses(u64),
    /// Another process was elected to sync the file; `None`: nobody is.
    Syncer(Option<String>),
}

/// A field that differs; `None` where there was or is none.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldChange {
    /// What it held.
    pub before: Option<FieldValue>,
    /// What it holds.
    pub after: Option<FieldValue>,
}

/// What happened to a document.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DocumentChange {
    /// It was not there, or was deleted.
    Added,
    /// It has other content.
    Changed,
    /// It is not there any more.
    Removed,
}

/// Sizes and times of file and log.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp([Option<(u64, Option<SystemTime>)>; 2]);

type Fields = BTreeMap<String, FieldValue>;

#[derive(Debug)]
struct Known {
    documents: BTreeMap<(String, String), Fields>,
    queue: QueueCounts,
    version: u64,
    losses: u64,
    syncer: Option<String>,
}

impl Follower {
    /// Takes the first look at the file at `path`.
    ///
    /// # Errors
    /// What [`read`] fails with.
    pub fn open(path: impl AsRef<Path>) -> Result<Follower> {
        let path = path.as_ref();
        let stamp = Stamp::of(path);
        Ok(Follower {
            path: path.to_owned(),
            unsettled: stamp.is_recent(),
            stamp,
            known: read(path, Known::of)?,
        })
    }

    /// What has changed since the last look, in no particular order; nothing if nobody wrote.
    ///
    /// # Errors
    /// What [`read`] fails with; the next look starts from the same point.
    pub fn look(&mut self) -> Result<Vec<FileChange>> {
        // Before reading: a write meanwhile is seen by the next look at the latest.
        let stamp = Stamp::of(&self.path);
        if stamp == self.stamp && !self.unsettled {
            return Ok(Vec::new());
        }
        let unsettled = stamp.is_recent();
        let now = read(&self.path, Known::of)?;
        let changes = self.known.changes_to(&now);
        (self.stamp, self.unsettled, self.known) = (stamp, unsettled, now);
        Ok(changes)
    }

    /// How many documents there are.
    pub fn documents(&self) -> usize {
        self.known.documents.len()
    }

    /// The server's version the file stands at.
    pub fn version(&self) -> u64 {
        self.known.version
    }

    /// How much is queued.
    pub fn queue(&self) -> &QueueCounts {
        &self.known.queue
    }
}

impl Stamp {
    fn of(path: &Path) -> Stamp {
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        let stamp = |path: &Path| {
            let file = std::fs::metadata(path).ok()?;
            Some((file.len(), file.modified().ok()))
        };
        Stamp([stamp(path), stamp(Path::new(&log))])
    }

    fn is_recent(&self) -> bool {
        let times = self.0.iter().flatten().filter_map(|(_, time)| *time);
        // A time in the future, after the clock was set back, tells nothing.
        times
            .into_iter()
            .any(|time| time.elapsed().map_or(true, |age| age < TICK))
    }
}

impl Known {
    fn of(view: &View) -> Result<Known> {
        let mut documents = BTreeMap::new();
        for collection in view.collections()? {
            for document in view.documents(&collection.name)?.unwrap_or_default() {
                documents.insert((collection.name.clone(), document.id), document.fields);
            }
        }
        Ok(Known {
            documents,
            queue: view.queue()?,
            version: view.facts()?.version,
            losses: view.losses(0)?.0,
            syncer: view.syncer()?,
        })
    }

    fn changes_to(&self, now: &Known) -> Vec<FileChange> {
        let mut changes = Vec::new();
        let none = Fields::new();
        let change =
            |(collection, id): &(String, String), kind, before, after| FileChange::Document {
                collection: collection.clone(),
                id: id.clone(),
                kind,
                fields: differing(before, after),
            };
        for (name, after) in &now.documents {
            match self.documents.get(name) {
                None => changes.push(change(name, DocumentChange::Added, &none, after)),
                Some(before) if before == after => {}
                Some(before) => {
                    changes.push(change(name, DocumentChange::Changed, before, after));
                }
            }
        }
        for (name, before) in &self.documents {
            if !now.documents.contains_key(name) {
                changes.push(change(name, DocumentChange::Removed, before, &none));
            }
        }
        if self.queue != now.queue {
            changes.push(FileChange::Queue(now.queue.clone()));
        }
        if self.version != now.version {
            changes.push(FileChange::Version {
                from: self.version,
                to: now.version,
            });
        }
        if self.losses != now.losses {
            changes.push(FileChange::Losses(now.losses));
        }
        if self.syncer != now.syncer {
            changes.push(FileChange::Syncer(now.syncer.clone()));
        }
        changes
    }
}

fn differing(before: &Fields, after: &Fields) -> BTreeMap<String, FieldChange> {
    let names = before.keys().chain(after.keys());
    names
        .filter(|name| before.get(*name) != after.get(*name))
        .map(|name| {
            let change = FieldChange {
                before: before.get(name).cloned(),
                after: after.get(name).cloned(),
            };
            (name.clone(), change)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Config, Database, Schema, Value};

    const SCHEMA: &str = "[schema]\nname = \"birds\"\nversion = 1\n\n[collections.birds]\nid = 1\n\n\
        [collections.birds.fields]\nname = { id = 1, kind = \"text\" }\nseen = { id = 2, kind = \"integer\" }\n";

    fn text(text: &str) -> Option<FieldValue> {
        Some(FieldValue::Value(Value::Text(text.to_owned())))
    }

    fn change(before: Option<FieldValue>, after: &str) -> FieldChange {
        FieldChange {
            before,
            after: text(after),
        }
    }

    #[test]
    fn each_look_tells_what_changed_since_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let config = Config::new(&path, Schema::parse(SCHEMA).unwrap(), "garden");
        let db = Database::open(config.with_account("ada")).unwrap();
        let mut follower = Follower::open(&path).unwrap();
        assert_eq!(follower.documents(), 0);
        assert!(follower.look().unwrap().is_empty());
        for (id, name) in [("a", "Adelie"), ("b", "Gentoo")] {
            db.write(|tx| tx.insert_with_id("birds", id, [("name", name)]))
                .unwrap();
        }
        let changes = follower.look().unwrap();
        let names: Vec<_> = changes
            .iter()
            .filter_map(|change| match change {
                FileChange::Document {
                    id, kind, fields, ..
                } => Some((id.as_str(), *kind, fields["name"].clone())),
                _ => None,
            })
            .collect();
        assert_eq!(
            names,
            [
                ("a", DocumentChange::Added, change(None, "Adelie")),
                ("b", DocumentChange::Added, change(None, "Gentoo")),
            ]
        );
        assert!(
            matches!(&changes[2], FileChange::Queue(queue) if queue.pending == 2),
            "{changes:?}"
        );
        db.write(|tx| tx.update("birds", "a", [("name", "Chinstrap")]))
            .unwrap();
        db.write(|tx| tx.delete("birds", "b").map(drop)).unwrap();
        let changes = follower.look().unwrap();
        assert_eq!(
            changes[0],
            FileChange::Document {
                collection: "birds".to_owned(),
                id: "a".to_owned(),
                kind: DocumentChange::Changed,
                fields: [("name".to_owned(), change(text("Adelie"), "Chinstrap"))].into(),
            }
        );
        assert!(
            matches!(&changes[1], FileChange::Document { id, kind: DocumentChange::Removed, .. } if id == "b"),
            "{changes:?}"
        );
        // One write right after a look that was right after a write.
        for n in 0..20 {
            db.write(|tx| tx.update("birds", "a", [("seen", n)]))
                .unwrap();
            assert!(!follower.look().unwrap().is_empty(), "{n}");
        }
        db.close().unwrap();
        std::thread::sleep(2 * TICK);
        follower.look().unwrap();
        assert!(follower.look().unwrap().is_empty());
    }
}
