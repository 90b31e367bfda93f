//! The corpora of `fuzz/corpus` and seeded mutations of them, through every target, on stable Rust.
//!
//! An input that breaks something is written to `target/fuzz/` and named. A process that dies without
//! a word (an overflowing stack) says on the next run with `DRIFTLINE_FUZZ_TRACE=1` what it was doing.
//! `DRIFTLINE_FUZZ_TIMES=20` tries twenty times as many mutations, `DRIFTLINE_FUZZ_SEED` other ones.

#![allow(clippy::unwrap_used, missing_docs)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use allocation_counter::measure;
use driftline_fuzz_targets::hostile;
use driftline_fuzz_targets::mutate::{Random, mutate, mutate_words};
use driftline_fuzz_targets::{TARGETS, Target};

/// As much as a thread of an app may have.
const STACK: usize = 512 << 10;
/// An input that takes longer hangs.
const HANG: Duration = Duration::from_secs(60);

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

fn target(name: &str) -> Target {
    *TARGETS.iter().find(|target| target.name == name).unwrap()
}

fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.canonicalize().unwrap()
}

/// The files of a corpus, in order of their names.
fn corpus(name: &str) -> Vec<(String, Vec<u8>)> {
    let mut folders = vec![root().join("fuzz/corpus").join(name)];
    if name == "protocol" {
        folders.push(root().join("core/tests/golden"));
    }
    let mut inputs = Vec::new();
    for folder in folders {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let file = path.file_name().unwrap().to_string_lossy().into_owned();
            let bytes = std::fs::read(&path).unwrap();
            match file.ends_with(".hex") {
                true => inputs.push((file, unhex(&bytes))),
                false => inputs.push((file, bytes)),
            }
        }
    }
    inputs.sort();
    inputs
}

fn unhex(digits: &[u8]) -> Vec<u8> {
    let digits: Vec<u8> = digits
        .iter()
        .copied()
        .filter(u8::is_ascii_hexdigit)
        .collect();
    let pairs = digits
        .chunks_exact(2)
        .map(|pair| std::str::from_utf8(pair).unwrap());
    pairs
        .map(|pair| u8::from_str_radix(pair, 16).unwrap())
        .collect()
}

/// Words that a mutation puts in.
fn words(name: &str) -> &'static [&'static str] {
    match name {
        "sql" => &[
            " SELECT ",
            " FROM ",
            "_dl_meta",
            "_dl_outbox",
            "_dl_c_1",
            "sqlite_master",
            " UNION ALL ",
            "PRAGMA ",
            "ATTACH ",
            "; ",
            " WITH RECURSIVE ",
            "load_extension(",
            "writefile(",
            "notes",
            "notes_search",
            "main.",
            "temp.",
            "CREATE ",
            "INSERT INTO ",
            "(SELECT ",
            ")",
            "*",
            "'",
            "\"",
            "[",
            "--",
            "/*",
            "randomblob(1e9)",
            "dbstat",
            "json_each(",
            "rowid",
            "hex(",
            "zeroblob(99999999)",
            "RETURNING *",
            "EXPLAIN ",
            "fts5vocab",
            "sqlite_dbpage",
            "pragma_table_list",
            "edit(",
            "readfile(",
        ],
        "schema" => &[
            "[",
            "]",
            "id = 1\n",
            "kind = \"set\"",
            "max_bytes = ",
            "default = ",
            "collections.",
            "\n",
            "= ",
            "{",
            "}",
        ],
        "jwt" => &[
            "\"alg\":\"none\"",
            "HS256",
            "RS256",
            "\"exp\":",
            "\"sub\":",
            ".",
            "\n",
            "1e999",
            "null",
            "\"crit\":[]",
        ],
        "protocol" => &[
            "null",
            "[",
            "{",
            "}",
            "\"",
            ":",
            ",",
            "-1",
            "1e999",
            "18446744073709551616",
            "\\ud800",
            "\"ops\"",
        ],
        _ => &[],
    }
}

/// Runs one input; where it breaks something, keeps it and says where.
fn run(target: &Target, input: &[u8], origin: &str) -> bool {
    let outcome = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    outcome.unwrap_or_else(|_| {
        let folder = root().join("target/fuzz");
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join(format!(
            "{}-{}.bin",
            target.name,
            origin.replace(['/', ' '], "-")
        ));
        std::fs::write(&path, input).unwrap();
        panic!(
            "{} broke on {origin}; the input is in {}",
            target.name,
            path.display()
        );
    })
}

/// Ends the process, with a word, when an input takes too long.
struct Watchdog {
    current: Arc<AtomicU64>,
    done: Arc<AtomicBool>,
}

