//! Opening a file of 100,000 documents and reading one by id: time and memory.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::bench::{Bench, Room};
use crate::figure::{Figure, Target};
use crate::ours::Ours;
use crate::payload::Documents;
use crate::raw::{Durability, Raw};
use crate::stats::{interleave, millis, timed};
use crate::{Outcome, child, process};

const DOCUMENTS: usize = 100_000;

/// The children of this figure.
pub(super) const OURS: &str = "open-ours";
pub(super) const RAW: &str = "open-raw";

/// What a child reads.
#[derive(Serialize, Deserialize)]
struct Wanted {
    file: PathBuf,
    id: String,
    title: String,
}

pub(super) fn measure(bench: &Bench) -> Outcome<Vec<Figure>> {
    let room = bench.room()?;
    let (ours, raw) = prepare(&room)?;
    let pair = interleave(bench.rounds(31), |_| time_ours(&ours), |_| time_raw(&raw))?;
    let memory = interleave(
        bench.rounds(5),
        |_| child::ask::<u64>(OURS, &ours).map(process::mebibytes),
        |_| child::ask::<u64>(RAW, &raw).map(process::mebibytes),
    )?;
    Ok(vec![
        Figure::of(
            "open_read_100k",
            "ms",
            &pair.ours,
            &pair.baseline,
            Target::AtMost(1.5),
        ),
        Figure::of(
            "open_memory_100k",
            "MiB",
            &memory.ours,
            &memory.baseline,
            Target::OverBaseline(8.0),
        ),
    ])
}

fn prepare(room: &Room) -> Outcome<(Wanted, Wanted)> {
    let documents = Documents::new(4).take(DOCUMENTS);
    let middle = &documents[DOCUMENTS / 2];
    let wanted = |file: &str| Wanted {
        file: room.file(file),
        id: middle.id.clone(),
        title: middle.title.clone(),
    };
    let ours = Ours::open(&room.file("ours"), Durability::Normal)?;
    ours.insert_all(&documents)?;
    ours.close()?;
    let mut raw = Raw::create(&room.file("raw"), Durability::Normal)?;
    documents
        .chunks(1_000)
        .try_for_each(|chunk| raw.insert_all(chunk))?;
    raw.checkpoint()?;
    Ok((wanted("ours"), wanted("raw")))
}

fn time_ours(wanted: &Wanted) -> Outcome<f64> {
    let (ours, time) = timed(|| read_ours(wanted))?;
    ours.close()?;
    Ok(millis(time))
}

fn time_raw(wanted: &Wanted) -> Outcome<f64> {
    let (_, time) = timed(|| read_raw(wanted))?;
    Ok(millis(time))
}

fn read_ours(wanted: &Wanted) -> Outcome<Ours> {
    let ours = Ours::open(&wanted.file, Durability::Full)?;
    check(wanted, &ours.title(&wanted.id)?)?;
    Ok(ours)
}

fn read_raw(wanted: &Wanted) -> Outcome<Raw> {
    let raw = Raw::open(&wanted.file, Durability::Full)?;
    check(wanted, &raw.title(&wanted.id)?)?;
    Ok(raw)
}

fn check(wanted: &Wanted, title: &str) -> Outcome<()> {
    if title == wanted.title {
        Ok(())
    } else {
        Err("another document than the one asked for".into())
    }
}

/// In a child: bytes that opening and reading made resident.
pub(super) fn play_ours(argument: &str) -> Outcome<String> {
    memory(argument, |wanted| read_ours(wanted).map(drop_later))
}

/// The same of raw SQLite.
pub(super) fn play_raw(argument: &str) -> Outcome<String> {
    memory(argument, |wanted| read_raw(wanted).map(drop_later))
}

fn memory(
    argument: &str,
    read: impl FnOnce(&Wanted) -> Outcome<Box<dyn std::any::Any>>,
) -> Outcome<String> {
    let wanted: Wanted = serde_json::from_str(argument)?;
    let before = process::resident()?;
    let open = read(&wanted)?;
    let after = process::resident()?;
    drop(open);
    Ok(after.saturating_sub(before).to_string())
}

fn drop_later<T: 'static>(open: T) -> Box<dyn std::any::Any> {
    Box::new(open)
}
