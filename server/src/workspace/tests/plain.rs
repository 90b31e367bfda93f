//! Ops decided from their bytes, and the same ops read first: nobody can tell which way an op went.

use std::path::Path;

use driftline_core::environment::Clock;
use driftline_core::id::BootId;
use driftline_core::merge::Plain;
use driftline_core::protocol::{Unread, encode_cbor};
use driftline_core::value::Value;

use super::*;

const SCHEMA: &str = r#"
    [schema]
    name = "t"
    version = 3
    [limits]
    max_document = "1 KiB"
    max_value = "600 B"
    max_group = "1536 B"
    quota = "4 KiB"
    [collections.birds]
    id = 1
    [collections.birds.fields]
    species = { id = 1, kind = "text", required = true }
    seen = { id = 2, kind = "integer" }
    mass = { id = 3, kind = "real" }
    ringed = { id = 4, kind = "boolean", required = true, default = false }
    photo = { id = 5, kind = "bytes", max_bytes = 40 }
    notes = { id = 6, kind = "json" }
    sightings = { id = 7, kind = "counter" }
    tags = { id = 8, kind = "set" }
    story = { id = 9, kind = "rich_text" }
    at = { id = 12, kind = "timestamp" }
    [collections.teams]
    id = 2
    merge = "document"
    [collections.teams.fields]
    name = { id = 1, kind = "text" }
    [collections.islands]
    id = 3
    on_conflict_delete = "update_wins"
    [collections.islands.fields]
    name = { id = 1, kind = "text", default = "Dream" }
"#;

/// A clock that stands: what is stored may not differ by when it was.
struct Still;

impl Clock for Still {
    fn wall(&self) -> i64 {
        1_800_000_000_000
    }
    fn monotonic(&self) -> i64 {
        50_000
    }
    fn boot(&self) -> BootId {
        BootId::default()
    }
}

struct Side {
    workspace: Arc<Workspace>,
    dir: tempfile::TempDir,
}

impl Side {
    fn new(schema: &Arc<Schema>) -> Side {
        let dir = tempfile::tempdir().unwrap();
        let name = WorkspaceName::new("w").unwrap();
        let server = SqliteStore::open(dir.path(), None).unwrap();
        server.create(&name, [1; 16], 0).unwrap();
        let store = server.open(&name).unwrap().unwrap();
        let environment = Environment {
            clock: Arc::new(Still),
            ..Environment::system()
        };
        let common = Common::new(Arc::clone(schema), Arc::default(), environment);
        Side {
            workspace: Workspace::new(store, common),
            dir,
        }
    }

    async fn sync(&self, ops: Ops, role: Role) -> String {
        let asked = Asked {
            role,
            ops,
            ..asked(&[])
        };
        // The answer as it is sent, or what is said instead.
        let answer = self.workspace.sync(asked).await;
        answer.map_or_else(
            |problem| format!("{problem:?}"),
            |answer| format!("{:?} {:?}", answer.results, encode_cbor(&answer)),
        )
    }

    /// Every row of the tables that ops are stored in.
    fn rows(&self) -> Vec<String> {
        let file = workspace_file(self.dir.path());
        let connection = rusqlite::Connection::open(file).unwrap();
        let tables = ["documents", "log", "verdicts", "losses", "size"];
        let mut rows = Vec::new();
        for table in tables {
            let mut all = connection
                .prepare(&format!("SELECT * FROM {table}"))
                .unwrap();
            let columns = all.column_count();
            let found = all.query_map([], |row| {
                let values = (0..columns).map(|at| row.get::<_, rusqlite::types::Value>(at));
                values.collect::<Result<Vec<_>, _>>()
            });
            rows.extend(
                found
                    .unwrap()
                    .map(|row| format!("{table} {:?}", row.unwrap())),
            );
        }
        rows
    }
}

fn workspace_file(dir: &Path) -> std::path::PathBuf {
    let files = std::fs::read_dir(dir).unwrap();
    let mut files = files.map(|file| file.unwrap().path());
    let is_workspace = |path: &std::path::PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.ends_with(".sqlite") && !name.starts_with("control")
    };
    files.find(is_workspace).unwrap()
}

