//! Typed access to a parsed TOML tree: every look-up that fails leaves a problem with its place.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::place::{At, Findings, Place, child_path, item_path};
use super::words::{hint, one_of, quote};

/// Sizes above this are a slip, and would not survive a JSON number.
const LARGEST_SIZE: u64 = crate::value::MAX_SAFE_INTEGER as u64;

const UNITS: [(&str, u32); 5] = [("B", 0), ("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40)];

const SIZE: &str = "a number of bytes, or a string such as \"500 KiB\" or \"4 MiB\"";

/// A value in the tree.
pub(super) struct Node<'a> {
    value: &'a DeValue<'a>,
    pub(super) place: Place,
}

/// A table in the tree, its entries in the order of the file.
pub(super) struct Table<'a> {
    pub(super) place: Place,
    entries: Vec<Entry<'a>>,
}

struct Entry<'a> {
    key: &'a str,
    key_offset: usize,
    value: &'a Spanned<DeValue<'a>>,
}

impl<'a> Table<'a> {
    /// The table at the top of the file.
    pub(super) fn root(table: &'a DeTable<'a>) -> Table<'a> {
        Table::new(table, Place::default())
    }

    fn new(table: &'a DeTable<'a>, place: Place) -> Table<'a> {
        let entry = |(key, value): (&'a Spanned<std::borrow::Cow<'a, str>>, _)| Entry {
            key: key.get_ref().as_ref(),
            key_offset: key.span().start,
            value,
        };
        let mut entries: Vec<Entry<'a>> = table.iter().map(entry).collect();
        entries.sort_by_key(|entry| entry.key_offset);
        Table { place, entries }
    }

    /// Reports every key that is not among `known`; `reserved` keys get their own message.
    pub(super) fn only(&self, known: &[&str], reserved: &[(&str, &str)], findings: &mut Findings) {
        for entry in self
            .entries
            .iter()
            .filter(|entry| !known.contains(&entry.key))
        {
            let message = match reserved.iter().find(|(key, _)| *key == entry.key) {
                Some((_, message)) => (*message).to_owned(),
                None => {
                    let expected = one_of(known.iter().copied());
                    let meant = hint(entry.key, known.iter().copied());
                    format!("unknown key, expected {expected}{meant}")
                }
            };
            findings.add(&self.key_place(entry), message);
        }
    }

    /// The value under `key`, if there.
    pub(super) fn get(&self, key: &str) -> Option<Node<'a>> {
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        Some(self.node(entry))
    }

    /// The value under `key`; its absence is a problem of this table.
    pub(super) fn require(
        &self,
        key: &str,
        expected: &str,
        findings: &mut Findings,
    ) -> Option<Node<'a>> {
        let node = self.get(key);
        if node.is_none() {
            findings.add(
                &self.place,
                format!("missing key {}, expected {expected}", quote(key)),
            );
        }
        node
    }

    /// Every key with its place, and its value.
    pub(super) fn named(&self) -> impl Iterator<Item = (At<String>, Node<'a>)> {
        self.entries.iter().map(|entry| {
            let name = At {
                value: entry.key.to_owned(),
                place: self.key_place(entry),
            };
            (name, self.node(entry))
        })
    }

    fn key_place(&self, entry: &Entry<'_>) -> Place {
        Place {
            offset: entry.key_offset,
            path: child_path(&self.place.path, entry.key),
        }
    }

    fn node(&self, entry: &Entry<'a>) -> Node<'a> {
        let place = self.key_place(entry);
        // A table may be written in several pieces; its key is what a reader looks for.
        let offset = match entry.value.get_ref() {
            DeValue::Table(_) => place.offset,
            _ => entry.value.span().start,
        };
        Node {
            value: entry.value.get_ref(),
            place: Place { offset, ..place },
        }
    }
}

impl<'a> Node<'a> {
    fn wrong<T>(&self, expected: &str, findings: &mut Findings) -> Option<T> {
        findings.add(
            &self.place,
            format!("expected {expected}, found {}", describe(self.value)),
        );
        None
    }

    fn at<T>(self, value: T) -> Option<At<T>> {
        Some(At {
            value,
            place: self.place,
        })
    }

