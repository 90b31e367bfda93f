//! How much is folded at once, counted: bytes of edits read, texts read behind the end of a turn.

use std::sync::atomic::AtomicI64;
use std::sync::mpsc;
use std::time::Duration;

use driftline_core::environment::Clock;
use driftline_core::id::BootId;
use driftline_core::merge::{DocumentState, TextState};
use driftline_core::text::Mark;

use super::super::fold::{GROUP, PIECE, TURN_MS, Turn};
use super::*;
use crate::store::{NewDocument, NewEdit, Piece, TextPlace, Transaction, WorkspaceStore};

pub(crate) const SCHEMA: &str = r#"
    [schema]
    name = "t"
    version = 1
    [collections.notes]
    id = 1
    [collections.notes.fields]
    journal = { id = 1, kind = "rich_text" }
"#;
const WRITER: u64 = 75;

/// A clock that stands until it is moved.
#[derive(Default)]
pub(crate) struct Moved(AtomicI64);

impl Clock for Moved {
    fn wall(&self) -> i64 {
        self.monotonic()
    }
    fn monotonic(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
    fn boot(&self) -> BootId {
        BootId::default()
    }
}

/// A workspace whose texts are written straight into its store.
pub(crate) struct Written {
    pub(crate) workspace: Arc<Workspace>,
    pub(crate) store: Arc<Faulty>,
    pub(crate) clock: Arc<Moved>,
    pub(crate) dir: tempfile::TempDir,
}

/// A text being written: letters, and deletions of letters.
struct Writing {
    place: TextPlace,
    edits: u64,
    letters: u32,
}

fn number(n: u32, bytes: &mut Vec<u8>) {
    let mut n = n;
    while n >= 0x80 {
        bytes.push(n as u8 | 0x80);
        n >>= 7;
    }
    bytes.push(n as u8);
}

impl Writing {
    fn in_document(id: &str) -> Writing {
        Writing {
            place: TextPlace {
                collection: 1,
                document: DocumentId::new(id).unwrap(),
                field: 1,
            },
            edits: 0,
            letters: 0,
        }
    }

    /// The update that puts letters in front of all.
    fn types(&mut self, letters: u32) -> Vec<u8> {
        let mut update = vec![1, 1, WRITER as u8];
        number(self.letters, &mut update);
        update.extend([4, 1, 1, b't']);
        number(letters, &mut update);
        update.extend(std::iter::repeat_n(b'x', letters as usize));
        update.push(0);
        self.letters += letters;
        update
    }

    /// The update that deletes every other letter, whether it is there or not: it adds no content.
    fn deletes(&self) -> Vec<u8> {
        let mut update = vec![0, 1, WRITER as u8];
        let ranges = self.letters / 2;
        number(ranges, &mut update);
        for range in 0..ranges {
            number(2 * range, &mut update);
            number(1, &mut update);
        }
        update
    }

    /// Stores an edit as a push would.
    fn store(&mut self, tx: &mut (dyn Transaction + '_), update: &[u8]) {
        self.edits += 1;
        let op = OpId([self.edits as u8; 16]);
        let place = &self.place;
        tx.append_edit(
            place,
            &NewEdit {
                version: self.edits,
                op,
                writer: WRITER,
                edit: update,
            },
        )
        .unwrap();
        let mut state = DocumentState::opened(OpId::ZERO, 1);
        let mark = Mark {
            writer: WRITER,
            next: self.letters,
            last: op,
            version: self.edits,
        };
        let text = TextState {
            root: OpId::ZERO,
            last: op,
            version: self.edits,
            bytes: self.letters.into(),
            marks: vec![mark],
        };
        state.texts.insert(place.field, text);
        tx.put_document(&NewDocument {
            collection: place.collection,
            document: &place.document,
            state: &minicbor::to_vec(&state).unwrap(),
            body: Some("{}"),
            version: self.edits,
        })
        .unwrap();
    }
}

impl Written {
    pub(crate) fn empty() -> Written {
        let dir = tempfile::tempdir().unwrap();
        let name = WorkspaceName::new("w").unwrap();
        let server = SqliteStore::open(dir.path(), None).unwrap();
        server.create(&name, [1; 16], 0).unwrap();
        let store = Arc::new(Faulty::around(server.open(&name).unwrap().unwrap()));
        let clock = Arc::new(Moved::default());
        let environment = Environment {
            clock: Arc::<Moved>::clone(&clock),
            ..Environment::system()
        };
        let schema = Arc::new(Schema::parse(SCHEMA).unwrap());
        let common = Common::new(schema, Arc::default(), environment);
        Written {
            workspace: Workspace::new(Arc::<Faulty>::clone(&store), common),
            store,
            clock,
            dir,
        }
    }

    /// A document with a text that its author goes on to delete every other letter of. Says how many
    /// bytes the edits are.
    pub(crate) fn deleted_from(&self, id: &str, letters: u32, deletions: usize) -> usize {
        deleted_from(&*self.store, id, letters, deletions)
    }

