//! Places in the schema file, and the list of what was found wrong there.

use super::error::{Problem, SchemaError};

/// More problems than this are counted, not listed: nobody reads them, and a megabyte of noise
/// must not become a gigabyte of report.
const MOST_PROBLEMS: usize = 500;

/// Where something stands: a byte offset and the dotted key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) offset: usize,
    pub(super) path: String,
}

/// A value and where it was written.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) place: Place,
}

/// The problems found so far.
#[derive(Default)]
pub(super) struct Findings {
    found: Vec<(Place, String)>,
}

impl Findings {
    pub(super) fn add(&mut self, place: &Place, message: impl Into<String>) {
        self.found.push((place.clone(), message.into()));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    pub(super) fn into_error(self, text: &str) -> SchemaError {
        SchemaError {
            problems: self.into_problems(text),
        }
    }

    /// The problems with line and column, in the order of the file.
    pub(super) fn into_problems(mut self, text: &str) -> Vec<Problem> {
        self.found.sort_by_key(|(place, _)| place.offset);
        let more = self.found.len().saturating_sub(MOST_PROBLEMS);
        self.found.truncate(MOST_PROBLEMS);
        if let (Some((last, _)), true) = (self.found.last(), more > 0) {
            let place = Place {
                offset: last.offset,
                path: String::new(),
            };
            self.found
                .push((place, format!("{more} more problems are not listed")));
        }
        let lines = Lines::of(text);
        let problem = |(place, message): (Place, String)| {
            let (line, column) = lines.position(place.offset);
            Problem {
                line,
                column,
                path: place.path,
                message,
            }
        };
        self.found.into_iter().map(problem).collect()
    }
}

/// Turns byte offsets into lines and columns.
struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn of(text: &'a str) -> Lines<'a> {
        // Editors do not count a byte order mark as a column.
        let first = if text.starts_with('\u{feff}') {
            '\u{feff}'.len_utf8()
        } else {
            0
        };
        let later = text
            .bytes()
            .enumerate()
            .filter(|(_, b)| *b == b'\n')
            .map(|(at, _)| at + 1);
        Lines {
            text,
            starts: std::iter::once(first).chain(later).collect(),
        }
    }

    fn position(&self, offset: usize) -> (u32, u32) {
        let line = self.starts.partition_point(|start| *start <= offset).max(1);
        let start = self.starts.get(line - 1).copied().unwrap_or(0);
        let rest = self.text.get(start..).unwrap_or("");
        let before = rest
            .char_indices()
            .take_while(|(at, _)| start + at < offset)
            .count();
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        (count(line), count(before + 1))
    }
}

/// `parent.key`, the key quoted where TOML would want it quoted.
pub(super) fn child_path(parent: &str, key: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let key = match !key.is_empty() && key.len() <= 64 && key.chars().all(bare) {
        true => key.to_owned(),
        false => super::words::quote(key),
    };
    if parent.is_empty() {
        key
    } else {
        format!("{parent}.{key}")
    }
}

/// `parent[n]`.
pub(super) fn item_path(parent: &str, n: usize) -> String {
    format!("{parent}[{n}]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters_and_skip_a_byte_order_mark() {
        let lines = Lines::of("\u{feff}äb\nc\r\nd");
        assert_eq!(lines.position(3), (1, 1));
        assert_eq!(lines.position(5), (1, 2));
        assert_eq!(lines.position(7), (2, 1));
        assert_eq!(lines.position(10), (3, 1));
        assert_eq!(lines.position(11), (3, 2));
        assert_eq!(lines.position(0), (1, 1));
        assert_eq!(lines.position(9_999), (3, 2));
        // In the middle of a character: an offset is never trusted to be a boundary.
        assert_eq!(lines.position(4), (1, 2));
    }

    #[test]
    fn the_report_is_bounded() {
        let mut findings = Findings::default();
        for offset in 0..2_000 {
            findings.add(
                &Place {
                    offset,
                    path: "x".into(),
                },
                "wrong",
            );
        }
        let problems = findings.into_problems(&" ".repeat(2_000));
        assert_eq!(problems.len(), MOST_PROBLEMS + 1);
        assert_eq!(
            problems[MOST_PROBLEMS].message,
            "1500 more problems are not listed"
        );
    }
}
