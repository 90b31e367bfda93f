//! O13 on a machine that several people use: what one of them wrote reaches nobody else before that account
//! sent it, and goes out under no other.
//!
//! Whoever writes there marks it with their name. A mark is found in any bytes: requests, answers, frames,
//! files, rows of the server's log.

use std::collections::{BTreeMap, BTreeSet};

use super::{Judgement, object};

const ORACLE: &str = "O13 isolation";

/// What all marks begin with; no line of a log may say it, nor any message of another workspace.
pub(super) const MARK: &str = "canary-of-";

/// The longest name in a mark.
const LONGEST_NAME: usize = 20;

/// What somebody writes for the `number`th time.
pub fn mark(name: &str, number: u32) -> String {
    format!("{MARK}{name}-{number}.")
}

/// Who wrote what, and what of it has left the file it was written in.
#[derive(Debug, Default)]
pub struct Marks {
    /// Guests whose file became an account's.
    attached: BTreeMap<String, String>,
    /// What an account has sent: others may have it.
    sent: BTreeSet<String>,
    /// What was typed into a text. Authored again it takes over letters that are there already, and goes out
    /// in pieces.
    typed: BTreeSet<String>,
    /// What was dropped before it was sent.
    dropped: BTreeSet<String>,
}

impl Marks {
    /// A guest's file becomes an account's, or is found not to have.
    pub fn attach(&mut self, guest: &str, account: Option<&str>) {
        match account {
            Some(account) => self.attached.insert(guest.to_owned(), account.to_owned()),
            None => self.attached.remove(guest),
        };
    }

    /// It is typed into a text.
    pub fn type_in(&mut self, mark: String) {
        self.typed.insert(mark);
    }

    /// The user agreed to lose these, and they are gone. Those that were sent before may be on the server.
    pub fn drop_unsent(&mut self, marks: impl IntoIterator<Item = String>) {
        let unsent = marks.into_iter().filter(|mark| !self.sent.contains(mark));
        let unsent: Vec<String> = unsent.collect();
        self.dropped.extend(unsent);
    }

    /// A request with ops left a file of `account`: what the account typed may have been among them.
    pub fn brings_ops(&mut self, account: &str) {
        let typed = std::mem::take(&mut self.typed);
        let (gone, kept) = typed.into_iter().partition(|mark| {
            let name = whole_mark(mark.as_bytes()).map(|(_, name)| name);
            name.is_some_and(|name| self.owner(name) == account)
        });
        self.typed = kept;
        let gone: BTreeSet<String> = gone;
        self.sent.extend(gone.difference(&self.dropped).cloned());
    }

    /// A request left a file of `account`, with a token of the account that it says, if it has one.
    pub fn leaves(&mut self, account: &str, token: Option<&str>, request: &[u8]) -> Judgement {
        for (mark, name) in marks_in(request) {
            let owner = self.owner(name);
            if owner != account {
                return object(
                    ORACLE,
                    format!("a request of {account} says {mark}, which is {owner}'s"),
                );
            }
            if let Some(other) = token.filter(|token| *token != account) {
                return object(ORACLE, format!("{mark} goes out with a token of {other}"));
            }
            if self.dropped.contains(mark) {
                return object(ORACLE, format!("{mark} was dropped, and is sent"));
            }
            self.sent.insert(mark.to_owned());
        }
        Ok(())
    }

    /// What lies in a place of `whose`, or reached them, is their own, or was sent by who wrote it.
    pub fn reaches(&self, whose: &str, bytes: &[u8], place: &str) -> Judgement {
        let whose = self.owner(whose);
        let foreign = marks_in(bytes)
            .into_iter()
            .find(|(mark, name)| self.owner(name) != whose && !self.sent.contains(*mark));
        match foreign {
            Some((mark, _)) => object(
                ORACLE,
                format!("{place} of {whose} holds {mark}, which nobody sent"),
            ),
            None => Ok(()),
        }
    }

    /// A version by an account tells of nothing that another one wrote. (Nobody deletes or restores on that
    /// machine: a version tells what its own op wrote.)
    pub fn was_decided(&self, account: &str, version: &[u8]) -> Judgement {
        let foreign = marks_in(version)
            .into_iter()
            .find(|(_, name)| self.owner(name) != account);
        match foreign {
            Some((mark, _)) => object(ORACLE, format!("{mark} was taken as a write of {account}")),
            None => Ok(()),
        }
    }

    /// The account that a name in a mark stands for; a guest's own name as long as the file is nobody's.
    fn owner<'n>(&'n self, name: &'n str) -> &'n str {
        self.attached.get(name).map_or(name, String::as_str)
    }
}

/// Somebody who is not the file's owner was told so.
pub fn told_whose_it_is<T>(told: Result<T, &str>, what: &str) -> Judgement {
    match told {
        Err("wrong_account") => Ok(()),
        Err(code) => object(ORACLE, format!("{what} was refused with {code}")),
        Ok(_) => object(ORACLE, format!("{what} was not refused")),
    }
}

/// All whole marks in some bytes, with the names in them.
fn marks_in(bytes: &[u8]) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    let mut rest = bytes;
    while let Some(at) = position(rest, MARK.as_bytes()) {
        let from = rest.get(at..).unwrap_or_default();
        found.extend(whole_mark(from));
        rest = from.get(MARK.len()..).unwrap_or_default();
    }
    found
}

