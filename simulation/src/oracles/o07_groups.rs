//! O7: what was written in one transaction is seen whole or not at all, by every reader. Twins are
//! only ever written together, the same to each.

use driftline_core::id::CollectionId;
use driftline_core::merge::DocumentState;

use super::{Documents, Judgement, object};

const ORACLE: &str = "O7 groups";

/// All `count` documents of the collection are there and say the same, or none is there.
pub fn groups_are_whole(
    documents: &Documents,
    collection: CollectionId,
    count: usize,
    whose: &str,
) -> Judgement {
    let twins: Vec<_> = documents
        .iter()
        .filter(|(key, _)| key.0 == collection)
        .collect();
    let Some((first, rest)) = twins.split_first() else {
        return Ok(());
    };
    let says = |state: &DocumentState| {
        let values: Vec<_> = state
            .registers
            .iter()
            .map(|(f, r)| (f, r.value.clone()))
            .collect();
        let counts: Vec<_> = state.counters.iter().map(|(f, n)| (f, *n)).collect();
        (values, counts)
    };
    let odd = rest.iter().find(|(_, state)| says(state) != says(first.1));
    match odd {
        Some((key, state)) => object(
            ORACLE,
            format!(
                "{whose} shows {:?} in {:?} and {:?} in {key:?}",
                says(first.1),
                first.0,
                says(state)
            ),
        ),
        None if twins.len() != count => object(
            ORACLE,
            format!("{whose} shows {} of {count} twins", twins.len()),
        ),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracles::testing::{COLLECTION, title};

    #[test]
    fn half_a_group_is_refused() {
        let key = |id: &str| (COLLECTION, id.to_owned());
        let mut documents = Documents::new();
        assert_eq!(groups_are_whole(&documents, COLLECTION, 2, "d0"), Ok(()));
        documents.insert(key("a"), title("x", 1));
        assert!(groups_are_whole(&documents, COLLECTION, 2, "d0").is_err());
        documents.insert(key("b"), title("x", 1));
        assert_eq!(groups_are_whole(&documents, COLLECTION, 2, "d0"), Ok(()));
        documents.insert(key("b"), title("y", 2));
        assert!(groups_are_whole(&documents, COLLECTION, 2, "d0").is_err());
    }
}
