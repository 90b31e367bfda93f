//! Finding things in `docs/protocol.md`.

pub(crate) const DOCS: &str = include_str!("../../../docs/protocol.md");

/// The fenced block with these words behind its fence.
pub(crate) fn fence(words: &str) -> &'static str {
    let opening = format!("\n```{words}\n");
    let start = DOCS
        .find(&opening)
        .unwrap_or_else(|| panic!("no block `{words}`"))
        + opening.len();
    let rest = &DOCS[start..];
    if rest.starts_with("```") {
        return "";
    }
    &rest[..rest.find("\n```").unwrap() + 1]
}

/// The rows of the table whose head begins with this cell, cells trimmed.
pub(crate) fn table(head: &str) -> Vec<Vec<&'static str>> {
    let mut tables = tables(DOCS, head);
    assert_eq!(tables.len(), 1, "tables headed `{head}`");
    tables.remove(0)
}

pub(crate) fn tables(text: &'static str, head: &str) -> Vec<Vec<Vec<&'static str>>> {
    let mut found: Vec<Vec<Vec<&str>>> = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        if line.starts_with("|--") {
            continue;
        }
        let Some(row) = line.strip_prefix("| ") else {
            inside = false;
            continue;
        };
        let cells: Vec<&str> = row
            .trim_end_matches('|')
            .split(" | ")
            .map(str::trim)
            .collect();
        if cells[0] == head && !inside {
            inside = true;
            found.push(Vec::new());
        } else if inside && let Some(table) = found.last_mut() {
            table.push(cells);
        }
    }
    found
}

pub(crate) fn unquoted(cell: &str) -> &str {
    cell.trim_matches('`')
}
