//! The guard, then Yrs: a field that three people wrote, and one more update from anybody. What the
//! guard lets through never panics, hangs or grows beyond its bound; honest updates always pass.

use driftline_core::id::OpId;
use driftline_core::text::guard::{Check, Checked, GuardLimits, check, check_state};
use driftline_core::text::{
    Attributes, BodyLimits, ListBody, ListChange, Mark, OffsetUnit, TextBody, TextChange, TextKind,
    Which,
};
use serde_json::json;

/// Bytes of a step of the script.
const STEP: usize = 4;
/// The most steps: what a field is made of, not how long it is, is what matters.
const STEPS: usize = 16;
/// Who reads along, and writes after everybody.
const READER: u64 = 0x1f_ffff_ffff_fff1;
/// What an update may cost a state, for each of its bytes: an id of a neighbour becomes up to ten.
const GROWTH: usize = 12;

const WORDS: [&str; 6] = [
    "a",
    "Gentoo",
    "\u{e9}",
    "\u{1f427}",
    "line\nline",
    "\u{5d0}\u{301}",
];

/// The script's length, the script, and the update of whoever the script's last byte names.
pub(crate) fn run(data: &[u8]) -> bool {
    let Some((length, rest)) = data.split_first() else {
        return false;
    };
    let length = usize::from(*length).min(STEP * STEPS).min(rest.len());
    let (script, update) = rest.split_at(length);
    let flags = script.last().copied().unwrap_or(0);
    let mut field = Field::new(kind_of(flags));
    for step in script.chunks_exact(STEP) {
        field.play(step);
    }
    field.judge(update, writer(flags >> 1))
}

/// An honest update on the field of a script, with the script before it: what a corpus is made of.
pub fn honest(script: &[u8], step: [u8; STEP]) -> Option<Vec<u8>> {
    let script = script.get(..STEP * STEPS).unwrap_or(script);
    let flags = script.last().copied().unwrap_or(0);
    let mut field = Field::new(kind_of(flags));
    for step in script.chunks_exact(STEP) {
        field.play(step);
    }
    let update = field.open(writer(flags >> 1)).edit(&step)?;
    Some([&[script.len() as u8], script, &update].concat())
}

fn kind_of(flags: u8) -> TextKind {
    match flags & 1 {
        0 => TextKind::RichText,
        _ => TextKind::List,
    }
}

/// One of three writers: 53 bits, like a drawn one.
fn writer(number: u8) -> u64 {
    let number = u64::from(number % 3) + 1;
    (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 11) | 1
}

/// A field as the server has it.
struct Field {
    kind: TextKind,
    marks: Vec<Mark>,
    state: Vec<u8>,
}

impl Field {
    fn new(kind: TextKind) -> Field {
        Field {
            kind,
            marks: Vec::new(),
            // What Yrs makes of an empty document.
            state: vec![0, 0],
        }
    }

    fn open(&self, by: u64) -> Open {
        let limits = BodyLimits::default();
        let state = check_state(&self.state, self.kind, &self.marks, &limits.guard).unwrap();
        match self.kind {
            TextKind::RichText => Open::Text(TextBody::load(by, state, limits).unwrap()),
            TextKind::List => Open::List(ListBody::load(by, state, limits).unwrap()),
        }
    }

    /// An honest edit: never refused, and everybody shows it like its author.
    fn play(&mut self, step: &[u8]) {
        let by = writer(step.first().copied().unwrap_or(0));
        let mut author = self.open(by);
        if let Some(update) = author.edit(step) {
            self.take(&update, by);
            assert_eq!(self.open(READER).content(), author.content());
        }
    }

    fn take(&mut self, update: &[u8], by: u64) {
        let Ok(Check::Fits(checked)) = self.check(update, by) else {
            panic!("an honest update was refused");
        };
        let mut reader = self.open(READER);
        reader.apply(&checked);
        self.state = reader.state();
        Mark::put(&mut self.marks, mark(by, checked.next()));
    }

