//! `cargo xtask deny`: licences, bans and sources by cargo-deny, with the rules of deny.toml.

use crate::{Outcome, cargo};

/// Runs cargo-deny, or says how to get it. Advisories are left to a network that has them.
pub(crate) fn run() -> Outcome {
    if !cargo::has_subcommand("deny") {
        return Err(
            "cargo-deny is not installed: `cargo install --locked cargo-deny`, then again".into(),
        );
    }
    // Without --workspace it would look at the root package alone.
    let check = [
        "deny",
        "--workspace",
        "check",
        "bans",
        "licenses",
        "sources",
    ];
    cargo::run(&mut cargo::command(check))
}
