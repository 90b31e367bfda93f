//! O2: what the server holds is what the reference model makes of the ops it accepted, in its order.

use driftline_core::id::OpId;
use driftline_core::merge::DocumentState;
use driftline_core::op::{Change, ChangeKind, OpBody};
use driftline_core::protocol::When;
use driftline_core::schema::Schema;

use super::{Documents, Judgement, Key, LogRow, VersionSeen, Violation, object};
use crate::model::{Accepted, Doc, Lost, Model};

const ORACLE: &str = "O2 model";

/// Lets the model take the next version and compares the documents that the op is about. Answers what
/// somebody lost by it.
///
/// # Errors
/// What differs.
pub fn log_follows_the_model(
    model: &mut Model,
    schema: &Schema,
    seen: &VersionSeen,
    body: Option<&OpBody>,
) -> Result<Vec<Lost>, Violation> {
    let LogRow { op, cursor, .. } = &seen.row;
    let version = cursor.version;
    let violation = |what: String| Violation {
        oracle: ORACLE,
        what,
    };
    let Some(body) = body else {
        let what = format!("version {version} is {op}, which nobody wrote");
        return Err(violation(what));
    };
    let accepted = Accepted {
        id: *op,
        body,
        version,
        base: seen.row.base,
        written: seen.row.written,
    };
    if seen.row.base != body.base && seen.row.base != 0 {
        let (said, was) = (seen.row.base, body.base);
        let what = format!("version {version}, {op}: base {said}, written at {was}");
        return Err(violation(what));
    }
    let told = |why: String| violation(format!("version {version}, {op}: {why}"));
    let lost = model.accept(schema, accepted).map_err(told)?;
    for change in &body.changes {
        let key = (change.collection, change.document.as_str().to_owned());
        agree(
            &key,
            model.documents.get(&key),
            seen.documents.get(&key).map(|d| &**d),
        )
        .map_err(told)?;
    }
    Ok(lost)
}

/// An op that is rejected because a document is not there means one that never was: of what was deleted a
/// tombstone is left, which a late write meets.
pub fn what_is_missing_never_was(op: OpId, body: &OpBody, documents: &Documents) -> Judgement {
    let mut aimed = body
        .changes
        .iter()
        .filter(|change| change.kind != ChangeKind::Insert);
    let never_was = |change: &Change| {
        let key = (change.collection, change.document.as_str().to_owned());
        !documents.contains_key(&key)
    };
    match aimed.any(never_was) {
        true => Ok(()),
        false => object(
            ORACLE,
            format!("{op} is rejected over a document that is not there, and all of its are"),
        ),
    }
}

/// A write stands where the server had to place it: by one of the times that its device told with it,
/// and never in the server's own future.
pub fn placed_in_time(row: &LogRow, told: &[When]) -> Judgement {
    let LogRow {
        op, written, at, ..
    } = row;
    let place = |when: &When| match when {
        When::Age(age) => at.saturating_sub_unsigned(*age),
        When::Wall(wall) => (*wall).min(*at),
    };
    let stands = |when: &When| place(when).max(0) == *written;
    if written > at {
        return object(
            ORACLE,
            format!("{op} stands {} ms in the server's future", written - at),
        );
    }
    match told.is_empty() || told.iter().any(stands) {
        true => Ok(()),
        false => object(
            ORACLE,
            format!("{op} stands at {written}, decided at {at}; its device told {told:?}"),
        ),
    }
}

/// Documents as the log adds them up are those that the server's table holds.
pub fn states_agree(log: &Documents, table: &Documents) -> Judgement {
    let keys = log.keys().chain(table.keys());
    let odd = keys
        .into_iter()
        .find(|key| log.get(*key) != table.get(*key));
    match odd {
        None => Ok(()),
        Some(key) => object(
            ORACLE,
            format!(
                "the log makes {key:?} {:?}, the table has {:?}",
                log.get(key),
                table.get(key)
            ),
        ),
    }
}

