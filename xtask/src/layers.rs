//! The layers of the design, checked on what cargo really resolves.

use crate::Outcome;
use crate::cargo;

/// Crates that reach files, sockets, threads, clocks or randomness.
const SIDE_EFFECTS: &[&str] = &[
    "async-std",
    "axum",
    "chrono",
    "getrandom",
    "hyper",
    "jsonwebtoken",
    "libsqlite3-sys",
    "mio",
    "rand",
    "reqwest",
    "ring",
    "rusqlite",
    "rustls",
    "smol",
    "socket2",
    "tokio",
    "tokio-tungstenite",
    "tracing-subscriber",
    "tungstenite",
    "ureq",
];

struct Rule {
    package: &'static str,
    forbidden: &'static [&'static str],
    reason: &'static str,
}

/// Paths that bring in a side effect which nothing reaches, each with its reason.
const UNREACHED: &[&[&str]] = &[
    // Yrs draws client ids and document ids by itself where it is given none. `core` gives both,
    // always: core/clippy.toml forbids it the constructors that do not take them.
    &["driftline-core", "yrs", "fastrand", "getrandom"],
];

const RULES: &[Rule] = &[
    Rule {
        package: "driftline-core",
        forbidden: SIDE_EFFECTS,
        reason: "core does no I/O, reads no clock, spawns nothing and draws no randomness",
    },
    Rule {
        package: "driftline-core",
        forbidden: &["driftline", "driftline-server", "driftline-cli"],
        reason: "core is the lowest layer",
    },
    Rule {
        package: "driftline",
        forbidden: &[
            "driftline-server",
            "driftline-cli",
            "axum",
            "clap",
            "jsonwebtoken",
        ],
        reason: "the device's library carries no server and no command line",
    },
    Rule {
        package: "driftline-server",
        forbidden: &["driftline", "driftline-cli", "clap"],
        reason: "device and server share core and nothing else",
    },
];

/// Fails with every forbidden dependency and the path that brings it in.
pub(crate) fn check() -> Outcome {
    let mut broken = Vec::new();
    for rule in RULES {
        let tree = normal_dependencies(rule.package)?;
        broken.extend(violations(rule, &tree));
    }
    if broken.is_empty() {
        println!("layers: {} rules hold", RULES.len());
        Ok(())
    } else {
        Err(format!("layers broken:\n  {}", broken.join("\n  ")))
    }
}

/// What the package ships with, on every platform. `cargo tree -p` and not `cargo metadata`: the
/// latter joins the features that any member asks for, so that a crate seems to have what only its
/// neighbours have.
fn normal_dependencies(package: &str) -> Result<Vec<Dependency>, String> {
    let text = cargo::output(&mut cargo::command([
        "tree",
        "--package",
        package,
        "--edges",
        "normal",
        "--target",
        "all",
        "--prefix",
        "depth",
        "--format",
        " {p}",
    ]))?;
    parse_tree(package, &text)
}

/// Insists on the package as the root: a tree that was misread must not pass as a clean one.
fn parse_tree(package: &str, text: &str) -> Result<Vec<Dependency>, String> {
    let tree: Vec<Dependency> = text.lines().filter_map(dependency).collect();
    if tree.first().is_some_and(|root| root.name == package) {
        Ok(tree)
    } else {
        Err(format!("cannot read the dependency tree of {package}"))
    }
}

/// One line of the tree: `2 getrandom v0.4.3`.
struct Dependency {
    depth: usize,
    name: String,
}

fn dependency(line: &str) -> Option<Dependency> {
    let (depth, package) = line.split_once(' ')?;
    let name = package.split(' ').next()?.to_owned();
    Some(Dependency {
        depth: depth.parse().ok()?,
        name,
    })
}

fn violations(rule: &Rule, tree: &[Dependency]) -> Vec<String> {
    let mut path: Vec<&str> = Vec::new();
    let mut found: Vec<String> = Vec::new();
    for dependency in tree {
        path.truncate(dependency.depth);
        path.push(&dependency.name);
        let forbidden = rule.forbidden.contains(&dependency.name.as_str());
        let reached = !UNREACHED.iter().any(|end| path.ends_with(end));
        if dependency.depth > 0 && forbidden && reached {
            found.push(format!("{} ({})", path.join(" -> "), rule.reason));
        }
    }
    found
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const RULE: Rule = Rule {
        package: "core",
        forbidden: &["tokio", "core"],
        reason: "pure",
    };

    fn tree(text: &str) -> Vec<Dependency> {
        text.lines().map(|line| dependency(line).unwrap()).collect()
    }

    #[test]
    fn a_forbidden_crate_is_named_with_its_path() {
        let tree = tree(
            "0 core v0.1.0 (/src/core)\n1 serde v1.0.0\n2 serde_core v1.0.0\n1 yrs v0.28.1\n2 tokio v1.54.0",
        );
        assert_eq!(violations(&RULE, &tree), ["core -> yrs -> tokio (pure)"]);
    }

    #[test]
    fn the_package_itself_and_longer_names_are_no_violation() {
        let tree = tree("0 core v0.1.0 (/src/core)\n1 tokio-util v0.7.0\n1 serde v1.0.0");
        assert!(violations(&RULE, &tree).is_empty());
    }

    #[test]
    fn an_unreached_path_is_no_violation_but_the_same_crate_by_another_is() {
        let rule = Rule {
            package: "driftline-core",
            forbidden: &["getrandom"],
            reason: "pure",
        };
        let known = "0 driftline-core v0.1.0\n1 yrs v0.28.1\n2 fastrand v2.5.0\n3 getrandom v0.4.3";
        assert!(violations(&rule, &tree(known)).is_empty());
        let other = "0 driftline-core v0.1.0\n1 fastrand v2.5.0\n2 getrandom v0.4.3";
        assert_eq!(
            violations(&rule, &tree(other)),
            ["driftline-core -> fastrand -> getrandom (pure)"]
        );
    }

    #[test]
    fn every_rule_reads_a_real_tree() {
        for rule in RULES {
            let tree = normal_dependencies(rule.package).unwrap();
            assert!(tree.len() > 5, "{}", rule.package);
        }
    }

    #[test]
    fn a_tree_that_cannot_be_read_is_an_error_not_a_pass() {
        assert!(parse_tree("core", "").is_err());
        assert!(parse_tree("core", "core v0.1.0\n├── serde v1.0.0").is_err());
        assert!(parse_tree("core", "0 other v0.1.0\n1 serde v1.0.0").is_err());
        assert!(parse_tree("core", "0 core v0.1.0\n1 serde v1.0.0").is_ok());
    }
}
