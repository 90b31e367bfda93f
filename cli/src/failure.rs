//! How a command ends: the exit code, and an error that says what happened, why, and what to do.

use std::fmt;

/// Shown under `--help`.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0  done; with checks, every one held
  1  a check failed: the schema has problems, or the demo found a promise broken
  2  the command line cannot be understood
  3  something could not be started or reached: an address, a process, a server
  4  a file is missing, unreadable, not what it should be, or cannot be written
  70 a fault in this program
  130 interrupted";

/// The exit code of a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Exit {
    /// Done; with checks, every one held.
    Done = 0,
    /// What was to be checked does not hold.
    CheckFailed = 1,
    /// The arguments contradict each other or name nothing.
    Usage = 2,
    /// Something could not be started or reached.
    Unavailable = 3,
    /// A file is missing, unreadable, or not what it should be.
    File = 4,
    /// Our own fault.
    Fault = 70,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        std::process::ExitCode::from(exit as u8)
    }
}

/// Why a command could not do its work.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    /// Stable, for programs.
    code: &'static str,
    what: String,
    causes: Vec<String>,
    help: Option<String>,
}

/// What a command returns.
pub(crate) type Outcome = Result<Exit, Failure>;

impl Failure {
    fn new(exit: Exit, code: &'static str, what: impl Into<String>) -> Failure {
        Failure {
            exit,
            code,
            what: what.into(),
            causes: Vec::new(),
            help: None,
        }
    }

    /// The arguments contradict each other or name nothing.
    pub(crate) fn usage(what: impl Into<String>) -> Failure {
        Failure::new(Exit::Usage, "usage", what)
    }

    /// Something could not be started or reached.
    pub(crate) fn unavailable(code: &'static str, what: impl Into<String>) -> Failure {
        Failure::new(Exit::Unavailable, code, what)
    }

    /// A file is missing, unreadable, or not what it should be.
    pub(crate) fn file(code: &'static str, what: impl Into<String>) -> Failure {
        Failure::new(Exit::File, code, what)
    }

    /// Our own fault.
    pub(crate) fn fault(what: impl Into<String>) -> Failure {
        Failure::new(Exit::Fault, "fault", what)
    }

    /// Adds the error behind it, and the ones behind that.
    pub(crate) fn because(mut self, error: &dyn std::error::Error) -> Failure {
        let mut next = Some(error);
        while let Some(error) = next {
            let text = error.to_string();
            // Many errors repeat their source in their own text.
            if !self.causes.iter().any(|cause| cause.contains(&text)) {
                self.causes.push(text);
            }
            next = error.source();
        }
        self
    }

    /// Adds what a person can do about it.
    pub(crate) fn help(mut self, help: impl Into<String>) -> Failure {
        self.help = Some(help.into());
        self
    }

    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }

    /// The same for programs.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::json!({ "error": {
            "code": self.code,
            "message": self.what,
            "causes": self.causes,
            "help": self.help,
            "exit": self.exit as u8,
        }})
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.what)?;
        for cause in &self.causes {
            write!(f, "\n  because: {cause}")?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n  try: {help}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_why_and_what_to_do() {
        let cause = std::io::Error::other("the disk is on fire");
        let failure = Failure::file("unreadable", "cannot read a.toml")
            .because(&cause)
            .help("put it out");
        assert_eq!(
            failure.to_string(),
            "error: cannot read a.toml\n  because: the disk is on fire\n  try: put it out"
        );
        assert_eq!(failure.exit() as u8, 4);
        assert_eq!(failure.json()["error"]["causes"][0], "the disk is on fire");
    }

    #[test]
    fn every_exit_code_is_in_the_help() {
        for exit in [
            Exit::Done,
            Exit::CheckFailed,
            Exit::Usage,
            Exit::Unavailable,
            Exit::File,
            Exit::Fault,
        ] {
            let line = format!("\n  {} ", exit as u8);
            assert!(EXIT_CODES.contains(&line), "{exit:?} is not documented");
        }
    }
}
