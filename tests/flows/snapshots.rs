//! A server that lies in its snapshots, or somebody between: whatever the stream holds, the device refuses it
//! by a word, shows what it showed, keeps what it has to send, and goes on once it hears the truth.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use driftline::environment::BoxFuture;
use driftline::transport::{
    Body, BorrowingFuture, BuiltinTransport, HttpRequest, HttpResponse, TlsRoots, Transport,
    TransportError,
};
use driftline::{Cause, State, Status, Sync, SyncConfig};
use driftline_core::op::Update;
use driftline_core::protocol::limits::MAX_DECOMPRESSED;
use driftline_core::protocol::{
    ChainHash, Cursor, DocumentResult, Form, SnapshotFrame, append_snapshot, compress, decode,
    encode, inflate, split_snapshot,
};
use driftline_core::value::Value;

use crate::support::client::body_of;
use crate::support::device::WORKSPACE;
use crate::support::{Device, SCHEMA, Server};

/// The frames of a snapshot, plain, and what is made of them.
type Lie = fn(Vec<Vec<u8>>) -> Vec<u8>;

/// Answers snapshots with lies, while there is one.
struct Liar {
    inner: BuiltinTransport,
    lie: Mutex<Option<Lie>>,
    /// A token and a workspace of somebody else, whose snapshot comes instead.
    elsewhere: Mutex<Option<(String, &'static str)>>,
    told: AtomicUsize,
}

struct Network(Arc<Liar>);

struct Whole(Option<Vec<u8>>);

impl Body for Whole {
    fn next(&mut self) -> BorrowingFuture<'_, Option<Result<Vec<u8>, TransportError>>> {
        Box::pin(std::future::ready(self.0.take().map(Ok)))
    }
}

impl Transport for Network {
    fn request(&self, mut request: HttpRequest) -> BoxFuture<Result<HttpResponse, TransportError>> {
        let liar = Arc::clone(&self.0);
        if !request.url.contains("/snapshot") {
            return liar.inner.request(request);
        }
        if let Some((token, workspace)) = liar.elsewhere.lock().unwrap().as_ref() {
            request.url = request.url.replace(WORKSPACE, workspace);
            for (name, value) in &mut request.headers {
                if name.eq_ignore_ascii_case("authorization") {
                    *value = format!("Bearer {token}");
                }
            }
            liar.told.fetch_add(1, Ordering::SeqCst);
        }
        let answered = liar.inner.request(request);
        Box::pin(async move {
            let response = answered.await?;
            let lie = *liar.lie.lock().unwrap();
            let Some(lie) = lie.filter(|_| response.status == 200) else {
                return Ok(response);
            };
            let (status, content_type) = (response.status, response.content_type.clone());
            let body = lie(frames(&body_of(response).await));
            liar.told.fetch_add(1, Ordering::SeqCst);
            Ok(HttpResponse {
                status,
                content_type,
                content_encoding: None,
                retry_after_ms: None,
                body: Box::new(Whole(Some(body))),
            })
        })
    }
}

fn frames(mut stream: &[u8]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    while let Some((frame, took)) = split_snapshot(stream, MAX_DECOMPRESSED).unwrap() {
        frames.push(inflate(frame, MAX_DECOMPRESSED).unwrap().into_owned());
        stream = &stream[took..];
    }
    assert!(frames.len() > 4 && stream.is_empty(), "a stream of several");
    frames
}

fn stream(frames: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut stream = Vec::new();
    for frame in frames {
        append_snapshot(&mut stream, &frame).unwrap();
    }
    stream
}

fn frame(frame: &SnapshotFrame) -> Vec<u8> {
    encode(Form::Cbor, frame)
}

/// Behind the beginning, this and then the end.
fn begun_with(frames: &[Vec<u8>], frame: Vec<u8>) -> Vec<u8> {
    let (first, last) = (frames.first().unwrap(), frames.last().unwrap());
    stream([first.clone(), frame, last.clone()])
}

/// The same with every document changed.
fn with_documents(frames: Vec<Vec<u8>>, change: fn(&mut DocumentResult)) -> Vec<u8> {
    let mut changed = 0;
    let frames = frames.into_iter().map(|plain| {
        let mut read: SnapshotFrame = decode(Form::Cbor, &plain).unwrap();
        if let SnapshotFrame::Documents { documents } = &mut read {
            documents.iter_mut().for_each(change);
            changed += documents.len();
        }
        frame(&read)
    });
    let stream = stream(frames);
    assert!(changed > 3);
    stream
}

fn nowhere() -> Cursor {
    Cursor {
        version: 1 << 60,
        hash: ChainHash([7; 8]),
    }
}

