//! The loss ledger in the file: what the server found, and what a rejection took off the screen.

use driftline_core::id::{CollectionId, DocumentId, FieldId, OpId, Version};
use driftline_core::ledger::{Loss, LossRule, LostPart};
use driftline_core::merge::{DocumentState, Write, unapplied_texts};
use driftline_core::op::Change;
use driftline_core::schema::Collection;
use driftline_core::time::Stamp;
use driftline_core::value::Value;
use rusqlite::types::ToSql;
use rusqlite::{Connection, Row, params};

use super::error::{Result, StorageError};
use super::history::{as_of_now, predict};
use super::meta;
use super::queued::QueuedOp;
use super::write::WriteTx;

/// One row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    /// Its number in this file.
    pub(crate) id: i64,
    pub(crate) loss: Loss,
    /// The op that wrote the value again, if somebody restored it.
    pub(crate) restored: Option<OpId>,
}

/// Which rows to read; what is `None` does not matter.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    pub(crate) collection: Option<CollectionId>,
    pub(crate) document: Option<DocumentId>,
    pub(crate) field: Option<FieldId>,
    pub(crate) rule: Option<LossRule>,
    /// Decided at this time or later, Unix milliseconds.
    pub(crate) since: Option<i64>,
    /// Decided before this time.
    pub(crate) until: Option<i64>,
    /// Only rows that nobody restored, or only those somebody did.
    pub(crate) restored: Option<bool>,
    /// Only rows older than this one: the last of the page before.
    pub(crate) before: Option<i64>,
}

/// What a write has to do to bring a lost value back.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Restoration {
    Set(FieldId, Value),
    Increment(FieldId, i64),
    Add(FieldId, Vec<String>),
    Remove(FieldId, Vec<String>),
    Delete,
}

/// Stores losses from the server, each once, and moves the number to acknowledge. Returns how many
/// are new.
pub(super) fn keep(tx: &WriteTx<'_>, losses: &[Loss]) -> Result<usize> {
    let acknowledged = acknowledged(tx.conn())?;
    let (mut new, mut greatest) = (0, acknowledged);
    for loss in losses.iter().filter(|loss| loss.number > acknowledged) {
        new += insert(tx.conn(), loss, Some(loss.number))?;
        greatest = greatest.max(loss.number);
    }
    if greatest > acknowledged {
        tx.set_meta(meta::key::LOSSES_ACK, greatest.cast_signed())?;
    }
    Ok(new)
}

/// The greatest number stored, to be sent with every request.
pub(crate) fn acknowledged(conn: &Connection) -> Result<u64> {
    Ok(meta::get::<i64>(conn, meta::key::LOSSES_ACK)?
        .unwrap_or(0)
        .cast_unsigned())
}

/// Numbers belong to one history; the rows stay.
pub(super) fn forget_numbers(tx: &WriteTx<'_>) -> Result<()> {
    tx.clear_meta(meta::key::LOSSES_ACK)?;
    tx.conn().execute(
        "UPDATE _dl_losses SET number = NULL WHERE number IS NOT NULL",
        [],
    )?;
    Ok(())
}

/// One row for each thing a rejected op said of a document. `base` is what its author had before.
pub(super) fn keep_rejected(
    tx: &WriteTx<'_>,
    op: &QueuedOp,
    (collection, document): (CollectionId, &DocumentId),
    base: Option<&DocumentState>,
) -> Result<()> {
    let contact = as_of_now(tx.contact()?, tx.now());
    let at = contact.map_or(tx.now().wall, |contact| contact.server);
    let stamp = predict(op.written, contact.as_ref());
    let declared = tx.layout().schema.collection_by_id(collection);
    for part in op
        .changes_on(collection, document)
        .into_iter()
        .flat_map(|change| parts(change, declared))
    {
        let (field, value, removed) = part.told();
        let (base_value, standing) = standing(&part, base);
        let loss = Loss {
            number: 0,
            collection,
            document: document.clone(),
            field,
            value,
            winner_value: base_value.clone(),
            base_value,
            op: op.id,
            winner: standing.op,
            stamp,
            winner_stamp: standing.stamp,
            winner_device: String::new(),
            rule: LossRule::Rejected,
            at,
            removed,
        };
        insert(tx.conn(), &loss, None)?;
    }
    Ok(())
}

