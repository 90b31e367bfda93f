//! `cargo xtask coverage`: line coverage of core/ by its own tests.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use clap::Args;

use crate::lcov::{self, Lines};
use crate::llvm::Tools;
use crate::table::Table;
use crate::{Outcome, cargo};

/// What counts as enough.
#[derive(Args)]
pub(crate) struct Options {
    /// Fail below this percentage of lines.
    #[arg(long, value_name = "PERCENT")]
    fail_under: Option<f64>,
    /// Run the tests of all packages, not only core's own.
    #[arg(long)]
    workspace: bool,
}

/// Runs the tests instrumented and prints what share of core's lines they reached. A file's own
/// test code does not count.
pub(crate) fn run(options: &Options) -> Outcome {
    let directory = cargo::target_dir().join("coverage");
    fs::create_dir_all(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let packages: &[&str] = if options.workspace {
        &["--workspace"]
    } else {
        &["--package", "driftline-core"]
    };
    let trace = if cargo::has_subcommand("llvm-cov") {
        with_cargo_llvm_cov(packages, &directory)?
    } else {
        with_llvm_tools(packages, &directory)?
    };
    report(&trace, options.fail_under)
}

fn with_cargo_llvm_cov(packages: &[&str], directory: &Path) -> Result<String, String> {
    let path = directory.join("core.lcov");
    let mut command = cargo::command(["llvm-cov", "test", "--lcov", "--output-path"]);
    cargo::run(command.arg(&path).args(packages))?;
    fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))
}

fn with_llvm_tools(packages: &[&str], directory: &Path) -> Result<String, String> {
    let tools = Tools::find()?;
    let profiles = directory.join("profiles");
    // Profiles of an earlier build do not fit this one's executables.
    if profiles.exists() {
        fs::remove_dir_all(&profiles)
            .map_err(|error| format!("{}: {error}", profiles.display()))?;
    }
    let instrumented = |command: &mut Command| {
        let flags = env::var("RUSTFLAGS").unwrap_or_default();
        command
            .args(packages)
            // With a target named, build scripts and macros stay free of the flags.
            .args(["--target", &tools.host, "--lib", "--bins", "--tests"])
            .env("RUSTFLAGS", format!("{flags} -Cinstrument-coverage"))
            .env("CARGO_TARGET_DIR", directory.join("build"))
            .env("LLVM_PROFILE_FILE", profiles.join("%m-%p.profraw"));
    };
    if packages.contains(&"--workspace") {
        let mut build = cargo::command(["build"]);
        instrumented(&mut build);
        cargo::run(&mut build)?;
    }
    let mut build = cargo::command([
        "test",
        "--no-run",
        "--message-format=json-render-diagnostics",
    ]);
    instrumented(&mut build);
    let executables = test_executables(&cargo::output(&mut build)?);
    let mut test = cargo::command(["test"]);
    instrumented(&mut test);
    cargo::run(&mut test)?;

    tools.trace(&profiles, &executables)
}

/// The paths that cargo's JSON messages name as test executables.
fn test_executables(messages: &str) -> Vec<String> {
    let parsed = messages
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    let tests = parsed.filter(|message: &serde_json::Value| message["profile"]["test"] == true);
    tests
        .filter_map(|message| message["executable"].as_str().map(str::to_owned))
        .collect()
}

fn report(trace: &str, fail_under: Option<f64>) -> Outcome {
    let sources = cargo::root().join("core").join("src");
    let files = lcov::files_below(trace, &sources);
    if files.is_empty() {
        return Err("the tests left no coverage of core/".to_owned());
    }
    let mut table = Table::new(["file", "lines", "covered", "percent"]);
    let mut total = Lines::default();
    for (name, lines) in files {
        total.add(&lines);
        table.row(lines.cells(name));
    }
    table.row(total.cells("total".to_owned()));
    print!("{}", table.render());
    match fail_under {
        Some(least) if total.percent() < least => Err(format!(
            "coverage of core/ is {:.2} %, below {least} %",
            total.percent()
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_test_executables_are_taken_from_cargos_messages() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","profile":{"test":false},"executable":"/t/driftline"}"#,
            "\n",
            r#"{"reason":"compiler-artifact","profile":{"test":true},"executable":"/t/core-1"}"#,
            "\n",
            r#"{"reason":"compiler-artifact","profile":{"test":true},"executable":null}"#,
            "\nnot json\n",
            r#"{"reason":"build-finished","success":true}"#,
        );
        assert_eq!(test_executables(messages), ["/t/core-1"]);
    }

    #[test]
    fn a_trace_without_core_is_an_error() {
        assert!(report("SF:/elsewhere/a.rs\nDA:1,1\nend_of_record\n", None).is_err());
    }

    #[test]
    fn too_little_coverage_fails_with_the_figure() {
        let file = cargo::root().join("core/src/lib.rs");
        let trace = format!("SF:{}\nDA:1,1\nDA:2,0\nend_of_record\n", file.display());
        assert_eq!(report(&trace, Some(50.0)), Ok(()));
        let message = report(&trace, Some(90.0)).unwrap_err();
        assert!(message.contains("50.00 %"), "{message}");
    }
}
