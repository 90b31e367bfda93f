//! `cargo xtask test`: layers, format, lints, every test, every crash point and a million steps of whole
//! worlds, each a named and timed step.

use std::io::{self, BufRead, BufReader, PipeReader, Write};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};

use crate::libtest::{Counts, Report};
use crate::table::Table;
use crate::{Outcome, budgets, cargo, chaos, crash, layers, simulate};

/// What to run.
#[derive(Args)]
pub(crate) struct Options {
    /// Run only these steps.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Step>,
    /// Leave out format and clippy.
    #[arg(long, conflicts_with = "only")]
    skip_lint: bool,
    /// Handed to `cargo test`: a filter, or `-p driftline-core`, or `-- --nocapture`.
    #[arg(last = true)]
    arguments: Vec<String>,
}

/// One part of the run.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Step {
    /// No crate depends on what its layer must not have.
    Layers,
    /// `cargo fmt --check`.
    Fmt,
    /// Builds all binaries, then runs all tests, those in the documentation included.
    Tests,
    /// Builds what the next two run: its time is not theirs.
    Simulator,
    /// Every I/O call of every scenario, with every way it can go wrong.
    Crash,
    /// A million steps of whole worlds.
    Simulate,
    /// `cargo xtask chaos` on what the tests were built with.
    Chaos,
    /// `cargo clippy` on the library without what hosts may leave out, warnings are errors.
    Features,
    /// `cargo clippy`, warnings are errors.
    Clippy,
}

impl Step {
    // The quick ones first; clippy last, so that a lint never hides a failing test.
    const ALL: [Step; 9] = [
        Step::Layers,
        Step::Fmt,
        Step::Tests,
        Step::Simulator,
        Step::Crash,
        Step::Simulate,
        Step::Chaos,
        Step::Features,
        Step::Clippy,
    ];

    fn name(self) -> &'static str {
        match self {
            Step::Layers => "layers",
            Step::Fmt => "fmt",
            Step::Tests => "tests",
            Step::Simulator => "simulator",
            Step::Crash => "crash",
            Step::Simulate => "simulate",
            Step::Chaos => "chaos",
            Step::Features => "features",
            Step::Clippy => "clippy",
        }
    }

    fn run(self, arguments: &[String], report: &mut Report) -> Outcome {
        match self {
            Step::Layers => layers::check(),
            Step::Fmt => cargo::run(&mut cargo::command(["fmt", "--all", "--check"])),
            Step::Tests => tests(arguments, report),
            Step::Simulator => cargo::run(&mut cargo::command([
                "build",
                "--quiet",
                "--package",
                "driftline-simulation",
                "--bin",
                "driftline-simulate",
            ])),
            Step::Crash => crash::run(&crash::Options::whole()),
            // 2,500 seeds of 400 steps by default.
            Step::Simulate => simulate::run(&simulate::Options::default()),
            Step::Chaos => chaos::step(report),
            // Nothing else builds the library for hosts that bring their own network.
            Step::Features => cargo::run(&mut cargo::command([
                "clippy",
                "--package",
                "driftline",
                "--lib",
                "--no-default-features",
                "--",
                "-D",
                "warnings",
            ])),
            Step::Clippy => cargo::run(&mut cargo::command([
                "clippy",
                "--workspace",
                "--all-targets",
                "--",
                "-D",
                "warnings",
            ])),
        }
    }
}

struct Finished {
    step: Step,
    outcome: Outcome,
    took: Duration,
}

/// Runs all chosen steps, also after one failed, and says at the end what they found.
pub(crate) fn run(options: &Options) -> Outcome {
    let mut report = Report::default();
    let mut finished = Vec::new();
    for step in chosen(options) {
        println!("==> {}", step.name());
        let began = Instant::now();
        let outcome = step.run(&options.arguments, &mut report);
        if let Err(reason) = &outcome {
            println!("==> {} failed: {reason}", step.name());
        }
        finished.push(Finished {
            step,
            outcome,
            took: began.elapsed(),
        });
    }
    conclude(&finished, &report)
}

fn chosen(options: &Options) -> Vec<Step> {
    let is_chosen = |step: &Step| match step {
        _ if !options.only.is_empty() => options.only.contains(step),
        Step::Fmt | Step::Features | Step::Clippy => !options.skip_lint,
        Step::Layers | Step::Tests => true,
        // Whoever asks for some tests wants those.
        Step::Simulator | Step::Crash | Step::Simulate | Step::Chaos => {
            options.arguments.is_empty()
        }
    };
    Step::ALL.into_iter().filter(is_chosen).collect()
}

fn tests(arguments: &[String], report: &mut Report) -> Outcome {
    // Tests start the `driftline` binary of another package; cargo test alone would not build it.
    cargo::build_all()?;

    let mut command = cargo::command(["test", "--no-fail-fast"]);
    if !chooses_packages(arguments) {
        command.arg("--workspace");
    }
    // One pipe for both: suite names come on standard error, results on standard output, and only
    // their order says which belongs to which.
    let (reader, writer) = io::pipe().map_err(|error| format!("no pipe: {error}"))?;
    let twin = writer
        .try_clone()
        .map_err(|error| format!("no pipe: {error}"))?;
    command
        .args(arguments)
        .env("CARGO_TERM_COLOR", "never")
        .stdout(writer)
        .stderr(twin);
    let mut child = command
        .spawn()
        .map_err(|error| format!("cannot start cargo test: {error}"))?;
    // The command still holds this side's write end: the pipe would never end.
    drop(command);
    let streamed = stream(reader, report);
    let status = child
        .wait()
        .map_err(|error| format!("cargo test got lost: {error}"))?;
    streamed.map_err(|error| format!("reading from cargo test: {error}"))?;

    if !status.success() {
        return Err(format!("cargo test failed ({status})"));
    }
    if report.total().all() == 0 {
        return Err("no test ran".to_owned());
    }
    Ok(())
}

