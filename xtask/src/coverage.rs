//! `cargo xtask coverage`: line coverage of core/ by its own tests; and of the product by a run of one of
//! our programs.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::Args;

use crate::lcov::{self, Lines};
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

/// What the lines that a program's run reaches are counted of.
const PRODUCT: [&str; 3] = ["core/src", "src", "server/src"];

/// Files below this are listed.
const LITTLE: f64 = 80.0;

/// Builds a program of ours instrumented, runs it, and prints what share of the product's lines the run
/// reached, and the files of which it reached little. A run that fails is told after that.
pub(crate) fn of_a_run(package: &str, binary: &str, arguments: &[String]) -> Outcome {
    let tools = Tools::find()?;
    let directory = cargo::target_dir().join("coverage");
    let profiles = directory.join(binary);
    if profiles.exists() {
        fs::remove_dir_all(&profiles)
            .map_err(|error| format!("{}: {error}", profiles.display()))?;
    }
    let build = directory.join("build");
    let flags = env::var("RUSTFLAGS").unwrap_or_default();
    let mut command = cargo::command(["build", "--package", package, "--bin", binary]);
    command
        .args(["--target", &tools.host])
        .env("RUSTFLAGS", format!("{flags} -Cinstrument-coverage"))
        .env("CARGO_TARGET_DIR", &build)
        .env("LLVM_PROFILE_FILE", directory.join("build-%m.profraw"));
    cargo::run(&mut command)?;
    let program = build.join(&tools.host).join("debug").join(binary);
    let mut run = Command::new(&program);
    run.args(arguments)
        .current_dir(cargo::root())
        .env("LLVM_PROFILE_FILE", profiles.join("%m-%p.profraw"));
    let ran = cargo::run(&mut run);
    let program = program.display().to_string();
    print!("{}", reached(&tools.trace(&profiles, &[program])?)?);
    ran
}

/// The lines of each part of the product, and the files of which little was reached.
fn reached(trace: &str) -> Result<String, String> {
    let mut table = Table::new(["of", "lines", "reached", "percent"]);
    let mut little = Table::new(["little reached of", "lines", "reached", "percent"]);
    for part in PRODUCT {
        let files = product_files(trace, &cargo::root().join(part));
        if files.is_empty() {
            return Err(format!("the run left no coverage of {part}"));
        }
        let mut total = Lines::default();
        for (path, lines) in files {
            total.add(lines);
            if lines.percent() < LITTLE {
                let path = PathBuf::from(path);
                let name = path.strip_prefix(cargo::root()).unwrap_or(&path);
                little.row(cells(name.display().to_string(), lines));
            }
        }
        table.row(cells(part.to_owned(), total));
    }
    Ok(format!("{}\n{}", table.render(), little.render()))
}

fn cells(name: String, lines: Lines) -> [String; 4] {
    let percent = format!("{:.1}", lines.percent());
    [
        name,
        lines.found.to_string(),
        lines.hit.to_string(),
        percent,
    ]
}

/// The lines of the files under `sources`, without their own tests.
fn product_files(trace: &str, sources: &Path) -> BTreeMap<String, Lines> {
    lcov::per_file(trace, |path| {
        let path = cargo::root().join(path);
        let is_tests = path.file_name().is_some_and(|name| name == "tests.rs")
            || path.components().any(|part| part.as_os_str() == "tests");
        if !path.starts_with(sources) || is_tests {
            return None;
        }
        let source = fs::read_to_string(&path).ok()?;
        Some(lcov::first_test_line(&source).unwrap_or(u64::MAX))
    })
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

/// LLVM's own tools, of the major version that rustc was built with: profiles of another one are
/// refused.
struct Tools {
    profdata: PathBuf,
    cov: PathBuf,
    host: String,
}

impl Tools {
    fn find() -> Result<Tools, String> {
        let version = cargo::output(Command::new("rustc").arg("-vV"))?;
        let field = |name: &str| version.lines().find_map(|line| line.strip_prefix(name));
        let host = field("host: ").ok_or("rustc names no host")?.to_owned();
        let llvm = field("LLVM version: ").ok_or("rustc names no LLVM version")?;
        let major = llvm.split('.').next().unwrap_or(llvm);

        let sysroot = cargo::output(Command::new("rustc").args(["--print", "sysroot"]))?;
        let bundled = Path::new(sysroot.trim())
            .join("lib/rustlib")
            .join(&host)
            .join("bin");
        let tool = |name: &str| {
            let candidates = [
                bundled.join(name),
                format!("{name}-{major}").into(),
                PathBuf::from(name),
            ];
            candidates
                .into_iter()
                .find(|path| speaks(path, major))
                .ok_or_else(|| {
                    format!(
                        "{name} of LLVM {major} not found. Any one of these brings it: \
                     `rustup component add llvm-tools`; \
                     `apt-get install llvm-{major}` on Debian; \
                     `cargo install --locked cargo-llvm-cov` together with the first"
                    )
                })
        };
        Ok(Tools {
            profdata: tool("llvm-profdata")?,
            cov: tool("llvm-cov")?,
            host,
        })
    }

    /// What the profiles say of the executables that left them, as an lcov trace.
    fn trace(&self, profiles: &Path, executables: &[String]) -> Result<String, String> {
        let merged = profiles.with_extension("profdata");
        let mut merge = Command::new(&self.profdata);
        merge
            .args(["merge", "--sparse", "--output"])
            .arg(&merged)
            .arg(profiles);
        cargo::run(&mut merge)?;
        let mut export = Command::new(&self.cov);
        export
            .args(["export", "--format=lcov"])
            .arg("--instr-profile")
            .arg(&merged);
        for executable in executables {
            export.arg("--object").arg(executable);
        }
        cargo::output(&mut export)
    }
}

fn speaks(tool: &Path, major: &str) -> bool {
    let output = Command::new(tool)
        .arg("--version")
        .stderr(Stdio::null())
        .output();
    output.is_ok_and(|output| {
        String::from_utf8_lossy(&output.stdout).contains(&format!("LLVM version {major}."))
    })
}

fn report(trace: &str, fail_under: Option<f64>) -> Outcome {
    let sources = cargo::root().join("core").join("src");
    let files = product_files(trace, &sources);
    if files.is_empty() {
        return Err("the tests left no coverage of core/".to_owned());
    }
    let mut table = Table::new(["file", "lines", "covered", "percent"]);
    let mut row = |name: String, lines: Lines| table.row(cells(name, lines));
    let mut total = Lines::default();
    for (path, lines) in files {
        total.add(lines);
        let path = PathBuf::from(path);
        let name = path.strip_prefix(cargo::root()).unwrap_or(&path);
        row(name.display().to_string(), lines);
    }
    row("total".to_owned(), total);
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
    fn what_a_run_reached_is_told_by_part_with_the_files_it_hardly_reached() {
        let file = |name: &str, hit: u8| {
            let path = cargo::root().join(name);
            format!("SF:{}\nDA:1,1\nDA:2,{hit}\nend_of_record\n", path.display())
        };
        let trace = file("core/src/lib.rs", 1) + &file("src/lib.rs", 0);
        let missing = reached(&trace).unwrap_err();
        assert!(missing.contains("server/src"), "{missing}");
        let told = reached(&(trace + &file("server/src/lib.rs", 1))).unwrap();
        assert!(told.contains("100.0") && told.contains("50.0"), "{told}");
        assert!(
            told.contains("src/lib.rs") && !told.contains("core/src/lib.rs"),
            "{told}"
        );
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
