//! How much of a workspace is in memory while it is streamed, counted at the store.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::Ordering;
use std::time::Duration;

use driftline_core::id::{DocumentId, OpId};
use driftline_core::merge::{DocumentState, Register, Write};
use driftline_core::schema::StableIds;
use driftline_core::time::Stamp;
use http::Request;
use http_body_util::BodyExt;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;

use super::*;
use crate::auth::mint::{Minted, hs256};
use crate::auth::{Keys, Role};
use crate::store::sqlite::SqliteStore;
use crate::store::{NewDocument, ServerStore, StoreError, WorkspaceName, WorkspaceStore};
use crate::workspace::tests::faulty::Faulty;
use crate::{Server, ServerConfig};

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const SCHEMA: &str = r#"
    [schema]
    name = "t"
    version = 1
    [collections.birds]
    id = 1
    [collections.birds.fields]
    species = { id = 1, kind = "text" }
"#;

/// A store of one workspace, which counts.
struct One {
    inner: SqliteStore,
    workspace: Arc<Faulty>,
}

impl ServerStore for One {
    fn open(&self, _: &WorkspaceName) -> Result<Option<Arc<dyn WorkspaceStore>>, StoreError> {
        Ok(Some(Arc::<Faulty>::clone(&self.workspace)))
    }
    fn create(&self, name: &WorkspaceName, id: [u8; 16], now: i64) -> Result<bool, StoreError> {
        self.inner.create(name, id, now)
    }
    fn names(&self) -> Result<Vec<WorkspaceName>, StoreError> {
        self.inner.names()
    }
    fn stable_ids(&self) -> Result<Option<StableIds>, StoreError> {
        self.inner.stable_ids()
    }
    fn set_stable_ids(&self, ids: &StableIds) -> Result<(), StoreError> {
        self.inner.set_stable_ids(ids)
    }
    fn check_writable(&self) -> Result<(), StoreError> {
        self.inner.check_writable()
    }
}

/// Puts so many documents of half a kilobyte there.
fn fill(store: &dyn WorkspaceStore, documents: u32) {
    let mut tx = store.begin().unwrap();
    for n in 0..documents {
        let mut state = DocumentState::opened(OpId::ZERO, 1);
        let write = Write {
            op: OpId::ZERO,
            stamp: Stamp::ZERO,
            version: 1,
        };
        let value = "x".repeat(500).into();
        state.registers.insert(1, Register { value, write });
        tx.put_document(&NewDocument {
            collection: 1,
            document: &DocumentId::new(format!("bird-{n:06}")).unwrap(),
            state: &minicbor::to_vec(&state).unwrap(),
            body: Some("{}"),
            version: 1,
        })
        .unwrap();
    }
    tx.commit().unwrap();
}

/// The most bytes that were read and not yet taken by a reader who takes its time, and all bytes that
/// it took.
async fn held_and_taken(documents: u32) -> (u64, u64) {
    let dir = tempfile::tempdir().unwrap();
    let inner = SqliteStore::open(dir.path(), None).unwrap();
    let name = WorkspaceName::new("w").unwrap();
    inner.create(&name, [1; 16], 0).unwrap();
    let workspace = Arc::new(Faulty::around(inner.open(&name).unwrap().unwrap()));
    fill(&*workspace, documents);
    let keys = Keys::hs256(SECRET).unwrap();
    let schema = driftline_core::schema::Schema::parse(SCHEMA).unwrap();
    let config = ServerConfig::new(schema, dir.path(), keys);
    let now = config.environment.clock.wall() / 1_000;
    let store = One {
        inner,
        workspace: Arc::clone(&workspace),
    };
    let server = Server::with_store(config, Arc::new(store)).unwrap();
    let token = hs256(
        SECRET,
        &Minted {
            account: "ann".to_owned(),
            workspaces: [("w".to_owned(), Role::Reader)].into(),
            issued: now,
            lifetime: 3_600,
            audience: None,
            issuer: None,
        },
    );
    let request = Request::get("/v1/workspaces/w/snapshot")
        .header(header::AUTHORIZATION, format!("Bearer {}", token.unwrap()))
        .body(Body::empty())
        .unwrap();
    let router = TowerToHyperService::new(server.router());
    let mut body = router.call(request).await.unwrap().into_body();
    let (mut held, mut taken) = (0, 0);
    loop {
        // Whatever reads ahead gets the time to.
        let mut read = u64::MAX;
        while read != workspace.documents_read.load(Ordering::Relaxed) {
            read = workspace.documents_read.load(Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        held = held.max(read.saturating_sub(taken));
        match body.frame().await {
            Some(frame) => taken += frame.unwrap().into_data().unwrap().len() as u64,
            None => return (held, taken),
        }
    }
}

#[tokio::test]
async fn what_is_in_memory_does_not_grow_with_the_workspace() {
    let (few_held, few_taken) = held_and_taken(2_000).await;
    let (many_held, many_taken) = held_and_taken(20_000).await;
    assert!(
        few_taken > 1_000_000 && many_taken > 9 * few_taken,
        "{few_taken} {many_taken}"
    );
    // A frame, and the document that did not fit it.
    let most = limits::SNAPSHOT_FRAME as u64 + 1_000;
    assert!(
        few_held <= most && many_held <= most,
        "{few_held} {many_held}"
    );
}
