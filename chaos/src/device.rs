//! A device, from inside: an app with a database that does what it is told by lines, and says a
//! write is committed only after the library has said so.

use std::io::{BufRead, ErrorKind, Write};
use std::path::PathBuf;
use std::time::Duration;

use driftline::{
    Config, Database, Durability, HostToken, Schema, Sync, SyncConfig, Transaction, Value,
};

use crate::order::{Act, Order, Reply, SCHEMA, board_id, draft_id, journal_id, mark};

/// One device: a process of its own.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[arg(long)]
    file: PathBuf,
    #[arg(long)]
    name: String,
    #[arg(long)]
    account: String,
    #[arg(long)]
    workspace: String,
    /// Commits without waiting for the disk, which a killed process survives as well
    #[arg(long)]
    normal: bool,
}

/// A connection that nothing comes from is given up after so long: soon, for half-open ones are many.
const IDLE: Duration = Duration::from_secs(2);

pub(crate) fn run(arguments: &Arguments) -> Result<(), String> {
    let db = open(arguments).map_err(|error| format!("{}: {error}", error.code()))?;
    say(&Reply::Ready)?;
    for line in std::io::stdin().lock().lines() {
        // Whoever gave the orders is gone.
        let Ok(line) = line else { break };
        let order: Order = serde_json::from_str(&line).map_err(|error| error.to_string())?;
        let closing = order == Order::Close;
        let reply = obey(&db, &arguments.name, &order).unwrap_or_else(|error| Reply::Failed {
            order: line,
            code: error.code().to_owned(),
            message: error.to_string(),
        });
        say(&reply)?;
        if closing {
            break;
        }
    }
    Ok(())
}

fn open(arguments: &Arguments) -> driftline::Result<Database> {
    let schema = Schema::parse(SCHEMA)
        .map_err(|error| driftline::Error::aborted(format!("the schema is wrong: {error}")))?;
    let durability = match arguments.normal {
        true => Durability::Normal,
        false => Durability::Full,
    };
    let mut config = Config::new(&arguments.file, schema, &arguments.workspace)
        .with_account(&arguments.account)
        .with_device_label(&arguments.name)
        .with_durability(durability);
    config.host_token = Some(Box::new(BesideTheFile(
        arguments.file.with_extension("host"),
    )));
    Database::open(config)
}

fn say(reply: &Reply) -> Result<(), String> {
    let mut line = serde_json::to_string(reply).map_err(|error| error.to_string())?;
    line.push('\n');
    let mut out = std::io::stdout().lock();
    out.write_all(line.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| error.to_string())
}

fn obey(db: &Database, device: &str, order: &Order) -> driftline::Result<Reply> {
    match order {
        Order::Connect { url, token } => {
            let token = token.clone();
            let mut config = SyncConfig::new(url, move || Ok(token.clone()));
            config.idle_timeout = IDLE;
            db.connect(config)?;
        }
        Order::Write { number, acts } => {
            db.write(|tx| transaction(tx, device, *number, acts))?;
            return Ok(Reply::Written { number: *number });
        }
        Order::Sync => {
            if let Some(sync) = db.sync() {
                sync.sync_now();
            }
        }
        Order::Missing { numbers } => {
            let mut missing = Vec::new();
            for number in numbers {
                if db.get("journal", &journal_id(device, *number))?.is_none() {
                    missing.push(*number);
                }
            }
            return Ok(Reply::Missing { numbers: missing });
        }
        Order::Wait { timeout_ms } => {
            let timeout = Duration::from_millis(*timeout_ms);
            return Ok(settled(db, |sync| sync.wait_until_synced(timeout)));
        }
        Order::Settle { timeout_ms } => {
            let timeout = Duration::from_millis(*timeout_ms);
            return Ok(settled(db, |sync| sync.sync_until(timeout)));
        }
        Order::Close => db.close()?,
    }
    Ok(Reply::Done)
}

fn settled(db: &Database, got_there: impl FnOnce(Sync) -> bool) -> Reply {
    let settled = db.sync().is_some_and(got_there);
    let status = db.sync().map(|sync| sync.status()).unwrap_or_default();
    Reply::Settled {
        settled,
        state: format!(
            "{:?} {:?}, {} pending",
            status.state, status.cause, status.pending
        ),
    }
}

/// All acts and the journal's row, or nothing.
fn transaction(
    tx: &mut Transaction<'_>,
    device: &str,
    number: u64,
    acts: &[Act],
) -> driftline::Result<()> {
    if acts == [Act::Meter] {
        let value = Value::Integer(number as i64);
        return put(tx, "meters", device, "value", value);
    }
    let mut headline = None;
    for act in acts {
        if let Act::Headline { board } = act {
            ensure_board(tx, &board_id(*board))?;
            let shown = tx.get("boards", &board_id(*board))?;
            let read = shown.and_then(|shown| shown.text("headline").map(str::to_owned));
            headline = Some((*board, read.unwrap_or_default()));
        }
        apply(tx, device, number, *act)?;
    }
    let fields = headline.into_iter().flat_map(|(board, read)| {
        [
            ("board", Value::Integer(board as i64)),
            ("read", Value::Text(read)),
        ]
    });
    tx.insert_with_id(
        "journal",
        &journal_id(device, number),
        fields.collect::<Vec<_>>(),
    )
}

fn apply(tx: &mut Transaction<'_>, device: &str, number: u64, act: Act) -> driftline::Result<()> {
    match act {
        Act::Vote { board, by } => {
            ensure_board(tx, &board_id(board))?;
            tx.increment("boards", &board_id(board), "votes", by)
        }
        Act::Headline { board } => {
            let text = mark(device, number);
            tx.update("boards", &board_id(board), [("headline", text)])
                .map(drop)
        }
        Act::Tag { board } => {
            ensure_board(tx, &board_id(board))?;
            tx.add_to_set("boards", &board_id(board), "tags", [mark(device, number)])
        }
        Act::Untag { board, number } => {
            ensure_board(tx, &board_id(board))?;
            tx.remove_from_set("boards", &board_id(board), "tags", [mark(device, number)])
        }
        Act::Draft { slot } => {
            let body = Value::Text(mark(device, number));
            put(tx, "drafts", &draft_id(device, slot), "body", body)
        }
        Act::Erase { slot } => tx.delete("drafts", &draft_id(device, slot)).map(drop),
        Act::Meter => Err(driftline::Error::aborted("a meter is set alone")),
    }
}

/// Nobody makes the boards beforehand: whoever writes to one first inserts it, several at once too.
fn ensure_board(tx: &mut Transaction<'_>, id: &str) -> driftline::Result<()> {
    match tx.get("boards", id)? {
        Some(_) => Ok(()),
        None => tx.insert_with_id("boards", id, [] as [(&str, Value); 0]),
    }
}

fn put(
    tx: &mut Transaction<'_>,
    collection: &str,
    id: &str,
    field: &str,
    value: Value,
) -> driftline::Result<()> {
    match tx.get(collection, id)? {
        Some(_) => tx.update(collection, id, [(field, value)]).map(drop),
        None => tx.insert_with_id(collection, id, [(field, value)]),
    }
}

/// What tells a file from its copies.
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
