//! Reading the files a command is given.

use std::io::Read;
use std::path::Path;

use driftline_core::schema::{MAX_SCHEMA_BYTES, Schema, SchemaError};

use crate::failure::Failure;

/// A schema's text and what it means, or what is wrong with it.
pub(crate) struct SchemaFile {
    /// The path as given.
    pub(crate) name: String,
    pub(crate) text: String,
    pub(crate) parsed: Result<Schema, SchemaError>,
}

/// Reads and parses a schema file.
///
/// # Errors
/// When there is no such file or it holds no text; problems of the schema are in the result.
pub(crate) fn read_schema(path: &Path) -> Result<SchemaFile, Failure> {
    let name = path.display().to_string();
    // One more than allowed, so that parsing can say that it is too large.
    let bytes = read_at_most(path, MAX_SCHEMA_BYTES as u64 + 1)?;
    let Ok(text) = String::from_utf8(bytes) else {
        return Err(
            Failure::file("not_text", format!("{name} is not UTF-8 text"))
                .help("name a schema file (TOML)"),
        );
    };
    let parsed = Schema::parse(&text);
    Ok(SchemaFile { name, text, parsed })
}

/// A schema that has to be right.
///
/// # Errors
/// Every problem, one a line.
pub(crate) fn need_schema(path: &Path) -> Result<Schema, Failure> {
    let file = read_schema(path)?;
    file.parsed.map_err(|error| {
        Failure::file(
            "invalid_schema",
            format!("the schema has problems\n{}", error.in_file(&file.name)),
        )
    })
}

/// A file's content, no more than `most` bytes of it.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn read_at_most(path: &Path, most: u64) -> Result<Vec<u8>, Failure> {
    let unreadable = |error: std::io::Error| {
        let (code, help) = match error.kind() {
            std::io::ErrorKind::NotFound => ("not_found", "check the path"),
            std::io::ErrorKind::PermissionDenied => ("unreadable", "check who may read it"),
            _ => ("unreadable", "name a file that can be read"),
        };
        Failure::file(code, format!("cannot read {}", path.display()))
            .because(&error)
            .help(help)
    };
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(most)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    Ok(bytes)
}
