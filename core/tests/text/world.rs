//! A server that orders updates, and devices that edit and hear of them.

use driftline_core::id::OpId;
use driftline_core::text::guard::{self, Check, Checked, GuardLimits, Refused};
use driftline_core::text::{
    Attributes, BodyLimits, Delta, Edited, ListBody, ListChange, Mark, OffsetUnit, Step, TextBody,
    TextChange, TextKind, Which,
};
use serde_json::json;

use crate::random::Random;

pub(crate) const LIMITS: GuardLimits = GuardLimits {
    max_update: 512 << 10,
    max_pieces: 1 << 15,
    max_state: 64 << 20,
    max_format_key: 64,
    max_format_value: 2048,
    max_element: 64 << 10,
    max_depth: 32,
};

/// A writer's number: 53 bits, like a drawn one.
pub(crate) fn writer(n: u64) -> u64 {
    (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 11) | 1
}

pub(crate) fn op(n: u64) -> OpId {
    OpId::next(n, [7; 10], None)
}

/// Moves the mark of an update that fits; panics where it does not.
pub(crate) fn admit(
    update: &[u8],
    by: u64,
    kind: TextKind,
    marks: &mut Vec<Mark>,
) -> Result<bool, Refused> {
    match guard::check(update, by, kind, marks, &LIMITS)? {
        Check::Contained => Ok(false),
        Check::Fits(checked) => {
            let mark = Mark {
                writer: by,
                next: checked.next(),
                last: op(1),
                version: 1,
            };
            Mark::put(marks, mark);
            Ok(true)
        }
    }
}

/// One device's open rich text.
pub(crate) struct Device {
    pub(crate) writer: u64,
    pub(crate) body: TextBody,
    pub(crate) marks: Vec<Mark>,
    /// How much of the server's log it has heard.
    pub(crate) cursor: usize,
}

impl Device {
    pub(crate) fn new(writer: u64) -> Device {
        Device {
            writer,
            body: TextBody::new(writer, BodyLimits::default()),
            marks: Vec::new(),
            cursor: 0,
        }
    }

    pub(crate) fn edit(&mut self, changes: &[TextChange]) -> Option<Edited> {
        let edited = self.body.edit(changes, OffsetUnit::Utf16).unwrap()?;
        self.own(&edited);
        Some(edited)
    }

    /// Own edits count as contained at once.
    pub(crate) fn own(&mut self, edited: &Edited) {
        let fits = admit(
            &edited.update,
            self.writer,
            TextKind::RichText,
            &mut self.marks,
        );
        assert_eq!(fits, Ok(true), "an honest update was refused");
    }

    /// Hears an update; answers what it changed.
    pub(crate) fn hear(&mut self, update: &[u8], by: u64) -> Delta {
        match guard::check(update, by, TextKind::RichText, &self.marks, &LIMITS).unwrap() {
            Check::Contained => Delta::new(),
            Check::Fits(checked) => {
                let change = self.body.apply_watched(&[checked]).unwrap();
                admit(update, by, TextKind::RichText, &mut self.marks).unwrap();
                change
            }
        }
    }

    /// The same text read anew from its state.
    pub(crate) fn reread(&self) -> TextBody {
        self.reread_as(self.writer)
    }

    /// The same text opened by `writer`.
    pub(crate) fn reread_as(&self, writer: u64) -> TextBody {
        let state = self.body.state().unwrap();
        let checked = guard::check_state(&state, TextKind::RichText, &self.marks, &LIMITS).unwrap();
        TextBody::load(writer, checked, BodyLimits::default()).unwrap()
    }
}

const WORDS: [&str; 8] = ["a", "bc ", "déf", "😀", "👩‍👩‍👧", "x\n", "lorem ipsum ", "𝔘𝔫"];

/// An offset that halves no character.
pub(crate) fn place(body: &mut TextBody, random: &mut Random) -> u32 {
    let units = body.units().unwrap();
    let at = random.below(units + 1);
    let whole = body.from_utf16(at, OffsetUnit::Utf16);
    whole.unwrap_or(at.saturating_sub(1))
}

pub(crate) fn formats(random: &mut Random) -> Attributes {
    let value = random
        .of(&[json!(true), json!(null), json!("red"), json!(2), json!(2.5)])
        .clone();
    let mut formats = Attributes::from([(random.of(&["bold", "color"]).to_string(), value)]);
    if random.one_in(3) {
        formats.insert("link".into(), json!("https://example.org"));
    }
    formats
}

