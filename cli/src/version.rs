//! `driftline version`: what this binary is made of.

use driftline_core::protocol::PROTOCOL;
use serde_json::json;

use crate::failure::{Exit, Outcome};
use crate::output::Output;

/// Shows the versions of the program, the protocol and SQLite.
#[derive(clap::Args)]
pub(crate) struct Arguments {}

pub(crate) fn run(_: &Arguments, output: &Output) -> Outcome {
    let version = env!("CARGO_PKG_VERSION");
    let sqlite = rusqlite::version();
    output.line(format!(
        "driftline {version}\nprotocol  {PROTOCOL}\nSQLite    {sqlite}"
    ));
    output.object(&json!({ "driftline": version, "protocol": PROTOCOL, "sqlite": sqlite }));
    Ok(Exit::Done)
}
