//! O13: what belongs to another workspace is in no file and no message of this one, and nobody writes
//! what they may not.

use driftline_core::id::OpId;

use super::{Judgement, object};

const ORACLE: &str = "O13 isolation";

/// What is written to the other workspace, and nowhere else.
pub const CANARY: &str = "canary-of-another-workspace";

/// The canary is not in `bytes`.
pub fn no_canary(bytes: &[u8], place: &str) -> Judgement {
    let found = bytes
        .windows(CANARY.len())
        .any(|window| window == CANARY.as_bytes());
    match found {
        true => object(ORACLE, format!("{place} holds what another workspace does")),
        false => Ok(()),
    }
}

/// What must not be let in was not.
pub fn refused(must_fail: bool, status: u16, what: &str) -> Judgement {
    match must_fail && !(400..600).contains(&status) {
        true => object(ORACLE, format!("{what} was answered {status}")),
        false => Ok(()),
    }
}

/// What nobody may write was not accepted.
pub fn not_unwelcome(why: Option<&str>, op: OpId) -> Judgement {
    match why {
        Some(why) => object(ORACLE, format!("{op} was accepted: {why}")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_canary_is_refused() {
        assert_eq!(no_canary(b"canary-of-this", "here"), Ok(()));
        let leaked = format!("...{CANARY}...");
        assert!(no_canary(leaked.as_bytes(), "here").is_err());
    }

    #[test]
    fn whoever_is_let_in_without_leave_is_noticed() {
        assert_eq!(refused(true, 404, "x"), Ok(()));
        assert_eq!(refused(false, 200, "x"), Ok(()));
        assert!(refused(true, 200, "x").is_err());
    }

    #[test]
    fn what_nobody_may_write_is_noticed() {
        assert_eq!(not_unwelcome(None, OpId([1; 16])), Ok(()));
        assert!(not_unwelcome(Some("a reader's"), OpId([1; 16])).is_err());
    }
}
