//! A process that sleeps for an hour over a push, frozen by the system or suspended by its app: another
//! process of the file takes its place, writes and syncs. When it wakes up it shows everything and sends
//! nothing again.

#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};

use driftline::transport::HttpRequest;
use driftline::{Cause, Durability, Schema, State, Status, Value};
use driftline_simulation::machine::{
    Account, Device, DeviceOptions, Fate, FrameFate, Network, ServerHost, Tasks, Way, Weather,
};
use driftline_simvfs::Disk;

const HOUR: i64 = 3_600_000;
const MINUTE: i64 = 60_000;

/// A sleeper is replaced after so long, when somebody has something to send.
const SUCCESSION: i64 = 15_000;

const SCHEMA: &str = r#"
    [schema]
    name = "field"
    version = 1
    [collections.notes]
    id = 1
    [collections.notes.fields]
    title = { id = 1, kind = "text" }
    count = { id = 2, kind = "counter" }
"#;

/// What was sent, and whether answers take their time.
#[derive(Clone, Default)]
struct Line(Arc<Mutex<Sent>>);

#[derive(Default)]
struct Sent {
    slow: bool,
    /// The ids of all ops that went out whole, as often as they did.
    ops: Vec<String>,
}

impl Line {
    fn slow(&self, slow: bool) {
        self.0.lock().unwrap().slow = slow;
    }

    fn ops(&self) -> usize {
        self.0.lock().unwrap().ops.len()
    }

    fn note(&self, message: &[u8]) {
        let Ok(message) = serde_json::from_slice::<serde_json::Value>(message) else {
            return;
        };
        let request = message.get("request").unwrap_or(&message);
        let ops = request["ops"].as_array().into_iter().flatten();
        let whole = ops.filter_map(|op| Some(op.get("id")?.as_str()?.to_owned()));
        self.0.lock().unwrap().ops.extend(whole);
    }

    fn delay(&self) -> u64 {
        match self.0.lock().unwrap().slow {
            true => 45_000,
            false => 0,
        }
    }
}

impl Weather for Line {
    fn request(&mut self, _: usize) -> Fate {
        Fate::Arrives(0)
    }

    fn answer(&mut self, _: usize) -> Fate {
        Fate::Arrives(self.delay())
    }

    fn sent(&mut self, _: usize, request: &HttpRequest) {
        self.note(&request.body);
    }

    fn frame(&mut self, _: usize, way: Way, bytes: &[u8]) -> FrameFate {
        match way {
            Way::Up => {
                self.note(bytes);
                FrameFate::Arrives(0)
            }
            Way::Down => FrameFate::Arrives(self.delay()),
        }
    }
}

struct World {
    tasks: Tasks,
    network: Network,
    line: Line,
    _server: ServerHost,
}

impl World {
    fn new() -> World {
        let (tasks, network, line) = (Tasks::new(None), Network::default(), Line::default());
        let mut server = ServerHost::new(&tasks, &network, &schema(), Disk::new(1), 1);
        server.start(|_| {}).unwrap();
        network.set_weather(Box::new(line.clone()));
        World {
            tasks,
            network,
            line,
            _server: server,
        }
    }

    fn device(&self, number: usize, live: bool) -> Device {
        let options = DeviceOptions {
            number,
            account: Account::writer("ada"),
            durability: Durability::Full,
            schema: schema(),
            host_token: false,
            seed: 100 + number as u64,
        };
        let disk = Disk::new(100 + number as u64);
        let mut device = Device::new(&self.tasks, &self.network, disk, options);
        (device.live, device.json) = (live, true);
        device
    }

    fn pass(&self, millis: i64) {
        let deadline = self.tasks.now() + millis;
        self.tasks.run_until(deadline, || false).unwrap();
    }

    /// Lets time pass until something is so; returns how long that took.
    fn until(&self, most: i64, what: &str, done: impl Fn() -> bool) -> i64 {
        let began = self.tasks.now();
        assert!(self.tasks.run_until(began + most, done).unwrap(), "{what}");
        self.tasks.now() - began
    }
}

fn schema() -> Schema {
    Schema::parse(SCHEMA).unwrap()
}

fn begin(device: &mut Device) {
    device.start(|_| {});
    device.open().unwrap();
    device.connect().unwrap();
}

