//! The list of private migrations that the build makes.

/// The build script, as it runs.
#[path = "../../build.rs"]
#[allow(dead_code)]
mod build;

/// What it makes of files of these names.
fn numbered(names: &[&str]) -> Result<Vec<u32>, String> {
    let folder = tempfile::tempdir().unwrap();
    for name in names {
        std::fs::write(folder.path().join(name), "").unwrap();
    }
    build::numbered(folder.path()).map(|files| files.into_keys().collect())
}

#[test]
fn migrations_are_numbered_without_a_gap_and_none_twice() {
    let found = numbered(&["0002_b.sql", "0001_a.sql"]);
    assert_eq!(found, Ok(vec![1, 2]));
    for (names, said) in [
        (&["0001_a.sql", "0003_c.sql"][..], "number 2 is missing"),
        (&["0002_b.sql"][..], "number 1 is missing"),
        (&["0001_a.sql", "0001_b.sql"][..], "number 1 twice"),
        (&["0001_a.sql", "2_b.sql"][..], "NNNN_name.sql"),
        (&["0001_a.sql", "0002_b.txt"][..], "NNNN_name.sql"),
        (&[][..], "no migration"),
    ] {
        let problem = numbered(names).unwrap_err();
        assert!(problem.contains(said), "{names:?}: {problem}");
    }
}
