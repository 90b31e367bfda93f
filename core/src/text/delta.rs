//! A change of formatted text by positions: what editors speak, and the usual form of rich text in
//! JSON (`[{"insert": "Hello", "attributes": {"bold": true}}, …]`).
//!
//! Positions count UTF-16 units. What a delta does not reach stays as it is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Formats by name. Values are JSON scalars; in a change null takes the format off.
pub type Attributes = BTreeMap<String, Value>;

/// One step of a [`Delta`].
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", untagged)]
pub enum Step {
    /// Go on, changing the formats of what is passed.
    Retain {
        /// How many units.
        #[serde(rename = "retain")]
        len: u32,
        /// The formats that change.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        attributes: Attributes,
    },
    /// Put text here.
    Insert {
        /// The text.
        #[serde(rename = "insert")]
        text: String,
        /// All its formats.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        attributes: Attributes,
    },
    /// Take away what follows.
    Delete {
        /// How many units.
        #[serde(rename = "delete")]
        len: u32,
    },
}

/// A change, or the content as the change that makes it out of nothing.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Delta {
    steps: Vec<Step>,
}

/// How many UTF-16 units `text` takes.
pub(crate) fn units(text: &str) -> u32 {
    // Texts stay far below 4 GiB: the guard and the body both bound them.
    let mut units = 0u32;
    for byte in text.bytes() {
        units += u32::from(byte & 0xc0 != 0x80) + u32::from(byte >= 0xf0);
    }
    units
}

impl Step {
    /// How many units of the text before, or of its own, the step covers.
    pub(crate) fn len(&self) -> u32 {
        match self {
            Step::Retain { len, .. } | Step::Delete { len } => *len,
            Step::Insert { text, .. } => units(text),
        }
    }
}

impl Delta {
    /// Nothing changes.
    pub fn new() -> Delta {
        Delta::default()
    }

    /// The steps in order. Neighbours differ in kind or formats.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The steps in order, owned.
    pub fn into_steps(self) -> Vec<Step> {
        self.steps
    }

    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Goes on over `len` units.
    pub fn retain(self, len: u32) -> Delta {
        self.format(len, Attributes::new())
    }

    /// Goes on over `len` units, changing their formats.
    pub fn format(mut self, len: u32, attributes: Attributes) -> Delta {
        self.push(Step::Retain { len, attributes });
        self
    }

    /// Puts `text` here.
    pub fn insert(mut self, text: impl Into<String>, attributes: Attributes) -> Delta {
        let text = text.into();
        self.push(Step::Insert { text, attributes });
        self
    }

    /// Takes the next `len` units away.
    pub fn delete(mut self, len: u32) -> Delta {
        self.push(Step::Delete { len });
        self
    }

    /// Appends a step, joined with the last where it goes on with the same.
    pub(crate) fn push(&mut self, step: Step) {
        if step.len() == 0 {
            return;
        }
        match (self.steps.last_mut(), &step) {
            (Some(Step::Delete { len }), Step::Delete { len: more }) => *len += more,
            (
                Some(Step::Retain { len, attributes }),
                Step::Retain {
                    len: more,
                    attributes: same,
                },
            ) if attributes == same => *len += more,
            (
                Some(Step::Insert { text, attributes }),
                Step::Insert {
                    text: more,
                    attributes: same,
                },
            ) if attributes == same => text.push_str(more),
            _ => self.steps.push(step),
        }
    }

    /// Drops a last step that does nothing.
    pub(crate) fn trim(&mut self) {
        let idle =
            |step: &Step| matches!(step, Step::Retain { attributes, .. } if attributes.is_empty());
        while self.steps.last().is_some_and(idle) {
            self.steps.pop();
        }
    }

    /// This change as it is to be made after `other` was made at the same time. Where both insert
    /// at one place, the other's text stands first; of two formats this one stays.
    pub fn after(&self, other: &Delta) -> Delta {
        self.transform(other, true, true)
    }

    /// The counterpart: with this change's text first, and the other's format.
    pub fn before(&self, other: &Delta) -> Delta {
        self.transform(other, false, false)
    }

    /// Like [`Delta::after`], with this change's text first: whoever goes on writing where others wrote
    /// too goes on behind his own words.
    pub fn over(&self, other: &Delta) -> Delta {
        self.transform(other, false, true)
    }

    /// The counterpart of [`Delta::over`].
    pub fn under(&self, other: &Delta) -> Delta {
        self.transform(other, true, false)
    }

    fn transform(&self, other: &Delta, other_first: bool, own_format: bool) -> Delta {
        let (mut own, mut theirs) = (Cursor::new(&self.steps), Cursor::new(&other.steps));
        let mut result = Delta::new();
        while let Some(step) = own.peek() {
            match (theirs.peek(), step) {
                (Some(Step::Insert { .. }), own_step)
                    if other_first || !matches!(own_step, Step::Insert { .. }) =>
                {
                    let len = theirs.rest();
                    theirs.take(len);
                    result.push(Step::Retain {
                        len,
                        attributes: Attributes::new(),
                    });
                }
                (_, Step::Insert { .. }) => {
                    let len = own.rest();
                    result.push(own.take(len));
                }
                (None, _) => {
                    let len = own.rest();
                    result.push(own.take(len));
                }
                (Some(_), _) => {
                    let len = own.rest().min(theirs.rest());
                    match (theirs.take(len), own.take(len)) {
                        // What the other took away cannot be changed or taken away again.
                        (Step::Delete { .. }, _) => {}
                        (
                            Step::Retain {
                                attributes: set, ..
                            },
                            Step::Retain {
                                len,
                                mut attributes,
                            },
                        ) => {
                            if !own_format {
                                attributes.retain(|name, _| !set.contains_key(name));
                            }
                            result.push(Step::Retain { len, attributes });
                        }
                        (_, step) => result.push(step),
                    }
                }
            }
        }
        result.trim();
        result
    }
}

/// Takes steps in pieces.
struct Cursor<'a> {
    steps: &'a [Step],
    /// How much of the first step has been taken.
    taken: u32,
}

impl<'a> Cursor<'a> {
    fn new(steps: &'a [Step]) -> Cursor<'a> {
        Cursor { steps, taken: 0 }
    }

    fn peek(&self) -> Option<&'a Step> {
        self.steps.first()
    }

    fn rest(&self) -> u32 {
        self.steps.first().map_or(0, |step| step.len() - self.taken)
    }

    /// The next `len` units of the first step. Insertions are only taken whole.
    fn take(&mut self, len: u32) -> Step {
        let Some((step, rest)) = self.steps.split_first() else {
            return Step::Delete { len: 0 };
        };
        let piece = match step {
            Step::Retain { attributes, .. } => Step::Retain {
                len,
                attributes: attributes.clone(),
            },
            Step::Delete { .. } => Step::Delete { len },
            Step::Insert { .. } => step.clone(),
        };
        self.taken += len;
        if self.taken == step.len() {
            self.steps = rest;
            self.taken = 0;
        }
        piece
    }
}
