//! Every test that `docs/consistency.md` names as a promise's guard is there, and every one that
//! `docs/testing.md` names against what broke earlier designs: a renamed test must not leave a promise that only
//! seems to be guarded.
#![allow(clippy::unwrap_used)]

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What a guard may be.
#[derive(Default)]
struct Tests {
    /// Folders, file and modules of each test, and last its name.
    paths: Vec<Vec<String>>,
    /// Crash scenarios, by name.
    scenarios: HashSet<String>,
    /// Kinds of step of the worlds.
    steps: HashSet<String>,
}

impl Tests {
    fn of(root: &Path) -> Tests {
        let mut tests = Tests::default();
        for folder in ["core", "src", "server", "tests", "simulation"] {
            tests.read(&root.join(folder), &mut Vec::new());
        }
        let scenarios = root.join("simulation/src/crash/scenarios");
        for entry in fs::read_dir(scenarios).unwrap() {
            let text = fs::read_to_string(entry.unwrap().path()).unwrap();
            let quoted = text.split('"').skip(1).step_by(2).map(str::to_owned);
            tests.scenarios.extend(quoted);
        }
        let script = root.join("simulation/src/world/script.rs");
        let script = fs::read_to_string(script).unwrap();
        tests.steps.extend(script.lines().filter_map(step_word));
        tests
    }

    fn read(&mut self, place: &Path, within: &mut Vec<String>) {
        let Some(stem) = place.file_stem() else {
            return;
        };
        within.push(stem.to_string_lossy().into_owned());
        if place.is_dir() {
            let inside = fs::read_dir(place).unwrap();
            inside.for_each(|entry| self.read(&entry.unwrap().path(), within));
        } else if place.extension().is_some_and(|extension| extension == "rs") {
            self.take(&fs::read_to_string(place).unwrap(), within);
        }
        within.pop();
    }

    /// Takes the tests of a file: functions below an attribute that makes them tests.
    fn take(&mut self, text: &str, within: &[String]) {
        let mut modules: Vec<(usize, String)> = Vec::new();
        let mut is_test = false;
        for line in text.lines() {
            let depth = line.len() - line.trim_start().len();
            let mut line = line.trim();
            if line.starts_with("#[") {
                is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
                continue;
            }
            for word in ["pub ", "async "] {
                line = line.strip_prefix(word).unwrap_or(line);
            }
            if let Some(name) = line
                .strip_prefix("mod ")
                .and_then(|rest| rest.strip_suffix(" {"))
            {
                modules.retain(|(outer, _)| *outer < depth);
                modules.push((depth, name.to_owned()));
            } else if let Some(rest) = line.strip_prefix("fn ")
                && std::mem::take(&mut is_test)
            {
                let name = rest.split(['(', '<']).next().unwrap_or(rest);
                let inner = modules.iter().filter(|(outer, _)| *outer < depth);
                let inner = inner.map(|(_, module)| module.as_str());
                let outer = within.iter().map(String::as_str);
                let path = outer.chain(inner).chain([name]);
                self.paths.push(path.map(str::to_owned).collect());
            }
        }
    }

    /// Whether a guard is there: a test, by its name and some of what it lies in; all tests that lie in
    /// something, by a star or by its name; a crash scenario, or a kind of step of the worlds.
    fn have(&self, guard: &str) -> bool {
        let parts: Vec<&str> = guard
            .split(['/', ':'])
            .filter(|part| !part.is_empty())
            .collect();
        let Some((last, path)) = parts.split_last() else {
            return false;
        };
        let lies_in = |test: &[String], modules: &[&str]| {
            let mut outer = test.iter();
            modules
                .iter()
                .all(|module| outer.any(|name| name == module))
        };
        let stands = |test: &Vec<String>| {
            let Some((name, within)) = test.split_last() else {
                return false;
            };
            match last.strip_suffix('*') {
                Some(start) => lies_in(within, path) && name.starts_with(start),
                None => lies_in(within, path) && name == last || lies_in(within, &parts),
            }
        };
        let named = !path.is_empty() || !last.starts_with('*');
        let is_other = self.scenarios.contains(guard) || self.steps.contains(guard);
        named && self.paths.iter().any(stands) || is_other
    }

