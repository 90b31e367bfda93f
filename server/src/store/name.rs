//! What a workspace may be called.

use std::fmt;

/// A workspace's name: a letter or digit, then up to 62 letters, digits, `_` and `-`.
///
/// No name can leave a directory, and no two names share a file.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct WorkspaceName(String);

impl WorkspaceName {
    /// Checks and wraps `name`.
    pub fn new(name: &str) -> Option<WorkspaceName> {
        let fits = (1..=63).contains(&name.len())
            && name
                .as_bytes()
                .first()
                .is_some_and(u8::is_ascii_alphanumeric)
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        fits.then(|| WorkspaceName(name.to_owned()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A file name of its own. Some file systems take `a` and `A` for the same, so capitals are
    /// marked; and some take bare words for devices, so there is something before and after.
    pub(crate) fn file_name(&self) -> String {
        let mut file = String::from("workspace-");
        for c in self.0.chars() {
            if c.is_ascii_uppercase() {
                file.push('+');
            }
            file.push(c.to_ascii_lowercase());
        }
        file.push_str(".sqlite");
        file
    }
}

impl fmt::Display for WorkspaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_the_directory_are_none() {
        for wrong in [
            "",
            ".",
            "..",
            "a/b",
            "a\\b",
            "-a",
            "_a",
            "a.b",
            "a b",
            "é",
            "a\0",
            "a%2e",
            &"x".repeat(64),
        ] {
            assert_eq!(WorkspaceName::new(wrong), None, "{wrong:?}");
        }
        for fine in ["a", "7", "A-b_c", &"x".repeat(63)] {
            assert!(WorkspaceName::new(fine).is_some(), "{fine:?}");
        }
    }

    #[test]
    fn names_that_differ_in_case_have_files_that_differ_in_more() {
        let file = |name: &str| WorkspaceName::new(name).unwrap().file_name();
        assert_eq!(file("con"), "workspace-con.sqlite");
        assert_eq!(file("CoN"), "workspace-+co+n.sqlite");
    }
}