fn agree(key: &Key, model: Option<&Doc>, state: Option<&DocumentState>) -> Result<(), String> {
    let (model, state) = match (model, state) {
        (Some(model), Some(state)) => (model, state),
        (None, None) => return Ok(()),
        (model, state) => {
            let (one, other) = (model.is_some(), state.is_some());
            return Err(format!(
                "{key:?}: in the model {one}, on the server {other}"
            ));
        }
    };
    let registers: Vec<_> = model
        .registers
        .iter()
        .map(|(field, there)| (*field, &there.value, there.by.0, there.stamp))
        .collect();
    let there: Vec<_> = state
        .registers
        .iter()
        .map(|(field, r)| (field, &r.value, r.write.op, r.write.stamp.0))
        .collect();
    let counters: Vec<_> = model.counters.iter().map(|(f, n)| (*f, *n)).collect();
    let counted: Vec<_> = state.counters.iter().map(|(f, n)| (f, *n)).collect();
    let sets: Vec<_> = model.sets.keys().map(|(f, e)| (*f, e)).collect();
    let elements: Vec<_> = state
        .sets
        .iter()
        .flat_map(|(f, set)| set.elements.keys().map(move |element| (f, element)))
        .collect();
    let life = (model.opened.0, model.deleted.is_none(), model.clock);
    let lives = (state.generation.opener, state.is_alive(), state.clock);
    if registers != there {
        return Err(format!(
            "{key:?}: registers {registers:?}, on the server {there:?}"
        ));
    }
    if counters != counted {
        return Err(format!(
            "{key:?}: counters {counters:?}, on the server {counted:?}"
        ));
    }
    if sets != elements {
        return Err(format!(
            "{key:?}: sets {sets:?}, on the server {elements:?}"
        ));
    }
    if life != lives {
        return Err(format!(
            "{key:?}: (opener, alive, clock) {life:?}, on the server {lives:?}"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracles::testing::{self, update, wrote};
    use crate::world::Schemas;

    #[test]
    fn a_rejection_over_a_document_that_is_there_or_was_is_refused() {
        let (there, body) = (testing::title("x", 1), update("a", "y"));
        let judged = |document: &str, state, body: &OpBody| {
            let key = (testing::COLLECTION, document.to_owned());
            let documents = Documents::from([(key, state)]);
            what_is_missing_never_was(testing::id(2), body, &documents)
        };
        assert_eq!(judged("b", there.clone(), &body), Ok(()));
        assert!(judged("a", there.clone(), &body).is_err());
        assert!(judged("a", testing::deleted(there.clone()), &body).is_err());
        assert!(judged("b", there, &testing::insert("a", "y")).is_err());
    }

    #[test]
    fn a_value_that_should_not_have_won_is_refused() {
        let schema = Schemas::new().app;
        let histories = testing::histories(&[wrote(1, "a", "x"), wrote(2, "a", "y")]);
        let (first, second) = (histories.current.version(1), histories.current.version(2));
        let (Some(first), Some(second)) = (first, second) else {
            unreachable!("both were appended")
        };
        let insert = testing::insert("a", "x");
        let follows = |written| {
            let mut model = Model::default();
            let judged = log_follows_the_model(&mut model, &schema, first, Some(&insert));
            assert_eq!(judged, Ok(Vec::new()));
            let mut second = (**second).clone();
            second.row.written = written;
            let mut late = update("a", "y");
            late.changes[0].generation = Some(testing::id(1));
            log_follows_the_model(&mut model, &schema, &second, Some(&late))
        };
        assert!(follows(testing::moment(2)).is_ok_and(|lost| lost.len() == 1));
        assert!(follows(0).is_err(), "it is older than what it replaced");
        let nobody = log_follows_the_model(&mut Model::default(), &schema, first, None);
        assert!(nobody.is_err());
    }

    #[test]
    fn a_write_that_stands_at_another_time_is_refused() {
        let mut row = testing::row(1, wrote(1, "a", "x"));
        (row.at, row.written) = (1_000, 900);
        assert_eq!(placed_in_time(&row, &[When::Age(100)]), Ok(()));
        assert_eq!(
            placed_in_time(&row, &[When::Age(7), When::Wall(900)]),
            Ok(())
        );
        assert_eq!(placed_in_time(&row, &[]), Ok(()), "nobody saw it sent");
        assert!(placed_in_time(&row, &[When::Age(101)]).is_err());
        assert!(placed_in_time(&row, &[When::Wall(901)]).is_err());
        row.written = 1_001;
        assert!(placed_in_time(&row, &[]).is_err());
        row.written = 1_000;
        assert_eq!(placed_in_time(&row, &[When::Wall(5_000)]), Ok(()));
    }

    #[test]
    fn a_table_that_is_not_what_the_log_says_is_refused() {
        let histories = testing::histories(&[wrote(1, "a", "x")]);
        let log = histories.current.documents();
        assert_eq!(states_agree(&log, &log.clone()), Ok(()));
        assert!(states_agree(&log, &Documents::new()).is_err());
    }
}
