//! A device, from inside: an app with a database, told by lines what to do.
//!
//! It uses the public API of the `driftline` crate and nothing else.

use std::io::{BufRead, ErrorKind, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use driftline::environment::{Clock, SystemClock};
use driftline::{
    Config, Database, FieldValue, HostToken, LossFilter, Schema, SyncConfig, Transaction, Value,
};
use driftline_core::id::BootId;
use serde_json::{Map, Value as Json, json};

use super::birds::SCHEMA;
use super::editor::{self, Desk};
use super::messages::{Change, Document, Lost, Order, Quarantined, Reply, Report, What};
use crate::failure::{Exit, Failure, Outcome};
use crate::logs;

/// One device of the demo: a process of its own.
#[derive(clap::Args)]
#[command(hide = true)]
pub(crate) struct Arguments {
    #[arg(long)]
    file: PathBuf,
    #[arg(long)]
    label: String,
    #[arg(long)]
    account: String,
    #[arg(long)]
    workspace: String,
    /// Milliseconds this device's clock is ahead
    #[arg(long, allow_negative_numbers = true, default_value_t = 0)]
    clock_ahead: i64,
}

/// At most so many rows of a list are told.
const MANY: usize = 100_000;

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    logs::start(false, "warn");
    let db = open(arguments)?;
    let mut desk = Desk::default();
    say(&Reply::Ready)?;
    for line in std::io::stdin().lock().lines() {
        // Whoever gave the orders is gone.
        let Ok(line) = line else { break };
        let order = serde_json::from_str(&line)
            .map_err(|error| Failure::fault("an order cannot be read").because(&error))?;
        let closing = matches!(order, Order::Close);
        say(&obey(&db, &mut desk, order))?;
        if closing {
            break;
        }
    }
    Ok(Exit::Done)
}

fn open(arguments: &Arguments) -> Result<Database, Failure> {
    let schema = Schema::parse(SCHEMA)
        .map_err(|error| Failure::fault("the demo's schema has problems").because(&error))?;
    let mut config = Config::new(&arguments.file, schema, &arguments.workspace)
        .with_account(&arguments.account)
        .with_device_label(&arguments.label);
    config.host_token = Some(Box::new(BesideTheFile(
        arguments.file.with_extension("host"),
    )));
    config.environment.clock = Arc::new(AheadOfTime {
        clock: SystemClock::new(),
        by: arguments.clock_ahead,
    });
    Database::open(config).map_err(|error| {
        Failure::file("not_opened", "the device's file cannot be opened").because(&error)
    })
}

fn say(reply: &Reply) -> Result<(), Failure> {
    let mut line = serde_json::to_string(reply)
        .map_err(|error| Failure::fault("a reply cannot be written").because(&error))?;
    line.push('\n');
    let mut out = std::io::stdout().lock();
    let said = out.write_all(line.as_bytes()).and_then(|()| out.flush());
    said.map_err(|error| Failure::unavailable("nobody_listens", "nobody listens").because(&error))
}

fn obey(db: &Database, desk: &mut Desk, order: Order) -> Reply {
    let failed = |error: driftline::Error| Reply::Failed {
        code: error.code().to_owned(),
        message: error.to_string(),
    };
    let done = |result: driftline::Result<()>| result.map_or_else(failed, |()| Reply::Done);
    match order {
        Order::Write { number, changes } => {
            match db.write(|tx| changes.iter().try_for_each(|change| apply(tx, change))) {
                Ok(()) => Reply::Written { number },
                Err(error) => Reply::Refused {
                    number,
                    code: error.code().to_owned(),
                    message: error.to_string(),
                },
            }
        }
        Order::Connect { url, token } => done(
            db.connect(SyncConfig::new(url, move || Ok(token.clone())))
                .map(drop),
        ),
        Order::Network { online } => {
            if let Some(sync) = db.sync() {
                sync.network_changed(online);
            }
            Reply::Done
        }
        Order::Settle { timeout_ms } => settle(db, Duration::from_millis(timeout_ms)),
        Order::OpenText {
            collection,
            id,
            field,
        } => done(desk.open(db, &collection, &id, &field)),
        Order::Type { strokes, pause_ms } => desk
            .type_all(&strokes, Duration::from_millis(pause_ms))
            .map_or_else(failed, |heard| Reply::Typed { heard }),
        Order::CloseText => desk.close().map_or_else(failed, |text| editor::told(&text)),
        Order::ReadText {
            collection,
            id,
            field,
        } => match db.rich_text(&collection, &id, &field) {
            Ok(text) => editor::told(&text.unwrap_or_default()),
            Err(error) => failed(error),
        },
        Order::Have { collection, ids } => have(db, &collection, ids).unwrap_or_else(failed),
        Order::Documents => {
            documents(db).map_or_else(failed, |documents| Reply::Documents { documents })
        }
        Order::Report => report(db).map_or_else(failed, |report| Reply::Report(Box::new(report))),
        Order::Discard { op } => done(db.outbox().discard(&op)),
        Order::Retry { op } => done(db.outbox().retry(&op).map(drop)),
        Order::Restore {
            collection,
            id,
            field,
        } => done(restore(db, collection, id, field)),
        Order::Close => done(db.close()),
    }
}

