//! What must be true when everything has healed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use driftline::FieldValue as Field;
use driftline::inspect::{FileFacts, InspectedDocument, View, read};
use driftline_server::inspect::WorkspaceFacts;
use rusqlite::{Connection, OpenFlags};
use serde::Serialize;

use crate::lives::Device;
use crate::paper::{Content, Paper, expected, untraced};
use crate::run::Aftermath;

/// One promise, and whether it held.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Check {
    pub(crate) name: &'static str,
    pub(crate) held: bool,
    /// What was seen: how much was checked, or what is wrong.
    pub(crate) seen: String,
}

/// All checks, always in the same order.
pub(crate) struct Verdict {
    pub(crate) checks: Vec<Check>,
    /// Transactions that took effect.
    pub(crate) there: u64,
    /// Versions of all workspaces.
    pub(crate) versions: u64,
    /// Rows of all devices' ledgers.
    pub(crate) losses: u64,
}

/// The most faults told of one check.
const TOLD: usize = 5;
/// The most rows of a ledger that are read.
const LEDGER: usize = 1_000_000;

#[derive(Default)]
struct Found {
    seen: u64,
    faults: Vec<String>,
}

impl Found {
    fn check(self, name: &'static str, of: &str) -> Check {
        let held = self.faults.is_empty();
        let seen = match held {
            true => format!("{} {of}", self.seen),
            false => {
                let told = self.faults.get(..TOLD).unwrap_or(&self.faults).join("; ");
                format!("{} wrong: {told}", self.faults.len())
            }
        };
        Check { name, held, seen }
    }

    fn expect(&mut self, holds: bool, fault: impl FnOnce() -> String) {
        self.seen += 1;
        if !holds {
            self.faults.push(fault());
        }
    }

    fn of(seen: usize, faults: Vec<String>) -> Found {
        Found {
            seen: seen as u64,
            faults,
        }
    }
}

/// A device's file after the end.
struct Remains {
    facts: FileFacts,
    digest: String,
    pending: u64,
    quarantined: u64,
    content: Content,
    losses: u64,
    lost: BTreeSet<String>,
}

pub(crate) fn judge(aftermath: &Aftermath, directory: &Path) -> Result<Verdict, String> {
    let mut rooms: BTreeMap<&str, Vec<(&Device, Remains)>> = BTreeMap::new();
    for device in &aftermath.devices {
        let remains = remains(&device.identity.file)
            .map_err(|error| format!("{}: {error}", device.identity.file.display()))?;
        let room = rooms.entry(&device.identity.workspace).or_default();
        room.push((device, remains));
    }
    let devices = || rooms.values().flatten();
    let mut drained = Found::of(0, aftermath.unsettled.clone());
    let mut quarantine = Found::default();
    for (device, remains) in devices() {
        let name = &device.identity.name;
        drained.expect(remains.pending == 0, || {
            format!("{name} has {} queued", remains.pending)
        });
        quarantine.expect(remains.quarantined == 0, || {
            format!("{name} has {} in quarantine", remains.quarantined)
        });
    }
    let mut equal = Found::default();
    let (mut present, mut unheard, mut meters) = <(Found, Found, Found)>::default();
    let (mut counters, mut sets, mut drafts, mut headlines) =
        <(Found, Found, Found, Found)>::default();
    let (mut there, mut versions) = (0, 0);
    for (name, room) in &rooms {
        let server = server_facts(&directory.join("data"), name)?;
        versions += server.version;
        same_as_server(&mut equal, room, &server);
        quarantine.expect(server.rejected == 0, || {
            format!("{name}: the server rejected {}", server.rejected)
        });
        let papers: Vec<&Paper> = room.iter().map(|(device, _)| &device.paper).collect();
        // All are equal, or that check fails; the first stands for them.
        let Some((_, Remains { content, .. })) = room.first() else {
            continue;
        };
        there += content.journal.len() as u64;
        for paper in &papers {
            let lost = paper.lost(content);
            present.seen += paper.acknowledged_rows().count() as u64;
            present.faults.extend(lost);
            meters.seen += 1;
            meters.faults.extend(paper.meter_is_wrong(content));
        }
        let ordered: BTreeSet<String> = papers.iter().flat_map(|paper| paper.ids()).collect();
        unheard.seen += content.journal.len() as u64;
        unheard.faults.extend(
            content
                .journal
                .keys()
                .filter(|id| !ordered.contains(*id))
                .cloned(),
        );
        let right = expected(&papers, &content.journal);
        compare(&mut counters, &right.votes, &content.votes);
        compare_sets(&mut sets, &right.tags, &content.tags);
        compare(&mut drafts, &right.drafts, &content.drafts);
        let ledger = room.iter().flat_map(|(_, remains)| &remains.lost);
        let ledger: BTreeSet<String> = ledger.cloned().collect();
        let (seen, faults) = untraced(&papers, content, &ledger);
        headlines.seen += seen;
        headlines.faults.extend(faults);
    }
    let losses = devices().map(|(_, remains)| remains.losses).sum();
    let checks = vec![
        drained.check("every outbox drains", "devices"),
        quarantine.check("nothing is rejected or in quarantine", "queues"),
        present.check("every acknowledged write is there", "writes"),
        unheard.check("nothing is there that was not written", "writes"),
        counters.check("counters are the sum of what was written, once", "counters"),
        sets.check("sets hold what was added and not removed", "sets"),
        drafts.check(
            "documents are as last written, deleted ones gone",
            "documents",
        ),
        meters.check("joined writes show the last one", "fields"),
        headlines.check(
            "overwritten values were seen or are in the ledger",
            "values",
        ),
        equal.check("devices and server show the same", "devices"),
        intact(directory)?.check("files are intact", "files"),
        unexpected(aftermath, directory)?.check("nothing ended, failed or panicked", "logs"),
    ];
    Ok(Verdict {
        checks,
        there,
        versions,
        losses,
    })
}

