//! What each part of the proof may take on two quiet cores, beside what it took.
//!
//! Whoever has to wait longer than this stops running it. A slower machine is no fault: nothing fails over it.

use std::time::Duration;

use crate::libtest::Report;
use crate::table::Table;

/// Parts of a run, and the minutes that each may take.
const BUDGETS: [(&str, u64); 4] = [("simulate", 6), ("crash", 3), ("chaos", 3), (CORPUS, 2)];

/// The suite of the tests that runs the fuzzers' corpus.
const CORPUS: &str = "corpus (tests/corpus.rs)";

/// The time that one part took.
pub(crate) struct Spent<'a> {
    /// The step or suite.
    pub(crate) part: &'a str,
    pub(crate) took: Duration,
}

/// Suites of the tests, and how long each took by its own word.
pub(crate) fn suites(report: &Report) -> impl Iterator<Item = Spent<'_>> {
    report.suites.iter().map(|suite| Spent {
        part: &suite.name,
        took: Duration::try_from_secs_f64(suite.seconds).unwrap_or_default(),
    })
}

/// Every part that has a budget, with what it took; those that were not run are left out.
pub(crate) fn table<'a>(spent: impl Iterator<Item = Spent<'a>>) -> Option<(Table, Vec<String>)> {
    let mut table = Table::new(["part of the proof", "time", "budget", ""]);
    let mut over = Vec::new();
    let mut any = false;
    for Spent { part, took } in spent {
        let Some((_, minutes)) = BUDGETS.iter().find(|(of, _)| *of == part) else {
            continue;
        };
        any = true;
        let is_over = took > Duration::from_secs(minutes * 60);
        if is_over {
            over.push(format!(
                "warning: {part} took {:.0} s; on two quiet cores it may take {minutes} minutes",
                took.as_secs_f64()
            ));
        }
        table.row([
            part.to_owned(),
            format!("{:.1} s", took.as_secs_f64()),
            format!("{} s", minutes * 60),
            if is_over { "OVER" } else { "" }.to_owned(),
        ]);
    }
    any.then_some((table, over))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spent(parts: &[(&'static str, u64)]) -> Option<(String, Vec<String>)> {
        let parts = parts.iter().map(|(part, seconds)| Spent {
            part,
            took: Duration::from_secs(*seconds),
        });
        table(parts).map(|(table, over)| (table.render(), over))
    }

    #[test]
    fn what_is_over_its_budget_is_said() {
        let said = spent(&[("layers", 9_000), ("simulate", 361), ("crash", 180)]);
        let (rows, over) = said.unwrap_or_default();
        assert!(rows.contains("simulate") && rows.contains("crash") && !rows.contains("layers"));
        assert_eq!(rows.matches("OVER").count(), 1, "{rows}");
        assert!(
            over.len() == 1 && over[0].contains("simulate took 361 s"),
            "{over:?}"
        );
    }

    #[test]
    fn where_nothing_has_a_budget_nothing_is_said() {
        assert_eq!(spent(&[("layers", 9_000), ("fmt", 1)]), None);
    }

    #[test]
    fn the_corpus_is_a_suite_of_the_tests() {
        let mut report = Report::default();
        report.read_line("     Running tests/corpus.rs (target/debug/deps/corpus-77)");
        let result = "test result: ok. 9 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out;";
        report.read_line(&format!("{result} finished in 130.50s"));
        let over = table(suites(&report))
            .map(|(_, over)| over)
            .unwrap_or_default();
        assert!(over.len() == 1 && over[0].contains("corpus"), "{over:?}");
    }
}
