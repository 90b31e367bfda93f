//! Measurements that need a process of their own: this program again, in a role.

use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Outcome, figures};

/// Before the role on the child's command line; no word of the program's interface.
const MARK: &str = "--as-child";

/// The role this process was started for, and its argument.
pub(crate) struct Role {
    name: String,
    argument: String,
}

/// The role, if this process is a child.
pub(crate) fn role() -> Option<Role> {
    let mut words = std::env::args().skip(1);
    (words.next()? == MARK).then(|| Role {
        name: words.next().unwrap_or_default(),
        argument: words.next().unwrap_or_default(),
    })
}

/// Plays the role; the result goes to standard output as JSON.
pub(crate) fn run(role: &Role) -> ExitCode {
    match figures::play(&role.name, &role.argument) {
        Ok(result) => {
            println!("{result}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{}: {error}", role.name);
            ExitCode::FAILURE
        }
    }
}

/// Runs a child in `role` and returns what it found.
pub(crate) fn ask<T: DeserializeOwned>(role: &str, argument: &impl Serialize) -> Outcome<T> {
    let output = Command::new(std::env::current_exe()?)
        .args([MARK, role, &serde_json::to_string(argument)?])
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err(format!("the child for {role} ended with {}", output.status).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// A child that works while this process measures, told by lines what to do.
pub(crate) struct Companion {
    child: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Companion {
    /// Starts a child in `role`.
    pub(crate) fn start(role: &str, argument: &impl Serialize) -> Outcome<Companion> {
        let mut child = Command::new(std::env::current_exe()?)
            .args([MARK, role, &serde_json::to_string(argument)?])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()?;
        let (orders, answers) = (child.stdin.take(), child.stdout.take());
        Ok(Companion {
            child,
            orders: orders.ok_or("no way to give orders")?,
            answers: BufReader::new(answers.ok_or("no way to hear")?).lines(),
        })
    }

    /// Gives an order and waits for the answer.
    pub(crate) fn ask(&mut self, order: &str) -> Outcome<String> {
        writeln!(self.orders, "{order}")?;
        Ok(self.answers.next().ok_or("the child has ended")??)
    }
}

impl Drop for Companion {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// In a companion: the orders, one a line.
pub(crate) fn obey(
    work: impl FnOnce(&mut dyn Iterator<Item = String>) -> Outcome<()>,
) -> Outcome<()> {
    work(&mut std::io::stdin().lines().map_while(Result::ok))
}

/// In a companion: an answer.
pub(crate) fn say(answer: &str) {
    println!("{answer}");
}
