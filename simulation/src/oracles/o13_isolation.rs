//! O13: what belongs to another workspace is in no file and no message of this one, and nobody writes
//! what they may not.

use std::collections::BTreeMap;

use driftline_core::id::OpId;
use driftline_core::op::OpBody;

use super::o13_accounts::{MARK, position};
use super::{Judgement, LogRow, object};

const ORACLE: &str = "O13 isolation";

/// What is written to the other workspace, and nowhere else.
pub const CANARY: &str = "canary-of-another-workspace";

/// No canary is in `bytes`: neither the one of strangers' workspace nor what people who share a machine wrote
/// into theirs.
pub fn no_canary(bytes: &[u8], place: &str) -> Judgement {
    match position(bytes, MARK.as_bytes()) {
        Some(_) => object(ORACLE, format!("{place} holds what another workspace does")),
        None => Ok(()),
    }
}

/// A line of a log tells nothing of what people wrote, and no token. (Values are written as `s1.23`;
/// every token begins with the JSON of its head.)
pub fn says_nothing_private(line: &str) -> Judgement {
    let private = line.contains(MARK) || line.contains("eyJ") || holds_a_value(line);
    match private {
        true => object(ORACLE, format!("a log says: {line}")),
        false => Ok(()),
    }
}

/// Whether there is an `s`, digits, a point and a digit, and no letter or digit before.
fn holds_a_value(line: &str) -> bool {
    let bytes = line.as_bytes();
    bytes.iter().enumerate().any(|(at, byte)| {
        let begins = *byte == b's'
            && !at
                .checked_sub(1)
                .is_some_and(|before| bytes[before].is_ascii_alphanumeric());
        let rest = || {
            let mut rest = bytes[at + 1..]
                .iter()
                .skip_while(|byte| byte.is_ascii_digit());
            bytes.get(at + 1).is_some_and(u8::is_ascii_digit)
                && rest.next() == Some(&b'.')
                && rest.next().is_some_and(u8::is_ascii_digit)
        };
        begins && rest()
    })
}

/// What must not be let in was not, and whoever sent it was told so. A server that cannot answer now says
/// that, and one whose disk fails may say that it failed.
pub fn refused(must_fail: bool, status: u16, met_a_fault: bool, what: &str) -> Judgement {
    let told = match status {
        400..500 | 503 => true,
        500..600 => met_a_fault,
        _ => false,
    };
    match must_fail && !told {
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

/// A version was sent by somebody who may write, and text that it brought is by a writer of the same
/// account. `sent` are the ways in which the op was sent, `owners` the accounts that first wrote under
/// each writer.
pub fn written_by_its_author<'b>(
    row: &LogRow,
    sent: impl IntoIterator<Item = &'b OpBody>,
    may_write: bool,
    owners: &BTreeMap<u64, i64>,
) -> Judgement {
    let version = row.cursor.version;
    if !may_write {
        return object(
            ORACLE,
            format!("version {version} is by {}, who may only read", row.label),
        );
    }
    let foreign = |body: &OpBody| foreign_writer(row, body, owners);
    let foreign: Vec<Option<u64>> = sent.into_iter().map(foreign).collect();
    match foreign.first() {
        Some(Some(writer)) if foreign.iter().all(Option::is_some) => object(
            ORACLE,
            format!("version {version} has text of writer {writer}, who is of another account"),
        ),
        _ => Ok(()),
    }
}

/// A writer of another account whose text the version brought.
fn foreign_writer(row: &LogRow, body: &OpBody, owners: &BTreeMap<u64, i64>) -> Option<u64> {
    let mut brought = body.changes.iter().flat_map(|change| {
        let place = (change.collection, change.document.as_str());
        let edits = change.texts.iter();
        edits.filter(move |(field, _)| row.took_text(place, *field))
    });
    let owner = |writer| owners.get(&writer);
    let foreign = brought.find(|(_, edit)| owner(edit.writer).is_some_and(|it| *it != row.account));
    foreign.map(|(_, edit)| edit.writer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracles::testing;

    #[test]
    fn a_canary_is_refused() {
        assert_eq!(no_canary(b"canary-canary", "here"), Ok(()));
        for leaked in [format!("...{CANARY}..."), format!("{MARK}ada-1.")] {
            assert!(no_canary(leaked.as_bytes(), "here").is_err());
        }
    }

    #[test]
    fn a_version_of_a_reader_or_with_somebody_elses_text_is_refused() {
        let mut row = testing::row(1, testing::wrote(1, "a", "x"));
        row.entry.documents[0].texts.insert(2, Default::default());
        let typed = testing::typed("a", 7);
        let judge = |may_write, owner| {
            let owners = BTreeMap::from([(7, owner)]);
            written_by_its_author(&row, Some(&typed), may_write, &owners)
        };
        assert_eq!(judge(true, row.account), Ok(()));
        assert!(judge(false, row.account).is_err());
        assert!(judge(true, row.account + 1).is_err());
        let without = testing::row(1, testing::wrote(1, "a", "x"));
        let owners = BTreeMap::from([(7, without.account + 1)]);
        let judged = written_by_its_author(&without, Some(&typed), true, &owners);
        assert_eq!(judged, Ok(()), "it took no effect");
    }

    #[test]
    fn a_log_that_tells_what_was_written_is_refused() {
        for line in ["3 ops of class1.5 sent", "s1 has 2.5", "version 1.2"] {
            assert_eq!(says_nothing_private(line), Ok(()), "{line}");
        }
        for line in ["title=s1.23", "s12.3 is too long", "Bearer eyJhbGciOi"] {
            assert!(says_nothing_private(line).is_err(), "{line}");
        }
        assert!(says_nothing_private(CANARY).is_err());
        assert!(says_nothing_private(&format!("title={MARK}ada-1.")).is_err());
    }

    #[test]
    fn whoever_is_let_in_without_leave_is_noticed() {
        let refused = |must_fail, status| refused(must_fail, status, false, "x");
        assert_eq!(refused(true, 404), Ok(()));
        assert_eq!(refused(true, 503), Ok(()));
        assert_eq!(refused(false, 200), Ok(()));
        assert!(refused(true, 200).is_err());
        assert!(refused(true, 500).is_err());
        assert_eq!(super::refused(true, 500, true, "x"), Ok(()));
    }

    #[test]
    fn what_nobody_may_write_is_noticed() {
        assert_eq!(not_unwelcome(None, OpId([1; 16])), Ok(()));
        assert!(not_unwelcome(Some("a reader's"), OpId([1; 16])).is_err());
    }
}
