//! As much of SQL's grammar as it takes to find names.

/// Whether a name in `sql` begins with `_dl_`, in whatever quotes SQLite would take it.
///
/// The contents of a string are not a name unless all of it could be one: SQLite takes `'t'` for a
/// table's name where only a name fits.
pub(super) fn names_private_table(sql: &str) -> bool {
    let bytes = sql.as_bytes();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let rest = bytes.get(at..).unwrap_or_default();
        at += match byte {
            b'-' if rest.starts_with(b"--") => until(rest, b"\n"),
            b'/' if rest.starts_with(b"/*") => 2 + until(rest.get(2..).unwrap_or_default(), b"*/"),
            b'\'' | b'"' | b'`' => {
                if is_private(rest.get(1..).unwrap_or_default()) {
                    return true;
                }
                quoted(rest, *byte)
            }
            b'[' => {
                if is_private(rest.get(1..).unwrap_or_default()) {
                    return true;
                }
                until(rest, b"]")
            }
            byte if is_name(*byte) => {
                // A byte order mark is white space to SQLite, and all of it would be a name here.
                let word = rest.strip_prefix(b"\xef\xbb\xbf").unwrap_or(rest);
                let skipped = rest.len() - word.len();
                if is_private(word) {
                    return true;
                }
                match skipped {
                    0 => word
                        .iter()
                        .position(|b| !is_name(*b) || *b == 0xef)
                        .unwrap_or(word.len())
                        .max(1),
                    _ => skipped,
                }
            }
            _ => 1,
        };
    }
    false
}

fn is_private(name: &[u8]) -> bool {
    name.get(..4)
        .is_some_and(|start| start.eq_ignore_ascii_case(b"_dl_"))
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | 0x80..)
}

/// The length up to and with `end`, or of everything.
fn until(bytes: &[u8], end: &[u8]) -> usize {
    bytes
        .windows(end.len())
        .position(|window| window == end)
        .map_or(bytes.len(), |at| at + end.len())
}

/// The length of a quoted token; a doubled quote stands for itself.
fn quoted(bytes: &[u8], quote: u8) -> usize {
    let mut at = 1;
    loop {
        match bytes
            .get(at..)
            .and_then(|rest| rest.iter().position(|b| *b == quote))
        {
            None => return bytes.len(),
            Some(offset) if bytes.get(at + offset + 1) == Some(&quote) => at += offset + 2,
            Some(offset) => return at + offset + 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::names_private_table;

    #[test]
    fn finds_names_in_every_quoting() {
        for sql in [
            "SELECT * FROM _dl_meta",
            "SELECT * FROM _DL_META",
            "SELECT * FROM \"_dl_meta\"",
            "SELECT * FROM [_dl_meta]",
            "SELECT * FROM `_dl_meta`",
            "SELECT * FROM '_dl_meta'",
            "SELECT * FROM main._dl_meta",
            "SELECT 1/**/FROM/**/_dl_meta",
            "SELECT 1 FROM--\n_dl_meta",
            "SELECT 'a''b' FROM _dl_meta",
            "SELECT '--' FROM _dl_meta",
            "SELECT '/*' FROM _dl_meta",
            "SELECT 1 FROM \u{feff}_dl_meta",
            "SELECT x\u{feff}_dl_meta",
        ] {
            assert!(names_private_table(sql), "{sql}");
        }
    }

    #[test]
    fn lets_text_pass() {
        for sql in [
            "SELECT * FROM birds WHERE notes LIKE '%_dl_%'",
            "SELECT a_dl_b FROM birds",
            "SELECT 1 -- _dl_meta",
            "SELECT 1 /* _dl_meta */",
            "SELECT 'it''s _dl_'",
            "SELECT 'unterminated",
            "SELECT [unterminated",
            "",
        ] {
            assert!(!names_private_table(sql), "{sql}");
        }
    }
}
