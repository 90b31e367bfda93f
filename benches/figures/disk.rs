//! Bytes on disk of a 200-byte document with its entry in the queue.

use crate::Outcome;
use crate::bench::{Bench, bytes_on_disk};
use crate::figure::{Figure, Target};
use crate::ours::Ours;
use crate::payload::Documents;
use crate::raw::{Durability, Raw};

const DOCUMENTS: usize = 100_000;

pub(super) fn measure(bench: &Bench) -> Outcome<Vec<Figure>> {
    let room = bench.room()?;
    let documents = Documents::new(8).take(DOCUMENTS);
    let each = |bytes: u64| [bytes as f64 / DOCUMENTS as f64];

    let path = room.file("ours");
    let ours = Ours::open(&path, Durability::Normal)?;
    documents
        .iter()
        .try_for_each(|document| ours.insert(document))?;
    if ours.queued()? != DOCUMENTS {
        return Err("not every document has an entry in the queue".into());
    }
    ours.close()?;
    let bytes = each(bytes_on_disk(&path));

    let path = room.file("raw");
    let mut raw = Raw::create(&path, Durability::Normal)?;
    documents
        .iter()
        .try_for_each(|document| raw.insert(document))?;
    raw.checkpoint()?;
    drop(raw);
    Ok(vec![Figure::of(
        "disk_bytes",
        "B",
        &bytes,
        &each(bytes_on_disk(&path)),
        Target::AtMost(600.0),
    )])
}
