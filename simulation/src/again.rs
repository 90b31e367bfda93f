//! The same seeds in another process, which must do exactly the same.

use std::collections::BTreeMap;
use std::process::{Command, Output};

use driftline_simulation::world::Results;

use crate::simulate::Options;

/// One in so many seeds is run again.
const ONE_IN: u64 = 50;

/// The hash of each seed's trace.
type Hashes = BTreeMap<u64, u64>;

/// Seeds that do something else in another process.
///
/// # Errors
/// The other process did not run all that it was to run.
pub(crate) fn differing(
    options: &Options,
    first: u64,
    results: &Results,
) -> Result<Vec<u64>, String> {
    let here = chosen(first, &results.hashes);
    let Some((last, _)) = here.last_key_value() else {
        return Ok(Vec::new());
    };
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut again = Command::new(own);
    again
        .args(["world", "--hashes", "--first", &first.to_string()])
        .args(["--seeds", &(last - first + 1).to_string()])
        .args(["--one-in", &ONE_IN.to_string()])
        .args(["--steps", &options.steps.to_string()])
        .args(["--threads", &options.threads.to_string()])
        .args(["--most-failures", &usize::MAX.to_string()])
        .env_remove("SEED");
    compared(&here, &hashes_of(&mut again)?)
}

/// Those of the seeds run here that are run again: all over the range, whichever of them ended.
fn chosen(first: u64, hashes: &Hashes) -> Hashes {
    let again = hashes
        .iter()
        .filter(|(seed, _)| (*seed - first).is_multiple_of(ONE_IN));
    again.map(|(seed, hash)| (*seed, *hash)).collect()
}

/// What another process says, once it has said all of it.
fn hashes_of(process: &mut Command) -> Result<Hashes, String> {
    let Output {
        status,
        stdout,
        stderr,
    } = process
        .output()
        .map_err(|error| format!("cannot start another process: {error}"))?;
    if !status.success() {
        let why = String::from_utf8_lossy(&stderr);
        return Err(format!(
            "the process that runs seeds again ended with {status}: {}",
            why.trim_end()
        ));
    }
    let said = String::from_utf8_lossy(&stdout);
    let line = |line: &str| {
        let (seed, hash) = line.split_once(' ')?;
        Some((seed.parse().ok()?, u64::from_str_radix(hash, 16).ok()?))
    };
    let read = |said: &str| line(said).ok_or_else(|| format!("{said:?} is no seed and its hash"));
    said.lines().map(read).collect()
}

/// Seeds whose hash is another one there.
fn compared(here: &Hashes, there: &Hashes) -> Result<Vec<u64>, String> {
    let missing = here.keys().filter(|seed| !there.contains_key(seed)).count();
    if missing > 0 {
        return Err(format!(
            "the process that runs seeds again left out {missing} of {}",
            here.len()
        ));
    }
    let other = here
        .iter()
        .filter(|(seed, hash)| there.get(seed) != Some(hash));
    Ok(other.map(|(seed, _)| *seed).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn hashes(of: &[(u64, u64)]) -> Hashes {
        of.iter().copied().collect()
    }

    #[test]
    fn seeds_of_all_of_the_range_are_run_again() {
        let all = (101..=1_100).map(|seed| (seed, seed)).collect();
        let chosen: Vec<u64> = chosen(101, &all).into_keys().collect();
        assert_eq!(chosen.len(), 20);
        assert_eq!((chosen[0], chosen[1], chosen[19]), (101, 151, 1_051));
    }

    #[test]
    fn another_hash_is_told_and_one_that_is_missing_is_an_error() {
        let here = hashes(&[(1, 10), (51, 11), (101, 12)]);
        assert_eq!(compared(&here, &here), Ok(vec![]));
        let other = hashes(&[(1, 10), (51, 99), (101, 12)]);
        assert_eq!(compared(&here, &other), Ok(vec![51]));
        let short = hashes(&[(1, 10), (51, 11)]);
        assert!(compared(&here, &short).is_err());
        assert!(compared(&here, &Hashes::new()).is_err());
    }

    /// This very program with arguments that it does not know, or with no test to run.
    fn this(argument: &str) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg(argument);
        command
    }

    #[test]
    fn a_process_that_dies_or_says_something_else_proves_nothing() {
        let died = hashes_of(&mut this("--no-such-argument")).unwrap_err();
        assert!(died.contains("ended with"), "{died}");
        let babbles = hashes_of(&mut this("--list")).unwrap_err();
        assert!(babbles.contains("is no seed"), "{babbles}");
        assert!(hashes_of(&mut Command::new("/no/such/program")).is_err());
    }
}