    /// What is stored of a text, not counted.
    fn stored(&self, id: &str) -> crate::store::StoredText {
        let place = Writing::in_document(id).place;
        let stored = self.store.read().unwrap().text(&place, Piece::ALL);
        self.store.texts.lock().unwrap().pop();
        stored.unwrap()
    }

    /// What was read of texts since it was last asked.
    pub(crate) fn read(&self) -> Vec<faulty::TextRead> {
        std::mem::take(&mut *self.store.texts.lock().unwrap())
    }
}

/// The same in any store.
pub(crate) fn deleted_from(
    store: &dyn WorkspaceStore,
    id: &str,
    letters: u32,
    deletions: usize,
) -> usize {
    let mut writing = Writing::in_document(id);
    let mut tx = store.begin().unwrap();
    let typed = writing.types(letters);
    let deleted = writing.deletes();
    writing.store(&mut *tx, &typed);
    for _ in 0..deletions {
        writing.store(&mut *tx, &deleted);
    }
    tx.commit().unwrap();
    typed.len() + deletions * deleted.len()
}

/// The largest edit that there is.
const EDIT: usize = 512 << 10;

#[test]
fn a_piece_has_bounded_bytes_though_its_edits_add_none() {
    let written = Written::empty();
    let bytes = written.deleted_from("n", 60_000, 40);
    assert!(bytes > 2 * PIECE.bytes, "{bytes}");
    let mut turns = 0;
    while written.workspace.fold_turn(None).unwrap().left {
        turns += 1;
    }
    let read = written.read();
    let most = read.iter().map(|read| read.bytes).max().unwrap();
    assert!(most <= PIECE.bytes && most + EDIT > PIECE.bytes, "{most}");
    assert_eq!(read.iter().map(|read| read.bytes).sum::<usize>(), bytes);
    assert_eq!(turns, bytes / PIECE.bytes);
    let stored = written.stored("n");
    assert_eq!((stored.tail.len(), stored.aside), (0, None));
    assert_eq!(stored.folded.unwrap().version, 41);
}

#[test]
fn a_turn_ends_at_the_first_text_behind_its_time_and_the_next_goes_on_there() {
    let written = Written::empty();
    let ids: Vec<String> = (10..30).map(|n| format!("n{n}")).collect();
    for id in &ids {
        written.deleted_from(id, 2, 0);
    }
    assert!(ids.len() < GROUP);
    // Each takes two fifths of a turn: the third is the first behind its end.
    let clock = Arc::clone(&written.clock);
    written.store.behind_every_text(move || {
        clock.0.fetch_add(TURN_MS * 2 / 5, Ordering::Relaxed);
    });
    let (mut after, mut retyped) = (None, 0);
    for turn in ids.chunks(3).take(6) {
        let ended = written.workspace.fold_turn(after).unwrap();
        let read = written.read();
        let texts: Vec<_> = read
            .iter()
            .map(|read| read.place.document.as_str())
            .collect();
        assert_eq!(texts, turn);
        // The first text is typed in again and again; the others get their turn all the same.
        let mut first = Writing::in_document(&ids[0]);
        (first.edits, first.letters) = (1 + retyped, 2);
        retyped += 1;
        let mut tx = written.store.begin().unwrap();
        let update = first.deletes();
        first.store(&mut *tx, &update);
        tx.commit().unwrap();
        assert!(ended.left);
        after = ended.after;
    }
    let ended = written.workspace.fold_turn(after).unwrap();
    assert_eq!(
        ended,
        Turn {
            left: true,
            after: None
        },
        "it began in the middle"
    );
    assert_eq!(written.read().len(), 2);
    for id in &ids[1..] {
        assert_eq!(written.stored(id).tail.len(), 0);
    }
}

/// A server that stops folds what is left while the worker is at it, too.
#[test]
fn two_that_fold_one_text_do_not_undo_each_other() {
    let written = Written::empty();
    written.deleted_from("n", 2, 0);
    let (done, settled) = mpsc::channel();
    let mut begun = false;
    let (workspace, store) = (Arc::clone(&written.workspace), Arc::clone(&written.store));
    written.store.behind_every_text(move || {
        if std::mem::replace(&mut begun, true) {
            return;
        }
        let mut writing = Writing::in_document("n");
        (writing.edits, writing.letters) = (1, 2);
        let mut tx = store.begin().unwrap();
        let update = writing.types(3);
        writing.store(&mut *tx, &update);
        tx.commit().unwrap();
        let (workspace, done) = (Arc::clone(&workspace), done.clone());
        std::thread::spawn(move || {
            workspace.unfolded.store(true, Ordering::Release);
            workspace.settle();
            done.send(()).unwrap();
        });
        // It cannot get in between; if it can, it is given the time to.
        std::thread::sleep(Duration::from_millis(200));
    });
    written.workspace.fold_turn(None).unwrap();
    settled.recv().unwrap();
    let stored = written.stored("n");
    assert_eq!((stored.folded.unwrap().version, stored.tail.len()), (2, 0));
}
