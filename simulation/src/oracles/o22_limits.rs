//! O22: an operator's limits hold, are told to who meets them, and lose nothing: what was refused for them
//! is taken once there is room.

use std::collections::BTreeSet;

use driftline::QueuedWrite;
use driftline_core::op::refusal;
use driftline_core::protocol::Quota;

use super::{Judgement, object};

const ORACLE: &str = "O22 limits";

/// A workspace does not grow beyond its quota; one that was beyond it before does not grow at all.
pub fn quota_holds(before: u64, now: u64, quota: u64) -> Judgement {
    match now <= before.max(quota) {
        true => Ok(()),
        false => object(
            ORACLE,
            format!("the workspace held {before} bytes and holds {now}, of {quota} allowed"),
        ),
    }
}

/// Whoever was refused something for the quota knows what that is.
pub fn quota_is_told(told: Option<Quota>, quota: u64) -> Judgement {
    match told {
        Some(told) if told.limit == quota => Ok(()),
        _ => object(
            ORACLE,
            format!("a write was refused for a quota of {quota}, and the status says {told:?}"),
        ),
    }
}

/// What was refused for the quota, by what the app is told of its quarantine, where every write says why
/// it is there.
pub fn refused_for_quota(quarantine: &[QueuedWrite]) -> Result<BTreeSet<String>, super::Violation> {
    if let Some(untyped) = quarantine.iter().find(|write| write.error_code.is_none()) {
        object(
            ORACLE,
            format!("{} was refused and nothing says why", untyped.id),
        )?;
    }
    let full = |write: &&QueuedWrite| write.error_code.as_deref() == Some(refusal::QUOTA);
    Ok(quarantine
        .iter()
        .filter(full)
        .map(|write| write.id.clone())
        .collect())
}

/// With the quota gone, nothing that was tried again since is refused for it.
pub fn room_is_used(tried: &BTreeSet<String>, quarantine: &[QueuedWrite]) -> Judgement {
    let again = refused_for_quota(quarantine)?;
    let still = quarantine.iter().find(|write| {
        let first = write.retry_of.as_ref();
        again.contains(&write.id) && first.is_some_and(|first| tried.contains(first))
    });
    match still {
        None => Ok(()),
        Some(write) => object(
            ORACLE,
            format!("{} was refused for a quota that is no more", write.id),
        ),
    }
}

#[cfg(test)]
mod tests {
    use driftline::OpState;

    use super::*;

    fn refused(id: &str, code: Option<&str>, retry_of: Option<&str>) -> QueuedWrite {
        let mut write = QueuedWrite::default();
        write.id = id.to_owned();
        write.state = OpState::Quarantined;
        write.retry_of = retry_of.map(str::to_owned);
        write.error_code = code.map(str::to_owned);
        write
    }

    #[test]
    fn a_workspace_beyond_its_quota_is_refused_unless_it_was_there_before() {
        assert_eq!(quota_holds(10, 20, 20), Ok(()));
        assert_eq!(quota_holds(30, 30, 20), Ok(()));
        assert!(quota_holds(10, 21, 20).is_err());
        assert!(quota_holds(30, 31, 20).is_err());
    }

    #[test]
    fn a_quota_that_nobody_is_told_of_is_refused() {
        let told = Quota { used: 1, limit: 5 };
        assert_eq!(quota_is_told(Some(told), 5), Ok(()));
        assert!(quota_is_told(Some(told), 6).is_err());
        assert!(quota_is_told(None, 5).is_err());
    }

    #[test]
    fn a_refusal_without_a_reason_or_without_a_quota_is_refused() {
        let full = [
            refused("a", Some("quota"), None),
            refused("b", Some("x"), None),
        ];
        let tried = refused_for_quota(&full).unwrap();
        assert_eq!(tried, BTreeSet::from(["a".to_owned()]));
        assert!(refused_for_quota(&[refused("a", None, None)]).is_err());
        assert_eq!(room_is_used(&tried, &full), Ok(()));
        let again = [refused("c", Some("quota"), Some("a"))];
        assert!(room_is_used(&tried, &again).is_err());
    }
}
