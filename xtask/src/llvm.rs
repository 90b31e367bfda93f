//! LLVM's tools for coverage.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::cargo;

/// The target that this machine builds for.
pub(crate) fn host() -> Result<String, String> {
    said_by_rustc("host: ")
}

fn said_by_rustc(field: &str) -> Result<String, String> {
    let version = cargo::output(Command::new("rustc").arg("-vV"))?;
    let said = version.lines().find_map(|line| line.strip_prefix(field));
    let said = said.ok_or_else(|| format!("rustc does not say its {field}"))?;
    Ok(said.to_owned())
}

/// LLVM's own tools, of the major version that rustc was built with: profiles of another one are
/// refused.
pub(crate) struct Tools {
    profdata: PathBuf,
    cov: PathBuf,
    /// The target that this machine builds for.
    pub(crate) host: String,
}

impl Tools {
    pub(crate) fn find() -> Result<Tools, String> {
        let host = host()?;
        let llvm = said_by_rustc("LLVM version: ")?;
        let major = llvm.split('.').next().unwrap_or(&llvm);

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
    pub(crate) fn trace(&self, profiles: &Path, executables: &[String]) -> Result<String, String> {
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