fn chooses_packages(arguments: &[String]) -> bool {
    let own = arguments.iter().take_while(|argument| *argument != "--");
    own.into_iter()
        .any(|argument| argument.starts_with("-p") || argument.starts_with("--package"))
}

fn stream(reader: PipeReader, report: &mut Report) -> io::Result<()> {
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line)? > 0 {
        let mut out = io::stdout().lock();
        out.write_all(&line)?;
        out.flush()?;
        report.read_line(&String::from_utf8_lossy(&line));
        line.clear();
    }
    Ok(())
}

fn conclude(finished: &[Finished], report: &Report) -> Outcome {
    let tests_ran = finished
        .iter()
        .any(|done| matches!(done.step, Step::Tests | Step::Chaos));
    if tests_ran {
        print!("\n{}", suites(report).render());
        for failure in &report.failures {
            println!("  failed: {failure}");
        }
        for suite in report.crashed() {
            println!("  no result (crashed?): {}", suite.name);
        }
    }
    print!("\n{}", steps(finished).render());
    let spent = finished.iter().map(|done| budgets::Spent {
        part: done.step.name(),
        took: done.took,
    });
    if let Some((table, over)) = budgets::table(spent.chain(budgets::suites(report))) {
        print!("\n{}", table.render());
        over.iter().for_each(|warning| println!("{warning}"));
    }
    println!();
    if tests_ran {
        let Counts {
            passed,
            failed,
            ignored,
        } = report.total();
        let all = passed + failed + ignored;
        println!("{all} tests: {passed} passed, {failed} failed, {ignored} ignored");
        // The form that programs look for on the last line.
        println!("total: {passed} passed, {failed} failed, {ignored} skipped");
    }
    let failed: Vec<&str> = finished
        .iter()
        .filter(|done| done.outcome.is_err())
        .map(|done| done.step.name())
        .collect();
    if failed.is_empty() {
        Ok(())
    } else {
        Err(format!("failed: {}", failed.join(", ")))
    }
}

/// Suites without tests are left out, unless they never reported.
fn suites(report: &Report) -> Table {
    let mut table = Table::new(["suite", "passed", "failed", "ignored", "time"]);
    for suite in report
        .suites
        .iter()
        .filter(|suite| suite.counts.all() > 0 || !suite.finished)
    {
        table.row([
            suite.name.clone(),
            suite.counts.passed.to_string(),
            suite.counts.failed.to_string(),
            suite.counts.ignored.to_string(),
            format!("{:.1} s", suite.seconds),
        ]);
    }
    table
}

fn steps(finished: &[Finished]) -> Table {
    let mut table = Table::new(["step", "outcome", "time"]);
    for done in finished {
        let outcome = if done.outcome.is_ok() { "ok" } else { "FAILED" };
        table.row([
            done.step.name().to_owned(),
            outcome.to_owned(),
            format!("{:.1} s", done.took.as_secs_f64()),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(options: &Options) -> Vec<&'static str> {
        chosen(options).into_iter().map(Step::name).collect()
    }

    #[test]
    fn everything_runs_unless_told_otherwise() {
        let mut options = Options {
            only: vec![],
            skip_lint: false,
            arguments: vec![],
        };
        assert_eq!(
            names(&options),
            [
                "layers",
                "fmt",
                "tests",
                "simulator",
                "crash",
                "simulate",
                "chaos",
                "features",
                "clippy"
            ]
        );
        options.skip_lint = true;
        assert_eq!(
            names(&options),
            ["layers", "tests", "simulator", "crash", "simulate", "chaos"]
        );
        options.arguments = vec!["merge".to_owned()];
        assert_eq!(names(&options), ["layers", "tests"]);
        options = Options {
            only: vec![Step::Clippy, Step::Fmt],
            skip_lint: false,
            arguments: vec![],
        };
        assert_eq!(names(&options), ["fmt", "clippy"]);
    }

    #[test]
    fn a_chosen_package_replaces_the_workspace_but_not_behind_the_dashes() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert!(chooses_packages(&words("-p driftline-core merge")));
        assert!(chooses_packages(&words("--package=xtask")));
        assert!(!chooses_packages(&words("merge -- -p")));
    }

    #[test]
    fn a_failed_step_fails_the_run_and_is_named() {
        let done = |step, outcome| Finished {
            step,
            outcome,
            took: Duration::ZERO,
        };
        let finished = [
            done(Step::Layers, Ok(())),
            done(Step::Fmt, Err("differs".to_owned())),
        ];
        assert_eq!(
            conclude(&finished, &Report::default()),
            Err("failed: fmt".to_owned())
        );
        assert_eq!(conclude(&finished[..1], &Report::default()), Ok(()));
    }
}
