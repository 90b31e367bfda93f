//! What a program reads, and what a person reads.

use std::error::Error;
use std::io::{self, IsTerminal};

use crate::figure::Figure;

/// Who reads the result.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// A person, on a terminal or in a log.
    Table,
    /// A program.
    Json,
    /// A person, in the documentation.
    Markdown,
}

const HEADING: [&str; 9] = [
    "figure",
    "value",
    "unit",
    "baseline",
    "ratio",
    "target",
    "result",
    "spread",
    "baseline's",
];

/// Collects figures; prints each at once for a program, all at the end for a person.
pub(crate) struct Report {
    form: Form,
    figures: Vec<Figure>,
    failed: Vec<&'static str>,
}

impl Report {
    pub(crate) fn new(form: Form) -> Report {
        Report {
            form,
            figures: Vec::new(),
            failed: Vec::new(),
        }
    }

    /// Says what is measured next.
    pub(crate) fn progress(&self, position: usize, of: usize, name: &str) {
        eprintln!("[{}/{of}] {name}", position + 1);
    }

    pub(crate) fn add(&mut self, figure: Figure) {
        if self.form == Form::Json {
            // A figure has no map and no value that JSON lacks.
            println!("{}", serde_json::to_string(&figure).unwrap_or_default());
        } else {
            eprintln!(
                "      {} {} {}",
                figure.figure,
                number(figure.value),
                figure.unit
            );
        }
        self.figures.push(figure);
    }

    /// A figure that could not be measured is a figure that was missed.
    pub(crate) fn failed(&mut self, name: &'static str, error: &dyn Error) {
        eprintln!("      {name} could not be measured: {error}");
        self.failed.push(name);
    }

    /// Whether every figure was measured and met its target.
    pub(crate) fn finish(&self) -> bool {
        match self.form {
            Form::Json => {}
            Form::Markdown => self.print_markdown(),
            Form::Table => {
                self.print_table(
                    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
                );
            }
        }
        self.failed.is_empty() && self.figures.iter().all(|figure| figure.met)
    }

    fn print_markdown(&self) {
        println!("| {} |", HEADING.join(" | "));
        println!("|{}", "---|".repeat(HEADING.len()));
        for figure in &self.figures {
            println!("| {} |", row(figure).join(" | "));
        }
    }

    fn print_table(&self, colour: bool) {
        let mut rows = vec![HEADING.map(str::to_owned)];
        rows.extend(self.figures.iter().map(row));
        let width = |column: usize| {
            rows.iter()
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: [usize; 9] = std::array::from_fn(width);
        println!();
        for row in &rows {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let is_number = matches!(column, 1 | 3 | 4);
                let space = " ".repeat(widths[column] - cell.chars().count());
                let cell = if colour { coloured(cell) } else { cell.clone() };
                line += "  ";
                line += &if is_number {
                    space + &cell
                } else {
                    cell + &space
                };
            }
            println!("{}", line.trim_end());
        }
        for name in &self.failed {
            println!(
                "  {name}  {}",
                if colour {
                    coloured("failed")
                } else {
                    "failed".to_owned()
                }
            );
        }
        let met = self.figures.iter().filter(|figure| figure.met).count();
        println!(
            "\n{met} of {} figures met",
            self.figures.len() + self.failed.len()
        );
    }
}

fn row(figure: &Figure) -> [String; 9] {
    let optional = |value: Option<f64>| value.map(number).unwrap_or_default();
    let spread = |spread: Option<(f64, f64)>| {
        spread
            .map(|(low, high)| format!("{} to {}", number(low), number(high)))
            .unwrap_or_default()
    };
    [
        figure.figure.clone(),
        number(figure.value),
        figure.unit.to_owned(),
        optional(figure.baseline),
        figure
            .ratio
            .map(|ratio| format!("{ratio:.2}"))
            .unwrap_or_default(),
        figure.target.to_string(),
        if figure.met { "met" } else { "missed" }.to_owned(),
        spread(figure.spread),
        spread(figure.baseline_spread),
    ]
}

/// Three digits that matter.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 || size == 0.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

fn coloured(cell: &str) -> String {
    match cell {
        "met" => format!("\x1b[32m{cell}\x1b[0m"),
        "missed" | "failed" => format!("\x1b[31m{cell}\x1b[0m"),
        _ => cell.to_owned(),
    }
}
