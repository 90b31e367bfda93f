//! Sets: a remove takes away only what its author had seen, so a concurrent add wins.

use super::{Seen, SetState};
use crate::id::{OpId, Version};
use crate::mutant::{Mutant, planted};

/// Adds `element` by `op`. Tags the op had seen are replaced by its own: whoever removes what they
/// saw of the older tag does not reach this one, and the list stays short.
pub(super) fn add(set: &mut SetState, element: &str, op: OpId, version: Version, seen: &Seen) {
    let tags = set.elements.entry(element.to_owned()).or_default();
    tags.retain(|(by, at)| !seen.has(*by, *at));
    tags.push((op, version));
}

/// Removes the tags of `element` that the op had seen; the element stays while one is left.
pub(super) fn remove(set: &mut SetState, element: &str, seen: &Seen) {
    if let Some(tags) = set.elements.get_mut(element) {
        tags.retain(|(by, at)| !seen.has(*by, *at) && !planted(Mutant::RemoveTakesUnseen));
        if tags.is_empty() {
            set.elements.remove(element);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> OpId {
        OpId([n; 16])
    }

    #[test]
    fn a_remove_reaches_only_the_adds_it_had_seen() {
        let mut set = SetState::default();
        add(&mut set, "e", id(1), 1, &Seen::through(0, &[]));
        add(&mut set, "e", id(2), 2, &Seen::through(0, &[]));
        remove(&mut set, "e", &Seen::through(1, &[]));
        assert_eq!(set.elements["e"], [(id(2), 2)]);
        remove(&mut set, "e", &Seen::through(2, &[]));
        assert!(set.elements.is_empty());
        remove(&mut set, "never there", &Seen::through(9, &[]));
    }

    #[test]
    fn an_add_again_takes_the_place_of_the_tags_it_had_seen() {
        let mut set = SetState::default();
        add(&mut set, "e", id(1), 1, &Seen::through(0, &[]));
        add(&mut set, "e", id(3), 3, &Seen::through(1, &[]));
        assert_eq!(set.elements["e"], [(id(3), 3)]);
        // Somebody who saw the first add alone removes it; the second stands.
        remove(&mut set, "e", &Seen::through(1, &[]));
        assert!(set.elements.contains_key("e"));
    }
}