    fn check<'a>(
        &self,
        update: &'a [u8],
        by: u64,
    ) -> Result<Check<'a>, driftline_core::text::guard::Refused> {
        check(update, by, self.kind, &self.marks, &GuardLimits::default())
    }

    /// Any bytes: refused, or taken without harm.
    fn judge(mut self, update: &[u8], by: u64) -> bool {
        let Ok(Check::Fits(checked)) = self.check(update, by) else {
            return false;
        };
        let mut reader = self.open(READER);
        reader.apply(&checked);
        let state = reader.state();
        let most = self.state.len() + GROWTH * update.len() + 256;
        assert!(state.len() <= most, "{} bytes of {most}", state.len());
        Mark::put(&mut self.marks, mark(by, checked.next()));
        self.state = state;
        // Reading it again and going on works, for its author and for others.
        for by in [by, READER] {
            let step = [0, 0, 1, 1];
            if let Some(update) = self.open(by).edit(&step) {
                let Ok(Check::Fits(checked)) = self.check(&update, by) else {
                    panic!("an honest update was refused after one from outside");
                };
                let mut other = self.open(READER ^ 2);
                other.apply(&checked);
                other.content();
            }
        }
        true
    }
}

fn mark(writer: u64, next: u32) -> Mark {
    Mark {
        writer,
        next,
        last: OpId::next(1, [7; 10], None),
        version: 1,
    }
}

/// An open field of either kind.
enum Open {
    Text(TextBody),
    List(ListBody),
}

impl Open {
    /// The edit that a step's bytes say, if it fits.
    fn edit(&mut self, step: &[u8]) -> Option<Vec<u8>> {
        let [_, what, at, len] = *step.first_chunk::<STEP>()?;
        match self {
            Open::Text(body) => {
                let units = body.units().unwrap();
                let at = u32::from(at) % (units + 1);
                let changes = [text_change(what, at, len, units)];
                // Between the halves of a pair, say: refused, with no effect.
                let edited = body.edit(&changes, OffsetUnit::Utf16).ok()?;
                edited.map(|edited| edited.update)
            }
            Open::List(body) => {
                let elements = body.elements().unwrap().len() as u32;
                let change = list_change(what, u32::from(at), u32::from(len), elements);
                body.edit(&[change]).ok()?
            }
        }
    }

    fn apply(&mut self, checked: &Checked<'_>) {
        match self {
            Open::Text(body) => drop(body.apply_watched(std::slice::from_ref(checked)).unwrap()),
            Open::List(body) => body.apply(checked).unwrap(),
        }
    }

    fn state(&self) -> Vec<u8> {
        match self {
            Open::Text(body) => body.state().unwrap(),
            Open::List(body) => body.state().unwrap(),
        }
    }

    fn content(&mut self) -> String {
        match self {
            Open::Text(body) => serde_json::to_string(&body.content().unwrap()).unwrap(),
            Open::List(body) => body.json().unwrap(),
        }
    }
}

fn text_change(what: u8, at: u32, len: u8, units: u32) -> TextChange {
    let text = WORDS.get(usize::from(len) % WORDS.len()).unwrap_or(&"a");
    let len = u32::from(len) % (units - at + 1);
    let attributes = || {
        let value = [json!(true), json!("red"), json!(null), json!(2.5)];
        let value = value.get(usize::from(what >> 4) % 4).cloned();
        Attributes::from([("bold".to_owned(), value.unwrap_or_default())])
    };
    match what % 6 {
        0 | 1 => TextChange::Insert {
            at,
            text: (*text).to_owned(),
            attributes: None,
        },
        2 => TextChange::Insert {
            at,
            text: (*text).to_owned(),
            attributes: Some(attributes()),
        },
        3 => TextChange::Delete { at, len },
        _ => TextChange::Format {
            at,
            len,
            attributes: attributes(),
        },
    }
}

fn list_change(what: u8, at: u32, to: u32, elements: u32) -> ListChange {
    let values = [
        json!(1),
        json!("two \u{1f427}"),
        json!({"a": [null, 2.5]}),
        json!([]),
    ];
    let element = Which::At(at % elements.max(1));
    match what % 5 {
        3 if elements > 0 => ListChange::Remove { element },
        4 if elements > 0 => ListChange::Move {
            element,
            to: to % elements,
        },
        _ => ListChange::Insert {
            at: at % (elements + 1),
            values: values
                .into_iter()
                .cycle()
                .skip(to as usize % 4)
                .take(1 + to as usize % 3)
                .collect(),
        },
    }
}
