//! What a rich text holds.

use driftline_core::text::{Delta, Step};

/// A rich text as it is now.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct RichText {
    text: String,
    delta: String,
}

impl RichText {
    /// Its characters, without formats.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Its characters with their formats, as JSON in the usual form of a delta:
    /// `[{"insert":"Hello","attributes":{"bold":true}},{"insert":" world"}]`.
    pub fn delta(&self) -> &str {
        &self.delta
    }

    pub(crate) fn of(content: Delta) -> RichText {
        // Strings and scalars always have a JSON form.
        let delta = serde_json::to_string(&content).unwrap_or_else(|_| "[]".to_owned());
        let mut text = String::new();
        for step in content.into_steps() {
            if let Step::Insert { text: piece, .. } = step {
                text.push_str(&piece);
            }
        }
        RichText { text, delta }
    }
}