/// The mark at the beginning of the bytes. In a file one may be cut in two by the end of a page.
fn whole_mark(bytes: &[u8]) -> Option<(&str, &str)> {
    let window = bytes.get(..bytes.len().min(MARK.len() + LONGEST_NAME))?;
    let end = window.iter().position(|byte| *byte == b'.')?;
    let mark = std::str::from_utf8(window.get(..=end)?).ok()?;
    let (name, number) = mark
        .strip_prefix(MARK)?
        .strip_suffix('.')?
        .rsplit_once('-')?;
    number.parse::<u32>().ok()?;
    Some((mark, name))
}

/// Where a needle is first. Most bytes are not its first.
pub(super) fn position(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    let first = *needle.first()?;
    let mut from = 0;
    loop {
        let here = bytes.get(from..)?.iter().position(|byte| *byte == first)?;
        let at = from + here;
        if bytes.get(at..)?.starts_with(needle) {
            return Some(at);
        }
        from = at + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(marks: &[&str]) -> Vec<u8> {
        let mut bytes = vec![0xA1, b'c'];
        for mark in marks {
            bytes.extend(mark.as_bytes());
            // What CBOR puts behind a text may be a digit.
            bytes.push(b'3');
        }
        bytes
    }

    #[test]
    fn marks_are_found_wherever_they_are() {
        let (one, two) = (mark("ada", 1), mark("guest0", 23));
        let bytes = request(&[&one, "canary-of-nobody", &two, "canary-of-ada-"]);
        let found = marks_in(&bytes);
        assert_eq!(found, [(one.as_str(), "ada"), (two.as_str(), "guest0")]);
    }

    #[test]
    fn somebody_elses_writes_in_a_request_are_refused() {
        let mut marks = Marks::default();
        let own = request(&[&mark("ada", 1)]);
        assert_eq!(marks.leaves("ada", Some("ada"), &own), Ok(()));
        assert_eq!(marks.leaves("ada", None, &own), Ok(()), "on a socket");
        assert!(marks.leaves("bob", Some("bob"), &own).is_err());
        assert!(marks.leaves("ada", Some("bob"), &own).is_err());
    }

    #[test]
    fn what_nobody_sent_and_somebody_else_has_is_refused() {
        let mut marks = Marks::default();
        let written = request(&[&mark("ada", 1)]);
        assert_eq!(marks.reaches("ada", &written, "a file"), Ok(()));
        assert!(marks.reaches("bob", &written, "a file").is_err());
        assert_eq!(marks.leaves("ada", Some("ada"), &written), Ok(()));
        assert_eq!(marks.reaches("bob", &written, "a file"), Ok(()));
    }

    #[test]
    fn what_was_typed_goes_out_with_ops_of_its_account() {
        let mut marks = Marks::default();
        let (ada, bob) = (mark("ada", 1), mark("bob", 2));
        marks.type_in(ada.clone());
        marks.type_in(bob.clone());
        assert!(marks.reaches("bob", &request(&[&ada]), "a file").is_err());
        marks.brings_ops("ada");
        assert_eq!(marks.reaches("bob", &request(&[&ada]), "a file"), Ok(()));
        assert!(marks.reaches("ada", &request(&[&bob]), "a file").is_err());
    }

    #[test]
    fn what_was_dropped_and_is_sent_is_refused() {
        let mut marks = Marks::default();
        let (sent, unsent) = (mark("ada", 1), mark("ada", 2));
        assert_eq!(marks.leaves("ada", None, &request(&[&sent])), Ok(()));
        marks.drop_unsent([sent.clone(), unsent.clone()]);
        assert_eq!(marks.leaves("ada", None, &request(&[&sent])), Ok(()));
        assert!(marks.leaves("ada", None, &request(&[&unsent])).is_err());
    }

    #[test]
    fn a_guests_writes_are_nobodys_until_the_file_is_attached() {
        let mut marks = Marks::default();
        let written = request(&[&mark("guest0", 1)]);
        assert_eq!(marks.reaches("guest0", &written, "a file"), Ok(()));
        assert!(marks.leaves("ada", None, &written).is_err());
        marks.attach("guest0", Some("ada"));
        assert!(marks.leaves("bob", None, &written).is_err());
        assert!(marks.reaches("bob", &written, "a file").is_err());
        assert_eq!(marks.reaches("guest0", &written, "the file"), Ok(()));
        assert_eq!(marks.leaves("ada", None, &written), Ok(()));
        marks.attach("guest0", None);
        assert!(marks.leaves("ada", None, &written).is_err());
    }

    #[test]
    fn a_version_by_another_account_than_its_writers_is_refused() {
        let marks = Marks::default();
        let version = request(&[&mark("ada", 1)]);
        assert_eq!(marks.was_decided("ada", &version), Ok(()));
        assert!(marks.was_decided("bob", &version).is_err());
    }

    #[test]
    fn whoever_gets_into_somebody_elses_file_is_noticed() {
        assert_eq!(told_whose_it_is::<()>(Err("wrong_account"), "it"), Ok(()));
        assert!(told_whose_it_is::<()>(Err("io"), "it").is_err());
        assert!(told_whose_it_is(Ok(()), "it").is_err());
    }
}
