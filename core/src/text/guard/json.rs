//! Whether bytes are one JSON value, without allocating and without recursion.
//!
//! As strict as the parser that reads the value later: depth, halves of surrogate pairs and
//! numbers out of range are refused here, so that no accepted value fails there.

use super::Why;

/// The deepest nesting that the bit set of open brackets holds.
pub(crate) const MOST_DEPTH: u32 = 64;

/// Checks that `text` is exactly one JSON value nested at most `depth` deep, and takes the values in
/// it off what is left of `pieces`.
pub(crate) fn check(text: &str, depth: u32, pieces: &mut u32) -> Result<(), Why> {
    let mut scan = Scan {
        text,
        bytes: text.as_bytes(),
        at: 0,
        pieces,
    };
    scan.document(depth.min(MOST_DEPTH))
}

/// Checks that `text` is one JSON scalar: null, a boolean, a number or a string.
pub(crate) fn check_scalar(text: &str) -> Result<(), Why> {
    check(text, 0, &mut 2)?;
    // Yrs takes no integer beyond 64 bits with a sign.
    let integer = text
        .trim_ascii()
        .bytes()
        .all(|b| b == b'-' || b.is_ascii_digit());
    if integer && text.trim_ascii().parse::<i64>().is_err() {
        return Err(Why::Number);
    }
    Ok(())
}

struct Scan<'a, 'p> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    /// How many more values there may be.
    pieces: &'p mut u32,
}

