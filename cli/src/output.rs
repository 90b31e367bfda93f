//! What a command prints: lines and tables for a person, or one JSON object a line for a program.

use std::io::{self, IsTerminal, Write};
use std::sync::Mutex;

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};
use serde::Serialize;

/// When to use colours.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum ColorChoice {
    /// On a terminal, unless NO_COLOR or CLICOLOR=0 is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Colours that mean something.
#[derive(Clone, Copy)]
pub(crate) enum Tone {
    /// It held.
    Good,
    /// It did not.
    Bad,
    /// Of lesser interest.
    Faint,
    /// A heading.
    Strong,
}

/// Where a command's result goes.
pub(crate) struct Output {
    json: bool,
    colour: bool,
    progress: bool,
    stream: Mutex<Stream>,
}

struct Stream {
    to: Box<dyn Write + Send>,
    broken: Option<io::Error>,
}

/// How a column stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

impl Output {
    /// Standard output, as the arguments and the environment ask for.
    pub(crate) fn new(json: bool, choice: ColorChoice) -> Output {
        let terminal = io::stdout().is_terminal();
        let read = |name: &str| std::env::var(name).ok();
        Output {
            json,
            colour: !json && wants_colour(choice, terminal, &read),
            progress: !json && io::stderr().is_terminal(),
            stream: Mutex::new(Stream {
                to: Box::new(io::stdout()),
                broken: None,
            }),
        }
    }

    /// An output that nobody reads.
    #[cfg(test)]
    pub(crate) fn silent() -> Output {
        let stream = Mutex::new(Stream {
            to: Box::new(io::sink()),
            broken: None,
        });
        Output {
            json: false,
            colour: false,
            progress: false,
            stream,
        }
    }

    /// Whether progress may be drawn on standard error.
    pub(crate) fn shows_progress(&self) -> bool {
        self.progress
    }

    /// A line for a person; nothing when a program reads.
    pub(crate) fn line(&self, text: impl AsRef<str>) {
        if !self.json {
            self.put(text.as_ref());
        }
    }

    /// An object for a program; nothing when a person reads.
    pub(crate) fn object(&self, object: &impl Serialize) {
        if self.json {
            match serde_json::to_string(object) {
                Ok(text) => self.put(&text),
                Err(error) => self.note_broken(io::Error::other(error)),
            }
        }
    }

    /// A table for a person: its columns line up, without lines between them.
    pub(crate) fn table(&self, columns: &[(&str, Align)], rows: Vec<Vec<String>>) {
        if !self.json {
            self.put(&render(columns, rows, self.colour));
        }
    }

    /// `text` in a tone, if colours are on.
    pub(crate) fn tone(&self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Good => "32",
            Tone::Bad => "31;1",
            Tone::Faint => "2",
            Tone::Strong => "1",
        };
        match self.colour {
            true => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
            false => text.to_owned(),
        }
    }

    /// What went wrong with the stream itself. A reader that left (`| head`) is no error.
    pub(crate) fn broken(&self) -> Option<io::Error> {
        let mut stream = self
            .stream
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        stream
            .broken
            .take()
            .filter(|error| error.kind() != io::ErrorKind::BrokenPipe)
    }

    /// Whether nobody reads any more, or nothing can be written.
    pub(crate) fn is_broken(&self) -> bool {
        let stream = self
            .stream
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        stream.broken.is_some()
    }

    fn note_broken(&self, error: io::Error) {
        let mut stream = self
            .stream
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        stream.broken.get_or_insert(error);
    }

    fn put(&self, text: &str) {
        let mut stream = self
            .stream
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if stream.broken.is_some() {
            return;
        }
        let written = writeln!(stream.to, "{text}").and_then(|()| stream.to.flush());
        stream.broken = written.err();
    }
}

/// <https://no-color.org> and <https://bixense.com/clicolors>.
fn wants_colour(
    choice: ColorChoice,
    terminal: bool,
    read: &dyn Fn(&str) -> Option<String>,
) -> bool {
    let set = |name: &str| read(name).is_some_and(|value| !value.is_empty());
    let is = |name: &str, what: &str| read(name).is_some_and(|value| value == what);
    match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto if set("NO_COLOR") => false,
        ColorChoice::Auto if set("CLICOLOR_FORCE") && !is("CLICOLOR_FORCE", "0") => true,
        ColorChoice::Auto => terminal && !is("CLICOLOR", "0") && !is("TERM", "dumb"),
    }
}

fn render(columns: &[(&str, Align)], rows: Vec<Vec<String>>, colour: bool) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled);
    if colour {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    let head = |(name, align): &(&str, Align)| {
        let cell = Cell::new(name).set_alignment(alignment(*align));
        if colour {
            cell.add_attribute(comfy_table::Attribute::Bold)
        } else {
            cell
        }
    };
    if columns.iter().any(|(name, _)| !name.is_empty()) {
        table.set_header(columns.iter().map(head));
    }
    for row in rows {
        let cells = row
            .into_iter()
            .zip(columns)
            .map(|(text, (_, align))| Cell::new(plain(&text)).set_alignment(alignment(*align)));
        table.add_row(cells);
    }
    let text = table.to_string();
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.join("\n")
}

fn alignment(align: Align) -> CellAlignment {
    match align {
        Align::Left => CellAlignment::Left,
        Align::Right => CellAlignment::Right,
    }
}

/// Text from documents must not move the cursor or break a row.
pub(crate) fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// At most so many characters, an ellipsis in place of the rest.
pub(crate) fn clipped(text: &str, most: usize) -> String {
    let text = plain(text);
    if text.chars().count() <= most {
        return text;
    }
    text.chars()
        .take(most.saturating_sub(1))
        .chain(['…'])
        .collect()
}

