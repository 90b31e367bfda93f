//! What the demo and its devices say to each other: one JSON object a line.

use driftline_core::value::Value;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::birds::Fields;
use super::team::Place;

/// To a device.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub(super) enum Order {
    /// Write all of it in one transaction.
    Write { number: u64, changes: Vec<Change> },
    /// Begin to sync.
    Connect { url: String, token: String },
    /// What the operating system says of the network.
    Network { online: bool },
    /// Wait until everything is sent and received.
    Settle { timeout_ms: u64 },
    /// Open a text in an editor, the caret at its end.
    OpenText {
        collection: String,
        id: String,
        field: String,
    },
    /// Do this in the open editor, one after the other.
    Type { strokes: Vec<Stroke>, pause_ms: u64 },
    /// Close the editor; answers what it showed.
    CloseText,
    /// What a text holds.
    ReadText {
        collection: String,
        id: String,
        field: String,
    },
    /// Which of these documents are there?
    Have {
        collection: String,
        ids: Vec<String>,
    },
    /// Everything there is.
    Documents,
    /// How it stands.
    Report,
    /// Take a write out of quarantine for good.
    Discard { op: String },
    /// Try a write in quarantine again, as it is.
    Retry { op: String },
    /// Bring the value back that the ledger lists for this field.
    Restore {
        collection: String,
        id: String,
        field: String,
    },
    /// Close the file properly.
    Close,
}

/// From a device.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub(super) enum Reply {
    /// The file is open.
    Ready,
    /// The transaction is committed.
    Written { number: u64 },
    /// The transaction was refused.
    Refused {
        number: u64,
        code: String,
        message: String,
    },
    /// It is done.
    Done,
    /// Whether it got there in time.
    Settled {
        settled: bool,
        state: String,
        pending: u64,
    },
    /// Everything is typed.
    Typed {
        /// Edits of others that arrived while the editor was at work.
        heard: u64,
    },
    /// What a text holds: its plain text and, with formats, its delta.
    Text { text: String, delta: Json },
    /// Those that are there.
    Having { ids: Vec<String> },
    /// Everything there is.
    Documents { documents: Vec<Document> },
    /// How it stands.
    Report(Box<Report>),
    /// It cannot be done.
    Failed { code: String, message: String },
}

/// One change to one document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Change {
    pub(super) collection: String,
    pub(super) id: String,
    #[serde(flatten)]
    pub(super) what: What,
}

/// What is done to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub(super) enum What {
    Insert {
        fields: Fields,
    },
    Update {
        fields: Fields,
    },
    Delete,
    Increment {
        field: String,
        by: i64,
    },
    Add {
        field: String,
        elements: Vec<String>,
    },
    Remove {
        field: String,
        elements: Vec<String>,
    },
    /// Puts a paragraph at the end of a text, or on top of it.
    Enter {
        field: String,
        paragraph: Paragraph,
        on_top: bool,
    },
    /// Puts a sentence of a text into italics, wherever it stands.
    Italicise {
        field: String,
        sentence: String,
    },
}

/// A paragraph of a journal: a heading in bold, then sentences.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Paragraph {
    pub(super) heading: String,
    pub(super) sentences: Vec<String>,
}

impl Paragraph {
    /// As it stands in the text.
    pub(super) fn text(&self) -> String {
        format!("{}\n{}", self.heading, self.body())
    }

    /// What stands below the heading.
    pub(super) fn body(&self) -> String {
        format!("{}\n", self.sentences.join(" "))
    }
}

/// What a person does at an editor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "stroke", rename_all = "snake_case")]
pub(super) enum Stroke {
    /// Types at the caret.
    Type { text: String, bold: bool },
    /// Erases characters left of the caret.
    Erase { characters: u32 },
    /// Pauses: what follows can be undone without what came before.
    Pause,
    /// Takes the last step back.
    Undo,
    /// Waits for a word of somebody else.
    Listen,
}