    /// Whether a schedule of the design's review, such as K7, has a test.
    fn have_schedule(&self, schedule: &str) -> bool {
        let (kind, number) = schedule.split_at(1);
        let forms = [
            format!("{}{number}_", kind.to_lowercase()),
            format!("{}{number:0>2}_", kind.to_lowercase()),
        ];
        let mut names = self.paths.iter().filter_map(|path| path.last());
        names.any(|name| forms.iter().any(|form| name.starts_with(form)))
    }
}

/// The word for a kind of step, where one is declared: `Kill "kill" Fault 12,`.
fn step_word(line: &str) -> Option<String> {
    let (name, rest) = line.trim().split_once(" \"")?;
    let (word, rest) = rest.split_once("\" ")?;
    let (_, weight) = rest.strip_suffix(',')?.split_once(' ')?;
    let is_one = weight.parse::<u32>().is_ok() && name.chars().all(char::is_alphanumeric);
    is_one.then(|| word.to_owned())
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

/// What stands in the last column of each table's rows: names between backticks, and schedules.
fn guards(page: &str) -> (Vec<String>, Vec<String>) {
    let (mut named, mut schedules) = (Vec::new(), Vec::new());
    let rows = page.lines().filter(|line| line.starts_with("| "));
    for row in rows {
        let Some(cell) = row.trim_end_matches([' ', '|']).rsplit('|').next() else {
            continue;
        };
        for (at, piece) in cell.split('`').enumerate() {
            if at % 2 == 1 {
                named.push(piece.to_owned());
                continue;
            }
            let words = piece.split(|c: char| !c.is_ascii_alphanumeric());
            schedules.extend(words.filter(|word| is_schedule(word)).map(str::to_owned));
        }
    }
    (named, schedules)
}

fn is_schedule(word: &str) -> bool {
    let number = word.strip_prefix(['K', 'S', 'F']);
    number.is_some_and(|number| !number.is_empty() && number.chars().all(|c| c.is_ascii_digit()))
}

#[test]
fn every_guard_of_a_promise_is_there() {
    let tests = Tests::of(&root());
    let page = fs::read_to_string(root().join("docs/consistency.md")).unwrap();
    let (named, schedules) = guards(&page);
    assert!(
        named.len() > 40 && schedules.len() > 10,
        "the page was not read"
    );
    let missing: Vec<&String> = named
        .iter()
        .filter(|guard| !guard.starts_with("cargo ") && !tests.have(guard))
        .chain(schedules.iter().filter(|name| !tests.have_schedule(name)))
        .collect();
    assert!(missing.is_empty(), "no such tests: {missing:?}");
}

/// What broke earlier designs in parts of them that are not built: nothing is there to be guarded.
const NOT_BUILT: [&str; 10] = [
    "F5", "F6", "F18", "F19", "F21", "S2", "S6", "S14", "S15", "S19",
];

/// What is wrong with a page's rows about what broke earlier designs.
fn unguarded(page: &str, tests: &Tests) -> Vec<String> {
    let flaws = (1..=22).map(|n| format!("F{n}"));
    let flaws = flaws.chain((1..=20).map(|n| format!("S{n}")));
    let flaws = flaws.chain((1..=23).map(|n| format!("K{n}")));
    let of = |flaw: &str| {
        let begin = format!("| {flaw} |");
        let rows = page.lines().filter(|line| line.starts_with(&begin));
        let rows: Vec<&str> = rows.collect();
        let [row] = rows.as_slice() else {
            return Some(format!("{flaw} has {} rows", rows.len()));
        };
        let (named, _) = guards(row);
        let said = row.contains("| not built: ");
        match (NOT_BUILT.contains(&flaw), said) {
            (true, true) => return None,
            (false, false) => {}
            _ => return Some(format!("{flaw} is built, or it is not")),
        }
        let missing: Vec<String> = named.iter().filter(|g| !tests.have(g)).cloned().collect();
        let of_its_own = !flaw.starts_with('K') || tests.have_schedule(flaw);
        match missing.is_empty() && !named.is_empty() && of_its_own {
            true => None,
            false => Some(format!("{flaw}: no such guards: {missing:?}")),
        }
    };
    flaws.filter_map(|flaw| of(&flaw)).collect()
}

#[test]
fn what_broke_earlier_designs_is_guarded_by_what_is_there() {
    let page = fs::read_to_string(root().join("docs/testing.md")).unwrap();
    let wrong = unguarded(&page, &Tests::of(&root()));
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_flaw_that_nothing_guards_is_noticed() {
    let page = fs::read_to_string(root().join("docs/testing.md")).unwrap();
    let tests = Tests::of(&root());
    let with = |from: &str, to: &str| {
        assert!(page.contains(from), "{from}");
        unguarded(&page.replace(from, to), &tests)
    };
    assert_eq!(with("`schedules::k21_", "`schedules::k21_not_").len(), 1);
    assert_eq!(with("| K21 |", "| K99 |"), ["K21 has 0 rows"]);
    assert_eq!(
        with("| S8 |", "| S9 |").len(),
        2,
        "one is missing, one there twice"
    );
    assert_eq!(with("`server-restore`", "`server-resurrect`").len(), 1);
    assert_eq!(with("not built: partial sync", "`k22_*`").len(), 1);
    assert_eq!(
        with("`examples::s08_update_wins_in_both_orders`", "some").len(),
        1
    );
}

#[test]
fn a_guard_that_is_not_there_is_noticed() {
    let mut tests = Tests::default();
    let within = ["tests", "flows", "network"].map(str::to_owned);
    let text = "#[test]\npub fn a_write_is_kept() {}\nfn helps() {}\n#[cfg(test)]\nmod inner {\n    #[test]\n    \
                #[ignore]\n    fn k07_a_retry() {}\n}\n#[tokio::test]\nasync fn last() {}\n";
    tests.take(text, &within);
    tests.scenarios.insert("write-normal".to_owned());
    assert!(tests.have("flows::network::a_write_is_kept"));
    assert!(tests.have("flows::network::*") && tests.have("flows::a_write_*"));
    assert!(tests.have("network") && tests.have("network::inner") && tests.have("flows::last"));
    assert!(tests.have("network::inner::k07_a_retry") && tests.have("write-normal"));
    assert!(!tests.have("flows::network::a_write_is_lost"));
    assert!(!tests.have("flows::elsewhere::a_write_is_kept"));
    assert!(
        !tests.have("network::flows::a_write_is_kept"),
        "the other way round"
    );
    assert!(!tests.have("network::helps"), "it is no test");
    assert!(!tests.have("inner::last") && !tests.have("write-full"));
    assert!(!tests.have("flows::b_*") && !tests.have("*"));
    assert!(tests.have_schedule("K7") && !tests.have_schedule("K8"));
    let words = [
        "    Kill \"kill\" Fault 12,",
        "    let a = \"kill\";",
        "    /// Kill \"it\" now 1,",
    ];
    assert_eq!(words.map(step_word), [Some("kill".to_owned()), None, None]);
    tests.steps.insert("kill".to_owned());
    assert!(tests.have("kill") && !tests.have("thaw"));
    let (named, schedules) = guards("| a | b | K7, `flows::x` and S10 |\nnot `a` row\n");
    assert_eq!(
        (named, schedules),
        (
            vec!["flows::x".to_owned()],
            vec!["K7".to_owned(), "S10".to_owned()]
        )
    );
}
