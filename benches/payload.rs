//! The document that everything is measured with.

use driftline_core::id::OpId;

/// The schema of [`Document`], and of a page that people write. The queue's limits are out of the way
/// of figures that fill it.
pub(crate) const SCHEMA: &str = r#"
[schema]
name = "bench"
version = 1

[limits]
max_queue_ops = 2_000_000
max_queue_bytes = "4 GiB"

[collections.tasks]
id = 1

[collections.tasks.fields]
title = { id = 1, kind = "text" }
note = { id = 2, kind = "text" }
assignee = { id = 3, kind = "text" }
status = { id = 4, kind = "text" }
done = { id = 5, kind = "boolean" }
priority = { id = 6, kind = "integer" }
estimate = { id = 7, kind = "real" }
due = { id = 8, kind = "timestamp" }

[collections.pages]
id = 2

[collections.pages.fields]
body = { id = 1, kind = "rich_text" }
"#;

/// A task: an id and 8 fields, 200 bytes in all.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    pub(crate) id: String,
    pub(crate) title: String,
    pub(crate) note: String,
    pub(crate) assignee: String,
    pub(crate) status: &'static str,
    pub(crate) done: bool,
    pub(crate) priority: i64,
    pub(crate) estimate: f64,
    pub(crate) due: i64,
}

/// An endless supply of documents, the same for the same seed, with ids as UUIDv7 are: in the order
/// of their making.
pub(crate) struct Documents {
    random: u64,
    last: Option<OpId>,
}

const WORDS: [&str; 16] = [
    "harbour", "ledger", "window", "morning", "signal", "copper", "garden", "station", "letter",
    "bridge", "market", "forest", "engine", "paper", "summer", "winter",
];
const STATUSES: [&str; 4] = ["open    ", "waiting ", "blocked ", "finished"];
/// 2026-01-01.
const BEGINNING: u64 = 1_767_225_600_000;

impl Documents {
    pub(crate) fn new(seed: u64) -> Documents {
        Documents {
            random: seed,
            last: None,
        }
    }

    /// The next `count` documents.
    pub(crate) fn take(&mut self, count: usize) -> Vec<Document> {
        (0..count).map(|_| self.next_document()).collect()
    }

    pub(crate) fn next_document(&mut self) -> Document {
        let (title, note, assignee) = (self.text(36), self.text(90), self.text(12));
        let dice = self.draw();
        Document {
            id: self.id(),
            title,
            note,
            assignee,
            status: STATUSES[dice as usize % STATUSES.len()],
            done: dice & 16 == 0,
            priority: (dice >> 8) as i64 % 100,
            estimate: (dice >> 16) as u32 as f64 / 7.0,
            due: (BEGINNING + (dice >> 32)) as i64,
        }
    }

    fn id(&mut self) -> String {
        let (a, b) = (self.draw().to_le_bytes(), self.draw().to_le_bytes());
        let random = std::array::from_fn(|at| if at < 8 { a[at] } else { b[at - 8] });
        // One document each millisecond.
        let millis = self.last.map_or(BEGINNING, |last| last.millis() + 1);
        let id = OpId::next(millis, random, self.last);
        self.last = Some(id);
        id.to_string()
    }

    fn text(&mut self, length: usize) -> String {
        let mut text = String::with_capacity(length + 8);
        while text.len() < length {
            text.push_str(WORDS[self.draw() as usize % WORDS.len()]);
            text.push(' ');
        }
        text.truncate(length);
        text
    }

    /// splitmix64.
    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_has_200_bytes_and_ids_ascend() {
        let documents = Documents::new(1).take(1000);
        for pair in documents.windows(2) {
            assert!(pair[0].id < pair[1].id);
        }
        for d in documents {
            let texts =
                d.id.len() + d.title.len() + d.note.len() + d.assignee.len() + d.status.len();
            let numbers = 1 + 1 + 8 + 8;
            assert_eq!(texts + numbers, 200);
        }
    }
}