    pub(super) fn table(self, expected: &str, findings: &mut Findings) -> Option<Table<'a>> {
        match self.value {
            DeValue::Table(table) => Some(Table::new(table, self.place)),
            _ => self.wrong(expected, findings),
        }
    }

    pub(super) fn items(self, expected: &str, findings: &mut Findings) -> Option<Vec<Node<'a>>> {
        let DeValue::Array(items) = self.value else {
            return self.wrong(expected, findings);
        };
        let item = |(n, item): (usize, &'a Spanned<DeValue<'a>>)| {
            let path = item_path(&self.place.path, n);
            Node {
                value: item.get_ref(),
                place: Place {
                    offset: item.span().start,
                    path,
                },
            }
        };
        Some(items.iter().enumerate().map(item).collect())
    }

    pub(super) fn string(self, expected: &str, findings: &mut Findings) -> Option<At<String>> {
        match self.value.as_str() {
            Some(text) => self.at(text.to_owned()),
            None => self.wrong(expected, findings),
        }
    }

    pub(super) fn boolean(self, findings: &mut Findings) -> Option<At<bool>> {
        match self.value.as_bool() {
            Some(value) => self.at(value),
            None => self.wrong("true or false", findings),
        }
    }

    /// An integer from `least` to `most`.
    pub(super) fn integer<T>(self, (least, most): (T, T), findings: &mut Findings) -> Option<At<T>>
    where
        T: TryFrom<i64> + PartialOrd + Copy + std::fmt::Display,
    {
        match integer(self.value).and_then(|n| T::try_from(n).ok()) {
            Some(n) if (least..=most).contains(&n) => self.at(n),
            _ => self.wrong(&format!("an integer from {least} to {most}"), findings),
        }
    }

    /// One word of a fixed list, with what it stands for.
    pub(super) fn word<T: Copy>(
        self,
        words: &[(&'static str, T)],
        findings: &mut Findings,
    ) -> Option<At<T>> {
        let found = self.value.as_str();
        match words.iter().find(|(word, _)| Some(*word) == found) {
            Some((_, meaning)) => self.at(*meaning),
            None => self.not_among(words.iter().map(|(word, _)| *word), None, findings),
        }
    }

    /// Says which words were possible; `meant` overrules the guess.
    pub(super) fn not_among<T>(
        &self,
        words: impl Iterator<Item = &'static str> + Clone,
        meant: Option<&str>,
        findings: &mut Findings,
    ) -> Option<T> {
        let meant = match (meant, self.value.as_str()) {
            (Some(meant), _) => hint(meant, [meant]),
            (None, Some(found)) => hint(found, words.clone()),
            (None, None) => String::new(),
        };
        let list = if words.clone().count() > 2 {
            "one of "
        } else {
            ""
        };
        let (expected, found) = (one_of(words), describe(self.value));
        findings.add(
            &self.place,
            format!("expected {list}{expected}, found {found}{meant}"),
        );
        None
    }

    /// A size in bytes, as an integer or with a binary unit.
    pub(super) fn size(self, findings: &mut Findings) -> Option<At<u64>> {
        let bytes = match self.value {
            DeValue::String(text) => parse_size(text),
            value => integer(value).and_then(|n| u64::try_from(n).ok()),
        };
        match bytes {
            Some(0) => self.wrong("a size of at least 1 byte", findings),
            Some(bytes) if bytes <= LARGEST_SIZE => self.at(bytes),
            Some(_) => self.wrong("a size below 8 PiB", findings),
            None => self.wrong(SIZE, findings),
        }
    }

    /// The text, if it is one.
    pub(super) fn as_str(&self) -> Option<&'a str> {
        self.value.as_str()
    }

    /// A single value of any type that a field may hold.
    pub(super) fn scalar(self, findings: &mut Findings) -> Option<At<crate::value::Value>> {
        use crate::value::Value;
        let value = match self.value {
            DeValue::String(text) => Some(Value::Text(text.clone().into_owned())),
            DeValue::Boolean(value) => Some(Value::Boolean(*value)),
            DeValue::Integer(_) => integer(self.value).map(Value::Integer),
            DeValue::Float(float) => float.as_str().parse().ok().map(Value::Real),
            DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
        };
        match (value, self.value) {
            (Some(value), _) => self.at(value),
            (None, DeValue::Integer(_)) => self.wrong("an integer of 64 bits", findings),
            (None, DeValue::Datetime(_)) => {
                self.wrong("milliseconds since 1970 UTC as an integer", findings)
            }
            _ => self.wrong("a string, a number or a boolean", findings),
        }
    }
}

fn integer(value: &DeValue<'_>) -> Option<i64> {
    let integer = value.as_integer()?;
    i64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

fn parse_size(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let unit = unit.strip_prefix(' ').unwrap_or(unit);
    let (_, shift) = UNITS.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// `bytes` in the largest unit that says it exactly.
pub(super) fn show_size(bytes: u64) -> String {
    let exact = |(_, shift): &&(&str, u32)| bytes > 0 && bytes.is_multiple_of(1 << shift);
    match UNITS.iter().rev().find(exact) {
        Some((unit, shift)) if *shift > 0 => format!("{} {unit}", bytes >> shift),
        _ => format!("{bytes} bytes"),
    }
}

fn describe(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => quote(text),
        DeValue::Integer(n) => shorten(n.to_string()),
        DeValue::Float(x) => shorten(x.to_string()),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Datetime(_) => "a date or time".to_owned(),
        DeValue::Array(_) => "an array".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

fn shorten(number: String) -> String {
    if number.len() > 40 {
        format!("a number of {} digits", number.len())
    } else {
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_binary_units() {
        assert_eq!(parse_size("500 KiB"), Some(500 << 10));
        assert_eq!(parse_size("4MiB"), Some(4 << 20));
        assert_eq!(parse_size("7 B"), Some(7));
        for wrong in [
            "",
            "4",
            "4 MB",
            "4  MiB",
            "-4 MiB",
            "1.5 MiB",
            "99999999999999999999 B",
            "é",
        ] {
            assert_eq!(parse_size(wrong), None, "{wrong}");
        }
        assert_eq!(parse_size("99999999 TiB"), None);
    }

    #[test]
    fn sizes_are_shown_exactly() {
        assert_eq!(show_size(4 << 20), "4 MiB");
        assert_eq!(show_size(1536 << 10), "1536 KiB");
        assert_eq!(show_size(1001), "1001 bytes");
        assert_eq!(show_size(0), "0 bytes");
    }
}
