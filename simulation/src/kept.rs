//! Scripts that failed once, and never may again.

use std::path::{Path, PathBuf};

use driftline_simulation::world::{Regression, Schemas, Script, Trace, run_script, shrink};

/// Where they are kept.
const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/regressions");

/// Runs them all.
///
/// # Errors
/// One that fails again; none to be found; one that does not say what was wrong.
pub(crate) fn run_all() -> Result<(), String> {
    let kept = all_in(Path::new(KEPT))?;
    let schemas = Schemas::new();
    for (path, kept) in &kept {
        let outcome = run_script(&schemas, &kept.script, &Trace::default());
        if let Some((step, what)) = outcome.failure {
            let path = path.display();
            return Err(format!(
                "{path} fails again after {step} steps: {what}\n  {}",
                kept.about
            ));
        }
    }
    eprintln!("{} scripts that once failed do not", kept.len());
    Ok(())
}

/// All scripts of a directory, each with a word on what was wrong.
fn all_in(directory: &Path) -> Result<Vec<(PathBuf, Regression)>, String> {
    let told = |error: std::io::Error| format!("{}: {error}", directory.display());
    let entries = std::fs::read_dir(directory).map_err(told)?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    let mut paths: Vec<PathBuf> = paths.collect::<Result<_, _>>().map_err(told)?;
    paths.retain(|path| path.extension().is_some_and(|end| end == "json"));
    paths.sort();
    if paths.is_empty() {
        return Err(format!("{}: no script is kept there", directory.display()));
    }
    let described = |path: PathBuf| {
        let kept = read(&path)?;
        match kept.about.trim().is_empty() {
            true => Err(format!("{}: say what was wrong", path.display())),
            false => Ok((path, kept)),
        }
    };
    paths.into_iter().map(described).collect()
}

/// A script that was kept.
///
/// # Errors
/// A file that is none.
pub(crate) fn read(path: &Path) -> Result<Regression, String> {
    let told = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let text = std::fs::read_to_string(path).map_err(|error| told(&error))?;
    serde_json::from_str(&text).map_err(|error| told(&error))
}

/// Shrinks a seed that fails, and keeps what is left under a name.
///
/// # Errors
/// A seed that does not fail; a file that cannot be written.
pub(crate) fn keep(seed: u64, steps: usize, name: &str) -> Result<(), String> {
    let told = |left| eprintln!("  {left} steps left");
    let kept = shrink(&Schemas::new(), &Script::draw(seed, steps), told)
        .map_err(|_| format!("seed {seed} does not fail"))?;
    std::fs::create_dir_all(KEPT).map_err(|error| error.to_string())?;
    let path = Path::new(KEPT).join(format!("{name}.json"));
    let mut text = serde_json::to_string_pretty(&kept).map_err(|error| error.to_string())?;
    text.push('\n');
    std::fs::write(&path, text).map_err(|error| error.to_string())?;
    println!("{}: say in it what was wrong", path.display());
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_script_that_is_kept_says_what_was_wrong() {
        let kept = all_in(Path::new(KEPT)).unwrap();
        assert!(kept.len() >= 20, "{} scripts", kept.len());
    }

    #[test]
    fn without_its_scripts_the_run_fails() {
        let directory = std::env::temp_dir().join(format!("kept-{}", std::process::id()));
        let refused = || all_in(&directory).unwrap_err();
        assert!(refused().contains("kept-"), "there is no such directory");
        std::fs::create_dir(&directory).unwrap();
        assert!(refused().contains("no script is kept"));
        let mut script = Regression {
            about: " ".to_owned(),
            oracle: "O1 base".to_owned(),
            script: Script::draw(1, 2),
        };
        let mut write = |about: &str| {
            script.about = about.to_owned();
            let text = serde_json::to_string(&script).unwrap();
            std::fs::write(directory.join("one.json"), text).unwrap();
        };
        write(" ");
        assert!(refused().contains("say what was wrong"));
        write("a word");
        assert_eq!(all_in(&directory).unwrap().len(), 1);
        std::fs::write(directory.join("two.json"), "no JSON").unwrap();
        assert!(refused().contains("two.json"));
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
