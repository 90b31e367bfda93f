//! What the app was told of each of its writes, and what may therefore be found.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

/// What a call said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Told {
    /// It is done.
    Done,
    /// It is not done.
    Failed,
    /// It may be done: the process ended in it, or the call says that it does not know.
    Unknown,
}

/// A write that leaves a mark: a bit in a counter, and a document of its own, in one transaction.
#[derive(Clone, Debug)]
pub(super) struct Mark {
    pub(super) number: u32,
    told: Told,
    /// A loss of power must not take it any more.
    durable: bool,
    /// The app took it back.
    pub(super) discarded: bool,
}

/// What was written to one field of one document, or whether a document is there, in order.
#[derive(Clone, Debug, Default)]
struct Trail(Vec<Step>);

#[derive(Clone, Debug)]
struct Step {
    value: Json,
    told: Told,
    durable: bool,
}

/// All that the app was told.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    pub(super) marks: Vec<Mark>,
    fields: BTreeMap<(String, String), Trail>,
    documents: BTreeMap<String, Trail>,
    /// What was put into texts and lists, by document and field.
    words: BTreeMap<(String, String), Vec<Word>>,
}

/// Something put into a text that others write as well. No word is a part of another.
#[derive(Clone, Debug)]
struct Word {
    text: String,
    told: Told,
    durable: bool,
}

/// What is found: `collection/id` and the visible fields.
pub(super) type Documents = BTreeMap<String, Json>;

/// The document whose counter holds the marks.
pub(super) const TALLY: &str = "1/tally";

pub(super) fn marked(number: u32) -> String {
    format!("1/w{number:02}")
}

impl Model {
    pub(super) fn mark(&mut self, number: u32, told: Told) {
        self.marks.push(Mark {
            number,
            told,
            durable: false,
            discarded: false,
        });
    }

    /// What the app was told of the write that left the last mark.
    pub(super) fn last_told(&self) -> Option<Told> {
        self.marks.last().map(|mark| mark.told)
    }

    pub(super) fn field(&mut self, document: &str, field: &str, value: Json, told: Told) {
        let key = (document.to_owned(), field.to_owned());
        self.fields
            .entry(key)
            .or_default()
            .0
            .push(Step::new(value, told));
    }

    pub(super) fn document(&mut self, document: &str, there: bool, told: Told) {
        let trail = self.documents.entry(document.to_owned()).or_default();
        trail.0.push(Step::new(there.into(), told));
    }

    pub(super) fn word(&mut self, (document, field): (&str, &str), text: &str, told: Told) {
        let key = (document.to_owned(), field.to_owned());
        let text = text.to_owned();
        let durable = false;
        let word = Word {
            text,
            told,
            durable,
        };
        self.words.entry(key).or_default().push(word);
    }

    /// These words were stored after all.
    pub(super) fn words_done(&mut self, (document, field): (&str, &str), texts: &[&str]) {
        let key = (document.to_owned(), field.to_owned());
        for word in self.words.get_mut(&key).into_iter().flatten() {
            if texts.contains(&word.text.as_str()) {
                word.told = Told::Done;
            }
        }
    }

    /// Others write to these documents too: what is found there is not this app's doing alone.
    pub(super) fn share(&mut self, documents: &[&str]) {
        let shared = |document: &String| documents.contains(&document.as_str());
        self.fields.retain(|(document, _), _| !shared(document));
        self.documents.retain(|document, _| !shared(document));
    }

    /// Everything told so far survives a loss of power from now on.
    pub(super) fn all_durable(&mut self) {
        for mark in &mut self.marks {
            mark.durable = true;
        }
        let trails = self.fields.values_mut().chain(self.documents.values_mut());
        for step in trails.flat_map(|trail| &mut trail.0) {
            step.durable = true;
        }
        for word in self.words.values_mut().flatten() {
            word.durable = true;
        }
    }

    /// Whatever was told so far may be gone, but only from its end.
    pub(super) fn all_may_be_lost(&mut self) {
        for mark in &mut self.marks {
            mark.durable = false;
        }
        let trails = self.fields.values_mut().chain(self.documents.values_mut());
        for step in trails.flat_map(|trail| &mut trail.0) {
            step.durable = false;
        }
        for word in self.words.values_mut().flatten() {
            word.durable = false;
        }
    }

