//! What the watcher knows of an op: what its author's screen had shown.

use driftline_core::op::Op;

use super::file::File;
use super::{Write, mask, number};

/// The truth about one op.
#[derive(Clone, Debug)]
pub(crate) struct Truth {
    pub(crate) write: Write,
    /// Every op whose effect its author had on the screen.
    pub(crate) saw: u64,
    /// Every op whose register its author's screen had shown, not below another's.
    pub(crate) displayed: u64,
    /// Every op its author had asked to take back.
    pub(crate) took_back: u64,
    /// The op it tries again, else itself.
    pub(crate) root: usize,
}

impl Truth {
    /// The truth about a new write of `file`.
    pub(crate) fn of(op: &Op, write: Write, file: &mut File, all: &[Truth]) -> Truth {
        Truth {
            write,
            saw: look(op, file, all),
            displayed: file.displayed,
            took_back: file.took_back,
            root: number(op.id),
        }
    }

    /// The truth about a retry.
    pub(crate) fn retry(op: &Op, old: &Op, file: &mut File, all: &[Truth]) -> Truth {
        let saw = look(op, file, all) | all[number(old.id)].saw | mask(old.id);
        Truth {
            saw,
            displayed: file.displayed,
            took_back: file.took_back,
            ..all[number(old.id)].clone()
        }
    }
}

/// What the screen shows and ever showed when `op` is written; `op` itself joins it.
fn look(op: &Op, file: &mut File, all: &[Truth]) -> u64 {
    let live = file.queue.iter().filter(|q| !q.op.body.withdraw);
    let mut saw = live.fold(file.ever | file.base_names, |saw, q| saw | mask(q.op.id));
    for queued in &file.queue {
        saw |= all.get(number(queued.op.id)).map_or(0, |truth| truth.saw);
    }
    file.ever = saw | mask(op.id);
    saw
}