fn parts(change: &Change, collection: Option<&Collection>) -> Vec<LostPart> {
    use driftline_core::op::ChangeKind;
    let mut parts: Vec<LostPart> = Vec::new();
    parts.extend(
        change
            .registers
            .iter()
            .map(|(field, value)| LostPart::Register(field, value.clone())),
    );
    parts.extend(
        change
            .increments
            .iter()
            .map(|(field, delta)| LostPart::Increment(field, *delta)),
    );
    parts.extend(
        change
            .adds
            .iter()
            .map(|(field, elements)| LostPart::Added(field, elements.clone())),
    );
    parts.extend(
        change
            .removes
            .iter()
            .map(|(field, elements)| LostPart::Removed(field, elements.clone())),
    );
    parts.extend(collection.iter().flat_map(|c| unapplied_texts(change, c)));
    if change.kind == ChangeKind::Delete {
        parts.push(LostPart::Delete);
    }
    parts
}

/// What base has where a part would have gone, and who wrote it.
fn standing(part: &LostPart, base: Option<&DocumentState>) -> (Value, Write) {
    let nobody = Write {
        op: OpId::ZERO,
        stamp: Stamp::ZERO,
        version: Version::MIN,
    };
    let Some(base) = base else {
        return (Value::Null, nobody);
    };
    match part {
        LostPart::Register(field, _) => match base.registers.get(*field) {
            Some(register) => (register.value.clone(), register.write),
            None => (Value::Null, nobody),
        },
        LostPart::Increment(field, _) => (
            base.counters
                .get(*field)
                .map_or(Value::Null, |n| Value::Integer(*n)),
            nobody,
        ),
        LostPart::Added(..)
        | LostPart::Removed(..)
        | LostPart::Text(..)
        | LostPart::Typed(..)
        | LostPart::Delete => (Value::Null, nobody),
    }
}

/// Forgets what a rejection took away: the op is tried again, or was accepted all the same.
pub(super) fn drop_rejected(conn: &Connection, op: OpId) -> Result<()> {
    conn.prepare_cached(
        "DELETE FROM _dl_losses WHERE op_id = ?1 AND rule = ?2 AND restored IS NULL",
    )?
    .execute(params![op.0, LossRule::Rejected.name()])?;
    Ok(())
}

fn insert(conn: &Connection, loss: &Loss, number: Option<u64>) -> Result<usize> {
    let body = minicbor::to_vec(loss)
        .map_err(|_| StorageError::Internal("a loss does not encode".to_owned()))?;
    let inserted = conn
        .prepare_cached(
            "INSERT INTO _dl_losses (number, op_id, collection, document, field, rule, at, body) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (number) DO NOTHING",
        )?
        .execute(params![
            number.map(u64::cast_signed),
            loss.op.0,
            loss.collection,
            loss.document.as_str(),
            loss.field,
            loss.rule.name(),
            loss.at,
            body
        ])?;
    Ok(inserted)
}