    /// The queue was dropped, or may have been: what was in it may be gone.
    pub(super) fn all_dropped(&mut self, numbers: &[u32]) {
        for mark in &mut self.marks {
            mark.discarded |= numbers.contains(&mark.number);
        }
        self.fields.clear();
        self.documents.clear();
        self.words.clear();
    }

    /// The file is an older one from now on: what it has not heard of since is elsewhere, or nowhere.
    pub(super) fn put_back(&mut self, to: &Model) {
        let known = |number| to.marks.iter().any(|mark| mark.number == number);
        for mark in &mut self.marks {
            mark.discarded |= !known(mark.number);
        }
        self.fields.clear();
        self.documents.clear();
        self.words.clear();
    }

    /// A loss of power took some of the last writes, as it may: nobody misses them any more. (The
    /// server may have had them before, and bring them back.)
    pub(super) fn forget_lost(&mut self, found: &Documents, held: &BTreeSet<u32>) {
        for mark in &mut self.marks {
            let there = found.contains_key(&marked(mark.number)) || held.contains(&mark.number);
            if !there && !mark.durable && mark.told == Told::Done {
                mark.told = Told::Unknown;
            }
        }
        let trails = self.fields.values_mut().chain(self.documents.values_mut());
        for step in trails.flat_map(|trail| &mut trail.0) {
            if !step.durable && step.told == Told::Done {
                step.told = Told::Unknown;
            }
        }
        for word in self.words.values_mut().flatten() {
            if !word.durable && word.told == Told::Done {
                word.told = Told::Unknown;
            }
        }
    }

    /// Checks what is found against what was told. `held` are the marks that are in quarantine;
    /// `lossy` says that the last writes may be gone.
    pub(super) fn check(
        &self,
        found: &Documents,
        held: &BTreeSet<u32>,
        lossy: bool,
    ) -> Result<(), String> {
        self.check_marks(found, held, lossy)?;
        for ((document, field), trail) in &self.fields {
            let Some(body) = found.get(document) else {
                continue;
            };
            let value = body.get(field).unwrap_or(&Json::Null);
            if !trail.allows(value, lossy) {
                return Err(format!("{document} has {field} = {value}, told {trail:?}"));
            }
        }
        for (document, trail) in &self.documents {
            let there = found.contains_key(document);
            if !trail.allows(&there.into(), lossy) {
                return Err(format!("{document} is there: {there}, told {trail:?}"));
            }
        }
        self.check_words(found, lossy)
    }

    /// Checks that texts and lists hold each word once, or not at all where that may be.
    pub(super) fn check_words(&self, found: &Documents, lossy: bool) -> Result<(), String> {
        for ((document, field), words) in &self.words {
            let value = found.get(document).and_then(|body| body.get(field));
            let shown = value.map(Json::to_string).unwrap_or_default();
            for word in words {
                let times = shown.matches(&word.text).count();
                let must = word.told == Told::Done && (word.durable || !lossy);
                if times > 1 || must && times == 0 || word.told == Told::Failed && times > 0 {
                    return Err(format!("{document} has {field} = {shown}, told {word:?}"));
                }
            }
        }
        Ok(())
    }

