//! Groups, and what goes wrong within them.
#![allow(clippy::unwrap_used)]

pub(crate) mod faulty;
pub(crate) mod folding;
mod large;
mod plain;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use driftline_core::id::{DocumentId, OpId, Version};
use driftline_core::merge::Decision;
use driftline_core::op::{Change, ChangeKind, Op, OpBody, Refusal};
use driftline_core::protocol::{Cursor, Device, Outcome, PROTOCOL, SentOp, When};
use driftline_core::time::{Reading, Stamp};

use super::rows::Rows;
use super::*;
use crate::environment::{BoxFuture, Executor, TokioExecutor};
use crate::store::sqlite::SqliteStore;
use crate::store::{ServerStore, StoreError, WorkspaceName};
use faulty::Faulty;

const SCHEMA: &str = r#"
    [schema]
    name = "t"
    version = 1
    [collections.birds]
    id = 1
    [collections.birds.fields]
    species = { id = 1, kind = "text" }
"#;

/// Keeps blocking work until the test lets it run, so that requests meet in one group.
#[derive(Default)]
struct Later(Mutex<Vec<Box<dyn FnOnce() + Send>>>);

impl Executor for Later {
    fn spawn(&self, task: BoxFuture<()>) {
        TokioExecutor.spawn(task);
    }
    fn run_blocking(&self, work: Box<dyn FnOnce() + Send>) {
        self.0.lock().unwrap().push(work);
    }
    fn sleep(&self, millis: u64) -> BoxFuture<()> {
        TokioExecutor.sleep(millis)
    }
}

struct Setup {
    workspace: Arc<Workspace>,
    store: Arc<Faulty>,
    later: Arc<Later>,
    _dir: tempfile::TempDir,
}

fn setup() -> Setup {
    let dir = tempfile::tempdir().unwrap();
    let name = WorkspaceName::new("w").unwrap();
    let server = SqliteStore::open(dir.path(), None).unwrap();
    server.create(&name, [1; 16], 0).unwrap();
    let store = Arc::new(Faulty::around(server.open(&name).unwrap().unwrap()));
    let later = Arc::new(Later::default());
    let environment = Environment {
        executor: Arc::<Later>::clone(&later),
        ..Environment::system()
    };
    let schema = Arc::new(Schema::parse(SCHEMA).unwrap());
    let common = Common::new(schema, Arc::default(), environment);
    let workspace = Workspace::deciding_by(Arc::<Faulty>::clone(&store), common, panics_on_boom);
    Setup {
        workspace,
        store,
        later,
        _dir: dir,
    }
}

fn panics_on_boom(
    schema: &Schema,
    rows: &mut Rows<'_>,
    account: &str,
    op: &mut Op,
    stamp: Stamp,
    version: Version,
    refused: Option<Refusal>,
) -> Result<Decision, StoreError> {
    let boom = op
        .body
        .changes
        .iter()
        .any(|c| c.document.as_str() == "boom");
    assert!(!boom, "on purpose");
    decide::by_core(schema, rows, account, op, stamp, version, refused)
}

fn asked(documents: &[&str]) -> Asked {
    let insert = |document: &&str| {
        let mut id = [0; 16];
        id[..document.len()].copy_from_slice(document.as_bytes());
        let change = Change::new(1, DocumentId::new(*document).unwrap(), ChangeKind::Insert);
        let body = OpBody {
            schema: 1,
            changes: vec![change],
            ..OpBody::default()
        };
        SentOp::Full {
            id: OpId(id),
            when: When::Age(0),
            body,
        }
    };
    let request = SyncRequest {
        protocol: PROTOCOL,
        schema_version: 1,
        account: String::new(),
        device: Device {
            id: documents.join("+"),
            ..Device::default()
        },
        cursor: Cursor::START,
        losses_ack: 0,
        now: Reading::default(),
        ops: Vec::new(),
        page_bytes: 0,
        tag: 0,
    };
    Asked {
        account: "ann".to_owned(),
        role: Role::Writer,
        request,
        ops: Ops::Read(documents.iter().map(insert).collect()),
        listener: NOBODY,
    }
}

impl Setup {
    /// Sends all of them before any is decided.
    async fn together(&self, requests: Vec<Asked>) -> Vec<Result<Answer, Problem>> {
        let mut tasks = Vec::new();
        for request in requests {
            let workspace = Arc::clone(&self.workspace);
            tasks.push(tokio::spawn(async move { workspace.sync(request).await }));
        }
        tokio::task::yield_now().await;
        let work = std::mem::take(&mut *self.later.0.lock().unwrap());
        assert_eq!(work.len(), 1, "one of them leads");
        work.into_iter().for_each(|work| work());
        let mut answers = Vec::new();
        for task in tasks {
            answers.push(task.await.unwrap());
        }
        answers
    }
}

