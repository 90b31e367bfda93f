//! What others' updates change of what is shown.
//!
//! Yrs tells which units were inserted and deleted. It is not relied upon for formats, whose
//! account goes wrong where they begin and end in the middle of others' edits, and it says nothing
//! where somebody's update halves a character and both halves turn into U+FFFD. Where either can
//! have happened the change is read off the content.

use yrs::Out;
use yrs::types::Delta as YrsDelta;

use super::delta::{Attributes, Delta, Step, units};
use super::shown::{Shown, changed};
use super::walk::Walk;

/// One step as Yrs tells it: the positions, without the formats.
pub(super) struct Bone {
    step: Step,
    pub(super) formats: bool,
}

pub(super) fn bone(step: &YrsDelta) -> Bone {
    let attributes = Attributes::new();
    match step {
        YrsDelta::Inserted(Out::Any(yrs::Any::String(text)), formats) => Bone {
            step: Step::Insert {
                text: text.to_string(),
                attributes,
            },
            formats: formats.is_some(),
        },
        // The guard lets nothing but text and formats into a rich text.
        YrsDelta::Inserted(..) => Bone {
            step: Step::Delete { len: 0 },
            formats: false,
        },
        YrsDelta::Deleted(len) => Bone {
            step: Step::Delete { len: *len },
            formats: false,
        },
        YrsDelta::Retain(len, formats) => Bone {
            step: Step::Retain {
                len: *len,
                attributes,
            },
            formats: formats.is_some(),
        },
    }
}

/// The change as Yrs tells it.
pub(super) fn plain(bones: Vec<Bone>) -> Delta {
    let mut delta = Delta::new();
    bones.into_iter().for_each(|bone| delta.push(bone.step));
    delta.trim();
    delta
}

/// The change from `before` to `after`: along the steps where they hold, else by what is equal at
/// both ends.
pub(super) fn compare(before: &Shown, after: &Shown, bones: &[Bone]) -> Delta {
    along(before, after, bones).unwrap_or_else(|| around(before, after))
}

fn along(before: &Shown, after: &Shown, bones: &[Bone]) -> Option<Delta> {
    let (mut old, mut new) = (before.walk(), after.walk());
    let mut delta = Delta::new();
    for bone in bones {
        match &bone.step {
            Step::Delete { len } => {
                old.skip(*len)?;
                delta.push(Step::Delete { len: *len });
            }
            Step::Insert { text, .. } => {
                let mut left = units(text);
                while left > 0 {
                    let (len, text, attributes) = new.take(left)?;
                    delta.push(Step::Insert {
                        text: text.to_owned(),
                        attributes: attributes.clone(),
                    });
                    left -= len;
                }
            }
            Step::Retain { len, .. } => {
                let mut left = *len;
                while left > 0 {
                    let len = old.rest()?.min(new.rest()?).min(left);
                    keep(&mut delta, old.take(len)?, new.take(len)?)?;
                    left -= len;
                }
            }
        }
    }
    while let Some((a, b)) = old.rest().zip(new.rest()) {
        let len = a.min(b);
        keep(&mut delta, old.take(len)?, new.take(len)?)?;
    }
    if old.rest().is_some() || new.rest().is_some() {
        return None;
    }
    delta.trim();
    Some(delta)
}

/// A piece of text with its formats, and how many units it has.
type Piece<'a> = (u32, &'a str, &'a Attributes);

/// Goes on over a piece that is the same text before and after.
fn keep(delta: &mut Delta, old: Piece<'_>, new: Piece<'_>) -> Option<()> {
    if old.1 != new.1 {
        return None;
    }
    delta.push(Step::Retain {
        len: new.0,
        attributes: changed(old.2, new.2).into_iter().collect(),
    });
    Some(())
}

/// How many bytes long the characters are that both begin with.
fn shared(one: impl Iterator<Item = char>, other: impl Iterator<Item = char>) -> usize {
    let pairs = one.zip(other).take_while(|(a, b)| a == b);
    pairs.map(|(a, _)| a.len_utf8()).sum()
}

/// The change that puts everything anew between what is equal at the beginning and at the end.
fn around(before: &Shown, after: &Shown) -> Delta {
    let (old, new) = (before.text(), after.text());
    let (head, rest_old) = old.split_at(shared(old.chars(), new.chars()));
    let (_, rest_new) = new.split_at(head.len());
    let tail = shared(rest_old.chars().rev(), rest_new.chars().rev());
    let (gone, _) = rest_old.split_at(rest_old.len() - tail);
    let (come, _) = rest_new.split_at(rest_new.len() - tail);
    let (head, gone, mut come) = (units(head), units(gone), units(come));
    let (mut old, mut new) = (before.walk(), after.walk());
    let mut delta = Delta::new();
    retain(&mut delta, &mut old, &mut new, head);
    delta.push(Step::Delete { len: gone });
    let _ = old.skip(gone);
    while come > 0
        && let Some((len, text, attributes)) = new.take(come)
    {
        delta.push(Step::Insert {
            text: text.to_owned(),
            attributes: attributes.clone(),
        });
        come -= len;
    }
    retain(&mut delta, &mut old, &mut new, u32::MAX);
    delta.trim();
    delta
}

fn retain(delta: &mut Delta, old: &mut Walk<'_>, new: &mut Walk<'_>, most: u32) {
    let mut left = most;
    while left > 0
        && let Some((a, b)) = old.rest().zip(new.rest())
        && let Some((old, new)) = old
            .take(a.min(b).min(left))
            .zip(new.take(a.min(b).min(left)))
    {
        left -= new.0;
        let kept = keep(delta, old, new);
        debug_assert!(kept.is_some(), "what is equal at the ends is equal");
    }
}