/// A document as the app reads it: no field without a value, sets as sorted lists.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Document {
    pub(super) collection: String,
    pub(super) id: String,
    pub(super) fields: serde_json::Map<String, Json>,
}

/// How a device stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Report {
    pub(super) state: String,
    /// Whether others' changes arrive at once.
    pub(super) live: bool,
    pub(super) birds: u64,
    pub(super) pending: u64,
    pub(super) quarantined: Vec<Quarantined>,
    pub(super) losses: Vec<Lost>,
    pub(super) bytes_up: u64,
    pub(super) bytes_down: u64,
    pub(super) clock_offset_ms: Option<i64>,
}

/// A write the server refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Quarantined {
    pub(super) op: String,
    pub(super) code: String,
    pub(super) message: String,
    /// The documents it is about, `collection/id`.
    pub(super) documents: Vec<String>,
}

/// A row of the ledger.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Lost {
    pub(super) collection: String,
    pub(super) id: String,
    pub(super) field: Option<String>,
    pub(super) value: Value,
    pub(super) base_value: Value,
    pub(super) winner_value: Value,
    pub(super) winner_device: String,
    pub(super) rule: String,
    /// Whether somebody brought it back.
    pub(super) restored: bool,
}

impl Change {
    fn new(collection: &str, id: &str, what: What) -> Change {
        Change {
            collection: collection.to_owned(),
            id: id.to_owned(),
            what,
        }
    }

    pub(super) fn insert(collection: &str, id: &str, fields: Fields) -> Change {
        Change::new(collection, id, What::Insert { fields })
    }

    /// Sets one field.
    pub(super) fn set(collection: &str, id: &str, field: &str, value: impl Into<Value>) -> Change {
        let fields = Fields::from([(field.to_owned(), value.into())]);
        Change::new(collection, id, What::Update { fields })
    }

    pub(super) fn delete(collection: &str, id: &str) -> Change {
        Change::new(collection, id, What::Delete)
    }

    pub(super) fn count(collection: &str, id: &str, field: &str, by: i64) -> Change {
        Change::new(
            collection,
            id,
            What::Increment {
                field: field.to_owned(),
                by,
            },
        )
    }

    pub(super) fn add(collection: &str, id: &str, field: &str, element: &str) -> Change {
        let elements = vec![element.to_owned()];
        Change::new(
            collection,
            id,
            What::Add {
                field: field.to_owned(),
                elements,
            },
        )
    }

    pub(super) fn enter(
        (collection, id, field): Place,
        paragraph: Paragraph,
        on_top: bool,
    ) -> Change {
        let field = field.to_owned();
        let what = What::Enter {
            field,
            paragraph,
            on_top,
        };
        Change::new(collection, id, what)
    }

    pub(super) fn italicise(collection: &str, id: &str, field: &str, sentence: &str) -> Change {
        Change::new(
            collection,
            id,
            What::Italicise {
                field: field.to_owned(),
                sentence: sentence.to_owned(),
            },
        )
    }

    pub(super) fn remove(collection: &str, id: &str, field: &str, element: &str) -> Change {
        let elements = vec![element.to_owned()];
        Change::new(
            collection,
            id,
            What::Remove {
                field: field.to_owned(),
                elements,
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line_and_comes_back_as_it_was() {
        let changes = vec![
            Change::set("birds", "a", "comments", "two\nlines"),
            Change::set("birds", "a", "culmen_depth_mm", 18.0),
            Change::count("birds", "a", "sightings", -2),
        ];
        let line = serde_json::to_string(&Order::Write {
            number: 3,
            changes: changes.clone(),
        })
        .unwrap();
        assert!(!line.contains('\n'));
        match serde_json::from_str(&line).unwrap() {
            Order::Write {
                number: 3,
                changes: back,
            } => assert_eq!(back, changes),
            other => panic!("{other:?}"),
        }
    }
}
