//! Devices and server killed (-9) at moments that a seed draws, in the midst of whole flows.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use driftline::Value;

use crate::support::{Device, Draws, SCHEMA, Server, worker::Worker};

/// How long the killing goes on; what follows takes as long as there is left to sync.
const BUDGET: Duration = Duration::from_secs(6);
/// The longest that all live between two kills.
const PEACE: Duration = Duration::from_millis(150);
const DEVICES: usize = 2;

/// A device of a process that pours writes, and what it has said of them in all its lives.
struct Life {
    worker: Worker,
    number: usize,
}

/// Two devices write and sync all the time, each write a note and one more on a counter that all share.
/// Whoever the seed names is killed at the moment it draws, and begins again; the server too. Then
/// every write that returned is there once, everywhere.
#[test]
fn devices_and_server_killed_at_drawn_moments_lose_and_double_nothing() {
    let mut draws = Draws::new("kills");
    let mut server = Server::start(SCHEMA);
    let folder = tempfile::tempdir().unwrap();
    let paths = [0, 1].map(|device| folder.path().join(format!("{device}.db")));
    let first = Device::at(&paths[0], "first");
    let tally = first.note("tally");
    first.connect(&server);
    first.sync();
    first.db.close().unwrap();
    let second = Device::at(&paths[1], "second");
    second.connect(&server);
    second.sync();
    second.db.close().unwrap();

    let begin = |device: usize, number: usize, server: &Server| {
        let mut worker = Worker::start(&paths[device], &format!("{device}.{number}"));
        worker.connect(server);
        worker.tell(&format!("pour {tally}"));
        Life { worker, number }
    };
    let mut lives: Vec<Life> = (0..DEVICES).map(|n| begin(n, 0, &server)).collect();
    let mut acknowledged = Vec::new();
    let mut killed = [0; DEVICES + 1];
    let began = Instant::now();
    while began.elapsed() < BUDGET || killed.contains(&0) {
        draws.rest(PEACE);
        let turn = draws.below(killed.len() as u64) as usize;
        killed[turn] += 1;
        match lives.get_mut(turn) {
            Some(life) => {
                assert!(life.worker.is_running(), "it ended by itself");
                life.worker.kill();
                acknowledged.extend(life.worker.rest());
                *life = begin(turn, life.number + 1, &server);
            }
            None => {
                server.kill();
                draws.rest(PEACE / 4);
                server.run();
            }
        }
    }
    let most_lives: usize = lives.iter().map(|life| life.number + 1).sum();
    for life in &mut lives {
        assert!(life.worker.is_running(), "it ended by itself");
        life.worker.kill();
        acknowledged.extend(life.worker.rest());
    }
    println!("{killed:?} kills, {} writes", acknowledged.len());
    assert!(acknowledged.len() > 50, "hardly anything was written");

    let devices = paths.each_ref().map(|path| Device::at(path, "last"));
    for device in &devices {
        device.connect(&server);
        device.sync();
    }
    devices[0].sync();
    let newcomer = Device::new("newcomer");
    newcomer.connect(&server);
    newcomer.sync();
    let there = times_there(&newcomer);
    for title in &acknowledged {
        assert_eq!(there.get(title), Some(&1), "{title}");
    }
    // A write may have been committed and not said, once a life.
    let silent = there.len() - acknowledged.len();
    assert!(silent <= most_lives, "{silent} writes nobody made");
    assert!(there.values().all(|times| *times == 1), "{there:?}");
    assert_eq!(
        newcomer.one(&format!("SELECT count FROM notes WHERE id = '{tally}'")),
        Some(Value::Integer(there.len() as i64)),
        "a write counted not once, or only in part"
    );
    for device in &devices {
        assert_eq!(device.pending(), 0);
        assert_eq!(device.content(), newcomer.content());
        device.db.close().unwrap();
    }
    paths.iter().for_each(|path| assert_sound(path));
    server.kill();
    for entry in std::fs::read_dir(server.data()).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "sqlite")
        {
            assert_sound(&path);
        }
    }
}

/// How often each poured note is there.
fn times_there(device: &Device) -> HashMap<String, usize> {
    let poured = "SELECT title FROM notes WHERE title LIKE 'poured %'";
    let mut there = HashMap::new();
    for row in device.db.query(poured, ()).unwrap().iter() {
        match row.values() {
            [Value::Text(title)] => *there.entry(title.clone()).or_default() += 1,
            other => panic!("{other:?}"),
        }
    }
    there
}

fn assert_sound(path: &Path) {
    let file = rusqlite::Connection::open(path).unwrap();
    let sound: String = file
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(sound, "ok", "{}", path.display());
}