/// Text in lines of at most so many characters, broken between words where it can be.
pub(crate) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let room = width.saturating_sub(lines.last().map_or(0, |line| line.chars().count()));
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if word.chars().count() < room => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Bytes for a person.
pub(crate) fn bytes(n: u64) -> String {
    match n {
        0..1_024 => format!("{n} B"),
        1_024..1_048_576 => format!("{:.1} KiB", n as f64 / 1_024.0),
        _ => format!("{:.1} MiB", n as f64 / 1_048_576.0),
    }
}

/// A span of time for a person.
pub(crate) fn span(millis: i64) -> String {
    let sign = if millis < 0 { "-" } else { "" };
    let millis = millis.unsigned_abs();
    let seconds = millis / 1000;
    match seconds {
        0 => format!("{sign}{millis} ms"),
        1..60 => format!("{sign}{}.{} s", seconds, millis % 1000 / 100),
        60..3600 => format!("{sign}{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{sign}{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{sign}{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// One or many.
pub(crate) fn count(n: u64, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn colour(choice: ColorChoice, terminal: bool, variables: &[(&str, &str)]) -> bool {
        let read = |name: &str| {
            variables
                .iter()
                .find(|(n, _)| *n == name)
                .map(|(_, v)| (*v).to_owned())
        };
        wants_colour(choice, terminal, &read)
    }

    #[test]
    fn colours_are_for_terminals_and_obey_the_environment() {
        assert!(colour(ColorChoice::Auto, true, &[]));
        assert!(!colour(ColorChoice::Auto, false, &[]));
        assert!(!colour(ColorChoice::Auto, true, &[("NO_COLOR", "1")]));
        assert!(colour(ColorChoice::Auto, true, &[("NO_COLOR", "")]));
        assert!(!colour(ColorChoice::Auto, true, &[("CLICOLOR", "0")]));
        assert!(!colour(ColorChoice::Auto, true, &[("TERM", "dumb")]));
        assert!(colour(ColorChoice::Auto, false, &[("CLICOLOR_FORCE", "1")]));
        assert!(!colour(
            ColorChoice::Auto,
            false,
            &[("CLICOLOR_FORCE", "0")]
        ));
        assert!(!colour(
            ColorChoice::Auto,
            false,
            &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]
        ));
        assert!(colour(ColorChoice::Always, false, &[("NO_COLOR", "1")]));
        assert!(!colour(
            ColorChoice::Never,
            true,
            &[("CLICOLOR_FORCE", "1")]
        ));
    }

    #[test]
    fn columns_line_up_whatever_they_hold() {
        let columns = [("team", Align::Left), ("birds", Align::Right)];
        let rows = vec![
            vec!["Adélie".into(), "7".into()],
            vec!["a\nb\u{1b}[31m".into(), "1234".into()],
        ];
        let text = render(&columns, rows.clone(), false);
        let widths: Vec<usize> = text.lines().map(|line| line.chars().count()).collect();
        assert_eq!(widths.len(), 3, "{text}");
        assert!(widths.iter().all(|width| *width == widths[0]), "{text}");
        assert!(!text.contains('\u{1b}'));
        assert!(render(&columns, rows, true).contains('\u{1b}'));
    }

    #[test]
    fn nothing_but_objects_for_programs() {
        #[derive(Clone)]
        struct Shared(std::sync::Arc<Mutex<Vec<u8>>>);
        impl Write for Shared {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.lock().unwrap().write(bytes)
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let written = Shared(std::sync::Arc::default());
        let stream = Mutex::new(Stream {
            to: Box::new(written.clone()),
            broken: None,
        });
        let output = Output {
            json: true,
            colour: false,
            progress: false,
            stream,
        };
        output.line("for a person");
        output.table(&[("a", Align::Left)], vec![vec!["b".into()]]);
        output.object(&serde_json::json!({ "a": "line\nbreak" }));
        assert_eq!(
            String::from_utf8(written.0.lock().unwrap().clone()).unwrap(),
            "{\"a\":\"line\\nbreak\"}\n"
        );
    }

    #[test]
    fn a_reader_that_left_is_no_error_but_a_full_disk_is() {
        struct Failing(io::ErrorKind);
        impl Write for Failing {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(self.0.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        for (kind, fails) in [
            (io::ErrorKind::BrokenPipe, false),
            (io::ErrorKind::StorageFull, true),
        ] {
            let stream = Mutex::new(Stream {
                to: Box::new(Failing(kind)),
                broken: None,
            });
            let output = Output {
                json: false,
                colour: false,
                progress: false,
                stream,
            };
            output.line("a");
            output.line("b");
            assert_eq!(output.broken().is_some(), fails);
        }
    }

    #[test]
    fn long_text_is_broken_between_words() {
        let lines = wrapped("nothing is lost, nothing is doubled", 15);
        assert_eq!(lines, ["nothing is", "lost, nothing", "is doubled"]);
        assert_eq!(wrapped("a b", 3), ["a b"]);
        assert_eq!(wrapped("unbreakable", 3), ["unbreakable"]);
        assert_eq!(wrapped("", 3), [""]);
    }

    #[test]
    fn figures_for_people() {
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(span(12), "12 ms");
        assert_eq!(span(-18_720_000), "-5 h 12 min");
        assert_eq!(span(1_540), "1.5 s");
        assert_eq!(clipped("Pygoscelis", 5), "Pygo…");
        assert_eq!(count(1, "write", "writes"), "1 write");
    }
}
