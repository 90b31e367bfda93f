//! Text that no device writes: refused, quickly, and nothing changes.

use driftline_core::protocol::LiveFrame;
use driftline_core::text::guard::{Refused, Why};
use driftline_server::ServerConfig;
use futures_util::SinkExt;

use super::*;
use crate::live::{Socket, frame, request, serve};

#[tokio::test]
async fn text_that_no_device_writes_is_rejected_with_its_group_and_changes_nothing() {
    let world = World::new();
    let (mut a, mut ann, _, _) = two(&world).await;
    let before = a.try_sync(vec![]).await.unwrap().cursor;
    let hostile: [&[u8]; 8] = [
        &[],
        &[0x80, 0xe5, 0x9a, 0x77],
        &[1, 0, 75, 0, 0],
        &[1, 1, 75, 0, 4, 1, 1, b't', 1, b'x', 0, 0],
        &[1, 1, 75, 0, 4, 1, 1, b'l', 1, b'x', 0],
        &[1, 1, 75, 0, 4, 1, 1, b't', 1, 0xff, 0],
        &[1, 1, 75, 0, 7, 1, 1, b't', 0, 0],
        &[
            2, 1, 75, 0, 4, 1, 1, b't', 1, b'x', 1, 76, 0, 4, 1, 1, b't', 1, b'y', 0,
        ],
    ];
    for bytes in hostile {
        let id = a.id();
        let edit = TextEdit {
            writer: 75,
            update: Update(bytes.to_vec()),
            after: None,
        };
        let beside = change(NOTES, "beside", ChangeKind::Insert, &[]);
        let op = full(
            &a,
            id,
            vec![note(ChangeKind::Update, JOURNAL, edit), beside],
        );
        for form in [Form::Cbor, Form::Json] {
            let reply = call(&world.server, a.http(form, &a.request(vec![op.clone()]))).await;
            assert_eq!(reply.status, StatusCode::OK);
            let answer: SyncResponse = decode(form, &reply.bytes).unwrap();
            assert_eq!(rejected(&answer.results[0]), "invalid_text", "{bytes:x?}");
            assert_eq!(answer.cursor, before);
        }
        // What follows it under its writer finds no mark to go on from.
        let next = TextEdit {
            writer: 75,
            update: Update(vec![1, 1, 75, 1, 4, 1, 1, b't', 1, b'y', 0]),
            after: Some(id),
        };
        let id = a.id();
        let op = full(&a, id, vec![note(ChangeKind::Update, JOURNAL, next)]);
        let answer = a.try_sync(vec![op]).await.unwrap();
        assert_eq!(answer.results[0].outcome, Outcome::Rebase);
    }
    types(&mut a, &mut ann, 5, " again").await;
}

/// How mutants get to the server.
enum Way {
    Endpoint,
    Socket(Box<Socket>),
}

impl Way {
    async fn send(&mut self, device: &Client, ops: Vec<SentOp>) -> SyncResponse {
        let Way::Socket(socket) = self else {
            return device.try_sync(ops).await.unwrap();
        };
        let message = request(Form::Cbor, device, ops, 7);
        socket.send(message).await.unwrap();
        loop {
            match frame(socket).await {
                LiveFrame::Response(answer) if answer.tag == 7 => return answer,
                LiveFrame::Failed { failure, .. } => panic!("{failure:?}"),
                _ => {}
            }
        }
    }
}

#[tokio::test]
async fn ten_thousand_mutants_are_refused_or_harmless_and_quick() {
    let served = serve(for_mutants).await;
    ten_thousand_mutants(&served.world, Way::Endpoint).await;
}

#[tokio::test]
async fn ten_thousand_mutants_through_the_socket_are_no_worse() {
    let served = serve(for_mutants).await;
    let token = served.world.device("ann").token;
    let socket = served.connect(&token, "", &[]).await.unwrap();
    ten_thousand_mutants(&served.world, Way::Socket(Box::new(socket))).await;
}

fn for_mutants(config: &mut ServerConfig) {
    folds_at_once(config);
    config.limits.max_body = 32 << 20;
}