/// What is told, and whether the device can tell at once that it is no snapshot. (Others turn out to lead
/// nowhere, and it begins again.)
const LIES: &[(&str, bool, Lie)] = &[
    ("noise", true, |_| {
        (0..3_000_u32).map(|n| ((n * n) >> 3) as u8).collect()
    }),
    ("a frame of four gigabytes", true, |_| vec![0xff; 64]),
    ("a frame that never ends", true, |frames| {
        let mut whole = stream(frames);
        whole.truncate(whole.len() - 3);
        whole
    }),
    ("no end", true, |mut frames| {
        frames.pop();
        stream(frames)
    }),
    ("nothing", true, |_| Vec::new()),
    ("an empty frame", true, |frames| {
        begun_with(&frames, Vec::new())
    }),
    ("broken zstd", true, |frames| {
        let mut packed = compress(&frames.concat().repeat(20));
        let middle = packed.len() / 2;
        packed[middle] ^= 0x55;
        packed.truncate(middle + 9);
        begun_with(&frames, packed)
    }),
    ("a bomb", true, |frames| {
        begun_with(&frames, compress(&vec![0; MAX_DECOMPRESSED + 1]))
    }),
    ("deep nesting", true, |frames| {
        begun_with(&frames, vec![0x81; 100_000])
    }),
    ("a list of more than there is", true, |frames| {
        begun_with(
            &frames,
            vec![0x82, 1, 0x81, 0x9b, 0x0f, 0, 0, 0, 0, 0, 0, 0],
        )
    }),
    ("a frame in JSON", true, |frames| {
        begun_with(&frames, b"{\"end\":{}}".to_vec())
    }),
    ("no beginning", true, |frames| {
        stream(frames.into_iter().skip(1))
    }),
    ("an end and nothing else", true, |frames| {
        stream(frames.into_iter().rev().take(1))
    }),
    ("two frames in each other's place", true, |mut frames| {
        frames.swap(1, 2);
        stream(frames)
    }),
    ("a frame twice", true, |mut frames| {
        let again = frames[1].clone();
        frames.insert(2, again);
        stream(frames)
    }),
    ("parts of documents", true, |frames| {
        with_documents(frames, |document| document.whole = false)
    }),
    ("values of another kind", true, |frames| {
        with_documents(frames, |document| {
            let registers = document.state.registers.iter_mut();
            registers.for_each(|(_, register)| register.value = Value::Integer(7));
        })
    }),
    ("texts that nobody could have typed", true, |frames| {
        with_documents(frames, |document| {
            let texts = document.texts.iter_mut();
            texts.for_each(|(_, update)| *update = Update(vec![0x7f; 40]));
        })
    }),
    ("another beginning in the middle", false, |mut frames| {
        let begin = SnapshotFrame::Begin {
            cursor: nowhere(),
            documents: 1,
        };
        frames.insert(2, frame(&begin));
        stream(frames)
    }),
    ("a history that never was", false, |mut frames| {
        let begin = SnapshotFrame::Begin {
            cursor: nowhere(),
            documents: u64::MAX,
        };
        frames[0] = frame(&begin);
        stream(frames)
    }),
    ("documents of a version that never comes", false, |frames| {
        with_documents(frames, |document| document.state.version = u64::MAX)
    }),
];

/// A server that has a device take a snapshot soon, a document a frame.
fn server() -> Server {
    let mut server = Server::prepare(SCHEMA);
    let flags = ["--far-behind", "1", "--snapshot-frame", "1"];
    server.flags.extend(flags.map(str::to_owned));
    server.run();
    server
}

fn liar() -> Arc<Liar> {
    Arc::new(Liar {
        inner: BuiltinTransport::new(&TlsRoots::default()).unwrap(),
        lie: Mutex::default(),
        elsewhere: Mutex::default(),
        told: AtomicUsize::new(0),
    })
}

fn connect(device: &Device, server: &Server, liar: &Arc<Liar>) -> Sync {
    let token = server.token("ada", WORKSPACE, "writer", "1h");
    let mut config = SyncConfig::new(&server.url, move || Ok(token.clone()));
    config.transport = Some(Arc::new(Network(Arc::clone(liar))));
    config.settings.live = false;
    device.db.connect(config).unwrap()
}

/// Somebody with a few notes, a text in one of them.
fn author(server: &Server) -> (Device, Vec<String>) {
    let a = Device::new("a");
    a.connect(server);
    let notes: Vec<String> = (0..5).map(|n| a.note(&format!("note {n}"))).collect();
    a.db.write(|tx| {
        let mut story = tx.rich_text("notes", &notes[0], "story")?;
        story.insert(0, "once upon a time")
    })
    .unwrap();
    a.sync();
    (a, notes)
}

