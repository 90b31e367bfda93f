//! Two texts next to each other: one with everything in it, one without what was left out.

use super::delta::{Attributes, Delta, Step};
use crate::mutant::{Mutant, planted};

/// Which of the two texts holds a piece.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Held {
    Both,
    /// The text with everything in it.
    Whole,
    /// The text without what was left out.
    Kept,
}

/// How the two texts lie next to each other, piece by piece, in UTF-16 units.
pub(super) struct Alignment {
    pieces: Vec<(Held, u32)>,
}

impl Alignment {
    /// Two equal texts.
    pub(super) fn equal(units: u32) -> Alignment {
        Alignment {
            pieces: vec![(Held::Both, units)],
        }
    }

    /// What `change`, made on the whole text, is on the kept one; nothing of it if it is left out.
    pub(super) fn follow(&mut self, change: Delta, keep: bool) -> Delta {
        let old = std::mem::take(&mut self.pieces);
        let mut walk = Walk {
            old: old.into_iter(),
            next: None,
            new: Vec::new(),
            kept: Delta::new(),
        };
        for step in change.into_steps() {
            match step {
                Step::Insert { text, attributes } => {
                    let step = Step::Insert { text, attributes };
                    walk.put(if keep { Held::Both } else { Held::Whole }, step.len());
                    if keep {
                        walk.kept.push(step);
                    }
                }
                Step::Retain { len, attributes } => {
                    let attributes = if keep { attributes } else { Attributes::new() };
                    walk.pass(len, |walk, held, len| {
                        walk.put(held, len);
                        if held == Held::Both {
                            let attributes = attributes.clone();
                            walk.kept.push(Step::Retain { len, attributes });
                        }
                    });
                }
                Step::Delete { len } => walk.pass(len, |walk, held, len| match held {
                    Held::Both if keep && !planted(Mutant::RemovalNotAuthoredAgain) => {
                        walk.kept.push(Step::Delete { len })
                    }
                    Held::Both => {
                        walk.put(Held::Kept, len);
                        walk.kept.push(retain(len));
                    }
                    Held::Whole | Held::Kept => {}
                }),
            }
        }
        walk.finish(&mut self.pieces)
    }
}

struct Walk {
    old: std::vec::IntoIter<(Held, u32)>,
    /// What is left of the piece that was taken from last.
    next: Option<(Held, u32)>,
    new: Vec<(Held, u32)>,
    kept: Delta,
}

impl Walk {
    /// Passes `len` units of the whole text, piece by piece. Pieces of the kept text alone that
    /// stand between them are gone over.
    fn pass(&mut self, len: u32, mut each: impl FnMut(&mut Walk, Held, u32)) {
        let mut left = len;
        while left > 0
            && let Some((held, piece)) = self.next.take().or_else(|| self.old.next())
        {
            if held == Held::Kept {
                self.put(held, piece);
                self.kept.push(retain(piece));
                continue;
            }
            let taken = piece.min(left);
            if taken < piece {
                self.next = Some((held, piece - taken));
            }
            left -= taken;
            each(self, held, taken);
        }
    }

    fn put(&mut self, held: Held, len: u32) {
        match self.new.last_mut() {
            Some((last, more)) if *last == held => *more += len,
            _ => self.new.push((held, len)),
        }
    }

    fn finish(mut self, pieces: &mut Vec<(Held, u32)>) -> Delta {
        if let Some((held, len)) = self.next.take() {
            self.put(held, len);
        }
        while let Some((held, len)) = self.old.next() {
            self.put(held, len);
        }
        *pieces = self.new;
        self.kept.trim();
        self.kept
    }
}

fn retain(len: u32) -> Step {
    Step::Retain {
        len,
        attributes: Attributes::new(),
    }
}
