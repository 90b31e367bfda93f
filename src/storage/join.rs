//! Several changes of one document in one transaction, as one where that says the same.

use driftline_core::op::{Change, ChangeKind, Refusal, refusal};

use super::error::Result;

/// The changes with `next` behind them, joined to the last one where that says the same.
pub(super) fn joined(changes: &[Change], next: Change) -> Result<Vec<Change>> {
    if changes.is_empty() {
        return Ok(vec![next]);
    }
    let mut changes = changes.to_vec();
    match changes.last_mut() {
        Some(last)
            if next.kind == ChangeKind::Update
                && matches!(last.kind, ChangeKind::Insert | ChangeKind::Update) =>
        {
            join(last, next)?;
        }
        _ => changes.push(next),
    }
    Ok(changes)
}

fn join(last: &mut Change, next: Change) -> Result<()> {
    for (field, value) in next.registers {
        last.registers.insert(field, value);
    }
    for (field, delta) in next.increments {
        let sum = last.increments.entry(field, || 0);
        *sum = sum.checked_add(delta).ok_or_else(|| {
            Refusal::new(
                refusal::COUNTER_OVERFLOW,
                "the counter would leave the 64-bit range",
            )
        })?;
    }
    last.increments.retain(|_, delta| *delta != 0);
    // A change removes before it adds; here the removal came after.
    for (field, elements) in next.removes {
        if let Some(added) = last.adds.get_mut(field) {
            added.retain(|element| !elements.contains(element));
        }
        let removed = last.removes.entry(field, Vec::new);
        let new: Vec<String> = elements
            .into_iter()
            .filter(|element| !removed.contains(element))
            .collect();
        removed.extend(new);
    }
    for (field, elements) in next.adds {
        let added = last.adds.entry(field, Vec::new);
        let new: Vec<String> = elements
            .into_iter()
            .filter(|element| !added.contains(element))
            .collect();
        added.extend(new);
    }
    last.adds.retain(|_, elements| !elements.is_empty());
    last.removes.retain(|_, elements| !elements.is_empty());
    for (field, edit) in next.texts {
        if last.texts.insert(field, edit).is_some() {
            let message = "one edit of a text in one op";
            return Err(Refusal::new(refusal::MALFORMED, message).into());
        }
    }
    last.clock = last.clock.max(next.clock);
    Ok(())
}

#[cfg(test)]
mod tests {
    use driftline_core::id::DocumentId;

    use super::*;

    fn change(kind: ChangeKind) -> Change {
        Change::new(1, DocumentId::new("d").unwrap(), kind)
    }

    fn sets(adds: &[&str], removes: &[&str]) -> Change {
        let list = |elements: &[&str]| elements.iter().map(|e| (*e).to_owned()).collect();
        let mut change = change(ChangeKind::Update);
        for (map, elements) in [(&mut change.adds, adds), (&mut change.removes, removes)] {
            if !elements.is_empty() {
                map.insert(1, list(elements));
            }
        }
        change
    }

    #[test]
    fn the_last_word_on_an_element_stands() {
        for (steps, expected) in [
            (
                vec![sets(&["a"], &[]), sets(&[], &["a"])],
                sets(&[], &["a"]),
            ),
            (
                vec![sets(&[], &["a"]), sets(&["a"], &[])],
                sets(&["a"], &["a"]),
            ),
            (
                vec![sets(&[], &["a"]), sets(&["a"], &[]), sets(&[], &["a"])],
                sets(&[], &["a"]),
            ),
            (
                vec![sets(&["a", "b"], &[]), sets(&["b", "c"], &["a"])],
                sets(&["b", "c"], &["a"]),
            ),
        ] {
            let joined = steps
                .into_iter()
                .try_fold(Vec::new(), |changes, next| joined(&changes, next));
            assert_eq!(joined.unwrap(), [expected]);
        }
    }

    #[test]
    fn only_an_update_joins_what_is_before_it() {
        use ChangeKind::{Delete, Insert, Restore, Update};
        for (first, second, count) in [
            (Insert, Update, 1),
            (Update, Update, 1),
            (Update, Delete, 2),
            (Delete, Insert, 2),
            (Restore, Update, 2),
            (Insert, Insert, 2),
        ] {
            assert_eq!(
                joined(&[change(first)], change(second)).unwrap().len(),
                count,
                "{first:?} {second:?}"
            );
        }
    }

    #[test]
    fn increments_add_up_or_are_refused() {
        let by = |delta: i64| {
            let mut change = change(ChangeKind::Update);
            change.increments.insert(1, delta);
            change
        };
        assert_eq!(joined(&[by(2)], by(3)).unwrap(), [by(5)]);
        assert!(joined(&[by(2)], by(-2)).unwrap()[0].increments.is_empty());
        assert!(joined(&[by(i64::MAX)], by(1)).is_err());
    }
}
