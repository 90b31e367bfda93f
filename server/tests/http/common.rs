//! A server in a temporary directory, and devices that talk to it through its router.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use axum::body::Body;
use driftline_core::id::{BootId, DocumentId, OpId};
use driftline_core::op::{Change, ChangeKind, OpBody};
use driftline_core::protocol::{
    Cursor, Device, Failure, Form, OpResult, Outcome, PROTOCOL, SentOp, SyncRequest, SyncResponse,
    When, decode, decompress, encode,
};
use driftline_core::schema::Schema;
use driftline_core::time::Reading;
use driftline_core::value::Value;
use driftline_server::auth::mint::{Minted, hs256};
use driftline_server::auth::{Keys, Role};
use driftline_server::environment::{Clock, Environment};
use driftline_server::{Server, ServerConfig};
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::BodyExt;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;

pub(crate) const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
pub(crate) const NOW: i64 = 1_800_000_000_000;
pub(crate) const BIRDS: u16 = 1;
pub(crate) const NOTES: u16 = 2;

pub(crate) const SCHEMA: &str = r#"
[schema]
name = "field-notes"
version = 1
[collections.birds]
id = 1
[collections.birds.fields]
species = { id = 1, kind = "text" }
island = { id = 2, kind = "text", default = "Torgersen" }
mass = { id = 3, kind = "integer" }
seen = { id = 4, kind = "counter" }
tags = { id = 5, kind = "set" }
story = { id = 6, kind = "rich_text" }
[collections.notes]
id = 2
on_conflict_delete = "update_wins"
[collections.notes.fields]
text = { id = 1, kind = "text" }
journal = { id = 2, kind = "rich_text" }
steps = { id = 3, kind = "list" }
short = { id = 4, kind = "rich_text", max_bytes = 64 }
"#;

/// A clock the test moves.
pub(crate) struct TestClock(pub AtomicI64);

impl Clock for TestClock {
    fn wall(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
    fn monotonic(&self) -> i64 {
        self.wall()
    }
    fn boot(&self) -> BootId {
        BootId(1)
    }
}

pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) dir: Arc<tempfile::TempDir>,
}

pub(crate) fn config(dir: &std::path::Path, clock: Arc<TestClock>) -> ServerConfig {
    let mut config = ServerConfig::new(
        Schema::parse(SCHEMA).unwrap(),
        dir,
        Keys::hs256(SECRET).unwrap(),
    );
    config.create_workspaces = true;
    config.environment = Environment {
        clock,
        ..Environment::system()
    };
    config
}

impl World {
    pub(crate) fn new() -> World {
        World::with(|_| ())
    }

    pub(crate) fn with(change: impl FnOnce(&mut ServerConfig)) -> World {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let clock = Arc::new(TestClock(AtomicI64::new(NOW)));
        let mut config = config(dir.path(), Arc::clone(&clock));
        change(&mut config);
        World {
            server: Server::new(config).unwrap(),
            clock,
            dir,
        }
    }

    /// The server stopped and started again on the same directory.
    pub(crate) fn restarted(self) -> World {
        let World { server, clock, dir } = self;
        drop(server);
        let server = Server::new(config(dir.path(), Arc::clone(&clock))).unwrap();
        World { server, clock, dir }
    }

    pub(crate) fn device(&self, account: &str) -> Client {
        self.device_as(account, Role::Writer)
    }

    pub(crate) fn device_as(&self, account: &str, role: Role) -> Client {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Client {
            server: self.server.clone(),
            token: token(account, &[("w", role)], NOW),
            device: Device {
                id: format!("device-{number}"),
                label: format!("{account}'s device"),
                writer: number,
            },
            account: account.to_owned(),
            cursor: Cursor::START,
            losses_ack: 0,
            next: number << 32,
            now: Reading {
                wall: NOW,
                boot: BootId(9),
                mono: 1_000_000,
            },
        }
    }

    pub(crate) fn database(&self, workspace: &str) -> rusqlite::Connection {
        rusqlite::Connection::open(
            self.dir
                .path()
                .join(format!("workspace-{workspace}.sqlite")),
        )
        .unwrap()
    }
}

pub(crate) fn token(account: &str, workspaces: &[(&str, Role)], now: i64) -> String {
    let minted = Minted {
        account: account.to_owned(),
        workspaces: workspaces
            .iter()
            .map(|(name, role)| ((*name).to_owned(), *role))
            .collect::<BTreeMap<_, _>>(),
        issued: now / 1_000,
        lifetime: 3_600,
        audience: None,
        issuer: None,
    };
    hs256(SECRET, &minted).unwrap()
}

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Vec<u8>,
}

