//! Every test that `docs/consistency.md` names as a promise's guard is there: a renamed test must not
//! leave a promise that only seems to be guarded.
#![allow(clippy::unwrap_used)]

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The names that a guard may have.
struct Tests {
    functions: HashSet<String>,
    modules: HashSet<String>,
}

impl Tests {
    fn of(root: &Path) -> Tests {
        let mut tests = Tests {
            functions: HashSet::new(),
            modules: HashSet::new(),
        };
        for folder in ["core", "src", "server", "tests", "simulation"] {
            tests.read(&root.join(folder));
        }
        tests
    }

    fn read(&mut self, place: &Path) {
        if let Some(stem) = place.file_stem() {
            self.modules.insert(stem.to_string_lossy().into_owned());
        }
        if place.is_dir() {
            let inside = fs::read_dir(place).unwrap();
            inside.for_each(|entry| self.read(&entry.unwrap().path()));
            return;
        }
        if place.extension().is_none_or(|extension| extension != "rs") {
            return;
        }
        for line in fs::read_to_string(place).unwrap().lines() {
            let mut line = line.trim_start();
            for word in ["pub ", "async "] {
                line = line.strip_prefix(word).unwrap_or(line);
            }
            if let Some(rest) = line.strip_prefix("fn ") {
                let name = rest.split(['(', '<']).next().unwrap_or(rest);
                self.functions.insert(name.to_owned());
            }
        }
    }

    /// Whether a guard is there: its last part a test, or a module of tests; the parts before it
    /// modules. A star stands for the rest of a name.
    fn have(&self, guard: &str) -> bool {
        let parts: Vec<&str> = guard
            .split(['/', ':'])
            .filter(|part| !part.is_empty())
            .collect();
        let Some((last, path)) = parts.split_last() else {
            return false;
        };
        // A suite is called by its folder or, in tests/flows, by its program's name.
        let path_stands = path.iter().all(|part| self.modules.contains(*part));
        let stands = match last.strip_suffix('*') {
            Some("") => !path.is_empty(),
            Some(prefix) => self.functions.iter().any(|name| name.starts_with(prefix)),
            None => self.functions.contains(*last) || self.modules.contains(*last),
        };
        path_stands && stands
    }

    /// Whether a schedule of the design's review, such as K7, has a test.
    fn have_schedule(&self, schedule: &str) -> bool {
        let (kind, number) = schedule.split_at(1);
        let forms = [
            format!("{}{number}_", kind.to_lowercase()),
            format!("{}{number:0>2}_", kind.to_lowercase()),
        ];
        let is_test = |name: &String| forms.iter().any(|form| name.starts_with(form));
        self.functions.iter().any(is_test)
    }
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

#[test]
fn a_guard_that_is_not_there_is_noticed() {
    let tests = Tests {
        functions: HashSet::from(["a_write_is_kept".to_owned(), "k07_a_retry".to_owned()]),
        modules: HashSet::from(["flows".to_owned(), "network".to_owned()]),
    };
    assert!(tests.have("flows::network::a_write_is_kept"));
    assert!(tests.have("flows::network::*") && tests.have("flows::a_write_*"));
    assert!(!tests.have("flows::network::a_write_is_lost"));
    assert!(!tests.have("flows::elsewhere::a_write_is_kept"));
    assert!(!tests.have("flows::b_*"));
    assert!(tests.have_schedule("K7") && !tests.have_schedule("K8"));
    let (named, schedules) = guards("| a | b | K7, `flows::x` and S10 |\nnot `a` row\n");
    assert_eq!(
        (named, schedules),
        (
            vec!["flows::x".to_owned()],
            vec!["K7".to_owned(), "S10".to_owned()]
        )
    );
}