impl Scan<'_, '_> {
    fn document(&mut self, most: u32) -> Result<(), Why> {
        // One bit a level: set where an object is open.
        let (mut objects, mut depth) = (0u64, 0u32);
        'value: loop {
            *self.pieces = self.pieces.checked_sub(1).ok_or(Why::Pieces)?;
            self.space();
            match self.peek()? {
                open @ (b'[' | b'{') => {
                    self.at += 1;
                    if depth == most {
                        return Err(Why::Depth);
                    }
                    let object = open == b'{';
                    objects = (objects << 1) | u64::from(object);
                    depth += 1;
                    self.space();
                    let empty = self.peek()? == if object { b'}' } else { b']' };
                    if !empty {
                        if object {
                            self.key()?;
                        }
                        continue 'value;
                    }
                }
                _ => {
                    self.scalar()?;
                    if depth == 0 {
                        break 'value;
                    }
                    self.space();
                }
            }
            // A value has ended inside of something: close what closes, or go on after a comma.
            loop {
                let object = objects & 1 == 1;
                match (self.next()?, object) {
                    (b']', false) | (b'}', true) => {
                        objects >>= 1;
                        depth -= 1;
                        if depth == 0 {
                            break 'value;
                        }
                        self.space();
                    }
                    (b',', true) => {
                        self.space();
                        self.key()?;
                        continue 'value;
                    }
                    (b',', false) => continue 'value,
                    _ => return Err(Why::Json),
                }
            }
        }
        self.space();
        if self.at == self.bytes.len() {
            Ok(())
        } else {
            Err(Why::Json)
        }
    }

    fn peek(&self) -> Result<u8, Why> {
        self.bytes.get(self.at).copied().ok_or(Why::Json)
    }

    fn next(&mut self) -> Result<u8, Why> {
        let byte = self.peek()?;
        self.at += 1;
        Ok(byte)
    }

    fn space(&mut self) {
        while matches!(self.bytes.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn key(&mut self) -> Result<(), Why> {
        if self.next()? != b'"' {
            return Err(Why::Json);
        }
        self.string()?;
        self.space();
        if self.next()? == b':' {
            Ok(())
        } else {
            Err(Why::Json)
        }
    }

    fn scalar(&mut self) -> Result<(), Why> {
        match self.next()? {
            b'"' => self.string(),
            b'n' => self.word(b"ull"),
            b't' => self.word(b"rue"),
            b'f' => self.word(b"alse"),
            first @ (b'-' | b'0'..=b'9') => self.number(first),
            _ => Err(Why::Json),
        }
    }

    fn word(&mut self, rest: &[u8]) -> Result<(), Why> {
        let found = self.bytes.get(self.at..self.at + rest.len());
        self.at += rest.len();
        if found == Some(rest) {
            Ok(())
        } else {
            Err(Why::Json)
        }
    }

    /// What follows an opening quote, up to the closing one.
    fn string(&mut self) -> Result<(), Why> {
        loop {
            match self.next()? {
                b'"' => return Ok(()),
                b'\\' => self.escape()?,
                0..0x20 => return Err(Why::Json),
                _ => {}
            }
        }
    }

    fn escape(&mut self) -> Result<(), Why> {
        match self.next()? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Ok(()),
            b'u' => match self.hex()? {
                0xd800..0xdc00 => {
                    let low = self.next()? == b'\\' && self.next()? == b'u';
                    if low && (0xdc00..0xe000).contains(&self.hex()?) {
                        Ok(())
                    } else {
                        Err(Why::Surrogate)
                    }
                }
                0xdc00..0xe000 => Err(Why::Surrogate),
                _ => Ok(()),
            },
            _ => Err(Why::Json),
        }
    }

    fn hex(&mut self) -> Result<u32, Why> {
        let mut value = 0;
        for _ in 0..4 {
            let digit = char::from(self.next()?).to_digit(16).ok_or(Why::Json)?;
            value = value * 16 + digit;
        }
        Ok(value)
    }

    /// A number whose first byte has been read.
    fn number(&mut self, first: u8) -> Result<(), Why> {
        let start = self.at - 1;
        let lead = if first == b'-' { self.next()? } else { first };
        match lead {
            b'0' => {}
            b'1'..=b'9' => self.digits(),
            _ => return Err(Why::Json),
        }
        let mut exact = true;
        if self.bytes.get(self.at) == Some(&b'.') {
            exact = false;
            self.at += 1;
            self.some_digits()?;
        }
        if matches!(self.bytes.get(self.at), Some(b'e' | b'E')) {
            exact = false;
            self.at += 1;
            if matches!(self.bytes.get(self.at), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.some_digits()?;
        }
        // Up to 300 digits alone cannot leave the range of a double.
        if exact && self.at - start < 300 {
            return Ok(());
        }
        let written = self.text.get(start..self.at).unwrap_or_default();
        match written.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(()),
            _ => Err(Why::Json),
        }
    }

    fn digits(&mut self) {
        while matches!(self.bytes.get(self.at), Some(b'0'..=b'9')) {
            self.at += 1;
        }
    }

    fn some_digits(&mut self) -> Result<(), Why> {
        let start = self.at;
        self.digits();
        if self.at > start {
            Ok(())
        } else {
            Err(Why::Json)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The depth the parser is told here is what it counts itself.
    const DEPTH: u32 = 8;

    fn parser_takes(text: &str) -> bool {
        fn depth(value: &serde_json::Value) -> u32 {
            match value {
                serde_json::Value::Array(all) => 1 + all.iter().map(depth).max().unwrap_or(0),
                serde_json::Value::Object(all) => 1 + all.values().map(depth).max().unwrap_or(0),
                _ => 0,
            }
        }
        serde_json::from_str(text).is_ok_and(|value| depth(&value) <= DEPTH)
    }

    #[test]
    fn takes_what_the_parser_takes() {
        for text in [
            "null",
            "true",
            "false",
            "0",
            "-0",
            "1.5e-3",
            " [ ] ",
            "{}",
            "[1,[2,{\"a\":[]}]]",
            r#""\u00e9\ud83d\ude00\n""#,
            "\"\u{1f600}\"",
            r#"{"a":1,"b":{"c":null}}"#,
            "1e308",
            "[[[[[[[[1]]]]]]]]",
        ] {
            assert_eq!(check(text, DEPTH, &mut 99), Ok(()), "{text}");
            assert!(parser_takes(text), "{text}");
        }
    }

    #[test]
    fn refuses_what_the_parser_refuses() {
        for text in [
            "",
            " ",
            "nul",
            "tru",
            "01",
            "1.",
            ".5",
            "1e",
            "-",
            "+1",
            "[1,]",
            "[,1]",
            "{\"a\"}",
            "{a:1}",
            "{\"a\":1,}",
            "[1}",
            "{]",
            "\"",
            "\"\\x\"",
            "\"\u{1}\"",
            r#""\ud83d""#,
            r#""\ude00""#,
            r#""\ud83d\u0041""#,
            "1 2",
            "1e999",
            "-1e999",
            "[[[[[[[[[1]]]]]]]]]",
            "]",
            "[",
            "{\"a\":",
            "nullx",
            "\u{feff}1",
        ] {
            assert!(check(text, DEPTH, &mut 99).is_err(), "{text}");
            assert!(!parser_takes(text), "{text}");
        }
    }

    #[test]
    fn a_scalar_is_no_list_and_no_object() {
        assert_eq!(check_scalar("\"x\""), Ok(()));
        assert_eq!(check_scalar("[]"), Err(Why::Depth));
        assert_eq!(check_scalar("{}"), Err(Why::Depth));
        assert_eq!(check_scalar(" -9223372036854775808 "), Ok(()));
        assert_eq!(check_scalar("9223372036854775808"), Err(Why::Number));
        assert_eq!(check_scalar("9223372036854775808.0"), Ok(()));
    }

    #[test]
    fn values_are_counted() {
        let mut pieces = 7;
        assert_eq!(check(r#"[1,{"a":[null]},"x"]"#, DEPTH, &mut pieces), Ok(()));
        assert_eq!(pieces, 1);
        assert_eq!(check("[1]", DEPTH, &mut pieces), Err(Why::Pieces));
    }

    proptest! {
        #[test]
        fn agrees_with_the_parser(text in r#"[\[\]\{\}",:0-9eE.+\-\\undtrfals \x01é]{0,24}"#) {
            prop_assert_eq!(check(&text, DEPTH, &mut 99).is_ok(), parser_takes(&text));
        }
    }
}
