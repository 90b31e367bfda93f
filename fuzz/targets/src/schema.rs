//! Schema files: problems with a place in the file, or a schema that follows from itself.

use driftline_core::schema::Schema;

pub(crate) fn run(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else {
        return false;
    };
    match Schema::parse(text) {
        Ok(schema) => {
            let again = Schema::parse(text).unwrap();
            assert_eq!(schema.fingerprint(), again.fingerprint());
            assert_eq!(schema.stable_ids().check_reload(&again), Ok(()));
            for collection in &schema.collections {
                assert!(schema.collection(&collection.name).is_some());
            }
            true
        }
        Err(error) => {
            assert!(!error.problems.is_empty());
            let lines = text.split('\n').count() as u32;
            let located = error.locate(text);
            for problem in &located.problems {
                assert!(
                    problem.line <= lines.max(1),
                    "line {} of {lines}",
                    problem.line
                );
            }
            let _ = located.in_file("schema.toml").to_string();
            false
        }
    }
}
