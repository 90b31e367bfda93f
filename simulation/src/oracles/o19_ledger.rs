//! O19: whatever somebody loses, the server has a row about it for them, and the file that has received
//! it keeps it.

use std::collections::BTreeSet;

use driftline_core::ledger::LossRule;

use super::{Judgement, Key, object};
use crate::model::Lost;

const ORACLE: &str = "O19 ledger";

/// The server's rows about a version hold all that the model says was lost by it.
pub fn losses_are_told(version: u64, lost: &[Lost], told: &BTreeSet<Lost>) -> Judgement {
    match lost.iter().find(|lost| !told.contains(*lost)) {
        None => Ok(()),
        Some(lost) => object(
            ORACLE,
            format!("version {version}: nobody is told of {lost:?}"),
        ),
    }
}

/// What was typed into `field` of a document and came to nothing is told, in the ledger's word for it.
pub fn typed_words_are_told(
    version: u64,
    (key, field): (&Key, u16),
    rules: &[LossRule],
    told: &BTreeSet<Lost>,
) -> Judgement {
    let mut here = told
        .iter()
        .filter(|lost| lost.key == *key && lost.field == Some(field));
    match here.any(|lost| rules.iter().any(|rule| rule.name() == lost.rule)) {
        true => Ok(()),
        false => object(
            ORACLE,
            format!(
                "version {version}: nobody is told of what was typed in {key:?}, field {field}"
            ),
        ),
    }
}

/// A file that says it has received the losses up to a number has them all.
pub fn losses_are_kept(told: &BTreeSet<u64>, kept: &BTreeSet<u64>, received: u64) -> Judgement {
    match told
        .range(..=received)
        .find(|number| !kept.contains(number))
    {
        None => Ok(()),
        Some(number) => object(
            ORACLE,
            format!(
                "loss {number} was told, {received} is acknowledged, and the file has no such row"
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracles::testing::id;

    #[test]
    fn a_loss_that_nobody_is_told_of_is_refused() {
        let lost = Lost {
            key: (1, "a".to_owned()),
            field: Some(1),
            op: id(1),
            rule: "overwritten",
        };
        let told = BTreeSet::from([lost.clone()]);
        let other = Lost {
            field: Some(2),
            ..lost.clone()
        };
        assert_eq!(
            losses_are_told(1, std::slice::from_ref(&lost), &told),
            Ok(())
        );
        assert!(losses_are_told(1, &[lost, other], &told).is_err());
    }

    #[test]
    fn a_loss_that_was_received_and_is_not_kept_is_refused() {
        let told = BTreeSet::from([3, 5]);
        assert_eq!(losses_are_kept(&told, &told, 5), Ok(()));
        assert!(losses_are_kept(&told, &BTreeSet::from([5]), 5).is_err());
        assert_eq!(losses_are_kept(&told, &BTreeSet::from([3]), 4), Ok(()));
    }

    #[test]
    fn words_that_nobody_is_told_of_are_refused() {
        let key = (5, "l0".to_owned());
        let lost = Lost {
            key: key.clone(),
            field: Some(2),
            op: id(1),
            rule: LossRule::Deleted.name(),
        };
        let told = BTreeSet::from([lost]);
        let judge = |field, rule| typed_words_are_told(1, (&key, field), &[rule], &told);
        assert_eq!(judge(2, LossRule::Deleted), Ok(()));
        assert!(judge(3, LossRule::Deleted).is_err());
        assert!(judge(2, LossRule::GenerationGone).is_err());
    }
}
