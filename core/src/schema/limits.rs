//! Whether the limits fit each other.

use super::Limits;
use super::parse::DraftLimits;
use super::place::{At, Findings, Place};
use super::read::show_size;

/// The most that `max_group` may allow: one op has to fit one request, and what it did one page.
pub const MAX_GROUP: u64 = 16 << 20;

/// A size limit, and where it was stated if it is no default.
struct Size<'a> {
    name: &'static str,
    bytes: u64,
    place: Option<&'a Place>,
}

/// The limits with their defaults; those that contradict each other are added to `findings`.
pub(super) fn check_limits(draft: &DraftLimits, findings: &mut Findings) -> Limits {
    let defaults = Limits::default();
    let value = Size::of("max_value", &draft.max_value, defaults.max_value.into());
    let document = Size::of(
        "max_document",
        &draft.max_document,
        defaults.max_document.into(),
    );
    let group = Size::of("max_group", &draft.max_group, defaults.max_group.into());
    let queue = Size::of(
        "max_queue_bytes",
        &draft.max_queue_bytes,
        defaults.max_queue_bytes,
    );
    let quota = Size::of("quota", &draft.quota, u64::MAX);
    value.fits_in(&document, findings);
    document.fits_in(&group, findings);
    // A queue or a workspace that cannot take the largest op would refuse it for ever.
    group.fits_in(&queue, findings);
    group.fits_in(&quota, findings);
    if let Some(place) = group.place.filter(|_| group.bytes > MAX_GROUP) {
        let (most, found) = (show_size(MAX_GROUP), show_size(group.bytes));
        findings.add(place, format!("expected at most {most}, found {found}"));
    }
    // What does not fit 32 bits is above MAX_GROUP and has been reported.
    let narrow = |size: &Size<'_>| u32::try_from(size.bytes).unwrap_or(u32::MAX);
    Limits {
        max_value: narrow(&value),
        max_document: narrow(&document),
        max_group: narrow(&group),
        max_set_elements: value_or(&draft.max_set_elements, defaults.max_set_elements),
        max_queue_ops: value_or(&draft.max_queue_ops, defaults.max_queue_ops),
        max_queue_bytes: queue.bytes,
        quota: draft.quota.as_ref().map(|quota| quota.value),
    }
}

impl<'a> Size<'a> {
    fn of(name: &'static str, stated: &'a Option<At<u64>>, default: u64) -> Size<'a> {
        Size {
            name,
            bytes: value_or(stated, default),
            place: stated.as_ref().map(|at| &at.place),
        }
    }

    fn fits_in(&self, larger: &Size<'_>, findings: &mut Findings) {
        if self.bytes <= larger.bytes {
            return;
        }
        // Blame what was written, not a default.
        let (place, relation, found, other) = match (self.place, larger.place) {
            (Some(place), _) => (place, "at most", self, larger),
            (None, Some(place)) => (place, "at least", larger, self),
            (None, None) => return,
        };
        let default = if other.place.is_none() {
            " by default"
        } else {
            ""
        };
        let (bound, found) = (show_size(other.bytes), show_size(found.bytes));
        let name = other.name;
        let message = format!("expected {relation} {name} ({bound}{default}), found {found}");
        findings.add(place, message);
    }
}

fn value_or<T: Copy>(stated: &Option<At<T>>, default: T) -> T {
    stated.as_ref().map_or(default, |at| at.value)
}
