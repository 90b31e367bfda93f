//! A planted fault in a process of its own: it may make that one run in circles, or die.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use driftline_core::mutant::Mutant;
use serde::{Deserialize, Serialize};

/// What the process says before its first seed: whatever ends it from then on, a world did.
const BEGUN: &str = "begun";

/// No seed ended for so long: something runs in circles.
const PATIENCE: Duration = Duration::from_secs(180);

/// What came of one.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Tried {
    pub(crate) mutant: String,
    pub(crate) fault: String,
    /// The first seed that found it.
    pub(crate) seed: Option<u64>,
    pub(crate) oracle: Option<String>,
    pub(crate) what: Option<String>,
}

/// How the process ended.
#[derive(Clone, Copy, Debug)]
enum End {
    /// By itself.
    Itself(ExitStatus),
    /// It was ended, because nothing came of it any more.
    Circles,
}

/// The process says that seeds are run from here on.
pub(crate) fn begin() {
    say(BEGUN);
}

/// The process says that a seed has ended: whoever waits sees that it goes on.
pub(crate) fn go_on() {
    say("");
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // Whoever does not listen any more has ended it.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Runs this program with `arguments` and waits for what comes of the fault.
///
/// # Errors
/// A process that ends without a word on it, where no world can have ended it.
pub(crate) fn in_a_process(mutant: Mutant, arguments: &[String]) -> Result<Tried, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut child = Command::new(own)
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("cannot start another process: {error}"))?;
    let (said, end) = listen(&mut child, PATIENCE).map_err(|error| error.to_string())?;
    judged(mutant, &said, end).map_err(|why| format!("{}: {why}", mutant.name()))
}

/// All that a process says, and how it ends.
fn listen(child: &mut Child, patience: Duration) -> std::io::Result<(Vec<String>, End)> {
    let (tell, told) = mpsc::channel();
    let out = child.stdout.take();
    thread::spawn(move || {
        let lines = out.into_iter().flat_map(|out| BufReader::new(out).lines());
        // Its end closes the channel.
        lines
            .map_while(Result::ok)
            .try_for_each(|line| tell.send(line))
    });
    let mut said = Vec::new();
    loop {
        match told.recv_timeout(patience) {
            Ok(line) => said.push(line),
            Err(RecvTimeoutError::Disconnected) => return Ok((said, End::Itself(child.wait()?))),
            Err(RecvTimeoutError::Timeout) => {
                child.kill()?;
                child.wait()?;
                return Ok((said, End::Circles));
            }
        }
    }
}

/// What a process's words and its end say of the fault.
fn judged(mutant: Mutant, said: &[String], end: End) -> Result<Tried, String> {
    let begun = said.iter().any(|line| line == BEGUN);
    let tried = said.last().map(|line| serde_json::from_str(line));
    let found_by = |oracle: &str, what: Option<String>| Tried {
        mutant: mutant.name(),
        fault: mutant.fault().to_owned(),
        seed: None,
        oracle: Some(oracle.to_owned()),
        what,
    };
    match (end, tried) {
        (End::Itself(status), Some(Ok(tried))) if status.success() => Ok(tried),
        (End::Itself(status), _) if begun && aborted(status) => {
            Ok(found_by("O16 panic", Some(status.to_string())))
        }
        (End::Circles, _) if begun => Ok(found_by("O14 liveness", None)),
        (End::Itself(status), _) => Err(format!(
            "its process says nothing of it, and ended with {status}"
        )),
        (End::Circles, _) => Err("its process never began".to_owned()),
    }
}

/// Whether a program ends so that aborts: by a panic in a panic, an overflown stack, a wild pointer. A panic
/// of a world is caught and told with its seed; a process that somebody kills says nothing of it.
#[cfg(unix)]
fn aborted(status: ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt;
    // SIGILL, SIGTRAP, SIGABRT, SIGBUS (twice: Linux and macOS), SIGFPE, SIGSEGV.
    const ABORTS: [i32; 7] = [4, 5, 6, 7, 8, 10, 11];
    status
        .signal()
        .is_some_and(|signal| ABORTS.contains(&signal))
}

#[cfg(not(unix))]
fn aborted(status: ExitStatus) -> bool {
    // What Windows ends a process with that fails fast or meets an exception.
    status.code().is_some_and(|code| code < 0)
}

#[cfg(all(test, unix))]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    const FAULT: Mutant = Mutant::AckBeforeCommit;

    fn lines(lines: &[&str]) -> Vec<String> {
        lines.iter().map(|line| (*line).to_owned()).collect()
    }

    fn exited(code: i32) -> End {
        End::Itself(ExitStatus::from_raw(code << 8))
    }

    fn ended_by(signal: i32) -> End {
        End::Itself(ExitStatus::from_raw(signal))
    }

    #[test]
    fn what_a_world_says_counts() {
        let tried = Tried {
            mutant: FAULT.name(),
            fault: FAULT.fault().to_owned(),
            seed: Some(3),
            oracle: Some("O3 acknowledged".to_owned()),
            what: None,
        };
        let json = serde_json::to_string(&tried).unwrap();
        let said = lines(&[BEGUN, "", &json]);
        assert_eq!(judged(FAULT, &said, exited(0)), Ok(tried));
        assert!(judged(FAULT, &said, exited(1)).is_err());
    }

    #[test]
    fn a_world_that_aborts_or_runs_in_circles_has_found_it() {
        let said = lines(&[BEGUN, "", ""]);
        let oracle = |end| judged(FAULT, &said, end).unwrap().oracle.unwrap();
        assert_eq!(oracle(ended_by(6)), "O16 panic");
        assert_eq!(oracle(ended_by(11)), "O16 panic");
        assert_eq!(oracle(End::Circles), "O14 liveness");
    }

    #[test]
    fn a_process_that_fails_for_itself_has_found_nothing() {
        let begun = lines(&[BEGUN, ""]);
        for end in [exited(0), exited(1), exited(101), ended_by(9), ended_by(15)] {
            assert!(judged(FAULT, &begun, end).is_err(), "{end:?}");
        }
        for end in [exited(2), ended_by(6), End::Circles] {
            assert!(judged(FAULT, &[], end).is_err(), "{end:?}");
        }
    }

    #[test]
    fn a_process_is_listened_to_until_it_ends_or_falls_silent() {
        let program = |script: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", script]).stdout(Stdio::piped());
            command.spawn().unwrap()
        };
        let long = Duration::from_secs(60);
        let (said, end) = listen(&mut program("echo begun; kill -ABRT $$"), long).unwrap();
        assert!(judged(FAULT, &said, end).is_ok(), "{said:?} {end:?}");
        let (said, end) = listen(&mut program("echo begun; kill -KILL $$"), long).unwrap();
        assert!(judged(FAULT, &said, end).is_err(), "{said:?} {end:?}");
        let silent = "echo begun; exec sleep 600";
        let (_, end) = listen(&mut program(silent), Duration::from_secs(2)).unwrap();
        assert!(matches!(end, End::Circles));
    }
}
