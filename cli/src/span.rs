//! Spans of time as people write them: a whole number and a unit.

use std::fmt;
use std::str::FromStr;

/// A span of whole milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Span(u64);

const UNITS: [(&str, u64); 5] = [
    // Before the others: it ends as seconds do.
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 24 * 3_600_000),
];

const FORM: &str = "expected a number and ms, s, m, h or d, such as 500ms, 90s or 1h";

impl Span {
    pub(crate) const fn millis(millis: u64) -> Span {
        Span(millis)
    }

    pub(crate) const fn seconds(seconds: u64) -> Span {
        Span(seconds.saturating_mul(1_000))
    }

    pub(crate) fn as_millis(self) -> u64 {
        self.0
    }

    /// Rounded down.
    pub(crate) fn as_seconds(self) -> u64 {
        self.0 / 1_000
    }
}

impl FromStr for Span {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Span, &'static str> {
        let mut units = UNITS.iter();
        let split = units.find_map(|(unit, millis)| Some((text.strip_suffix(unit)?, millis)));
        let (number, millis) = split.ok_or(FORM)?;
        // A sign is no digit.
        if !number.bytes().all(|digit| digit.is_ascii_digit()) {
            return Err(FORM);
        }
        let number: u64 = number.parse().map_err(|_| FORM)?;
        number.checked_mul(*millis).map(Span).ok_or(FORM)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A day is more often said in hours.
        let units = UNITS.iter().rev().skip(1);
        let mut whole = units.filter(|(_, millis)| self.0 > 0 && self.0.is_multiple_of(*millis));
        let (unit, millis) = whole.next().unwrap_or(&("ms", 1));
        write!(f, "{}{unit}", self.0 / millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_a_number_and_a_unit() {
        for (text, millis) in [
            ("0s", 0),
            ("500ms", 500),
            ("90s", 90_000),
            ("2m", 120_000),
            ("24h", 86_400_000),
            ("1d", 86_400_000),
        ] {
            assert_eq!(text.parse(), Ok(Span(millis)), "{text}");
        }
        for wrong in [
            "",
            "1",
            "h",
            "ms",
            "-1h",
            "+1h",
            "1.5h",
            "1w",
            "1é",
            "1 h",
            "99999999999999999999s",
            "18446744073709551615d",
        ] {
            assert_eq!(wrong.parse::<Span>(), Err(FORM), "{wrong}");
        }
    }

    #[test]
    fn spans_are_written_as_they_are_read() {
        for text in [
            "0ms", "1ms", "1500ms", "45s", "90s", "2m", "1h", "24h", "720h",
        ] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
        }
    }
}