fn same_as_server(equal: &mut Found, room: &[(&Device, Remains)], server: &WorkspaceFacts) {
    for (device, remains) in room {
        let name = &device.identity.name;
        let stand = (remains.facts.version, &remains.digest);
        let wanted = (server.version, &server.digest);
        equal.expect(stand == wanted, || {
            format!("{name} stands at {stand:?}, the server at {wanted:?}")
        });
    }
}

/// Zero and empty text are the same as nothing.
fn compare<T: PartialEq + Default + std::fmt::Debug>(
    found: &mut Found,
    right: &BTreeMap<String, T>,
    shown: &BTreeMap<String, T>,
) {
    let nothing = T::default();
    let keys: BTreeSet<&String> = right.keys().chain(shown.keys()).collect();
    for key in keys {
        let (right, shown) = (
            right.get(key).unwrap_or(&nothing),
            shown.get(key).unwrap_or(&nothing),
        );
        found.expect(right == shown, || {
            format!("{key} shows {shown:?}, must be {right:?}")
        });
    }
}

/// The same for sets: an empty one is nothing, and only what differs is told.
fn compare_sets(
    found: &mut Found,
    right: &BTreeMap<String, BTreeSet<String>>,
    shown: &BTreeMap<String, BTreeSet<String>>,
) {
    let nothing = BTreeSet::new();
    let keys: BTreeSet<&String> = right.keys().chain(shown.keys()).collect();
    for key in keys {
        let right = right.get(key).unwrap_or(&nothing);
        let shown = shown.get(key).unwrap_or(&nothing);
        found.expect(right == shown, || {
            let missing: Vec<_> = right.difference(shown).collect();
            let extra: Vec<_> = shown.difference(right).collect();
            format!("{key} lacks {missing:?} and has {extra:?}")
        });
    }
}

fn server_facts(data: &Path, workspace: &str) -> Result<WorkspaceFacts, String> {
    driftline_server::inspect::workspace(data, workspace)
        .map_err(|error| format!("the server's data: {error}"))?
        .ok_or_else(|| format!("the server has no {workspace}"))
}