/// Numbers that are the same in every run.
struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }

    fn value(&mut self) -> Value {
        match self.throw(14) {
            0 | 12 | 13 => Value::Null,
            1 => Value::Boolean(true),
            2 => Value::Integer(-7),
            3 => Value::Real(0.25),
            4 => Value::Bytes(vec![0, 255]),
            5 => Value::Text("a\0b".to_owned()),
            6 => Value::Text("x".repeat(self.throw(700))),
            7 => Value::Text("{\"a\": [1]}".to_owned()),
            8 => Value::Text("12".to_owned()),
            _ => Value::Text("a \"quoted\" line\n".to_owned()),
        }
    }

    /// The value that most ops have for a field.
    fn usual(&mut self, field: u16) -> Value {
        match field {
            _ if self.throw(12) == 0 => self.value(),
            2 | 12 => Value::Integer(1_000_000_007),
            3 => Value::Real(3_750.5),
            4 => Value::Boolean(self.throw(2) == 0),
            5 => Value::Bytes(vec![7; self.throw(44)]),
            6 => Value::Null,
            _ => Value::Text("Adelie".to_owned()),
        }
    }

    fn body(&mut self) -> OpBody {
        let kind = match self.throw(12) {
            0 => ChangeKind::Update,
            1 => ChangeKind::Delete,
            2 => ChangeKind::Restore,
            _ => ChangeKind::Insert,
        };
        let collection = [1, 1, 1, 1, 2, 3, 9][self.throw(7)];
        let document = DocumentId::new(format!("d{:03}", self.throw(400))).unwrap();
        let mut change = Change::new(collection, document, kind);
        if matches!(kind, ChangeKind::Insert | ChangeKind::Update) {
            for field in [1, 2, 3, 4, 5, 6, 12] {
                if field == 1 || collection == 1 && self.throw(3) > 0 {
                    change.registers.insert(field, self.usual(field));
                }
            }
        }
        match self.throw(30) {
            0 => _ = change.registers.insert(77, Value::Null),
            1 => change.clock = 1,
            2 => _ = change.increments.insert(7, 2),
            3 => _ = change.adds.insert(8, vec!["ring".to_owned()]),
            4 => change.prev = Some(OpId([3; 16])),
            5 => change.generation = Some(OpId([3; 16])),
            _ => {}
        }
        let mut body = OpBody {
            base: self.throw(3) as u64,
            schema: [1, 3, 3, 3, 4][self.throw(5)],
            changes: vec![change],
            ..OpBody::default()
        };
        match self.throw(40) {
            0 => body.changes.push(body.changes[0].clone()),
            1 => body.changes.clear(),
            2 => body.covers.push(OpId([4; 16])),
            3 => body.retry_of = Some(OpId([5; 16])),
            4 => body.withdraw = true,
            _ => {}
        }
        body
    }

    fn sent(&mut self) -> Vec<u8> {
        let mut id = [9; 16];
        id[..2].copy_from_slice(&u16::try_from(self.throw(2_000)).unwrap().to_be_bytes());
        let id = OpId(id);
        if self.throw(20) == 0 {
            return encode_cbor(&SentOp::Named(id));
        }
        let when = match self.throw(2) {
            0 => When::Age(self.throw(90_000) as u64),
            _ => When::Wall(1_700_000_000_000),
        };
        let body = self.body();
        let mut bytes = encode_cbor(&SentOp::Full { id, when, body });
        // Now and then not what anybody honest sends.
        if self.throw(8) == 0 {
            let at = self.throw(bytes.len());
            bytes[at] ^= 1 << self.throw(8);
        }
        bytes
    }
}

/// These ops in the bytes of a request; `None` if they would not be let through as CBOR.
fn unread(sent: &[Vec<u8>]) -> Option<(Vec<u8>, Vec<Unread>)> {
    let mut request = vec![0x98, u8::try_from(sent.len()).unwrap()];
    sent.iter().for_each(|op| request.extend(op));
    let ops: Vec<Unread> = driftline_core::protocol::decode_around(&request).ok()?;
    let whole = ops
        .iter()
        .zip(sent)
        .all(|(op, sent)| op.bytes(&request) == sent);
    whole.then_some((request, ops))
}

#[tokio::test]
async fn an_op_decided_from_its_bytes_is_decided_as_it_is_when_read() {
    let schema = Arc::new(Schema::parse(SCHEMA).unwrap());
    let (glancing, reading) = (Side::new(&schema), Side::new(&schema));
    let mut dice = Dice(1);
    let (mut plain, mut refused) = (0, 0);
    for round in 0..1_000 {
        let count = 1 + dice.throw(6);
        let sent: Vec<_> = (0..count).map(|_| dice.sent()).collect();
        let Some((request, ops)) = unread(&sent) else {
            continue;
        };
        let read = sent.iter().map(|op| minicbor::decode::<SentOp>(op));
        let read: Result<Vec<SentOp>, _> = read.collect();
        let role = match dice.throw(20) {
            0 => Role::Reader,
            _ => Role::Writer,
        };
        let at_a_glance = sent.iter().filter_map(|op| SentOp::around(op));
        plain += at_a_glance
            .filter(|(.., body)| Plain::read(&schema, body).is_some())
            .count();
        let told = glancing.sync(Ops::Unread { request, ops }, role).await;
        match read {
            Ok(read) => assert_eq!(told, reading.sync(Ops::Read(read), role).await, "{round}"),
            Err(_) => {
                refused += 1;
                assert!(
                    told.starts_with("Broken") || told.starts_with("Malformed"),
                    "{told}"
                );
            }
        }
    }
    assert!(plain > 500 && refused > 30, "{plain} {refused}");
    let rows = glancing.rows();
    assert!(
        rows.iter().any(|row| row.contains("quota")),
        "the quota was met"
    );
    assert_eq!(rows, reading.rows());
}
