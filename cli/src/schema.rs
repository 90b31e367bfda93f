//! `driftline schema`: what is wrong with a schema file, and where.

use std::path::PathBuf;

use clap::Subcommand;
use driftline_core::schema::{Schema, SchemaError};
use serde_json::json;

use crate::failure::{Exit, Failure, Outcome};
use crate::files::{SchemaFile, read_schema};
use crate::output::{Align, Output, Tone, count};

/// Works on schema files.
#[derive(Subcommand)]
pub(crate) enum Command {
    Check(CheckArguments),
}

/// Says what is wrong with a schema, with line and column, and exits with 1 if anything is.
#[derive(clap::Args)]
pub(crate) struct CheckArguments {
    /// The schema (TOML)
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// An earlier schema: numbers must mean what they meant there
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
}

pub(crate) fn run(command: &Command, output: &Output) -> Outcome {
    match command {
        Command::Check(arguments) => check(arguments, output),
    }
}

fn check(arguments: &CheckArguments, output: &Output) -> Outcome {
    let file = read_schema(&arguments.file)?;
    let earlier = match &arguments.against {
        None => None,
        Some(path) => {
            let file = read_schema(path)?;
            Some(file.parsed.map_err(|error| {
                Failure::file(
                    "invalid_schema",
                    format!(
                        "the earlier schema has problems\n{}",
                        error.in_file(&file.name)
                    ),
                )
            })?)
        }
    };
    match judge(&file, earlier.as_ref()) {
        Ok(schema) => {
            show(&file.name, schema, output);
            Ok(Exit::Done)
        }
        Err(error) => {
            report(&file.name, &error, output);
            Ok(Exit::CheckFailed)
        }
    }
}

fn judge<'a>(file: &'a SchemaFile, earlier: Option<&Schema>) -> Result<&'a Schema, SchemaError> {
    let schema = file.parsed.as_ref().map_err(Clone::clone)?;
    if let Some(earlier) = earlier {
        earlier
            .stable_ids()
            .check_reload(schema)
            .map_err(|error| error.locate(&file.text))?;
    }
    Ok(schema)
}

fn report(name: &str, error: &SchemaError, output: &Output) {
    for problem in &error.problems {
        output.object(&json!({
            "file": name, "line": problem.line, "column": problem.column,
            "path": problem.path, "message": problem.message,
        }));
    }
    output.line(error.in_file(name).to_string());
    let problems = error.problems.len();
    output.object(&json!({ "file": name, "valid": false, "problems": problems }));
    output.line(output.tone(Tone::Bad, &count(problems as u64, "problem", "problems")));
}

fn show(name: &str, schema: &Schema, output: &Output) {
    let collections: Vec<_> = schema
        .collections
        .iter()
        .map(|c| json!({ "name": c.name, "id": c.id, "fields": c.fields.len(), "indexes": c.indexes.len() }))
        .collect();
    output.object(&json!({
        "file": name, "valid": true, "problems": 0, "name": schema.name, "version": schema.version,
        "fingerprint": schema.fingerprint(), "collections": collections,
    }));
    output.line(format!(
        "{} {name}: {} version {}, fingerprint {}",
        output.tone(Tone::Good, "ok"),
        schema.name,
        schema.version,
        schema.fingerprint()
    ));
    let columns = [
        ("id", Align::Right),
        ("collection", Align::Left),
        ("fields", Align::Right),
        ("indexes", Align::Right),
        ("search", Align::Left),
    ];
    let row = |c: &driftline_core::schema::Collection| {
        let search: Vec<&str> = c
            .search
            .iter()
            .filter_map(|id| c.field_by_id(*id))
            .map(|f| f.name.as_str())
            .collect();
        vec![
            c.id.to_string(),
            c.name.clone(),
            c.fields.len().to_string(),
            c.indexes.len().to_string(),
            search.join(", "),
        ]
    };
    output.table(&columns, schema.collections.iter().map(row).collect());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> SchemaFile {
        SchemaFile {
            name: "schema.toml".to_owned(),
            text: text.to_owned(),
            parsed: Schema::parse(text),
        }
    }

    const BIRDS: &str = "[schema]\nname = \"birds\"\nversion = 1\n\n[collections.birds]\nid = 1\n\n[collections.birds.fields]\nname = { id = 1, kind = \"text\" }\n";

    #[test]
    fn a_right_schema_passes() {
        assert!(judge(&file(BIRDS), None).is_ok());
        assert!(
            judge(
                &file(include_str!("../../examples/palmer-penguins/schema.toml")),
                None
            )
            .is_ok()
        );
    }

    #[test]
    fn every_problem_has_its_place() {
        let error = judge(&file(&BIRDS.replace("\"text\"", "\"txet\"")), None).unwrap_err();
        let shown = error.in_file("schema.toml").to_string();
        assert!(
            shown.starts_with("schema.toml:9:25: collections.birds.fields.name.kind: "),
            "{shown}"
        );
    }

    #[test]
    fn numbers_keep_their_meaning() {
        let earlier = Schema::parse(BIRDS).unwrap();
        let later = BIRDS
            .replace("version = 1", "version = 2")
            .replace("\"text\"", "\"integer\"");
        let error = judge(&file(&later), Some(&earlier)).unwrap_err();
        assert!(error.problems.iter().all(|p| p.line == 9), "{error}");
    }
}