impl Reply {
    pub(crate) fn failure(&self) -> Failure {
        let form = Form::of(self.headers[header::CONTENT_TYPE].to_str().unwrap()).unwrap();
        decode(form, &self.bytes).unwrap()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.bytes).unwrap()
    }
}

pub(crate) async fn call(server: &Server, request: Request<Body>) -> Reply {
    let response = TowerToHyperService::new(server.router())
        .call(request)
        .await
        .unwrap();
    let (parts, body) = response.into_parts();
    let mut bytes = body.collect().await.unwrap().to_bytes().to_vec();
    if parts
        .headers
        .get(header::CONTENT_ENCODING)
        .is_some_and(|e| e == "zstd")
    {
        bytes = decompress(&bytes, 64 << 20).unwrap();
    }
    Reply {
        status: parts.status,
        headers: parts.headers,
        bytes,
    }
}

/// One device's file, as far as the server can tell.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) server: Server,
    pub(crate) token: String,
    pub(crate) device: Device,
    pub(crate) account: String,
    pub(crate) cursor: Cursor,
    pub(crate) losses_ack: u64,
    pub(crate) next: u64,
    pub(crate) now: Reading,
}

impl Client {
    pub(crate) fn id(&mut self) -> OpId {
        self.next += 1;
        let mut random = [0; 10];
        random[2..].copy_from_slice(&self.next.to_be_bytes());
        OpId::next(NOW.unsigned_abs() + (self.next & 0xffff_ffff), random, None)
    }

    pub(crate) fn request(&self, ops: Vec<SentOp>) -> SyncRequest {
        SyncRequest {
            protocol: PROTOCOL,
            schema_version: 1,
            account: self.account.clone(),
            device: self.device.clone(),
            cursor: self.cursor,
            losses_ack: self.losses_ack,
            now: self.now,
            ops,
            page_bytes: 0,
            tag: 0,
        }
    }

    pub(crate) fn http(&self, form: Form, request: &SyncRequest) -> Request<Body> {
        Request::post("/v1/workspaces/w/sync")
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
            .header(header::CONTENT_TYPE, form.content_type())
            .body(Body::from(encode(form, request)))
            .unwrap()
    }

    pub(crate) async fn try_sync(&self, ops: Vec<SentOp>) -> Result<SyncResponse, Reply> {
        self.send(&self.request(ops)).await
    }

    pub(crate) async fn send(&self, request: &SyncRequest) -> Result<SyncResponse, Reply> {
        let reply = call(&self.server, self.http(Form::Cbor, request)).await;
        if reply.status == StatusCode::OK {
            Ok(decode(Form::Cbor, &reply.bytes).unwrap())
        } else {
            Err(reply)
        }
    }

    /// Syncs and moves the cursor.
    pub(crate) async fn sync(&mut self, ops: Vec<SentOp>) -> SyncResponse {
        let response = match self.try_sync(ops).await {
            Ok(response) => response,
            Err(reply) => panic!("{} {:?}", reply.status, reply.failure()),
        };
        self.cursor = response.cursor;
        response
    }

    pub(crate) fn insert(&mut self, document: &str, fields: &[(u16, Value)]) -> SentOp {
        self.op(change(BIRDS, document, ChangeKind::Insert, fields))
    }

    pub(crate) fn update(&mut self, document: &str, fields: &[(u16, Value)]) -> SentOp {
        self.op(change(BIRDS, document, ChangeKind::Update, fields))
    }

    pub(crate) fn op(&mut self, change: Change) -> SentOp {
        let id = self.id();
        SentOp::Full {
            id,
            when: When::Age(0),
            body: body(self.cursor.version, vec![change]),
        }
    }
}

pub(crate) fn body(base: u64, changes: Vec<Change>) -> OpBody {
    OpBody {
        base,
        schema: 1,
        changes,
        ..OpBody::default()
    }
}

pub(crate) fn change(
    collection: u16,
    document: &str,
    kind: ChangeKind,
    fields: &[(u16, Value)],
) -> Change {
    let mut change = Change::new(collection, DocumentId::new(document).unwrap(), kind);
    change.registers = fields.iter().cloned().collect();
    change
}

pub(crate) fn accepted(result: &OpResult) -> u64 {
    match &result.outcome {
        Outcome::Accepted { version } => *version,
        other => panic!("not accepted: {other:?}"),
    }
}

pub(crate) fn rejected(result: &OpResult) -> &str {
    match &result.outcome {
        Outcome::Rejected { refusal } => &refusal.code,
        other => panic!("not rejected: {other:?}"),
    }
}
