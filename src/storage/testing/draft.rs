//! What a test writes.

use driftline_core::id::{CollectionId, DocumentId, FieldId};
use driftline_core::merge::DocumentState;
use driftline_core::op::{Change, ChangeKind, Refusal, refusal};
use driftline_core::text::{ListChange, OffsetUnit, TextChange, Which};

use crate::storage::text::TextPlace;
use crate::storage::{LocalWrite, StorageError};

/// What a test writes to one document.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) change: Change,
    pub(crate) typed: Vec<Typed>,
}

/// What a test types into one text.
#[derive(Clone, Debug)]
pub(crate) enum Typed {
    /// Words, somewhere.
    Words(u64, String),
    /// What follows some place is taken away, at most so much of it.
    Cut(u64, u32),
    /// An element, somewhere.
    Element(u64, String),
    /// An element moves.
    Move(u64, u64),
}

pub(crate) const STORY: FieldId = 5;
pub(crate) const STEPS: FieldId = 6;

impl Draft {
    fn new(collection: CollectionId, document: &str, kind: ChangeKind) -> Draft {
        Draft {
            change: Change::new(collection, DocumentId::new(document).unwrap(), kind),
            typed: Vec::new(),
        }
    }
    pub(crate) fn insert(collection: CollectionId, document: &str) -> Draft {
        Draft::new(collection, document, ChangeKind::Insert)
    }
    pub(crate) fn update(collection: CollectionId, document: &str) -> Draft {
        Draft::new(collection, document, ChangeKind::Update)
    }
    pub(crate) fn delete(collection: CollectionId, document: &str) -> Draft {
        Draft::new(collection, document, ChangeKind::Delete)
    }
    pub(crate) fn restore(collection: CollectionId, document: &str) -> Draft {
        Draft::new(collection, document, ChangeKind::Restore)
    }
    pub(crate) fn set(mut self, field: u16, value: &str) -> Draft {
        self.change.registers.insert(field, value.into());
        self
    }
    pub(crate) fn count(mut self, delta: i64) -> Draft {
        self.change.increments.insert(3, delta);
        self
    }
    pub(crate) fn add(mut self, element: &str) -> Draft {
        self.change.adds.insert(4, vec![element.to_owned()]);
        self
    }
    /// Types into the document's texts.
    pub(crate) fn types(mut self, typed: Typed) -> Draft {
        self.typed.push(typed);
        self
    }
    /// Puts words at the story's beginning.
    pub(crate) fn tells(self, words: &str) -> Draft {
        self.types(Typed::Words(0, words.to_owned()))
    }
    pub(super) fn write(&self, write: &mut LocalWrite<'_>) -> Result<(), StorageError> {
        let change = &self.change;
        let says_more = change.kind != ChangeKind::Update
            || self.typed.is_empty()
            || !change.registers.is_empty();
        if says_more {
            write.apply(change.clone())?;
        }
        for typed in &self.typed {
            let shown = write.shown(change.collection, &change.document)?;
            if !shown.is_some_and(DocumentState::is_alive) {
                return Err(Refusal::new(refusal::NOT_FOUND, "not there").into());
            }
            typed.write(write, change)?;
        }
        Ok(())
    }
    pub(crate) fn remove(mut self, element: &str) -> Draft {
        self.change.removes.insert(4, vec![element.to_owned()]);
        self
    }
}

impl Typed {
    fn write(&self, write: &mut LocalWrite<'_>, change: &Change) -> Result<(), StorageError> {
        let place = |field| TextPlace {
            collection: change.collection,
            document: change.document.clone(),
            field,
        };
        let (story, steps) = (place(STORY), place(STEPS));
        match self {
            Typed::Words(at, text) => {
                let len = write.read_text(&story, |body| body.units())?;
                let insert = TextChange::Insert {
                    at: (at % u64::from(len + 1)) as u32,
                    text: text.clone(),
                    attributes: None,
                };
                write.edit_text(&story, &[insert], OffsetUnit::Utf16)
            }
            Typed::Cut(at, most) => {
                let len = write.read_text(&story, |body| body.units())?;
                let at = (at % u64::from(len + 1)) as u32;
                let cut = TextChange::Delete {
                    at,
                    len: (*most).min(len - at),
                };
                write.edit_text(&story, &[cut], OffsetUnit::Utf16)
            }
            Typed::Element(at, json) => {
                let len = write.elements_of(&steps)?.len() as u64;
                let insert = ListChange::Insert {
                    at: (at % (len + 1)) as u32,
                    values: vec![serde_json::from_str(json).unwrap()],
                };
                write.edit_list(&steps, vec![insert])
            }
            Typed::Move(which, to) => {
                let len = write.elements_of(&steps)?.len() as u64;
                if len == 0 {
                    return Ok(());
                }
                let moved = ListChange::Move {
                    element: Which::At((which % len) as u32),
                    to: (to % len) as u32,
                };
                write.edit_list(&steps, vec![moved])
            }
        }
    }
}