/// Rows that pass `filter`, the latest first, at most `limit`.
pub(crate) fn query(conn: &Connection, filter: &Filter, limit: usize) -> Result<Vec<Entry>> {
    let mut sql = String::from("SELECT id, body, restored FROM _dl_losses WHERE 1");
    let mut values: Vec<Box<dyn ToSql>> = Vec::new();
    let mut and = |condition: &str, value: Option<Box<dyn ToSql>>| {
        if let Some(value) = value {
            values.push(value);
            sql += &format!(" AND {condition} ?{}", values.len());
        }
    };
    and("collection =", filter.collection.map(|n| Box::new(n) as _));
    and(
        "document =",
        filter
            .document
            .as_ref()
            .map(|id| Box::new(id.as_str().to_owned()) as _),
    );
    and("field =", filter.field.map(|n| Box::new(n) as _));
    and("rule =", filter.rule.map(|rule| Box::new(rule.name()) as _));
    and("at >=", filter.since.map(|at| Box::new(at) as _));
    and("at <", filter.until.map(|at| Box::new(at) as _));
    and(
        "(restored IS NOT NULL) =",
        filter.restored.map(|restored| Box::new(restored) as _),
    );
    and("id <", filter.before.map(|id| Box::new(id) as _));
    sql += &format!(
        " ORDER BY id DESC LIMIT {}",
        i64::try_from(limit).unwrap_or(i64::MAX)
    );
    let mut statement = conn.prepare_cached(&sql)?;
    let mut rows = statement.query(rusqlite::params_from_iter(values))?;
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        entries.push(entry(row)?);
    }
    Ok(entries)
}

/// One row.
pub(crate) fn get(conn: &Connection, id: i64) -> Result<Option<Entry>> {
    let mut statement =
        conn.prepare_cached("SELECT id, body, restored FROM _dl_losses WHERE id = ?1")?;
    let mut rows = statement.query([id])?;
    rows.next()?.map(entry).transpose()
}

fn entry(row: &Row<'_>) -> Result<Entry> {
    let body = row
        .get_ref(1)?
        .as_blob()
        .map_err(|_| StorageError::unreadable("loss"))?;
    let restored: Option<[u8; 16]> = row.get(2)?;
    Ok(Entry {
        id: row.get(0)?,
        loss: minicbor::decode(body)?,
        restored: restored.map(OpId),
    })
}

/// How many rows nobody has restored yet.
pub(crate) fn count(conn: &Connection) -> Result<u64> {
    let mut statement =
        conn.prepare_cached("SELECT count(*) FROM _dl_losses WHERE restored IS NULL")?;
    Ok(statement
        .query_row([], |row| row.get::<_, i64>(0))?
        .cast_unsigned())
}

impl Entry {
    /// What a write has to do to bring the value back; `None` if the row's value cannot be told.
    pub(crate) fn restoration(&self, is_counter: bool, is_set: bool) -> Option<Restoration> {
        let Some(field) = self.loss.field else {
            return Some(Restoration::Delete);
        };
        match (&self.loss.value, is_counter, is_set) {
            (Value::Integer(delta), true, _) => Some(Restoration::Increment(field, *delta)),
            (Value::Text(json), _, true) => {
                let elements: Vec<String> = serde_json::from_str(json).ok()?;
                Some(match self.loss.removed {
                    true => Restoration::Remove(field, elements),
                    false => Restoration::Add(field, elements),
                })
            }
            (_, true, _) | (_, _, true) => None,
            (value, false, false) => Some(Restoration::Set(field, value.clone())),
        }
    }
}

/// Notes that `op` wrote the value of a row again. Returns whether the row was there, not restored.
pub(crate) fn mark_restored(tx: &WriteTx<'_>, id: i64, op: OpId) -> Result<bool> {
    let changed = tx
        .conn()
        .prepare_cached("UPDATE _dl_losses SET restored = ?2 WHERE id = ?1 AND restored IS NULL")?
        .execute(params![id, op.0])?;
    Ok(changed == 1)
}

/// Deletes rows decided before `at` (Unix milliseconds), but not those of ops still in quarantine.
/// Returns how many.
pub(crate) fn prune(tx: &WriteTx<'_>, at: i64) -> Result<usize> {
    Ok(tx.conn().execute(
        "DELETE FROM _dl_losses WHERE at < ?1 AND op_id NOT IN \
         (SELECT op_id FROM _dl_outbox WHERE state = 1)",
        [at],
    )?)
}
