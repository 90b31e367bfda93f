//! Frames of a snapshot as they were read when they came: a small bootstrap is not unpacked twice.
//!
//! What counts is in the file. A frame found here is the same bytes as there; anything else is
//! forgotten, and read from the file.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use driftline_core::merge::DocumentState;
use driftline_core::protocol::DocumentResult;

/// Bytes of memory that are kept at most, by a rough count.
const MOST_BYTES: usize = 16 << 20;

/// What a document takes beside its content, and each of its registers.
const DOCUMENT_BYTES: usize = 256;
const REGISTER_BYTES: usize = 112;

/// The frames from the first on, until there were too many.
#[derive(Default)]
pub(super) struct Unpacked(Mutex<Frames>);

#[derive(Default)]
struct Frames {
    frames: VecDeque<(Vec<u8>, Vec<DocumentResult>)>,
    bytes: usize,
}

impl Unpacked {
    fn frames(&self) -> MutexGuard<'_, Frames> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what `frame` holds, unless that is too much.
    pub(super) fn keep(&self, frame: &[u8], documents: Vec<DocumentResult>) {
        let mut frames = self.frames();
        // Once full it stays so: the frames behind would come too late to be asked for.
        frames.bytes = frames.bytes.saturating_add(weight(frame, &documents));
        if frames.bytes <= MOST_BYTES {
            frames.frames.push_back((frame.to_vec(), documents));
        }
    }

    /// What `frame` holds, if it is the next that was kept.
    pub(super) fn take(&self, frame: &[u8]) -> Option<Vec<DocumentResult>> {
        let mut frames = self.frames();
        match frames.frames.pop_front() {
            Some((kept, documents)) if kept == frame => Some(documents),
            _ => {
                frames.frames.clear();
                None
            }
        }
    }

    pub(super) fn forget(&self) {
        *self.frames() = Frames::default();
    }
}

fn weight(frame: &[u8], documents: &[DocumentResult]) -> usize {
    let of = |state: &DocumentState| {
        DOCUMENT_BYTES + REGISTER_BYTES * state.registers.len() + state.size()
    };
    let documents = documents.iter().map(|document| of(&document.state));
    frame.len() + documents.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use driftline_core::id::{DocumentId, OpId};
    use driftline_core::op::FieldMap;

    use super::*;

    fn documents(name: &str) -> Vec<DocumentResult> {
        vec![DocumentResult {
            collection: 1,
            document: DocumentId::new(name).unwrap(),
            whole: true,
            state: DocumentState::opened(OpId::ZERO, 1),
            texts: FieldMap::default(),
        }]
    }

    #[test]
    fn frames_are_given_out_in_order_and_only_for_the_same_bytes() {
        let unpacked = Unpacked::default();
        unpacked.keep(b"first", documents("a"));
        unpacked.keep(b"second", documents("b"));
        assert_eq!(unpacked.take(b"first"), Some(documents("a")));
        assert_eq!(unpacked.take(b"another"), None);
        assert_eq!(
            unpacked.take(b"second"),
            None,
            "nothing behind it is trusted"
        );
    }

    #[test]
    fn what_is_too_much_is_not_kept_nor_is_anything_behind_it() {
        let unpacked = Unpacked::default();
        unpacked.keep(b"first", documents("a"));
        unpacked.keep(&vec![0; MOST_BYTES], documents("b"));
        unpacked.keep(b"third", documents("c"));
        assert_eq!(unpacked.take(b"first"), Some(documents("a")));
        assert_eq!(unpacked.take(&vec![0; MOST_BYTES]), None);
        assert_eq!(unpacked.take(b"third"), None);
        unpacked.forget();
        unpacked.keep(b"again", documents("d"));
        assert_eq!(unpacked.take(b"again"), Some(documents("d")));
    }
}
