//! Counts tests in what `cargo test` prints: the heading of each suite, its result line, the names
//! of failed tests.

/// What one test executable, or the documentation of one crate, reported.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Suite {
    pub(crate) name: String,
    pub(crate) counts: Counts,
    pub(crate) seconds: f64,
    /// False until a result line was seen: a suite that crashed never prints one.
    pub(crate) finished: bool,
}

/// Tests by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) ignored: u64,
}

impl Counts {
    pub(crate) fn all(self) -> u64 {
        self.passed + self.failed + self.ignored
    }

    fn add(&mut self, other: Counts) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
    }
}

/// Everything read so far.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) suites: Vec<Suite>,
    /// `suite: test`, in the order they were reported.
    pub(crate) failures: Vec<String>,
}

impl Report {
    /// Takes one line of output.
    pub(crate) fn read_line(&mut self, line: &str) {
        let line = line.trim_end();
        if let Some(name) = suite_heading(line) {
            self.suites.push(Suite {
                name,
                ..Suite::default()
            });
        } else if let Some((counts, seconds)) = result_line(line) {
            let suite = self.current_suite();
            // The doc tests of one crate may print several results.
            suite.counts.add(counts);
            suite.seconds += seconds;
            suite.finished = true;
        } else if let Some(test) = failed_test(line) {
            let failure = format!("{}: {test}", self.current_suite().name);
            self.failures.push(failure);
        }
    }

    /// All suites together; one that crashed took an unknown number of tests along and counts as
    /// one failure.
    pub(crate) fn total(&self) -> Counts {
        let mut total = Counts::default();
        self.suites.iter().for_each(|suite| total.add(suite.counts));
        total.failed += self.crashed().count() as u64;
        total
    }

    /// Suites that began and never reported a result.
    pub(crate) fn crashed(&self) -> impl Iterator<Item = &Suite> {
        self.suites.iter().filter(|suite| !suite.finished)
    }

    fn current_suite(&mut self) -> &mut Suite {
        if self.suites.is_empty() {
            self.suites.push(Suite {
                name: "unnamed".to_owned(),
                ..Suite::default()
            });
        }
        let last = self.suites.len() - 1;
        &mut self.suites[last]
    }
}

/// `Running unittests src/lib.rs (target/debug/deps/driftline_core-0f3a)` or `Doc-tests driftline`.
fn suite_heading(line: &str) -> Option<String> {
    let line = line.trim_start();
    if let Some(krate) = line.strip_prefix("Doc-tests ") {
        return Some(format!("{krate} (documentation)"));
    }
    let (source, rest) = line.strip_prefix("Running ")?.split_once(" (")?;
    let executable = rest.strip_suffix(')')?.rsplit(['/', '\\']).next()?;
    let executable = executable.strip_suffix(".exe").unwrap_or(executable);
    let (krate, _hash) = executable.rsplit_once('-')?;
    Some(format!(
        "{krate} ({})",
        source.strip_prefix("unittests ").unwrap_or(source)
    ))
}

/// `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.02s`,
/// wherever in the line it begins: output of a child process may stand before it.
fn result_line(line: &str) -> Option<(Counts, f64)> {
    let (_, result) = line.split_once("test result: ")?;
    let (_, fields) = result.split_once(". ")?;
    let mut counts = Counts::default();
    let mut seconds = 0.0;
    let mut seen = 0;
    for field in fields.split("; ") {
        if let Some(time) = field.strip_prefix("finished in ") {
            seconds = time.strip_suffix('s')?.parse().ok()?;
            continue;
        }
        let (number, outcome) = field.split_once(' ')?;
        let slot = match outcome {
            "passed" => &mut counts.passed,
            "failed" => &mut counts.failed,
            "ignored" => &mut counts.ignored,
            _ => continue,
        };
        *slot = number.parse().ok()?;
        seen += 1;
    }
    (seen == 3).then_some((counts, seconds))
}

