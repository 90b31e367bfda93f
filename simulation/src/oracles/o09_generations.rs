//! O9: a document that was deleted does not come back within its generation.

use super::{Documents, Judgement, object};

const ORACLE: &str = "O9 resurrection";

/// No document lives after a version in the generation in which it was dead before.
pub fn no_resurrection(before: &Documents, after: &Documents) -> Judgement {
    for (key, state) in after {
        let Some(earlier) = before.get(key) else {
            continue;
        };
        let same = earlier.generation == state.generation;
        if same && !earlier.is_alive() && state.is_alive() {
            return object(ORACLE, format!("{key:?} is back without a new generation"));
        }
    }
    match before.keys().find(|key| !after.contains_key(*key)) {
        Some(key) => object(ORACLE, format!("the tombstone of {key:?} is gone")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracles::testing::{COLLECTION, deleted, title};

    #[test]
    fn a_document_that_comes_back_by_itself_is_refused() {
        let with = |state| Documents::from([((COLLECTION, "a".to_owned()), state)]);
        let (dead, alive) = (with(deleted(title("x", 1))), with(title("x", 1)));
        assert_eq!(no_resurrection(&alive, &dead), Ok(()));
        assert!(no_resurrection(&dead, &alive).is_err());
        assert!(no_resurrection(&dead, &Documents::new()).is_err());
    }
}
