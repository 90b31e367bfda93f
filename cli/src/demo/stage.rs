//! Tells the story as it happens, and keeps what was checked as data.

use std::fmt::Display;
use std::time::Instant;

use serde::Serialize;
use serde_json::{Value as Json, json};

use crate::failure::Exit;
use crate::output::{Output, Tone, count, span, wrapped};

/// No line is wider, on a terminal or not.
const WIDTH: usize = 80;

/// One promise, and whether it held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    /// The step it was checked in.
    pub(super) step: u32,
    pub(super) name: String,
    pub(super) expected: String,
    pub(super) found: String,
    pub(super) held: bool,
}

/// Where the story is told.
pub(super) struct Stage<'a> {
    pub(super) output: &'a Output,
    started: Instant,
    step: u32,
    checks: Vec<Check>,
}

impl<'a> Stage<'a> {
    pub(super) fn new(output: &'a Output) -> Stage<'a> {
        Stage {
            output,
            started: Instant::now(),
            step: 0,
            checks: Vec::new(),
        }
    }

    /// A step, as it begins.
    pub(super) fn step(&mut self, text: &str) {
        self.step += 1;
        let number = self.output.tone(Tone::Strong, &format!("{:>2}", self.step));
        for (at, line) in wrapped(text, WIDTH - 4).iter().enumerate() {
            let margin = if at == 0 { number.as_str() } else { "  " };
            self.output.line(format!("{margin}  {line}"));
        }
        self.output.object(&json!({
            "type": "step", "step": self.step, "text": text, "at_ms": self.millis(),
        }));
    }

    /// Something that happened within the step.
    pub(super) fn note(&self, text: &str, data: Json) {
        for line in wrapped(text, WIDTH - 6) {
            self.output
                .line(format!("      {}", self.output.tone(Tone::Faint, &line)));
        }
        self.output.object(&json!({
            "type": "note", "step": self.step, "text": text, "data": data, "at_ms": self.millis(),
        }));
    }

    /// Checks that what was found is what was expected.
    pub(super) fn equal(&mut self, name: &str, expected: impl Display, found: impl Display) {
        let (expected, found) = (expected.to_string(), found.to_string());
        let held = expected == found;
        self.judge(name, expected, found, held);
    }

    /// Checks that something is true.
    pub(super) fn holds(
        &mut self,
        name: &str,
        expected: impl Display,
        found: impl Display,
        held: bool,
    ) {
        self.judge(name, expected.to_string(), found.to_string(), held);
    }

    /// Checks that something came about.
    pub(super) fn happens(&mut self, name: &str, held: bool) {
        let found = if held { "yes" } else { "no" };
        self.judge(name, "yes".to_owned(), found.to_owned(), held);
    }

    /// Checks that a list of faults is empty.
    pub(super) fn none(&mut self, name: &str, faults: &[String]) {
        let found = match faults {
            [] => "none".to_owned(),
            [first] => first.clone(),
            [first, rest @ ..] => format!("{first}, and {} more", rest.len()),
        };
        self.judge(name, "none".to_owned(), found, faults.is_empty());
        for fault in faults.iter().skip(1).take(20) {
            self.note(fault, Json::Null);
        }
    }

    fn judge(&mut self, name: &str, expected: String, found: String, held: bool) {
        let check = Check {
            step: self.step,
            name: name.to_owned(),
            expected,
            found,
            held,
        };
        let (sign, line) = match held {
            true => (
                self.output.tone(Tone::Good, "✓"),
                format!("{name}: {}", check.found),
            ),
            false => (
                self.output.tone(Tone::Bad, "✗"),
                format!("{name}: expected {}, found {}", check.expected, check.found),
            ),
        };
        for (at, line) in wrapped(&line, WIDTH - 6).iter().enumerate() {
            let margin = if at == 0 { sign.as_str() } else { " " };
            self.output.line(format!("    {margin} {line}"));
        }
        let mut object = json!(check);
        if let Some(object) = object.as_object_mut() {
            object.insert("type".to_owned(), json!("check"));
        }
        self.output.object(&object);
        self.checks.push(check);
    }

    pub(super) fn millis(&self) -> i64 {
        i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    /// The last word: whether every check held.
    pub(super) fn verdict(&self, summary: Json) -> Exit {
        let broken: Vec<&Check> = self.checks.iter().filter(|check| !check.held).collect();
        let held = broken.is_empty() && !self.checks.is_empty();
        self.output.object(&json!({
            "type": "summary", "held": held, "checks": self.checks.len(), "broken": broken,
            "took_ms": self.millis(), "result": summary,
        }));
        let checks = count(self.checks.len() as u64, "check", "checks");
        let took = span(self.millis());
        self.output.line("");
        match held {
            true => self.output.line(
                self.output
                    .tone(Tone::Good, &format!("All {checks} held, in {took}.")),
            ),
            false => {
                let line = format!("{} of {checks} did not hold:", broken.len());
                self.output.line(self.output.tone(Tone::Bad, &line));
            }
        }
        for check in &broken {
            let Check {
                step,
                name,
                expected,
                found,
                ..
            } = check;
            self.output.line(format!(
                "  step {step}, {name}: expected {expected}, found {found}"
            ));
        }
        if held { Exit::Done } else { Exit::CheckFailed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_broken_promise_fails_the_demo() {
        let output = Output::silent();
        let mut stage = Stage::new(&output);
        assert_eq!(
            stage.verdict(Json::Null),
            Exit::CheckFailed,
            "nothing checked is nothing shown"
        );
        stage.step("a step");
        stage.equal("birds", 344, 344);
        assert_eq!(stage.verdict(Json::Null), Exit::Done);
        stage.none("lost", &["birds/a".to_owned(), "birds/b".to_owned()]);
        assert_eq!(stage.verdict(Json::Null), Exit::CheckFailed);
        let broken = stage.checks.iter().find(|check| !check.held).unwrap();
        assert_eq!(
            (broken.step, broken.found.as_str()),
            (1, "birds/a, and 1 more")
        );
    }
}
