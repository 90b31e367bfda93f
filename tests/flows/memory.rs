//! How much memory a real server takes.

use std::time::Duration;

use driftline::Value;

use crate::support::{Client, Device, Draws, SCHEMA, Server};

const DOCUMENT: usize = 10_000;
const SMALL: usize = 400;
const LARGE: usize = 10 * SMALL;
/// How much more a workspace ten times as large may take, in KiB: what SQLite keeps of the file's pages,
/// which is bounded and not full in the small one. Of the documents there are 36 MiB more.
const MOST: u64 = 12 << 10;

/// A snapshot is read, compressed and sent piece by piece, also to a reader that pauses.
#[test]
fn a_snapshot_of_a_workspace_ten_times_as_large_takes_no_more_memory() {
    let mut server = Server::start(SCHEMA);
    let Some(_) = server.peak_memory() else {
        println!("skipped: this system does not tell how much memory a process takes");
        return;
    };
    let device = Device::new("a");
    device.connect(&server);
    let mut draws = Draws::of(1);
    let mut grown = Vec::new();
    for (written, wanted) in [(0, SMALL), (SMALL, LARGE)] {
        for from in (written..wanted).step_by(SMALL) {
            let documents = (from..from + SMALL).map(|n| {
                [
                    ("title".to_owned(), Value::from(format!("note {n}"))),
                    ("body".to_owned(), Value::from(letters(&mut draws))),
                ]
            });
            device.db.write_bulk("notes", documents).unwrap();
            device.sync();
        }
        // A process that has done nothing else.
        server.kill();
        server.run();
        let client = Client::new(&server);
        let before = server.peak_memory().unwrap();
        let bytes = client.stream_snapshot(Duration::from_millis(500));
        let after = server.peak_memory().unwrap();
        println!("{wanted} documents, {bytes} bytes: {before} KiB became {after}");
        // Letters drawn from 64 compress to three quarters.
        assert!(bytes > wanted * DOCUMENT / 2, "{bytes} bytes are not all");
        grown.push(after - before);
    }
    assert!(
        grown[1] <= grown[0] + MOST,
        "{grown:?} KiB for {SMALL} and {LARGE} documents"
    );
}

/// What does not compress well.
fn letters(draws: &mut Draws) -> String {
    let letter = |_| char::from(b'0' + draws.below(64) as u8);
    (0..DOCUMENT).map(letter).collect()
}
