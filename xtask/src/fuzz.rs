//! `cargo xtask fuzz`: every program of fuzz/ under libFuzzer, led by coverage, with the address sanitizer.
//!
//! Rust's sanitizers are for nightly compilers alone; a stable one that is told to behave like one has them
//! too. Nothing else is built that way.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;

use crate::table::Table;
use crate::{Outcome, cargo, llvm};

/// What to run.
#[derive(Args)]
pub(crate) struct Options {
    /// Seconds for each program.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Only these; all of fuzz/fuzz_targets without.
    names: Vec<String>,
}

/// What cargo-fuzz builds with.
const FLAGS: [&str; 10] = [
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
    "-Zsanitizer=address",
    "-Cdebug-assertions",
    "-Coverflow-checks",
];

/// Builds them, runs one after the other, and says how much each tried.
pub(crate) fn run(options: &Options) -> Outcome {
    let all = programs()?;
    let chosen = match options.names.is_empty() {
        true => all,
        false => {
            if let Some(unknown) = options.names.iter().find(|name| !all.contains(name)) {
                return Err(format!(
                    "no program is called {unknown}: {}",
                    all.join(", ")
                ));
            }
            options.names.clone()
        }
    };
    let built = build()?;
    let mut table = Table::new(["program", "tried", "a second", "MiB", "outcome"]);
    let mut broken = Vec::new();
    for name in chosen {
        println!("{name}: {} s", options.seconds);
        let ran = fuzz(&built, &name, options.seconds)?;
        table.row(ran.cells(&name));
        if !ran.held {
            broken.push(format!("{name} broke; see {}", ran.log.display()));
        }
    }
    print!("{}", table.render());
    match broken.is_empty() {
        true => Ok(()),
        false => Err(broken.join("\n")),
    }
}

fn programs() -> Result<Vec<String>, String> {
    let folder = cargo::root().join("fuzz/fuzz_targets");
    let entries =
        fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let paths = entries.flatten().map(|entry| entry.path());
    let mut names: Vec<String> = paths
        .filter(|path| path.extension().is_some_and(|end| end == "rs"))
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .collect();
    names.sort();
    Ok(names)
}

/// Where the programs, what they learn and what they say is kept.
fn place() -> PathBuf {
    cargo::target_dir().join("libfuzzer")
}

/// Builds all programs; returns the directory they are in.
fn build() -> Result<PathBuf, String> {
    let manifest = cargo::root().join("fuzz/Cargo.toml");
    let lock = manifest.with_file_name("Cargo.lock");
    if !lock.exists() {
        // The versions that ship are those to try.
        let own = cargo::root().join("Cargo.lock");
        fs::copy(&own, &lock).map_err(|error| format!("{}: {error}", lock.display()))?;
    }
    let host = llvm::host()?;
    let flags = env::var("RUSTFLAGS").unwrap_or_default();
    let mut build = cargo::command(["build", "--bins", "--target", &host, "--manifest-path"]);
    build
        .arg(&manifest)
        .env("CARGO_TARGET_DIR", place().join("build"))
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", format!("{flags} {}", FLAGS.join(" ")));
    cargo::run(&mut build)?;
    Ok(place().join("build").join(host).join("debug"))
}

/// What came of one program.
struct Ran {
    held: bool,
    log: PathBuf,
    said: String,
}

fn fuzz(built: &Path, name: &str, seconds: u64) -> Result<Ran, String> {
    let made = |folder: PathBuf| {
        let told = |error| format!("{}: {error}", folder.display());
        fs::create_dir_all(&folder).map_err(told)?;
        Ok::<_, String>(folder)
    };
    let learned = made(place().join("corpus").join(name))?;
    let kept = made(cargo::target_dir().join("fuzz"))?;
    let log = place().join(format!("{name}.log"));
    let told = |error: std::io::Error| format!("{}: {error}", log.display());
    let out = File::create(&log).map_err(told)?;
    let twin = out.try_clone().map_err(told)?;
    let mut program = Command::new(built.join(name));
    program
        .current_dir(cargo::root())
        .arg(learned)
        .arg(cargo::root().join("fuzz/corpus").join(name))
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-artifact_prefix={}/{name}-", kept.display()))
        .args(["-print_final_stats=1", "-timeout=60"])
        // Two of SQLite's tables have one name.
        .env("ASAN_OPTIONS", "detect_odr_violation=0")
        .stdout(out)
        .stderr(twin);
    let held = cargo::run(&mut program).is_ok();
    let said = fs::read(&log).map_err(told)?;
    Ok(Ran {
        held,
        log,
        said: String::from_utf8_lossy(&said).into_owned(),
    })
}

impl Ran {
    /// One of libFuzzer's own figures.
    fn figure(&self, name: &str) -> String {
        let begin = format!("stat::{name}:");
        let mut lines = self.said.lines();
        let figure = lines.find_map(|line| line.strip_prefix(&begin));
        figure.map_or_else(|| "-".to_owned(), |figure| figure.trim().to_owned())
    }

    fn cells(&self, name: &str) -> [String; 5] {
        [
            name.to_owned(),
            self.figure("number_of_executed_units"),
            self.figure("average_exec_per_sec"),
            self.figure("peak_rss_mb"),
            if self.held { "held" } else { "BROKE" }.to_owned(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_has_a_corpus() {
        let programs = programs().unwrap();
        assert!(programs.contains(&"guard".to_owned()), "{programs:?}");
        for program in programs {
            let corpus = cargo::root().join("fuzz/corpus").join(&program);
            assert!(corpus.is_dir(), "{program}");
        }
    }

    #[test]
    fn libfuzzers_figures_are_read() {
        let ran = Ran {
            held: true,
            log: PathBuf::new(),
            said: "Done 7 runs\nstat::number_of_executed_units: 7\nstat::peak_rss_mb:  81\n"
                .to_owned(),
        };
        assert_eq!(ran.cells("guard"), ["guard", "7", "-", "81", "held"]);
    }
}