    fn check_marks(
        &self,
        found: &Documents,
        held: &BTreeSet<u32>,
        lossy: bool,
    ) -> Result<(), String> {
        let tally = found.get(TALLY).and_then(|body| body["count"].as_i64());
        let tally = tally.unwrap_or(0);
        let expected: i64 = self.marks.iter().map(|mark| 1 << mark.number).sum();
        if tally & !expected != 0 || tally < 0 {
            return Err(format!("the tally is {tally:#b}: an effect came twice"));
        }
        let mut lost: Option<u32> = None;
        for mark in &self.marks {
            let number = mark.number;
            let counted = tally >> number & 1 == 1;
            if counted != found.contains_key(&marked(number)) {
                return Err(format!("write {number} is there by half, tally {tally:#b}"));
            }
            let there = counted || held.contains(&number);
            match mark.told {
                Told::Failed if there => {
                    return Err(format!("write {number} failed, and is there"));
                }
                Told::Done if !there && !mark.discarded => {
                    if mark.durable || !lossy {
                        return Err(format!("write {number} was acknowledged, and is gone"));
                    }
                    lost.get_or_insert(number);
                }
                _ if there => {
                    if let Some(lost) = lost {
                        return Err(format!(
                            "write {lost} is gone, and {number} behind it there"
                        ));
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl Step {
    fn new(value: Json, told: Told) -> Step {
        Step {
            value,
            told,
            durable: false,
        }
    }
}

impl Trail {
    /// Whether `value` may be found: that of the last write that must be there, or of one behind it
    /// that may.
    fn allows(&self, value: &Json, lossy: bool) -> bool {
        let must = |step: &Step| step.told == Told::Done && (step.durable || !lossy);
        let last = self.0.iter().rposition(must);
        let candidates = match last {
            Some(last) => &self.0[last..],
            None => &self.0[..],
        };
        let possible = candidates.iter().filter(|step| step.told != Told::Failed);
        let mut possible = possible.map(|step| &step.value).peekable();
        // Nothing was written for sure: what was before is none of this trail's business.
        last.is_none() || possible.any(|known| known == value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn found(tally: i64, marks: &[u32]) -> Documents {
        let mut found = Documents::from([(TALLY.to_owned(), json!({ "count": tally }))]);
        found.extend(marks.iter().map(|number| (marked(*number), json!({}))));
        found
    }

    fn told(told: &[Told]) -> Model {
        let mut model = Model::default();
        for (number, told) in told.iter().enumerate() {
            model.mark(number as u32, *told);
        }
        model
    }

    #[test]
    fn what_was_acknowledged_is_there_once_and_whole() {
        use Told::{Done, Failed, Unknown};
        let model = told(&[Done, Failed, Unknown]);
        let none = BTreeSet::new();
        let check = |tally, marks: &[u32]| model.check(&found(tally, marks), &none, false);
        assert_eq!(check(0b001, &[0]), Ok(()));
        assert_eq!(check(0b101, &[0, 2]), Ok(()));
        assert!(check(0b100, &[2]).is_err(), "an acknowledged write is gone");
        assert!(check(0b011, &[0, 1]).is_err(), "a failed write is there");
        assert!(check(0b001, &[0, 2]).is_err(), "half a write");
        assert!(check(0b1000, &[]).is_err(), "an effect twice");
        let quarantined = BTreeSet::from([0]);
        assert_eq!(model.check(&found(0, &[]), &quarantined, false), Ok(()));
    }

    #[test]
    fn a_loss_of_power_may_take_a_suffix_only() {
        use Told::Done;
        let mut model = told(&[Done, Done]);
        model.all_durable();
        model.mark(2, Done);
        model.mark(3, Done);
        let none = BTreeSet::new();
        let check = |tally, marks: &[u32]| model.check(&found(tally, marks), &none, true);
        assert_eq!(check(0b0011, &[0, 1]), Ok(()));
        assert_eq!(check(0b0111, &[0, 1, 2]), Ok(()));
        assert!(check(0b1011, &[0, 1, 3]).is_err(), "a hole");
        assert!(check(0b0001, &[0]).is_err(), "what was flushed is gone");
    }

    #[test]
    fn a_text_holds_each_word_once() {
        let mut model = Model::default();
        let place = ("5/x", "story");
        for (word, told) in [
            ("one", Told::Done),
            ("two", Told::Failed),
            ("three", Told::Unknown),
        ] {
            model.word(place, word, told);
        }
        let check = |model: &Model, text: &str, lossy| {
            let found = Documents::from([("5/x".to_owned(), json!({ "story": text }))]);
            model.check_words(&found, lossy)
        };
        assert!(check(&model, "one by others", false).is_ok());
        assert!(check(&model, "three one", false).is_ok());
        assert!(check(&model, "three", false).is_err(), "one is gone");
        assert!(check(&model, "three", true).is_ok(), "as it may be");
        assert!(check(&model, "one one", false).is_err(), "twice");
        assert!(check(&model, "one two", false).is_err(), "it failed");
        model.words_done(place, &["three"]);
        model.all_durable();
        assert!(check(&model, "one", true).is_err(), "three is gone");
    }

    #[test]
    fn a_field_holds_the_last_value_that_must_be_there_or_a_later_one() {
        let mut model = Model::default();
        for (value, told) in [("a", Told::Done), ("b", Told::Failed), ("c", Told::Unknown)] {
            model.field("1/x", "title", json!(value), told);
        }
        let check = |value: &str| {
            let found = Documents::from([("1/x".to_owned(), json!({ "title": value }))]);
            model.check(&found, &BTreeSet::new(), false)
        };
        assert!(check("a").is_ok() && check("c").is_ok());
        assert!(check("b").is_err() && check("other").is_err());
    }
}
