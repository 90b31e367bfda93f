//! The demo, played to its end.

#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

fn driftline(arguments: &[&str]) -> (Option<i32>, Vec<Value>) {
    let output = Command::new(env!("CARGO_BIN_EXE_driftline"))
        .arg("--json")
        .args(arguments)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    (
        output.status.code(),
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect(),
    )
}

fn of_type<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects
        .iter()
        .filter(|object| object["type"] == kind)
        .collect()
}

/// What the journal holds in a file.
fn journal(file: &[&str]) -> Value {
    let arguments = [&["inspect"], file, &["--collection", "journals"]].concat();
    let (code, parts) = driftline(&arguments);
    assert_eq!(code, Some(0), "{file:?}");
    of_type(&parts, "document")[0]["fields"]["entries"].clone()
}

#[test]
fn every_promise_holds_and_every_file_can_be_looked_at() {
    let directory = tempfile::tempdir().unwrap();
    let kept = directory.path().join("kept").display().to_string();
    let (code, told) = driftline(&["demo", "--seed", "20071116", "--keep", &kept]);
    let summary = of_type(&told, "summary")[0];
    assert!(
        code == Some(0) && summary["held"] == true,
        "exit {code:?}; what did not hold: {}",
        summary["broken"]
    );
    assert!(
        of_type(&told, "check")
            .iter()
            .all(|check| check["held"] == true && check["expected"].is_string())
    );

    // Whoever lost something can see what, to whom, and by which rule.
    let losses = of_type(&told, "loss");
    let rules: BTreeSet<&str> = losses
        .iter()
        .map(|row| row["loss"]["rule"].as_str().unwrap())
        .collect();
    assert!(
        rules.contains("deleted") && rules.contains("rejected"),
        "{rules:?}"
    );
    assert!(
        rules.contains("overwritten") || rules.contains("too_late"),
        "{rules:?}"
    );

    // What somebody brought back stands, and says that it was lost.
    let restored = losses.iter().filter(|row| row["loss"]["restored"] == true);
    assert_eq!(restored.count(), 1);

    // The files themselves say the same as the demo did.
    let shown = of_type(&told, "journal")[0]["entries"].clone();
    let data = format!("{kept}/data");
    assert_eq!(shown.as_str().unwrap().lines().count(), 20, "{shown}");
    assert_eq!(journal(&["--server", &data])["text"], shown);
    let mut digests = BTreeSet::new();
    for device in ["biscoe", "dream", "torgersen", "dreams-copy"] {
        let (code, parts) = driftline(&["inspect", &format!("{kept}/{device}.db")]);
        assert_eq!(code, Some(0), "{device}");
        digests.insert(
            of_type(&parts, "file")[0]["digest"]
                .as_str()
                .unwrap()
                .to_owned(),
        );
        let birds = of_type(&parts, "collection")
            .into_iter()
            .find(|c| c["collection"]["name"] == "birds")
            .unwrap();
        assert_eq!(birds["collection"]["live"], 344, "{device}");
        assert_eq!(
            of_type(&parts, "outbox")[0]["counts"]["pending"],
            0,
            "{device}"
        );
        assert!(!of_type(&parts, "run").is_empty(), "{device}");
        assert_eq!(
            journal(&[&format!("{kept}/{device}.db")]),
            shown,
            "{device}"
        );
    }
    let (_, parts) = driftline(&["inspect", "--server", &format!("{kept}/data")]);
    digests.insert(
        of_type(&parts, "workspace")[0]["facts"]["digest"]
            .as_str()
            .unwrap()
            .to_owned(),
    );
    assert_eq!(digests.len(), 1, "{digests:?}");
    let (_, birds) = driftline(&[
        "inspect",
        &format!("{kept}/dream.db"),
        "--collection",
        "birds",
    ]);
    assert_eq!(of_type(&birds, "document").len(), 344);
}