impl Watchdog {
    fn new(name: &'static str) -> Watchdog {
        let (current, done) = <(Arc<AtomicU64>, Arc<AtomicBool>)>::default();
        let (seen, over) = (Arc::clone(&current), Arc::clone(&done));
        std::thread::spawn(move || {
            let mut last = (0, Instant::now());
            while !over.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(200));
                let now = seen.load(Ordering::Relaxed);
                if now != last.0 {
                    last = (now, Instant::now());
                } else if last.1.elapsed() > HANG {
                    eprintln!("{name} hangs on its input number {now}");
                    std::process::abort();
                }
            }
        });
        Watchdog { current, done }
    }

    fn next(&self) {
        self.current.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
    }
}

/// The corpus as it is, then mutations of it.
fn drive(name: &'static str) {
    let work = move || {
        let (target, inputs) = (target(name), corpus(name));
        let mutations = u64::from(target.mutations) * number("DRIFTLINE_FUZZ_TIMES", 1);
        let seed = number("DRIFTLINE_FUZZ_SEED", 1);
        let trace = number("DRIFTLINE_FUZZ_TRACE", 0) > 0;
        let watchdog = Watchdog::new(name);
        let (began, mut taken) = (Instant::now(), 0);
        for (file, input) in &inputs {
            watchdog.next();
            taken += usize::from(run(&target, input, file));
        }
        // A corpus of refusals alone would not reach what lies behind.
        assert!(
            taken * 4 >= inputs.len(),
            "{taken} of {} are taken",
            inputs.len()
        );
        let mut mutants_taken = 0;
        for turn in 0..mutations {
            watchdog.next();
            let mut random = Random::new(seed.wrapping_mul(0x9e37_79b9) ^ turn);
            let (file, input) = &inputs[random.below(inputs.len())];
            let (_, other) = &inputs[random.below(inputs.len())];
            let mut input = input.clone();
            match words(name) {
                [] => mutate(&mut input, other, &[], &mut random),
                words if turn % 3 == 0 => mutate(&mut input, other, words, &mut random),
                words => mutate_words(&mut input, other, words, &mut random),
            }
            let origin = format!("{file} turn {turn} seed {seed}");
            if trace {
                eprintln!("{name}: {origin}");
            }
            mutants_taken += u64::from(run(&target, &input, &origin));
        }
        println!(
            "{name}: {} files, {taken} taken; {mutations} mutations, {mutants_taken} taken; {:.1} s",
            inputs.len(),
            began.elapsed().as_secs_f64()
        );
        assert!(mutants_taken > 0, "no mutation was taken");
    };
    let thread = std::thread::Builder::new().stack_size(STACK).spawn(work);
    if let Err(panic) = thread.unwrap().join() {
        std::panic::resume_unwind(panic);
    }
}

macro_rules! corpora {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            drive(stringify!($name));
        })*

        #[test]
        fn every_target_is_driven_and_has_a_program() {
            let driven = [$(stringify!($name)),*];
            let programs = std::fs::read_to_string(root().join("fuzz/Cargo.toml")).unwrap();
            for target in TARGETS {
                assert!(driven.contains(&target.name), "{}", target.name);
                let program = format!("path = \"fuzz_targets/{}.rs\"", target.name);
                assert!(programs.contains(&program), "{}", target.name);
                let path = root().join(format!("fuzz/fuzz_targets/{}.rs", target.name));
                assert!(path.exists(), "{}", path.display());
            }
        }
    };
}

corpora![guard guard_yrs protocol zstd schema sql jwt export];

#[test]
fn hostile_bytes_are_refused_at_once_and_cost_next_to_nothing() {
    let work = || {
        let all = hostile::all();
        for hostile in &all {
            let target = target(hostile.target);
            let what = format!("{}: {}", hostile.target, hostile.name);
            let mut fastest = Duration::MAX;
            // Other tests run meanwhile: what counts is what it takes undisturbed.
            for _ in 0..50 {
                let began = Instant::now();
                let mut taken = true;
                let used = measure(|| taken = (target.run)(&hostile.bytes));
                fastest = fastest.min(began.elapsed());
                assert!(!taken, "{what} was taken");
                assert!(
                    used.bytes_max <= hostile.memory,
                    "{what}: {} bytes",
                    used.bytes_max
                );
                if fastest <= hostile.time {
                    break;
                }
            }
            assert!(fastest <= hostile.time, "{what}: {fastest:?}");
        }
        println!("{} hostile inputs", all.len());
    };
    let thread = std::thread::Builder::new().stack_size(STACK).spawn(work);
    if let Err(panic) = thread.unwrap().join() {
        std::panic::resume_unwind(panic);
    }
}
