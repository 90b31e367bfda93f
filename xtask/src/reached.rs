//! What share of the product's lines a run of one of our programs reached.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::lcov::{self, Lines};
use crate::llvm::Tools;
use crate::table::Table;
use crate::{Outcome, cargo};

/// What the lines are counted of.
const PRODUCT: [&str; 3] = ["core/src", "src", "server/src"];

/// A file is little reached where so many of its lines are not.
const LITTLE: u64 = 50;

/// The table in a page stands between these.
const BEGIN: &str = "<!-- lines: begin -->";
const END: &str = "<!-- lines: end -->";

/// A program of ours that is built instrumented, into target/coverage.
pub(crate) struct Program<'a> {
    pub(crate) package: &'a str,
    pub(crate) binary: &'a str,
}

/// The lines of each part of the product, file by file.
pub(crate) struct Reached {
    parts: Vec<(&'static str, BTreeMap<String, Lines>)>,
}

impl Program<'_> {
    /// Runs it. Of a run that fails it is told as well what it reached.
    pub(crate) fn run(&self, arguments: &[String]) -> Result<(Outcome, Reached), String> {
        let (tools, mut run) = self.prepare()?;
        let ran = cargo::run(run.args(arguments));
        Ok((ran, self.reached(&tools)?))
    }

    /// The same with the JSON that the program prints.
    pub(crate) fn run_for_json(
        &self,
        arguments: &[String],
    ) -> Result<(Outcome, Value, Reached), String> {
        let (tools, mut run) = self.prepare()?;
        let output = run
            .args(arguments)
            .stderr(Stdio::inherit())
            .output()
            .map_err(|error| format!("cannot start {}: {error}", self.binary))?;
        let ran = match output.status.success() {
            true => Ok(()),
            false => Err(format!("{} failed ({})", self.binary, output.status)),
        };
        let said = serde_json::from_slice(&output.stdout).unwrap_or_default();
        Ok((ran, said, self.reached(&tools)?))
    }

    /// Builds it.
    fn prepare(&self) -> Result<(Tools, Command), String> {
        let tools = Tools::find()?;
        let directory = cargo::target_dir().join("coverage");
        let profiles = directory.join(self.binary);
        if profiles.exists() {
            fs::remove_dir_all(&profiles)
                .map_err(|error| format!("{}: {error}", profiles.display()))?;
        }
        let flags = env::var("RUSTFLAGS").unwrap_or_default();
        let mut build = cargo::command(["build", "--package", self.package, "--bin", self.binary]);
        build
            // With a target named, build scripts and macros stay free of the flags.
            .args(["--target", &tools.host])
            .env("RUSTFLAGS", format!("{flags} -Cinstrument-coverage"))
            .env("CARGO_TARGET_DIR", directory.join("build"));
        cargo::run(&mut build)?;
        let mut run = Command::new(self.executable(&tools));
        run.current_dir(cargo::root())
            .env("LLVM_PROFILE_FILE", profiles.join("%m-%p.profraw"));
        Ok((tools, run))
    }

    fn executable(&self, tools: &Tools) -> String {
        let built = cargo::target_dir().join("coverage").join("build");
        let path = built.join(&tools.host).join("debug").join(self.binary);
        path.display().to_string()
    }

    fn reached(&self, tools: &Tools) -> Result<Reached, String> {
        let profiles = cargo::target_dir().join("coverage").join(self.binary);
        Reached::read(&tools.trace(&profiles, &[self.executable(tools)])?)
    }
}

impl Reached {
    fn read(trace: &str) -> Result<Reached, String> {
        let mut parts = Vec::new();
        for part in PRODUCT {
            let files = lcov::files_below(trace, &cargo::root().join(part));
            if files.is_empty() {
                return Err(format!("the run left no coverage of {part}"));
            }
            parts.push((part, files));
        }
        Ok(Reached { parts })
    }

    fn files(&self) -> impl Iterator<Item = (&String, &Lines)> {
        self.parts.iter().flat_map(|(_, files)| files)
    }

    /// Every part, and all of them.
    fn totals(&self) -> Vec<(&'static str, Lines)> {
        let sum = |files: &mut dyn Iterator<Item = (&String, &Lines)>| {
            let mut total = Lines::default();
            files.for_each(|(_, lines)| total.add(lines));
            total
        };
        let parts = self.parts.iter();
        let mut totals: Vec<_> = parts
            .map(|(part, files)| (*part, sum(&mut files.iter())))
            .collect();
        totals.push(("total", sum(&mut self.files())));
        totals
    }

    /// The files of which most was not reached, the worst first.
    fn little(&self) -> Vec<(&String, &Lines)> {
        let missed = |lines: &Lines| lines.found - lines.hit;
        let mut little: Vec<_> = self
            .files()
            .filter(|(_, lines)| missed(lines) >= LITTLE)
            .collect();
        little.sort_by_key(|(_, lines)| std::cmp::Reverse(missed(lines)));
        little
    }

    /// For a terminal: all files, those that are little reached, and what it comes to at the end.
    pub(crate) fn tables(&self) -> String {
        let heading = |of| Table::new([of, "lines", "reached", "percent"]);
        let mut all = heading("file");
        for (name, lines) in self.files() {
            all.row(lines.cells(name.clone()));
        }
        let mut little = heading("most is missing of");
        for (name, lines) in self.little() {
            little.row(lines.cells(name.clone()));
        }
        let mut totals = heading("of");
        for (part, lines) in self.totals() {
            totals.row(lines.cells(part.to_owned()));
        }
        format!("{}\n{}\n{}", all.render(), little.render(), totals.render())
    }

