//! 10,000 queued documents to the server, and from it to an empty device, over real HTTP.

use crate::Outcome;
use crate::bench::Bench;
use crate::figure::{Figure, Target};
use crate::floor;
use crate::ours::{Meeting, Ours};
use crate::payload::Documents;
use crate::raw::{Durability, Raw};
use crate::stats::{interleave, millis, timed};

const DOCUMENTS: usize = 10_000;

pub(super) fn measure(bench: &Bench) -> Outcome<Vec<Figure>> {
    let room = bench.room()?;
    let meeting = Meeting::start(&room.file("server"))?;
    let documents = Documents::new(5).take(DOCUMENTS);
    let pair = interleave(
        bench.rounds(9),
        |round| {
            let workspace = format!("transfer-{round}");
            let file = room.file(&format!("ours-a-{round}"));
            {
                // Each document is a write of its own; how durable the queue was made is not timed.
                let ours = Ours::of(&file, Durability::Normal, &workspace)?;
                documents
                    .iter()
                    .try_for_each(|document| ours.insert(document))?;
                ours.close()?;
            }
            {
                // The floor's file is there and open before the time is taken, too.
                let first = Ours::of(
                    &room.file(&format!("ours-{round}")),
                    Durability::Full,
                    &workspace,
                )?;
                first.connect(&meeting)?.settle()?;
                first.close()?;
            }
            let a = Ours::of(&file, Durability::Full, &workspace)?;
            let (_, up) = timed(|| a.connect(&meeting)?.settle())?;
            let b = Ours::of(
                &room.file(&format!("ours-b-{round}")),
                Durability::Full,
                &workspace,
            )?;
            let (_, down) = timed(|| b.connect(&meeting)?.settle())?;
            expect(b.count()?)?;
            a.close()?;
            b.close()?;
            Ok((millis(up), millis(down)))
        },
        |round| {
            let server = floor::Server::start(
                &room.file(&format!("floor-{round}")),
                Durability::Full,
                |_| Ok(()),
            )?;
            let file = room.file(&format!("raw-a-{round}"));
            {
                let mut raw = Raw::create(&file, Durability::Normal)?;
                documents
                    .iter()
                    .try_for_each(|document| raw.insert(document))?;
            }
            let mut a = Raw::create(&file, Durability::Full)?;
            let (_, up) = timed(|| floor::Client::connect(server.address())?.push(&mut a))?;
            let mut b = Raw::create(&room.file(&format!("raw-b-{round}")), Durability::Full)?;
            let (_, down) = timed(|| floor::Client::connect(server.address())?.pull(&mut b))?;
            expect(b.count()?)?;
            Ok((millis(up), millis(down)))
        },
    )?;
    let (up, down): (Vec<f64>, Vec<f64>) = pair.ours.into_iter().unzip();
    let (floor_up, floor_down): (Vec<f64>, Vec<f64>) = pair.baseline.into_iter().unzip();
    Ok(vec![
        Figure::of("push_10k", "ms", &up, &floor_up, Target::RatioAtMost(3.0)),
        Figure::of(
            "pull_10k",
            "ms",
            &down,
            &floor_down,
            Target::RatioAtMost(3.0),
        ),
    ])
}

fn expect(documents: usize) -> Outcome<()> {
    if documents == DOCUMENTS {
        Ok(())
    } else {
        Err(format!("{documents} documents arrived").into())
    }
}
