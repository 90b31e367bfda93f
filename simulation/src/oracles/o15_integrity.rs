//! O15: every file is sound, and a server's loss of power takes nothing that it had said.

use std::fmt::Display;

use super::{Judgement, Violation, object};

const ORACLE: &str = "O15 integrity";

/// What came of looking at a file.
pub fn sound<T, E: Display>(looked: Result<T, E>, whose: &str) -> Result<T, Violation> {
    looked.map_err(|error| Violation {
        oracle: ORACLE,
        what: format!("the file of {whose} is not sound: {error}"),
    })
}

/// Of `head` versions a loss of power left so many. Where those behind some version were seen on the disk
/// of a dead server only, nobody may have been told of them: `told` is the last that somebody was.
pub fn what_was_said_stays(head: u64, left: u64, told: Option<u64>) -> Judgement {
    match left >= told.unwrap_or(head).min(head) {
        true => Ok(()),
        false => object(
            ORACLE,
            format!("the server had {head} versions, the loss of power left {left}"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_damaged_is_refused() {
        assert_eq!(sound::<_, String>(Ok(1), "s0"), Ok(1));
        assert!(sound::<(), _>(Err("malformed"), "s0").is_err());
    }

    #[test]
    fn a_version_that_was_said_and_is_gone_is_refused() {
        assert_eq!(what_was_said_stays(7, 7, None), Ok(()));
        assert_eq!(what_was_said_stays(7, 9, None), Ok(()));
        assert!(what_was_said_stays(7, 6, None).is_err());
        // Of the last two nobody was told.
        assert_eq!(what_was_said_stays(7, 5, Some(5)), Ok(()));
        assert!(what_was_said_stays(7, 4, Some(5)).is_err());
        assert_eq!(what_was_said_stays(7, 7, Some(9)), Ok(()));
    }
}