    /// The same for programs, with the lines that were not reached.
    pub(crate) fn json(&self) -> Value {
        let figures = |lines: &Lines| {
            json!({
                "lines": lines.found,
                "reached": lines.hit,
                "percent": (lines.percent() * 10.0).round() / 10.0,
            })
        };
        let totals = self.totals().into_iter();
        let totals = totals.map(|(part, lines)| (part.to_owned(), figures(&lines)));
        let files = self.files().map(|(name, lines)| {
            let mut told = figures(lines);
            told["missing"] = lines.gaps().into();
            (name.clone(), told)
        });
        json!({
            "totals": totals.collect::<serde_json::Map<_, _>>(),
            "files": files.collect::<serde_json::Map<_, _>>(),
        })
    }

    /// Writes the table into a page. Why a file is little reached only people know: what the page says of
    /// it stays. Returns the files of which it says nothing.
    pub(crate) fn write_page(&self, page: &Path, run: &str) -> Result<Vec<String>, String> {
        let told = |error: std::io::Error| format!("{}: {error}", page.display());
        let text = fs::read_to_string(page).map_err(told)?;
        let (text, unexplained) = self.in_page(&text, run)?;
        fs::write(page, text).map_err(told)?;
        Ok(unexplained)
    }

    fn in_page(&self, text: &str, run: &str) -> Result<(String, Vec<String>), String> {
        let (before, rest) = text
            .split_once(BEGIN)
            .ok_or("the page has no place for it")?;
        let (old, after) = rest.split_once(END).ok_or("the table has no end")?;
        let reasons = reasons(old);
        let mut unexplained = Vec::new();
        let mut table =
            format!("\n{run} reach:\n\n| of | lines | reached | percent |\n|---|---:|---:|---:|\n");
        for (part, lines) in self.totals() {
            table.push_str(&format!(
                "| {} |\n",
                lines.cells(part.to_owned()).join(" | ")
            ));
        }
        table.push_str(&format!(
            "\nThe files of which {LITTLE} lines or more are not reached:\n\n\
             | file | lines | reached | percent | why |\n|---|---:|---:|---:|---|\n"
        ));
        for (name, lines) in self.little() {
            let why = reasons.get(name).cloned().unwrap_or_default();
            if why.is_empty() {
                unexplained.push(name.clone());
            }
            let cells = lines.cells(format!("`{name}`")).join(" | ");
            table.push_str(&format!("| {cells} | {why} |\n"));
        }
        let text = format!("{before}{BEGIN}\n{table}\n{END}{after}");
        Ok((text, unexplained))
    }
}

/// The last cell of each row that begins with a file.
fn reasons(table: &str) -> BTreeMap<String, String> {
    let rows = table.lines().filter_map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let name = cells.get(1)?.strip_prefix('`')?.strip_suffix('`')?;
        // Behind the last one the row ends.
        let why = cells.get(cells.len().checked_sub(2)?)?;
        Some((name.to_owned(), (*why).to_owned()))
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(name: &str, hit: u64, missed: u64) -> String {
        let path = cargo::root().join(name);
        let mut trace = format!("SF:{}\n", path.display());
        for line in 1..=hit + missed {
            trace.push_str(&format!("DA:{line},{}\n", u64::from(line <= hit)));
        }
        trace + "end_of_record\n"
    }

    fn reached() -> Reached {
        let traces = [
            trace("core/src/lib.rs", 3, 0),
            trace("src/lib.rs", 1, LITTLE),
            trace("server/src/lib.rs", 1, 1),
        ];
        Reached::read(&traces.concat()).unwrap()
    }

    #[test]
    fn a_part_without_lines_is_an_error() {
        let missing = Reached::read(&trace("core/src/lib.rs", 1, 0)).err();
        assert_eq!(missing.as_deref(), Some("the run left no coverage of src"));
    }

    #[test]
    fn every_file_and_part_is_told_and_what_misses_most() {
        let told = reached().tables();
        let lines: Vec<Vec<&str>> = told
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert!(
            lines.contains(&vec!["core/src/lib.rs", "3", "3", "100.0"]),
            "{told}"
        );
        assert!(
            lines.contains(&vec!["server/src", "2", "1", "50.0"]),
            "{told}"
        );
        assert!(lines.contains(&vec!["total", "56", "5", "8.9"]), "{told}");
        let (_, little) = told.split_once("most is missing of").unwrap();
        assert!(little.contains("src/lib.rs") && !little.contains("server/src/lib.rs"));
        let json = reached().json();
        assert_eq!(json["files"]["server/src/lib.rs"]["missing"], json!(["2"]));
    }

    #[test]
    fn a_page_keeps_its_reasons_and_whoever_has_none_is_named() {
        let page = format!("before\n{BEGIN}\n{END}\nafter\n");
        let (page, unexplained) = reached().in_page(&page, "3 seeds").unwrap();
        assert_eq!(unexplained, ["src/lib.rs"]);
        let explained = page.replace("| 2.0 |  |", "| 2.0 | of no use here |");
        assert_ne!(explained, page);
        let (again, unexplained) = reached().in_page(&explained, "3 seeds").unwrap();
        assert_eq!((again, unexplained), (explained, vec![]));
        let unfinished = page.replace("51 | 1 | 2.0 |  |", " | | | |");
        assert_ne!(unfinished, page);
        let (again, unexplained) = reached().in_page(&unfinished, "3 seeds").unwrap();
        assert_eq!((again, unexplained.len()), (page, 1));
        assert!(
            reached()
                .in_page("a page without a place", "3 seeds")
                .is_err()
        );
    }
}
