//! What must stand in the shared journal: every paragraph in one piece, every sentence once, whoever
//! wrote at the same time; only the order of those is nobody's promise.

use serde_json::Value as Json;

use crate::demo::messages::Paragraph;
use crate::demo::team::Place;
use crate::output::clipped;

/// The field with the journal's text.
pub(in crate::demo) const ENTRIES: &str = "entries";

/// Where the journal is.
pub(in crate::demo) const JOURNAL: Place = ("journals", "palmer", ENTRIES);

/// What the teams wrote.
#[derive(Clone, Debug, Default)]
pub(in crate::demo) struct Journal {
    paragraphs: Vec<(String, Paragraph)>,
    italic: Vec<String>,
}

impl Journal {
    /// Notes a team's paragraph.
    pub(in crate::demo) fn enter(&mut self, team: &str, paragraph: &Paragraph) {
        self.paragraphs.push((team.to_owned(), paragraph.clone()));
    }

    /// Notes that a sentence is in italics.
    pub(in crate::demo) fn italicise(&mut self, sentence: &str) {
        self.italic.push(sentence.to_owned());
    }

    /// How many sentences there are, headings not counted.
    pub(in crate::demo) fn sentences(&self) -> usize {
        self.all_sentences().count()
    }

    /// How many sentences stand in `text` exactly once.
    pub(in crate::demo) fn once(&self, text: &str) -> usize {
        self.all_sentences()
            .filter(|sentence| text.matches(sentence.as_str()).count() == 1)
            .count()
    }

    /// The sentence that was there first.
    pub(in crate::demo) fn first_sentence(&self) -> Option<String> {
        self.all_sentences().next().cloned()
    }

    fn all_sentences(&self) -> impl Iterator<Item = &String> {
        self.paragraphs.iter().flat_map(|(_, p)| &p.sentences)
    }

    /// Where `text` differs from what was written, one line a difference.
    pub(in crate::demo) fn differences(&self, text: &str) -> Vec<String> {
        let mut differences = Vec::new();
        for (team, paragraph) in &self.paragraphs {
            let pieces = std::iter::once(&paragraph.heading).chain(&paragraph.sentences);
            for piece in pieces {
                let found = text.matches(piece.as_str()).count();
                if found != 1 {
                    let piece = clipped(piece, 40);
                    differences.push(format!("{team}'s {piece:?} is there {found} times"));
                }
            }
            if !text.contains(&paragraph.text()) {
                let heading = &paragraph.heading;
                differences.push(format!("the paragraph {heading:?} is not in one piece"));
            }
        }
        let (expected, found) = (self.characters(), text.chars().count());
        if expected != found {
            differences.push(format!(
                "the journal has {found} characters, not {expected}"
            ));
        }
        differences
    }

    /// How many characters it has.
    pub(in crate::demo) fn characters(&self) -> usize {
        let lengths = self
            .paragraphs
            .iter()
            .map(|(_, p)| p.text().chars().count());
        lengths.sum()
    }

    /// Where the formats of `delta` differ from what was written.
    pub(in crate::demo) fn format_differences(&self, delta: &Json) -> Vec<String> {
        let headings = self.paragraphs.iter().map(|(_, p)| p.heading.clone());
        let mut differences = Vec::new();
        for (format, expected) in [
            ("bold", headings.collect()),
            ("italic", self.italic.clone()),
        ] {
            let (mut expected, mut found) = (expected, formatted(delta, format));
            expected.sort();
            found.sort();
            if expected != found {
                let (expected, found) = (expected.join(" | "), found.join(" | "));
                differences.push(format!("{format}: expected {expected}, found {found}"));
            }
        }
        differences
    }
}

/// The longest runs of a delta's text that have a format.
fn formatted(delta: &Json, format: &str) -> Vec<String> {
    let (mut runs, mut within) = (Vec::<String>::new(), false);
    for step in delta.as_array().into_iter().flatten() {
        let text = step["insert"].as_str().unwrap_or_default();
        let has = step["attributes"][format] == Json::Bool(true);
        match runs.last_mut().filter(|_| has && within) {
            Some(run) => run.push_str(text),
            None if has => runs.push(text.to_owned()),
            None => {}
        }
        within = has;
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn paragraph(heading: &str, sentences: &[&str]) -> Paragraph {
        Paragraph {
            heading: heading.to_owned(),
            sentences: sentences.iter().map(|s| (*s).to_owned()).collect(),
        }
    }

    fn journal() -> Journal {
        let mut journal = Journal::default();
        journal.enter("Dream", &paragraph("Dream", &["N1: snow.", "N2: wind."]));
        journal.enter("Biscoe", &paragraph("Biscoe", &["N3: fog."]));
        journal.italicise("N3: fog.");
        journal
    }

    #[test]
    fn whoever_comes_first_every_sentence_is_there_once() {
        let journal = journal();
        for text in [
            "Dream\nN1: snow. N2: wind.\nBiscoe\nN3: fog.\n",
            "Biscoe\nN3: fog.\nDream\nN1: snow. N2: wind.\n",
        ] {
            assert_eq!(journal.differences(text), Vec::<String>::new());
            assert_eq!((journal.once(text), journal.sentences()), (3, 3));
        }
    }

    #[test]
    fn what_is_lost_doubled_torn_or_foreign_is_noticed() {
        let journal = journal();
        let lost = journal.differences("Dream\nN1: snow. \nBiscoe\nN3: fog.\n");
        assert!(lost.contains(&"Dream's \"N2: wind.\" is there 0 times".to_owned()));
        let doubled = "Dream\nN1: snow. N2: wind.\nBiscoe\nN3: fog.\nBiscoe\nN3: fog.\n";
        assert_eq!(journal.once(doubled), 2);
        assert!(
            journal
                .differences(doubled)
                .contains(&"Biscoe's \"N3: fog.\" is there 2 times".to_owned())
        );
        let torn = journal.differences("Dream\nN1: snow. Biscoe\nN3: fog.\nN2: wind.\n");
        assert_eq!(torn, ["the paragraph \"Dream\" is not in one piece"]);
        let foreign = journal.differences("x Dream\nN1: snow. N2: wind.\nBiscoe\nN3: fog.\n");
        assert_eq!(foreign, ["the journal has 44 characters, not 42"]);
    }

    #[test]
    fn formats_stand_on_what_they_were_put_on() {
        let bold = json!({ "bold": true });
        let delta = json!([
            { "insert": "Dr", "attributes": bold }, { "insert": "eam", "attributes": bold },
            { "insert": "\nN1: snow. N2: wind.\n" }, { "insert": "Biscoe", "attributes": bold },
            { "insert": "\n" }, { "insert": "N3: fog.", "attributes": { "italic": true } }, { "insert": "\n" },
        ]);
        assert_eq!(journal().format_differences(&delta), Vec::<String>::new());
        let spilt = json!([{ "insert": "Dream\nN1", "attributes": bold }]);
        assert_eq!(journal().format_differences(&spilt).len(), 2);
    }
}
