//! 100,000 documents through `write_bulk`.

use crate::Outcome;
use crate::bench::Bench;
use crate::figure::{Figure, Target};
use crate::ours::{Ours, new_document};
use crate::payload::Documents;
use crate::raw::{Durability, Raw};
use crate::stats::{interleave, timed};

const DOCUMENTS: usize = 100_000;

pub(super) fn measure(bench: &Bench) -> Outcome<Vec<Figure>> {
    let documents = Documents::new(3).take(DOCUMENTS);
    let rate = |time: std::time::Duration| DOCUMENTS as f64 / time.as_secs_f64();
    // Raw writes transactions of the size that Driftline chose.
    let room = bench.room()?;
    let chunk = {
        let ours = Ours::open(&room.file("chunks"), Durability::Full)?;
        ours.insert_all(&documents[..DOCUMENTS / 10])?;
        (DOCUMENTS / 10).div_ceil(ours.queued()?.max(1))
    };
    let pair = interleave(
        bench.rounds(5),
        |round| {
            let ours = Ours::open(&room.file(&format!("ours-{round}")), Durability::Full)?;
            let new: Vec<_> = documents.iter().map(new_document).collect();
            let (_, time) = timed(|| ours.insert_new(new))?;
            Ok(rate(time))
        },
        |round| {
            let mut raw = Raw::create(&room.file(&format!("raw-{round}")), Durability::Full)?;
            let (_, time) = timed(|| {
                documents
                    .chunks(chunk)
                    .try_for_each(|chunk| raw.insert_group(chunk))
            })?;
            Ok(rate(time))
        },
    )?;
    Ok(vec![Figure::of(
        "bulk_100k",
        "1/s",
        &pair.ours,
        &pair.baseline,
        Target::RatioAtLeast(0.5),
    )])
}
