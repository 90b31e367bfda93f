//! O6: a device shows its own writes. Every value is written once in a world, so what is shown tells
//! who wrote it.

use driftline_core::id::OpId;
use driftline_core::op::{Change, ChangeKind};
use driftline_core::schema::{MergePolicy, Schema};
use driftline_core::value::Value;

use super::{FileView, Judgement, Key, Queued, object};

const ORACLE: &str = "O6 own writes";

/// The values that a write was acknowledged for are shown when it returns. (Not while the file stands
/// at the beginning because the server's history changed: a write then claims to have seen nothing.)
pub fn written_shows(view: &FileView, written: &[(Key, u16, Value)]) -> Judgement {
    if view.cursor.version == 0 && !view.base.is_empty() {
        return Ok(());
    }
    for (key, field, value) in written {
        let shown = view.shown.get(key).and_then(|state| state.value(*field));
        if shown != Some(value) {
            return object(
                ORACLE,
                format!("{key:?}.{field} was set to {value:?} and shows {shown:?}"),
            );
        }
    }
    Ok(())
}

/// The newest queued write of a register is shown, unless base holds a value that it had not seen.
pub fn own_writes_show(view: &FileView, schema: &Schema) -> Judgement {
    let mut later: Vec<&Queued> = Vec::new();
    for queued in view.shown_ops().rev() {
        for change in &queued.body.changes {
            check(view, schema, queued, change, &later)?;
        }
        later.push(queued);
    }
    Ok(())
}

fn check(
    view: &FileView,
    schema: &Schema,
    queued: &Queued,
    change: &Change,
    later: &[&Queued],
) -> Judgement {
    let key: Key = (change.collection, change.document.as_str().to_owned());
    let by_field = schema
        .collection_by_id(change.collection)
        .is_some_and(|collection| collection.merge == MergePolicy::Field);
    let (Some(base), Some(shown)) = (view.base.get(&key), view.shown.get(&key)) else {
        return Ok(());
    };
    let same_life = base.is_alive() && change.generation == Some(base.generation.opener);
    let plain = change.kind == ChangeKind::Update && by_field && same_life;
    let turned = |change: &Change| change.kind != ChangeKind::Update;
    let here = |other: &&Change| other.is_on(change.collection, &change.document);
    let own = view.shown_ops().flat_map(|queued| &queued.body.changes);
    if !plain || own.filter(here).any(turned) {
        return Ok(());
    }
    for (field, value) in change.registers.iter() {
        let again = |queued: &&Queued| {
            let mut changes = queued.body.changes.iter().filter(here);
            changes.any(|change| change.registers.get(field).is_some())
        };
        let twice = queued.body.changes.iter().filter(here).count() > 1;
        let seen = base
            .registers
            .get(field)
            .is_none_or(|register| register.write.version <= queued.body.base);
        if later.iter().any(again) || twice || !seen {
            continue;
        }
        if shown.value(field) != Some(value) {
            let id: OpId = queued.id;
            return object(
                ORACLE,
                format!(
                    "{id} set {key:?}.{field} to {value:?}, it is pending, and {:?} shows",
                    shown.value(field)
                ),
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracles::testing::{self, COLLECTION, update, view_with, wrote};

    #[test]
    fn a_write_that_does_not_show_is_refused() {
        let histories = testing::histories(&[wrote(1, "a", "x")]);
        let mut view = testing::at(&histories, 1);
        let key = (COLLECTION, "a".to_owned());
        let written = [(key.clone(), 1, Value::Text("y".to_owned()))];
        assert!(written_shows(&view, &written).is_err());
        view.shown.insert(key.clone(), testing::title("y", 2));
        assert_eq!(written_shows(&view, &written), Ok(()));

        let schema = &crate::world::Schemas::new().app;
        let mut body = update("a", "y");
        body.base = 1;
        body.changes[0].generation = Some(testing::id(1));
        view.queue = view_with(&[(2, body)]).queue;
        assert_eq!(own_writes_show(&view, schema), Ok(()));
        view.shown.insert(key, testing::title("x", 1));
        assert!(own_writes_show(&view, schema).is_err());
    }
}
