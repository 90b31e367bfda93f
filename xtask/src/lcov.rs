//! Line coverage per file out of an lcov trace.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::cargo;

/// Lines of one file that hold code, and those that ran.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lines {
    pub(crate) found: u64,
    pub(crate) hit: u64,
    /// The numbers of the others, of one file alone.
    pub(crate) missed: Vec<u64>,
}

impl Lines {
    /// A file without code is covered.
    pub(crate) fn percent(&self) -> f64 {
        if self.found == 0 {
            100.0
        } else {
            self.hit as f64 * 100.0 / self.found as f64
        }
    }

    /// Adds up figures of several files.
    pub(crate) fn add(&mut self, other: &Lines) {
        self.found += other.found;
        self.hit += other.hit;
    }

    fn line(&mut self, number: u64, ran: bool) {
        self.found += 1;
        match ran {
            true => self.hit += 1,
            false => self.missed.push(number),
        }
    }

    /// A row of a table: what it is of, how many lines, how many ran, and their share.
    pub(crate) fn cells(&self, name: String) -> [String; 4] {
        let percent = format!("{:.1}", self.percent());
        [name, self.found.to_string(), self.hit.to_string(), percent]
    }

    /// What did not run: `12-15`, `20`.
    pub(crate) fn gaps(&self) -> Vec<String> {
        let mut gaps: Vec<(u64, u64)> = Vec::new();
        for &line in &self.missed {
            match gaps.last_mut() {
                Some((_, last)) if *last + 1 == line => *last = line,
                _ => gaps.push((line, line)),
            }
        }
        let told = |(first, last): (u64, u64)| match first == last {
            true => first.to_string(),
            false => format!("{first}-{last}"),
        };
        gaps.into_iter().map(told).collect()
    }
}

/// The lines of our files below `sources`, by their names, without their own tests.
pub(crate) fn files_below(trace: &str, sources: &Path) -> BTreeMap<String, Lines> {
    let root = cargo::root();
    let files = per_file(trace, |path| {
        let path = root.join(path);
        let is_tests = path.file_name().is_some_and(|name| name == "tests.rs")
            || path.components().any(|part| part.as_os_str() == "tests");
        if !path.starts_with(sources) || is_tests {
            return None;
        }
        let source = fs::read_to_string(&path).ok()?;
        Some(first_test_line(&source).unwrap_or(u64::MAX))
    });
    let named = files.into_iter().map(|(path, lines)| {
        let path = root.join(path);
        let name = path.strip_prefix(&root).unwrap_or(&path);
        (name.display().to_string(), lines)
    });
    named.collect()
}

/// Counts the `DA` records of each file. `keep` gets a path and answers below which line the file
/// counts, `None` for a file that does not count.
pub(crate) fn per_file(
    trace: &str,
    mut keep: impl FnMut(&str) -> Option<u64>,
) -> BTreeMap<String, Lines> {
    let mut files: BTreeMap<String, Lines> = BTreeMap::new();
    let mut current: Option<(String, u64)> = None;
    for record in trace.lines() {
        if let Some(path) = record.strip_prefix("SF:") {
            current = keep(path).map(|below| (path.to_owned(), below));
            if let Some((path, _)) = &current {
                files.entry(path.clone()).or_default();
            }
        } else if let (Some((path, below)), Some((line, count))) = (&current, line_record(record))
            && line < *below
        {
            let lines = files.entry(path.clone()).or_default();
            lines.line(line, count > 0);
        }
    }
    files
}

/// `DA:12,3`: line 12 ran three times.
fn line_record(record: &str) -> Option<(u64, u64)> {
    let mut parts = record.strip_prefix("DA:")?.split(',');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// The line on which a file's own tests begin: they would count as covered code.
pub(crate) fn first_test_line(source: &str) -> Option<u64> {
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    let opens_tests = |at: usize| {
        let mut rest = lines
            .iter()
            .skip(at + 1)
            .skip_while(|line| line.starts_with("#["));
        rest.next()
            .is_some_and(|line| line.starts_with("mod ") && line.ends_with('{'))
    };
    let found = (0..lines.len()).find(|&at| lines[at] == "#[cfg(test)]" && opens_tests(at));
    found.map(|at| at as u64 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "\
SF:core/src/a.rs
FN:1,f
DA:1,4
DA:2,0
DA:9,7
end_of_record
SF:registry/b.rs
DA:1,1
end_of_record
";

    #[test]
    fn counts_lines_of_kept_files_above_their_tests() {
        let files = per_file(TRACE, |path| path.starts_with("core/").then_some(9));
        assert_eq!(files.len(), 1);
        let lines = &files["core/src/a.rs"];
        assert_eq!(
            (lines.found, lines.hit, &lines.missed[..]),
            (2, 1, &[2][..])
        );
        assert_eq!(lines.percent(), 50.0);
    }

    #[test]
    fn without_tests_the_whole_file_counts() {
        let files = per_file(TRACE, |_| Some(u64::MAX));
        let figures = |name: &str| (files[name].found, files[name].hit);
        assert_eq!(figures("core/src/a.rs"), (3, 2));
        assert_eq!(figures("registry/b.rs"), (1, 1));
    }

    #[test]
    fn what_did_not_run_is_told_in_ranges() {
        let lines = Lines {
            missed: vec![3, 4, 5, 9, 11, 12],
            ..Lines::default()
        };
        assert_eq!(lines.gaps(), ["3-5", "9", "11-12"]);
    }

    #[test]
    fn finds_where_tests_begin() {
        let source = "fn f() {}\n\n#[cfg(test)]\n#[allow(clippy::unwrap_used)]\nmod tests {\n}\n";
        assert_eq!(first_test_line(source), Some(3));
        assert_eq!(first_test_line("fn f() {}\n"), None);
        assert_eq!(first_test_line("#[cfg(test)]\nuse x;\nfn f() {}\n"), None);
        assert_eq!(
            first_test_line("#[cfg(test)]\nmod tests;\nfn f() {}\n"),
            None
        );
    }
}
