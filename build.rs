//! Collects the numbered SQL files of the device's private tables into one ordered list.
//!
//! Files are `src/storage/migrations/NNNN_name.sql`. A gap or a number twice stops the build: two
//! branches that each add "the next" migration must not both reach a release.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    let directory = PathBuf::from(env::var("CARGO_MANIFEST_DIR").unwrap_or_default())
        .join("src/storage/migrations");
    println!("cargo:rerun-if-changed={}", directory.display());
    let list = match numbered(&directory).and_then(|files| list(&files)) {
        Ok(list) => list,
        Err(problem) => panic!("{}: {problem}", directory.display()),
    };
    let out = PathBuf::from(env::var("OUT_DIR").unwrap_or_default()).join("migrations.rs");
    if let Err(error) = fs::write(&out, list) {
        panic!("{}: {error}", out.display());
    }
}

/// The files by number, 1 and up without a gap.
pub(crate) fn numbered(directory: &Path) -> Result<BTreeMap<u32, PathBuf>, String> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(directory).map_err(|error| error.to_string())? {
        let path = entry.map_err(|error| error.to_string())?.path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default()
            .to_owned();
        let number = name
            .split_once('_')
            .and_then(|(number, _)| (number.len() == 4).then(|| number.parse().ok())?);
        let number = match number {
            Some(number) if name.ends_with(".sql") => number,
            _ => return Err(format!("{name} is not called NNNN_name.sql")),
        };
        if let Some(other) = files.insert(number, path) {
            return Err(format!(
                "number {number} twice: {name} and {}",
                other.display()
            ));
        }
    }
    match files
        .keys()
        .zip(1u32..)
        .find(|(number, expected)| **number != *expected)
    {
        Some((number, expected)) => Err(format!("number {expected} is missing before {number}")),
        None if files.is_empty() => Err("no migration at all".to_owned()),
        None => Ok(files),
    }
}

fn list(files: &BTreeMap<u32, PathBuf>) -> Result<String, String> {
    let mut code = String::from("pub(super) const ALL: &[Migration] = &[\n");
    for (number, path) in files {
        let stem = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .unwrap_or_default();
        let path = path.to_str().ok_or("a path that is not UTF-8")?;
        code += &format!(
            "    Migration {{ number: {number}, name: {stem:?}, sql: include_str!({path:?}) }},\n"
        );
    }
    code += "];\n";
    Ok(code)
}
