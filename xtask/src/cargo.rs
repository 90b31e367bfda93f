//! Running cargo, from the workspace root, with the toolchain that started this program.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Outcome;

/// The directory of the workspace's Cargo.toml. Asked of cargo at run time: two checkouts that
/// share a target directory share this program too.
pub(crate) fn root() -> PathBuf {
    let here =
        env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let here = PathBuf::from(here);
    here.parent().map_or(here.clone(), Path::to_path_buf)
}

/// Where cargo puts what it builds.
pub(crate) fn target_dir() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root().join(dir),
        None => root().join("target"),
    }
}

/// `cargo ARGUMENTS`, ready to run in the workspace root.
pub(crate) fn command<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Command {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(arguments).current_dir(root());
    command
}

/// Runs to the end with the caller's own output; anything but success is an error.
pub(crate) fn run(command: &mut Command) -> Outcome {
    let spoken = spoken(command);
    let status = command
        .status()
        .map_err(|error| format!("cannot start `{spoken}`: {error}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("`{spoken}` failed ({status})"))
    }
}

/// Builds everything that tests run or start. With all targets, cargo resolves the features that
/// `cargo test` does, and nothing is built twice.
pub(crate) fn build_all() -> Outcome {
    run(&mut command(["build", "--workspace", "--all-targets"]))
}

/// Runs to the end and returns standard output as text; the caller sees standard error.
pub(crate) fn output(command: &mut Command) -> Result<String, String> {
    let spoken = spoken(command);
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("cannot start `{spoken}`: {error}"))?;
    if !output.status.success() {
        return Err(format!("`{spoken}` failed ({})", output.status));
    }
    String::from_utf8(output.stdout).map_err(|_| format!("`{spoken}` printed no UTF-8"))
}

/// Whether `cargo NAME` is installed.
pub(crate) fn has_subcommand(name: &str) -> bool {
    command([name, "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// The command as a person would type it.
pub(crate) fn spoken(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let mut words = vec![program.file_name().unwrap_or_default().to_string_lossy()];
    words.extend(
        command
            .get_args()
            .map(|argument| argument.to_string_lossy()),
    );
    words.join(" ")
}
