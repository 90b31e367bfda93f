//! What is wrong with a schema, and where.

use std::fmt;

use super::place::{Findings, Place, child_path, item_path};

/// One thing wrong with a schema.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    /// The line, from 1; 0 when the problem was found without the text at hand (see
    /// [`SchemaError::locate`]).
    pub line: u32,
    /// The column in characters, from 1; 0 like `line`.
    pub column: u32,
    /// The key it is about, such as `collections.birds.fields.mass`; empty for the file as a whole.
    pub path: String,
    /// What was expected and what was found.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "{}:{}: ", self.line, self.column)?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// Everything that is wrong with a schema, in the order of the file.
///
/// Its `Display` has one line per problem, `line:column: path: message`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct SchemaError {
    /// The problems; never empty.
    pub problems: Vec<Problem>,
}

impl SchemaError {
    /// The stable code of this error.
    pub const CODE: &'static str = "invalid_schema";

    /// The same report with `file` in front of every line, as compilers print it.
    pub fn in_file<'a>(&'a self, file: &'a str) -> impl fmt::Display + 'a {
        Lines {
            error: self,
            file: Some(file),
        }
    }

    /// Fills in the places of problems that were found without the text, such as those of
    /// [`StableIds::check_reload`](super::StableIds::check_reload), from the `text` the schema was
    /// parsed from.
    pub fn locate(self, text: &str) -> SchemaError {
        let (root, _) = toml::de::DeTable::parse_recoverable(text);
        let mut offsets = std::collections::BTreeMap::new();
        collect_table(root.get_ref(), "", &mut offsets);
        let mut findings = Findings::default();
        let mut located = Vec::new();
        for problem in self.problems {
            match offsets.get(&problem.path) {
                Some(&offset) if problem.line == 0 => {
                    findings.add(
                        &Place {
                            offset,
                            path: problem.path,
                        },
                        problem.message,
                    );
                }
                _ => located.push(problem),
            }
        }
        let mut problems = findings.into_problems(text);
        problems.extend(located);
        problems.sort_by_key(|p| (p.line, p.column));
        SchemaError { problems }
    }
}

impl fmt::Display for SchemaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Lines {
            error: self,
            file: None,
        }
        .fmt(f)
    }
}

impl std::error::Error for SchemaError {}

struct Lines<'a> {
    error: &'a SchemaError,
    file: Option<&'a str>,
}

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.error.problems.iter().enumerate() {
            if n > 0 {
                f.write_str("\n")?;
            }
            match self.file {
                Some(file) if problem.line > 0 => write!(f, "{file}:{problem}")?,
                Some(file) => write!(f, "{file}: {problem}")?,
                None => write!(f, "{problem}")?,
            }
        }
        Ok(())
    }
}

type Offsets = std::collections::BTreeMap<String, usize>;

fn collect_table(table: &toml::de::DeTable<'_>, path: &str, offsets: &mut Offsets) {
    for (key, value) in table {
        collect_value(
            value,
            key.span().start,
            child_path(path, key.get_ref()),
            offsets,
        );
    }
}

fn collect_value(
    value: &toml::Spanned<toml::de::DeValue<'_>>,
    key: usize,
    path: String,
    offsets: &mut Offsets,
) {
    let offset = match value.get_ref() {
        toml::de::DeValue::Table(table) => {
            collect_table(table, &path, offsets);
            key
        }
        toml::de::DeValue::Array(items) => {
            for (n, item) in items.iter().enumerate() {
                collect_value(item, item.span().start, item_path(&path, n), offsets);
            }
            value.span().start
        }
        _ => value.span().start,
    };
    offsets.insert(path, offset);
}