/// Writes so often that who has not heard of it takes a snapshot.
fn write_on(a: &Device, notes: &[String], round: usize) {
    // More versions than there are documents: else the log is the shorter way.
    for n in 0..12 + 2 * round {
        let id = &notes[n % notes.len()];
        a.set(id, "rank", (round * 100 + n) as i64);
        a.sync();
    }
}

fn wait_for(what: &str, sync: &Sync, wanted: impl Fn(&Status) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let status = sync.status();
        if wanted(&status) {
            return;
        }
        assert!(Instant::now() < deadline, "{what}: {status:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What a device shows, and where it stands.
fn shows(device: &Device, sync: &Sync) -> (Vec<String>, u64) {
    (device.content(), sync.status().version)
}

#[test]
fn a_snapshot_that_lies_changes_nothing() {
    let server = server();
    let (a, notes) = author(&server);
    let (b, liar) = (Device::new("b"), liar());
    let sync = connect(&b, &server, &liar);
    b.sync();
    for (round, (what, at_once, lie)) in LIES.iter().enumerate() {
        write_on(&a, &notes, round);
        let mine = b.note(what);
        let before = shows(&b, &sync);
        let told = liar.told.load(Ordering::SeqCst);
        *liar.lie.lock().unwrap() = Some(*lie);
        sync.sync_now();
        wait_for(what, &sync, |status| {
            let refused = match at_once {
                true => [Cause::NotDriftline, Cause::Unreachable].contains(&status.cause),
                false => status.state != State::Idle,
            };
            liar.told.load(Ordering::SeqCst) > told && refused
        });
        assert_eq!(shows(&b, &sync), before, "{what}");
        assert!(b.pending() > 0, "{what}");
        // It does not ask again and again.
        let told = liar.told.load(Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(200));
        let asked = liar.told.load(Ordering::SeqCst) - told;
        assert!(asked <= 4, "{what}: {asked} times in 200 ms");
        *liar.lie.lock().unwrap() = None;
        b.sync();
        assert!(b.title(&mine).is_some(), "{what}");
        a.sync();
        assert_eq!(b.content(), a.content(), "{what}");
    }
    let sound = driftline::inspect::read(&b.path, |file| file.digest());
    let theirs = driftline::inspect::read(&a.path, |file| file.digest());
    assert_eq!(sound.unwrap(), theirs.unwrap());
}

/// To somebody who has nothing yet, and has written already.
#[test]
fn a_newcomers_first_snapshot_that_lies_changes_nothing() {
    let server = server();
    let (a, _) = author(&server);
    for (what, at_once, lie) in LIES.iter().step_by(3) {
        let (b, liar) = (Device::new("newcomer"), liar());
        b.note(what);
        *liar.lie.lock().unwrap() = Some(*lie);
        let sync = connect(&b, &server, &liar);
        wait_for(what, &sync, |status| {
            let refused = [Cause::NotDriftline, Cause::Unreachable].contains(&status.cause);
            liar.told.load(Ordering::SeqCst) > 0 && (refused || !at_once)
        });
        assert_eq!((b.count("notes"), b.pending()), (1, 1), "{what}");
        *liar.lie.lock().unwrap() = None;
        b.sync();
        a.sync();
        assert_eq!(b.content(), a.content(), "{what}");
    }
}

/// The snapshot of another workspace: its cursor is none of this one's, so nothing of it is ever shown.
#[test]
fn another_workspaces_snapshot_is_never_shown() {
    const CANARY: &str = "a canary of another office";
    let server = server();
    let (a, notes) = author(&server);
    let token = server.token("ada", "office", "writer", "1h");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("office.db");
    let schema = driftline::Schema::parse(SCHEMA).unwrap();
    let config = driftline::Config::new(&path, schema, "office").with_account("ada");
    let office = driftline::Database::open(config).unwrap();
    for _ in 0..4 {
        office
            .write(|tx| tx.insert("notes", [("title", CANARY)]).map(drop))
            .unwrap();
    }
    let own = token.clone();
    let config = SyncConfig::new(&server.url, move || Ok(own.clone()));
    let synced = office.connect(config).unwrap();
    assert!(synced.sync_until(Duration::from_secs(20)));

    let (b, liar) = (Device::new("b"), liar());
    let sync = connect(&b, &server, &liar);
    b.sync();
    write_on(&a, &notes, 1);
    b.note("mine");
    let before = b.content();
    *liar.elsewhere.lock().unwrap() = Some((token, "office"));
    sync.sync_now();
    wait_for("another workspace", &sync, |_| {
        liar.told.load(Ordering::SeqCst) > 1
    });
    assert_eq!(b.content(), before);
    *liar.elsewhere.lock().unwrap() = None;
    b.sync();
    a.sync();
    assert_eq!(b.content(), a.content());
    assert!(!b.content().concat().contains(CANARY));
}