/// Each in a document of its own, so that none waits for another.
async fn ten_thousand_mutants(world: &World, mut way: Way) {
    let mut a = world.device("ann");
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut below = move |n: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random >> 11) as usize % n
    };
    let mut honest = Author::new(75);
    let first = honest.types(0, "The nest is 𐐷 empty", OpId::ZERO).update.0;
    let (mut taken, mut refused, mut unfit) = (0, 0, 0);
    let began = std::time::Instant::now();
    for round in 0..5 {
        let mut ops = Vec::new();
        for n in 0..2_000 {
            let mut bytes = first.clone();
            for _ in 0..=below(3) {
                let at = below(bytes.len());
                match below(3) {
                    0 => bytes[at] = below(256) as u8,
                    1 => _ = bytes.remove(at),
                    _ => bytes.insert(at, below(256) as u8),
                }
            }
            let edit = TextEdit {
                writer: 75,
                update: Update(bytes),
                after: None,
            };
            let id = a.id();
            let document = format!("m{round}-{n:04}");
            let change = note_of(&document, ChangeKind::Insert, JOURNAL, edit);
            ops.push(full(&a, id, vec![change]));
        }
        let head = a.cursor.version;
        let answer = way.send(&a, ops).await;
        let mut accepted_now = 0;
        for result in &answer.results {
            match &result.outcome {
                Outcome::Accepted { .. } => accepted_now += 1,
                Outcome::Rejected { refusal } => {
                    assert_eq!(refusal.code, "invalid_text");
                    refused += 1;
                }
                Outcome::Rebase => unfit += 1,
                other => panic!("{other:?}"),
            }
        }
        taken += accepted_now;
        a.sync(vec![]).await;
        while a.sync(vec![]).await.has_more {}
        assert_eq!(
            a.cursor.version,
            head + accepted_now,
            "refused ones left nothing"
        );
    }
    let each = began.elapsed() / 10_000;
    assert!(each < Duration::from_millis(1), "{each:?} for each");
    assert!(
        taken > 100 && refused > 5_000 && unfit > 10,
        "{taken} {refused} {unfit}"
    );
    // What was taken is honest by every rule: it folds.
    for _ in 0..1_000 {
        let database = world.database("w");
        let count = |sql| {
            database
                .query_row(sql, [], |row| row.get::<_, i64>(0))
                .unwrap()
        };
        assert_eq!(
            count("SELECT count(*) FROM texts WHERE aside IS NOT NULL"),
            0
        );
        if count("SELECT count(*) FROM text_tail") == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not folded");
}

/// A number as updates have it.
fn number(n: usize) -> Vec<u8> {
    let (mut n, mut bytes) = (n, Vec::new());
    while n >= 0x80 {
        bytes.push(n as u8 | 0x80);
        n >>= 7;
    }
    bytes.push(n as u8);
    bytes
}

/// Updates of exactly `size` bytes that are honest but for how they end, and why each is refused.
fn faulty_at_the_end(size: usize) -> Vec<(Vec<u8>, Why)> {
    let letters = |blocks: usize, end: &[u8]| {
        let head = [&[1][..], &number(blocks), &[75, 0]].concat();
        let block = |letters: usize| {
            let head = [&[4, 1, 1, b't'][..], &number(letters)].concat();
            [head, vec![b'x'; letters]].concat()
        };
        // All blocks but the last are of one letter.
        let mut update = [head, block(1).repeat(blocks - 1)].concat();
        let rest = size - update.len() - end.len();
        let last = (1..=rest)
            .rev()
            .find(|letters| block(*letters).len() == rest);
        update.extend(block(last.unwrap()));
        update.extend(end);
        update
    };
    let mut bytes = vec![
        (letters(1, &[0, 0]), Why::Trailing),
        (letters(1, &[1]), Why::Truncated),
        (letters(1, &[0x00]), Why::Utf8),
        // As many blocks as there may be.
        (letters(30_000, &[0, 0]), Why::Trailing),
    ];
    // The last letter is none.
    let last = size - 2;
    bytes[2].0[last] = 0xff;
    bytes
}

/// As large as an edit may be, and made so that its fault is found last: as dear as a refusal gets.
#[tokio::test]
async fn the_largest_refusals_are_quick_and_change_nothing() {
    let world = World::with(|config| config.limits.max_body = 32 << 20);
    let (mut a, _, _, _) = two(&world).await;
    let limits = GuardLimits::default();
    let refusals = faulty_at_the_end(limits.max_update);
    for (bytes, why) in &refusals {
        assert_eq!(bytes.len(), limits.max_update);
        let refused = check(bytes, 75, TextKind::RichText, &[], &limits);
        assert_eq!(refused.err(), Some(Refused::Invalid(*why)));
    }
    let huge = vec![0; limits.max_update + 1];
    let send = async |a: &mut Client, bytes: Vec<u8>| {
        let id = a.id();
        let edit = TextEdit {
            writer: 75,
            update: Update(bytes),
            after: None,
        };
        let op = full(a, id, vec![note(ChangeKind::Update, JOURNAL, edit)]);
        let began = std::time::Instant::now();
        let answer = a.try_sync(vec![op]).await.unwrap();
        (began.elapsed(), answer)
    };
    let mut slowest = Duration::ZERO;
    for bytes in refusals.into_iter().map(|(bytes, _)| bytes).chain([huge]) {
        // The least of a few: other tests have the processors, too.
        let mut least = Duration::MAX;
        for _ in 0..20 {
            let (took, answer) = send(&mut a, bytes.clone()).await;
            assert_eq!(rejected(&answer.results[0]), "invalid_text");
            assert_eq!(answer.cursor, a.cursor);
            least = least.min(took);
        }
        slowest = slowest.max(least);
        // Half a megabyte through the whole endpoint: encoded, read, checked, its verdict durable.
        assert!(least < Duration::from_millis(50), "{least:?}");
    }
    println!("a refusal of half a megabyte through the endpoint takes {slowest:?}");
}
