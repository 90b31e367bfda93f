//! What is another between two results of a query.

use std::collections::HashMap;

use driftline_core::value::Value;

use super::{ChangedRow, Update};
use crate::query::{Row, Rows};

/// What names a row: its id, or all of it; and how many of that name came before it.
type Key = (Vec<u8>, usize);

fn keyed(rows: &Rows) -> Vec<(Key, &Row)> {
    let id = rows.columns().iter().position(|column| column == "id");
    let mut count: HashMap<Vec<u8>, usize> = HashMap::new();
    let keyed = rows.iter().map(|row| {
        let values = row.values();
        let named: &[Value] = match id {
            Some(at) => values.get(at).map(std::slice::from_ref).unwrap_or_default(),
            None => values,
        };
        // Writing to memory cannot fail.
        let name = minicbor::to_vec(named).unwrap_or_default();
        let nth = count.entry(name.clone()).or_default();
        *nth += 1;
        ((name, *nth), row)
    });
    keyed.collect()
}

/// What to tell of `after` to who knows `before`.
pub(super) fn difference(before: &Rows, after: &Rows) -> Update {
    let mut gone: HashMap<Key, &Row> = keyed(before).into_iter().collect();
    let (mut added, mut changed) = (Vec::new(), Vec::new());
    for (key, row) in keyed(after) {
        match gone.remove(&key) {
            None => added.push(row.clone()),
            Some(old) if old == row => {}
            Some(old) => changed.push(ChangedRow {
                before: old.clone(),
                after: row.clone(),
            }),
        }
    }
    let removed = keyed(before)
        .into_iter()
        .filter(|(key, _)| gone.contains_key(key))
        .map(|(_, row)| row.clone());
    Update {
        removed: removed.collect(),
        rows: after.clone(),
        added,
        changed,
    }
}
