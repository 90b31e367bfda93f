//! What is fuzzed: everything that reads bytes from outside. One function a target, which takes any
//! bytes, panics where something does not hold, and says whether the bytes were taken.
//!
//! `fuzz/fuzz_targets` runs them under libFuzzer (nightly Rust); `tests/corpus.rs` runs them on
//! stable Rust over the corpora in `fuzz/corpus` and seeded mutations of those.

// A panic is how a target says that something does not hold.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod compression;
mod export;
mod guard;
pub mod hostile;
pub mod mutate;
mod protocol;
mod schema;
mod sql;
pub mod text;
pub mod token;

/// A target.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name, and its corpus's.
    pub name: &'static str,
    /// Whether the bytes were taken; panics where something does not hold.
    pub run: fn(&[u8]) -> bool,
    /// Mutations of the corpus that the stable run tries: what takes a few seconds.
    pub mutations: u32,
}

/// All of them. `fuzz/Cargo.toml` has a program for each.
pub const TARGETS: [Target; 8] = [
    Target {
        name: "guard",
        run: guard::run,
        mutations: 2_000_000,
    },
    Target {
        name: "guard_yrs",
        run: text::run,
        mutations: 20_000,
    },
    Target {
        name: "protocol",
        run: protocol::run,
        mutations: 120_000,
    },
    Target {
        name: "zstd",
        run: compression::run,
        mutations: 30_000,
    },
    Target {
        name: "schema",
        run: schema::run,
        mutations: 60_000,
    },
    Target {
        name: "sql",
        run: sql::run,
        mutations: 20_000,
    },
    Target {
        name: "jwt",
        run: token::run,
        mutations: 300_000,
    },
    Target {
        name: "export",
        run: export::run,
        mutations: 15_000,
    },
];

/// Runs the target of a name on bytes.
///
/// # Panics
/// Where something does not hold, and where there is no such target.
pub fn run(name: &str, data: &[u8]) -> bool {
    let target = TARGETS.iter().find(|target| target.name == name);
    (target.expect("a target of that name").run)(data)
}