fn remains(file: &Path) -> driftline::Result<Remains> {
    read(file, |view| {
        let queue = view.queue()?;
        let (losses, rows) = view.losses(LEDGER)?;
        let lost = rows.into_iter().filter_map(|row| match row.value {
            driftline::Value::Text(text) => Some(text),
            _ => None,
        });
        Ok(Remains {
            facts: view.facts()?,
            digest: view.digest()?.to_string(),
            pending: queue.pending,
            quarantined: queue.quarantined,
            content: content(view)?,
            losses,
            lost: lost.collect(),
        })
    })
}

fn content(view: &View) -> driftline::Result<Content> {
    let documents = |collection| -> driftline::Result<Vec<InspectedDocument>> {
        Ok(view.documents(collection)?.unwrap_or_default())
    };
    let mut content = Content::default();
    for row in documents("journal")? {
        let read = text(&row, "read").unwrap_or_default();
        let board = integer(&row, "board").map(|board| (board as u64, read));
        content.journal.insert(row.id, board);
    }
    for board in documents("boards")? {
        if let Some(headline) = text(&board, "headline") {
            content.headlines.insert(board.id.clone(), headline);
        }
        let votes = integer(&board, "votes").unwrap_or(0);
        content.votes.insert(board.id.clone(), votes);
        if let Some(Field::Set(tags)) = board.fields.get("tags") {
            let tags = tags.iter().cloned().collect();
            content.tags.insert(board.id.clone(), tags);
        }
    }
    for draft in documents("drafts")? {
        let body = text(&draft, "body").unwrap_or_default();
        content.drafts.insert(draft.id, body);
    }
    for meter in documents("meters")? {
        let value = integer(&meter, "value").unwrap_or(0);
        content.meters.insert(meter.id, value as u64);
    }
    Ok(content)
}

fn text(document: &InspectedDocument, field: &str) -> Option<String> {
    match document.fields.get(field) {
        Some(Field::Value(driftline::Value::Text(text))) => Some(text.clone()),
        _ => None,
    }
}

fn integer(document: &InspectedDocument, field: &str) -> Option<i64> {
    match document.fields.get(field) {
        Some(Field::Value(driftline::Value::Integer(number))) => Some(*number),
        _ => None,
    }
}

/// What SQLite finds in every database of the run, the server's included.
fn intact(directory: &Path) -> Result<Found, String> {
    let mut found = Found::default();
    for path in files(directory)? {
        if is_database(&path) {
            let said = integrity(&path).unwrap_or_else(|error| error.to_string());
            found.expect(said == "ok", || format!("{}: {said}", path.display()));
        }
    }
    Ok(found)
}

fn is_database(path: &Path) -> bool {
    let mut head = [0; 16];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut head));
    read.is_ok() && head == *b"SQLite format 3\0"
}

fn integrity(path: &Path) -> rusqlite::Result<String> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.query_row("PRAGMA integrity_check", [], |row| row.get(0))
}

/// Troubles noted on the way, and what processes wrote to their logs before they died.
fn unexpected(aftermath: &Aftermath, directory: &Path) -> Result<Found, String> {
    let mut found = Found::of(0, aftermath.troubles.clone());
    for device in &aftermath.devices {
        found.faults.extend(device.troubles.iter().cloned());
    }
    for path in files(directory)? {
        if path.extension().is_some_and(|end| end == "log") {
            let log = std::fs::read(&path).map_err(|error| error.to_string())?;
            let log = String::from_utf8_lossy(&log).into_owned();
            let panic = log.lines().find(|line| line.contains("panicked"));
            found.expect(panic.is_none(), || {
                format!("{}: {}", path.display(), panic.unwrap_or_default())
            });
        }
    }
    Ok(found)
}

/// All files below a directory.
fn files(directory: &Path) -> Result<Vec<PathBuf>, String> {
    let unreadable = |error: std::io::Error| format!("{}: {error}", directory.display());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        match path.is_dir() {
            true => files.extend(self::files(&path)?),
            false => files.push(path),
        }
    }
    Ok(files)
}
