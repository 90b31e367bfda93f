//! Memory at its peak while an empty device receives 100,000 documents, over what the device takes
//! at rest.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::bench::Bench;
use crate::figure::{Figure, Target};
use crate::ours::{Meeting, Ours};
use crate::payload::Documents;
use crate::raw::{Durability, Raw};
use crate::stats::interleave;
use crate::{Outcome, child, floor, process};

const DOCUMENTS: usize = 100_000;

/// The children of this figure.
pub(super) const OURS: &str = "receive-ours";
pub(super) const FLOOR: &str = "receive-floor";

/// What a child receives, and from where.
#[derive(Serialize, Deserialize)]
struct Source {
    server: SocketAddr,
    file: PathBuf,
}

pub(super) fn measure(bench: &Bench) -> Outcome<Vec<Figure>> {
    let room = bench.room()?;
    let documents = Documents::new(9).take(DOCUMENTS);
    let meeting = Meeting::start(&room.file("server"))?;
    {
        let ours = Ours::open(&room.file("author"), Durability::Normal)?;
        ours.insert_all(&documents)?;
        ours.connect(&meeting)?.settle()?;
        ours.close()?;
    }
    let server = floor::Server::start(&room.file("floor"), Durability::Full, |raw| {
        raw.insert_all(&documents)
    })?;
    let pair = interleave(
        bench.rounds(3),
        |round| {
            let source = Source {
                server: meeting.address(),
                file: room.file(&format!("ours-{round}")),
            };
            child::ask::<u64>(OURS, &source).map(process::mebibytes)
        },
        |round| {
            let source = Source {
                server: server.address(),
                file: room.file(&format!("raw-{round}")),
            };
            child::ask::<u64>(FLOOR, &source).map(process::mebibytes)
        },
    )?;
    Ok(vec![Figure::of(
        "receive_memory",
        "MiB",
        &pair.ours,
        &pair.baseline,
        Target::AtMost(32.0),
    )])
}

/// In a child: bytes over idle at the peak.
pub(super) fn play_ours(argument: &str) -> Outcome<String> {
    let source: Source = serde_json::from_str(argument)?;
    let ours = Ours::open(&source.file, Durability::Full)?;
    // Idle is an open file that has been read from, not yet connected.
    expect(ours.count()?, 0)?;
    let over_idle = over_idle(|| ours.connect(&Meeting::at(source.server))?.settle())?;
    expect(ours.count()?, DOCUMENTS)?;
    Ok(over_idle)
}

/// The same of the floor.
pub(super) fn play_floor(argument: &str) -> Outcome<String> {
    let source: Source = serde_json::from_str(argument)?;
    let mut raw = Raw::create(&source.file, Durability::Full)?;
    expect(raw.count()?, 0)?;
    let over_idle = over_idle(|| floor::Client::connect(source.server)?.pull(&mut raw))?;
    expect(raw.count()?, DOCUMENTS)?;
    Ok(over_idle)
}

fn over_idle(work: impl FnOnce() -> Outcome<()>) -> Outcome<String> {
    process::reset_peak()?;
    let idle = process::resident()?;
    work()?;
    Ok(process::peak()?.saturating_sub(idle).to_string())
}

fn expect(documents: usize, expected: usize) -> Outcome<()> {
    if documents == expected {
        Ok(())
    } else {
        Err(format!("{documents} documents instead of {expected}").into())
    }
}