fn status(device: &Device) -> Status {
    device.sync().unwrap().status()
}

fn is_idle(device: &Device) -> bool {
    status(device).state == State::Idle
}

fn stands_by(device: &Device) -> bool {
    status(device).cause == Cause::OtherProcess
}

fn pending(device: &Device) -> u64 {
    device.database().unwrap().outbox().size().unwrap().pending
}

/// Counts, so often and in an op each; none that counts twice is overlooked.
fn add(device: &Device, times: usize) {
    let db = device.database().unwrap();
    for _ in 0..times {
        db.write(|tx| tx.increment("notes", "n", "count", 1))
            .unwrap();
    }
}

fn count(device: &Device) -> i64 {
    let db = device.database().unwrap();
    let counted = db.query("SELECT count FROM notes", ()).unwrap();
    match counted.scalar() {
        Some(Value::Integer(count)) => *count,
        other => panic!("{other:?}"),
    }
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Sleep {
    /// The system lets nothing of it go on, wherever it was.
    Frozen,
    /// Its app had time to say so.
    Suspended,
}

fn sleep_an_hour(sleep: Sleep, live: bool) {
    let world = World::new();
    let mut one = world.device(0, live);
    let mut two = one.companion();
    begin(&mut one);
    one.database()
        .unwrap()
        .write(|tx| tx.insert_with_id("notes", "n", [("title", "shared")]))
        .unwrap();
    world.until(MINUTE, "it syncs", || is_idle(&one) && pending(&one) == 0);
    begin(&mut two);
    world.until(MINUTE, "one process syncs", || stands_by(&two));

    // A push is out, and decided; nobody has heard of it when the process falls asleep.
    let before = world.line.ops();
    world.line.slow(true);
    add(&one, 3);
    world.until(MINUTE, "a push goes out", || world.line.ops() > before);
    world.pass(1_000);
    assert_eq!(pending(&one), 3);
    match sleep {
        Sleep::Frozen => one.freeze(),
        Sleep::Suspended => one.database().unwrap().suspend().unwrap(),
    }
    world.line.slow(false);

    // Nothing it holds keeps the other from writing, at once, and from sending what both wrote.
    let asleep = world.tasks.now();
    add(&two, 2);
    assert_eq!(world.tasks.now(), asleep);
    let took = world.until(MINUTE, "it is replaced", || {
        is_idle(&two) && pending(&two) == 0
    });
    assert!(took <= SUCCESSION, "{sleep:?}: replaced after {took} ms");
    let mut other = world.device(1, live);
    begin(&mut other);
    world.until(MINUTE, "others have it all", || {
        is_idle(&other) && count(&other) == 5
    });
    add(&other, 1);
    world.pass(asleep + HOUR - world.tasks.now());
    assert_eq!((count(&two), count(&other)), (6, 6));

    // It wakes up: it shows everything at once, hears that it was replaced, and sends nothing.
    let sent = world.line.ops();
    match sleep {
        Sleep::Frozen => one.thaw(),
        Sleep::Suspended => one.database().unwrap().resume().unwrap(),
    }
    assert_eq!((count(&one), pending(&one)), (6, 0), "{sleep:?}");
    world.until(MINUTE, "it stands by", || stands_by(&one));
    world.pass(10 * MINUTE);
    assert_eq!(
        world.line.ops(),
        sent,
        "{sleep:?}: something was sent again"
    );
    assert!(stands_by(&one) && is_idle(&two), "{sleep:?}");

    // And it goes on as any other.
    add(&one, 1);
    world.until(MINUTE, "what it writes is sent", || pending(&one) == 0);
    world.pass(MINUTE);
    assert_eq!((count(&one), count(&two), count(&other)), (7, 7, 7));
    assert_eq!(world.line.ops(), sent + 1, "once");
    for device in [&mut one, &mut two, &mut other] {
        device.kill();
        device.check().unwrap();
    }
}

#[test]
fn a_frozen_process_holds_nothing_for_an_hour_and_sends_nothing_twice() {
    for live in [true, false] {
        sleep_an_hour(Sleep::Frozen, live);
    }
}

#[test]
fn a_suspended_process_holds_nothing_for_an_hour_and_sends_nothing_twice() {
    for live in [true, false] {
        sleep_an_hour(Sleep::Suspended, live);
    }
}
