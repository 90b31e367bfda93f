//! Reading the files a command is given.

use std::io::Read;
use std::path::Path;

use driftline_core::schema::{MAX_SCHEMA_BYTES, Schema, SchemaError};
use driftline_server::auth::Keys;

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

/// The largest secret or key file.
const MAX_KEY_BYTES: u64 = 64 << 10;

/// An HS256 secret. A final line break is the editor's, not the secret's.
///
/// # Errors
/// When it cannot be read or can be guessed.
pub(crate) fn read_secret(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut secret = read_at_most(path, MAX_KEY_BYTES)?;
    if secret.ends_with(b"\n") {
        secret.pop();
    }
    if secret.ends_with(b"\r") {
        secret.pop();
    }
    match Keys::hs256(&secret) {
        Ok(_) => Ok(secret),
        Err(error) => Err(Failure::file(
            "weak_secret",
            format!("{} cannot be used as a secret", path.display()),
        )
        .because(&error)
        .help(format!(
            "head -c 48 /dev/urandom | base64 > {}",
            path.display()
        ))),
    }
}

/// A public key as PEM.
///
/// # Errors
/// When it cannot be read or is no key the server knows.
pub(crate) fn read_public_key(path: &Path) -> Result<Keys, Failure> {
    let pem = read_at_most(path, MAX_KEY_BYTES)?;
    Keys::public_pem(&pem).map_err(|error| {
        Failure::file(
            "unusable_key",
            format!("{} cannot be used as a key", path.display()),
        )
        .because(&error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Exit;

    #[test]
    fn a_missing_file_says_so() {
        let failure = read_schema(Path::new("no/such/schema.toml")).err().unwrap();
        assert_eq!(failure.exit(), Exit::File);
        assert!(
            failure
                .to_string()
                .contains("cannot read no/such/schema.toml")
        );
    }

    #[test]
    fn a_secret_loses_its_line_break_and_has_to_be_long() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        for ending in ["", "\n", "\r\n"] {
            std::fs::write(&path, format!("{}{ending}", "s".repeat(32))).unwrap();
            assert_eq!(read_secret(&path).unwrap(), vec![b's'; 32]);
        }
        std::fs::write(&path, format!("{}\n", "s".repeat(31))).unwrap();
        assert_eq!(read_secret(&path).unwrap_err().exit(), Exit::File);
    }
}