fn apply(tx: &mut Transaction<'_>, change: &Change) -> driftline::Result<()> {
    let Change {
        collection,
        id,
        what,
    } = change;
    match what {
        What::Insert { fields } => tx.insert_with_id(collection, id, fields.clone()),
        What::Update { fields } => tx.update(collection, id, fields.clone()).map(drop),
        What::Delete => tx.delete(collection, id).map(drop),
        What::Increment { field, by } => tx.increment(collection, id, field, *by),
        What::Add { field, elements } => tx.add_to_set(collection, id, field, elements.clone()),
        What::Remove { field, elements } => {
            tx.remove_from_set(collection, id, field, elements.clone())
        }
        What::Enter {
            field,
            paragraph,
            on_top,
        } => editor::enter(
            &mut tx.rich_text(collection, id, field)?,
            paragraph,
            *on_top,
        ),
        What::Italicise { field, sentence } => {
            editor::italicise(tx.rich_text(collection, id, field)?, sentence)
        }
    }
}

fn settle(db: &Database, timeout: Duration) -> Reply {
    let Some(sync) = db.sync() else {
        return Reply::Failed {
            code: "not_connected".to_owned(),
            message: "not connected".to_owned(),
        };
    };
    let settled = sync.sync_until(timeout);
    let status = sync.status();
    Reply::Settled {
        settled,
        state: format!("{:?} {:?}", status.state, status.cause),
        pending: status.pending,
    }
}

fn have(db: &Database, collection: &str, ids: Vec<String>) -> driftline::Result<Reply> {
    let mut having = Vec::new();
    for id in ids {
        if db.get(collection, &id)?.is_some() {
            having.push(id);
        }
    }
    Ok(Reply::Having { ids: having })
}

fn documents(db: &Database) -> driftline::Result<Vec<Document>> {
    // Queries see what editors typed a second later; this asks for it now.
    db.flush()?;
    let mut documents = Vec::new();
    for collection in &db.schema().collections {
        let ids = db.query(
            &format!("SELECT id FROM {} ORDER BY id", collection.name),
            (),
        )?;
        for row in &ids {
            let Some(Value::Text(id)) = row.get("id") else {
                continue;
            };
            let Some(document) = db.get(&collection.name, id)? else {
                continue;
            };
            let fields = document
                .fields()
                .filter_map(|(name, value)| Some((name.to_owned(), told(value)?)));
            documents.push(Document {
                collection: collection.name.clone(),
                id: id.clone(),
                fields: fields.collect::<Map<_, _>>(),
            });
        }
    }
    Ok(documents)
}

/// What a field holds; nothing for one that is empty.
fn told(value: &FieldValue) -> Option<Json> {
    match value {
        FieldValue::Value(Value::Null) => None,
        FieldValue::Value(value) => Some(json!(value)),
        FieldValue::Set(elements) if elements.is_empty() => None,
        FieldValue::Set(elements) => Some(json!(elements)),
        _ => None,
    }
}

/// Brings back the latest lost value of a field that nobody has brought back yet.
fn restore(db: &Database, collection: String, id: String, field: String) -> driftline::Result<()> {
    let lost = LossFilter {
        collection: Some(collection),
        document: Some(id),
        field: Some(field),
        restored: Some(false),
        ..LossFilter::default()
    };
    let lost = db.ledger().query(&lost, 1)?;
    lost.iter()
        .try_for_each(|loss| db.ledger().restore(loss.id).map(drop))
}

fn report(db: &Database) -> driftline::Result<Report> {
    let status = db.sync().map(|sync| sync.status()).unwrap_or_default();
    let birds = db.query("SELECT count(*) FROM birds", ())?;
    let quarantined = db
        .outbox()
        .quarantined(None, MANY)?
        .into_iter()
        .map(|write| Quarantined {
            op: write.id,
            code: write.error_code.unwrap_or_default(),
            message: write.error_message.unwrap_or_default(),
            documents: write
                .changes
                .iter()
                .map(|c| format!("{}/{}", c.collection, c.document))
                .collect(),
        });
    let losses = db
        .ledger()
        .query(&LossFilter::default(), MANY)?
        .into_iter()
        .map(|loss| Lost {
            collection: loss.collection,
            id: loss.document,
            field: loss.field,
            value: loss.value,
            base_value: loss.base_value,
            winner_value: loss.winner_value,
            winner_device: loss.winner_device,
            rule: loss.rule.name().to_owned(),
            restored: loss.restored_by.is_some(),
        });
    Ok(Report {
        state: format!("{:?}", status.state),
        live: status.live,
        birds: match birds.scalar() {
            Some(Value::Integer(n)) => n.unsigned_abs(),
            _ => 0,
        },
        pending: db.outbox().size()?.pending,
        quarantined: quarantined.collect(),
        losses: losses.collect(),
        bytes_up: status.bytes_up,
        bytes_down: status.bytes_down,
        clock_offset_ms: status.clock_offset_ms,
    })
}

/// A clock that somebody set wrong.
struct AheadOfTime {
    clock: SystemClock,
    by: i64,
}

impl Clock for AheadOfTime {
    fn wall(&self) -> i64 {
        self.clock.wall() + self.by
    }
    fn monotonic(&self) -> i64 {
        self.clock.monotonic()
    }
    fn boot(&self) -> BootId {
        self.clock.boot()
    }
}

/// What tells a file from its copies, kept where copies of the file do not take it along.
struct BesideTheFile(PathBuf);

impl HostToken for BesideTheFile {
    fn load(&self) -> std::io::Result<Option<Vec<u8>>> {
        match std::fs::read(&self.0) {
            Ok(token) => Ok(Some(token)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
    fn store(&self, token: &[u8]) -> std::io::Result<()> {
        std::fs::write(&self.0, token)
    }
}