/// `test sync::retry::obeys_the_server ... FAILED`.
fn failed_test(line: &str) -> Option<&str> {
    line.strip_prefix("test ")?.strip_suffix(" ... FAILED")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO_SUITES: &str = "\
   Compiling driftline-core v0.1.0
    Finished `test` profile [optimized + debuginfo] target(s) in 2.33s
     Running unittests src/lib.rs (target/debug/deps/driftline_core-0f3ab2)

running 3 tests
test merge::counter::adds ... ok
test merge::set::removes ... FAILED
test slow ... ignored

failures:

---- merge::set::removes stdout ----
thread panicked

failures:
    merge::set::removes

test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.25s

     Running tests/offline.rs (target/debug/deps/offline-77)

running 2 tests
test writes ... ok
test reads ... ok

test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 4 filtered out; finished in 1.50s
";

    fn report(text: &str) -> Report {
        let mut report = Report::default();
        text.lines().for_each(|line| report.read_line(line));
        report
    }

    #[test]
    fn counts_each_suite_under_its_name() {
        let report = report(TWO_SUITES);
        let names: Vec<&str> = report
            .suites
            .iter()
            .map(|suite| suite.name.as_str())
            .collect();
        assert_eq!(
            names,
            ["driftline_core (src/lib.rs)", "offline (tests/offline.rs)"]
        );
        assert_eq!(
            report.suites[0].counts,
            Counts {
                passed: 1,
                failed: 1,
                ignored: 1
            }
        );
        assert_eq!(
            report.suites[1].counts,
            Counts {
                passed: 2,
                failed: 0,
                ignored: 0
            }
        );
        assert_eq!(report.suites[1].seconds, 1.5);
        assert_eq!(
            report.total(),
            Counts {
                passed: 3,
                failed: 1,
                ignored: 1
            }
        );
        assert_eq!(report.total().all(), 5);
    }

    #[test]
    fn names_failed_tests_with_their_suite() {
        let report = report(TWO_SUITES);
        assert_eq!(
            report.failures,
            ["driftline_core (src/lib.rs): merge::set::removes"]
        );
    }

    #[test]
    fn adds_up_the_two_results_of_merged_doc_tests() {
        let report = report(
            "   Doc-tests driftline\n\
             test result: ok. 4 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.10s\n\
             test result: ok. 1 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.20s\n\
             all doctests ran in 0.45s; merged doctests compilation took 0.30s\n",
        );
        assert_eq!(report.suites.len(), 1);
        assert_eq!(report.suites[0].name, "driftline (documentation)");
        assert_eq!(
            report.suites[0].counts,
            Counts {
                passed: 5,
                failed: 0,
                ignored: 1
            }
        );
        assert!((report.suites[0].seconds - 0.3).abs() < 1e-9);
    }

    #[test]
    fn a_suite_without_a_result_has_crashed_and_counts_as_a_failure() {
        let report = report(
            "     Running tests/kill.rs (target/debug/deps/kill-1a)\n\
             running 2 tests\n\
             test one ... ok\n\
             error: test failed, to rerun pass `-p driftline --test kill`\n",
        );
        let crashed: Vec<&str> = report.crashed().map(|suite| suite.name.as_str()).collect();
        assert_eq!(crashed, ["kill (tests/kill.rs)"]);
        assert_eq!(
            report.total(),
            Counts {
                passed: 0,
                failed: 1,
                ignored: 0
            }
        );
    }

    #[test]
    fn a_result_is_found_behind_a_child_process_that_left_its_line_open() {
        let report = report(
            "     Running tests/kill.rs (target/debug/deps/kill-1a)\n\
             listening...test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n",
        );
        assert_eq!(
            report.total(),
            Counts {
                passed: 1,
                failed: 0,
                ignored: 0
            }
        );
    }

    #[test]
    fn other_lines_count_nothing() {
        for line in [
            "",
            "Running late (again)",
            "     Running `target/debug/xtask`",
            "test result: ok. many passed; 0 failed; 0 ignored",
            "test result: ok. 1 passed",
            "test result:",
            "test result: ok. 99999999999999999999999 passed; 0 failed; 0 ignored",
            "test almost ... ok",
        ] {
            let report = report(line);
            assert_eq!(report.total(), Counts::default(), "{line}");
            assert!(report.failures.is_empty(), "{line}");
        }
    }

    #[test]
    fn windows_paths_are_understood() {
        let line = r"     Running unittests src\main.rs (target\debug\deps\xtask-ab12.exe)";
        assert_eq!(suite_heading(line).as_deref(), Some(r"xtask (src\main.rs)"));
    }
}
