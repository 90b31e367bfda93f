//! What collections, fields and indexes may be called.

use super::place::{At, Findings};
use super::words::quote;

/// The longest name, in bytes.
const LONGEST: usize = 63;

/// Names with a meaning of their own: `id` is a column of every view, the others are SQLite's
/// words for a row's number.
pub const RESERVED_NAMES: [&str; 3] = ["id", "rowid", "oid"];

/// Reports a name that SQL, the generated code or Driftline itself could not use.
///
/// SQL keywords are fine, names are always quoted in SQL.
pub(super) fn check_name(name: &At<String>, findings: &mut Findings) {
    if let Err(message) = judge(&name.value) {
        findings.add(&name.place, message);
    }
}

fn judge(name: &str) -> Result<(), String> {
    let found = quote(name);
    if name.starts_with('_') {
        return Err(format!(
            "names starting with _ are Driftline's own, found {found}"
        ));
    }
    let starts = name.starts_with(|c: char| c.is_ascii_lowercase());
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if !starts || !name.chars().all(allowed) {
        let expected = "a name of lower-case letters, digits and _ that starts with a letter";
        let meant = snake_case(name).map(|name| format!(" (did you mean \"{name}\"?)"));
        return Err(format!(
            "expected {expected}, found {found}{}",
            meant.unwrap_or_default()
        ));
    }
    if name.len() > LONGEST {
        return Err(format!(
            "expected a name of at most {LONGEST} bytes, found {}",
            name.len()
        ));
    }
    if name.starts_with("sqlite") {
        return Err(format!(
            "names starting with sqlite are SQLite's own, found {found}"
        ));
    }
    if RESERVED_NAMES.contains(&name) {
        return Err(format!("{found} is reserved, choose another name"));
    }
    Ok(())
}

/// `observedAt`, `Observed-At` and `observed at` as `observed_at`.
fn snake_case(name: &str) -> Option<String> {
    let mut snake = String::new();
    let mut after_lower = false;
    for c in name.chars().take(LONGEST) {
        match c {
            'A'..='Z' if after_lower => snake.extend(['_', c.to_ascii_lowercase()]),
            'A'..='Z' | 'a'..='z' | '0'..='9' => snake.push(c.to_ascii_lowercase()),
            '-' | ' ' | '.' | '_' => snake.push('_'),
            _ => return None,
        }
        after_lower = c.is_ascii_lowercase() || c.is_ascii_digit();
    }
    judge_quietly(&snake).then_some(snake)
}

fn judge_quietly(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase()) && !name.starts_with("sqlite")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sql_keywords_are_names_and_reserved_words_are_not() {
        for fine in ["select", "order", "x", "a_1", "rank", &"x".repeat(63)] {
            assert_eq!(judge(fine), Ok(()), "{fine}");
        }
        let long = "x".repeat(64);
        for wrong in [
            "",
            "1a",
            "Birds",
            "é",
            "_x",
            "sqlite_master",
            "id",
            "rowid",
            "oid",
            &long,
        ] {
            assert!(judge(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn other_spellings_are_understood() {
        assert_eq!(snake_case("observedAt").as_deref(), Some("observed_at"));
        assert_eq!(snake_case("Observed-At").as_deref(), Some("observed_at"));
        assert_eq!(snake_case("größe"), None);
        assert_eq!(snake_case("1a"), None);
    }
}
