//! `driftline inspect`: what is in a device's file, or in a server's directory.

mod device;
mod follow;
mod server;

use std::path::PathBuf;

use crate::failure::Outcome;
use crate::output::{Align, Output, Tone, plain};

/// Shows what is in a device's file: collections, outbox, ledger, runs, and a digest of the content.
///
/// Nothing in the file changes, and an app may be using it. Two devices, or a device and the server,
/// show the same exactly if their digests are equal.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A device's file; with --server, a server's data directory
    #[arg(value_name = "FILE")]
    path: PathBuf,
    /// Shows the documents of one collection instead
    #[arg(long, value_name = "NAME")]
    collection: Option<String>,
    /// Goes on and tells what changes, until Ctrl-C
    #[arg(long, conflicts_with_all = ["server", "collection"])]
    follow: bool,
    /// The path is the data directory of a server
    #[arg(long)]
    server: bool,
    /// One workspace of the server
    #[arg(long, value_name = "NAME", requires = "server")]
    workspace: Option<String>,
    /// At most so many rows of outbox, ledger and runs
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
}

pub(crate) fn run(arguments: &Arguments, output: &Output) -> Outcome {
    match (arguments.server, arguments.follow) {
        (true, _) => server::run(arguments, output),
        (false, true) => follow::run(arguments, output),
        (false, false) => device::run(arguments, output),
    }
}

/// Names and what they stand for, a line each.
fn show_pairs(output: &Output, pairs: Vec<(&str, String)>) {
    let rows = pairs
        .into_iter()
        .map(|(name, value)| vec![name.to_owned(), value]);
    output.table(&[("", Align::Left), ("", Align::Left)], rows.collect());
}

/// One document on a line: its id and its fields.
fn show_document<'a>(
    output: &Output,
    id: &str,
    fields: impl Iterator<Item = (&'a String, String)>,
) {
    let fields: Vec<String> = fields
        .map(|(name, value)| format!("{name}: {value}"))
        .collect();
    let id = output.tone(Tone::Strong, &plain(id));
    output.line(format!("{id}  {}", fields.join("  ")));
}

/// Unix milliseconds as a date and a time in UTC.
pub(super) fn moment(millis: i64) -> String {
    let (days, of_day) = (
        millis.div_euclid(86_400_000),
        millis.rem_euclid(86_400_000) / 1000,
    );
    let (year, month, day) = date(days);
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}Z",
        of_day / 3600,
        of_day / 60 % 60,
        of_day % 60
    )
}

/// Days since 1970 as year, month and day.
fn date(days: i64) -> (i64, i64, i64) {
    // Counted in years that begin in March, so that the leap day is the last.
    let days = days.saturating_add(719_468);
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march + 2) / 5 + 1;
    let month = if march < 10 { march + 3 } else { march - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_utc() {
        assert_eq!(moment(0), "1970-01-01 00:00:00Z");
        assert_eq!(moment(951_827_696_000), "2000-02-29 12:34:56Z");
        assert_eq!(moment(1_195_171_200_000), "2007-11-16 00:00:00Z");
        assert_eq!(moment(-1), "1969-12-31 23:59:59Z");
        assert_eq!(moment(4_102_444_799_999), "2099-12-31 23:59:59Z");
    }
}