fn versions(answer: &Result<Answer, Problem>) -> Vec<Version> {
    let version = |result: &driftline_core::protocol::OpResult| match result.outcome {
        Outcome::Accepted { version } => version,
        _ => 0,
    };
    answer
        .as_ref()
        .unwrap()
        .results
        .iter()
        .map(version)
        .collect()
}

#[tokio::test]
async fn requests_that_meet_share_one_commit_and_one_frame() {
    let setup = setup();
    let mut feed = setup.workspace.feed().listen();
    let requests = vec![asked(&["a", "b"]), asked(&["c"]), asked(&["a"])];
    let answers = setup.together(requests).await;
    assert_eq!(setup.store.commits.load(Ordering::Relaxed), 1);
    assert_eq!(versions(&answers[0]), [1, 2]);
    assert_eq!(versions(&answers[1]), [3]);
    assert_eq!(
        versions(&answers[2]),
        [1],
        "decided in the same group, once"
    );
    assert_eq!(
        answers[0].as_ref().unwrap().cursor.version,
        2,
        "a page ends where its results do"
    );
    assert_eq!(answers[1].as_ref().unwrap().cursor.version, 3);
    assert!(matches!(feed.try_recv(), Ok(Frame::Versions(_))));
    assert!(feed.try_recv().is_err());
}

#[tokio::test]
async fn who_hears_of_all_by_the_answer_is_not_told_again() {
    let setup = setup();
    let mut feed = setup.workspace.feed().listen();
    let from = |listener, documents: &[&str]| Asked {
        listener,
        ..asked(documents)
    };
    let mut is_known_to = || {
        let frame = feed.try_recv().unwrap();
        [NOBODY, 5, 6].map(|listener| frame.is_known_to(listener))
    };
    setup.together(vec![from(5, &["a", "b"])]).await;
    assert_eq!(is_known_to(), [false, true, false]);
    setup.together(vec![from(NOBODY, &["c"])]).await;
    assert_eq!(is_known_to(), [false; 3]);
    // Each answer ends where its own results do, and the frame tells of both.
    setup.together(vec![from(5, &["d"]), from(6, &["e"])]).await;
    assert_eq!(is_known_to(), [false; 3]);
    // One that decided nothing new makes no difference.
    setup.together(vec![from(6, &["a"]), from(5, &["f"])]).await;
    assert_eq!(is_known_to(), [false, true, false]);
    // Behind others' versions a page may end before the request's own.
    let mut cut = from(5, &["g"]);
    cut.request.page_bytes = 1;
    setup.together(vec![cut]).await;
    assert_eq!(is_known_to(), [false; 3]);
}

#[tokio::test]
async fn an_op_that_panics_undoes_its_own_request_only() {
    let setup = setup();
    let requests = vec![asked(&["a"]), asked(&["b", "boom", "c"]), asked(&["d"])];
    let answers = setup.together(requests).await;
    assert_eq!(versions(&answers[0]), [1]);
    assert_eq!(answers[1], Err(Problem::Internal));
    assert_eq!(
        versions(&answers[2]),
        [2],
        "its versions follow without a gap"
    );
    // Halved by the device, everything but the op itself goes through.
    let answers = setup
        .together(vec![asked(&["b"]), asked(&["boom"]), asked(&["c"])])
        .await;
    assert_eq!(
        (versions(&answers[0]), versions(&answers[2])),
        (vec![3], vec![4])
    );
    assert_eq!(answers[1], Err(Problem::Internal));
}

#[tokio::test]
async fn a_store_that_cannot_begin_makes_everybody_wait() {
    let setup = setup();
    setup.store.begins_fail.store(true, Ordering::Relaxed);
    let answers = setup.together(vec![asked(&["a"]), asked(&["b"])]).await;
    assert_eq!(answers, [Err(Problem::Busy), Err(Problem::Busy)]);
    setup.store.begins_fail.store(false, Ordering::Relaxed);
    assert_eq!(versions(&setup.together(vec![asked(&["a"])]).await[0]), [1]);
}

#[tokio::test]
async fn nothing_is_said_of_a_commit_that_failed() {
    for durable in [false, true] {
        let setup = setup();
        let mut feed = setup.workspace.feed().listen();
        setup.store.commit_fails(durable);
        let answers = setup.together(vec![asked(&["a"]), asked(&["b"])]).await;
        assert_eq!(answers, [Err(Problem::Busy), Err(Problem::Busy)]);
        assert!(
            matches!(feed.try_recv(), Ok(Frame::Behind(NOBODY))),
            "it may be durable all the same"
        );
        assert!(feed.try_recv().is_err());
        // Sent again, each op is what it became, or becomes it now.
        let answers = setup.together(vec![asked(&["a"]), asked(&["b"])]).await;
        assert_eq!(
            (versions(&answers[0]), versions(&answers[1])),
            (vec![1], vec![2])
        );
    }
}