/// One random edit that fits the text.
pub(crate) fn change(body: &mut TextBody, random: &mut Random) -> TextChange {
    let (a, b) = (place(body, random), place(body, random));
    let (at, end) = (a.min(b), a.max(b));
    let near = body
        .from_utf16(end.min(at + 1 + random.below(4)), OffsetUnit::Utf16)
        .unwrap_or(end);
    let len = if random.one_in(4) { end } else { near } - at;
    match random.below(8) {
        0..=3 => TextChange::Insert {
            at,
            text: random.of(&WORDS).to_string(),
            attributes: random.one_in(3).then(|| formats(random)),
        },
        4 | 5 => TextChange::Delete { at, len },
        _ => TextChange::Format {
            at,
            len,
            attributes: formats(random),
        },
    }
}

/// Makes `delta` on plain text.
pub(crate) fn follow(text: &str, delta: &Delta) -> String {
    let before: Vec<u16> = text.encode_utf16().collect();
    let (mut at, mut after) = (0, Vec::new());
    for step in delta.steps() {
        match step {
            Step::Retain { len, .. } => {
                after.extend(&before[at..at + *len as usize]);
                at += *len as usize;
            }
            Step::Insert { text, .. } => after.extend(text.encode_utf16()),
            Step::Delete { len } => at += *len as usize,
        }
    }
    after.extend(&before[at..]);
    String::from_utf16(&after).unwrap()
}

/// An open field of either kind.
pub(crate) enum Open {
    Text(TextBody),
    List(ListBody),
}

impl Open {
    pub(crate) fn load(by: u64, kind: TextKind, state: &[u8], marks: &[Mark]) -> Open {
        let state = guard::check_state(state, kind, marks, &LIMITS).unwrap();
        let limits = BodyLimits::default();
        match kind {
            TextKind::RichText => Open::Text(TextBody::load(by, state, limits).unwrap()),
            TextKind::List => Open::List(ListBody::load(by, state, limits).unwrap()),
        }
    }

    pub(crate) fn edit(&mut self, random: &mut Random) -> Option<Vec<u8>> {
        match self {
            Open::Text(body) => {
                let change = change(body, random);
                let mut changes = vec![change];
                if random.one_in(3) {
                    changes.push(TextChange::Insert {
                        at: 0,
                        text: "😀".into(),
                        attributes: None,
                    });
                }
                let edited = body.edit(&changes, OffsetUnit::Utf16).unwrap();
                edited.map(|edited| edited.update)
            }
            Open::List(body) => {
                let change = list_change(body, random);
                body.edit(&[change]).unwrap()
            }
        }
    }

    pub(crate) fn apply(&mut self, checked: &Checked<'_>) {
        match self {
            Open::Text(body) => drop(body.apply_watched(std::slice::from_ref(checked)).unwrap()),
            Open::List(body) => body.apply(checked).unwrap(),
        }
    }

    pub(crate) fn state(&self) -> Vec<u8> {
        match self {
            Open::Text(body) => body.state().unwrap(),
            Open::List(body) => body.state().unwrap(),
        }
    }

    pub(crate) fn content(&mut self) -> String {
        match self {
            Open::Text(body) => serde_json::to_string(&body.content().unwrap()).unwrap(),
            Open::List(body) => body.json().unwrap(),
        }
    }
}

pub(crate) fn list_change(body: &mut ListBody, random: &mut Random) -> ListChange {
    let len = body.elements().unwrap().len() as u32;
    let values = [
        json!(1),
        json!("two 😀"),
        json!({"a": [null, 2.5]}),
        json!([]),
    ];
    match random.below(5) {
        3 if len > 0 => ListChange::Remove {
            element: Which::At(random.below(len)),
        },
        4 if len > 0 => ListChange::Move {
            element: Which::At(random.below(len)),
            to: random.below(len),
        },
        _ => ListChange::Insert {
            at: random.below(len + 1),
            values: (0..=random.below(3))
                .map(|_| random.of(&values).clone())
                .collect(),
        },
    }
}

/// Text put in at an offset, with the formats left of it.
pub(crate) fn insert(at: u32, text: &str) -> TextChange {
    TextChange::Insert {
        at,
        text: text.into(),
        attributes: None,
    }
}
