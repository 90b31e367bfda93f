//! Line coverage per file out of an lcov trace.

use std::collections::BTreeMap;

/// Lines of one file that hold code, and those that ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lines {
    pub(crate) found: u64,
    pub(crate) hit: u64,
}

impl Lines {
    /// A file without code is covered.
    pub(crate) fn percent(self) -> f64 {
        if self.found == 0 {
            100.0
        } else {
            self.hit as f64 * 100.0 / self.found as f64
        }
    }

    pub(crate) fn add(&mut self, other: Lines) {
        self.found += other.found;
        self.hit += other.hit;
    }
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
            let hit = u64::from(count > 0);
            files
                .entry(path.clone())
                .or_default()
                .add(Lines { found: 1, hit });
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
        assert_eq!(files["core/src/a.rs"], Lines { found: 2, hit: 1 });
        assert_eq!(files["core/src/a.rs"].percent(), 50.0);
    }

    #[test]
    fn without_tests_the_whole_file_counts() {
        let files = per_file(TRACE, |_| Some(u64::MAX));
        assert_eq!(files["core/src/a.rs"], Lines { found: 3, hit: 2 });
        assert_eq!(files["registry/b.rs"], Lines { found: 1, hit: 1 });
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
