//! Sets: a remove takes away only what its author had seen, so a concurrent add wins.

use super::{Seen, SetState};
use crate::id::{OpId, Version};

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
        tags.retain(|(by, at)| !seen.has(*by, *at));
        if tags.is_empty() {
            set.elements.remove(element);
        }
    }
}
