//! Folding: edits of texts become the state they make and what it says, behind every request.
//!
//! One text at a time is in memory, its edits in pieces of bounded number and bytes; what was folded is
//! committed in small groups, between those of the requests. A turn ends at the first text behind its
//! time, and the next one goes on behind that. A text that cannot be folded is set aside and named:
//! its edits stay and go on to the devices, and no other text waits for it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, Weak};

use driftline_core::id::{OpId, Version};
use driftline_core::text::TextKind;

use super::{Common, Workspace};
use crate::problem::Problem;
use crate::store::{FoldedState, NewFold, Piece, StoreError, StoredText, TextPlace};
use crate::texts::{OpenText, Unreadable};

/// What is folded of one text at once; the rest follows in the next turn.
pub(crate) const PIECE: Piece = Piece {
    edits: 2_000,
    bytes: 2 << 20,
};

/// Texts looked up, and at most committed, at once.
pub(super) const GROUP: usize = 64;

/// Bytes of folded texts that wait for a commit.
const GROUP_BYTES: usize = 4 << 20;

/// Milliseconds after which a turn ends and others get theirs.
pub(super) const TURN_MS: i64 = 500;

/// A turn that failed is tried again after so many of the usual pauses.
const AFTER_FAILURE: u64 = 10;

/// What became of one text.
struct Outcome {
    place: TextPlace,
    /// The text it was when it was read; another one must not get its words.
    root: OpId,
    fold: Result<NewFold, String>,
    /// Whether edits of it are left.
    more: bool,
}

/// How a turn ended.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Turn {
    /// Whether something may be left to fold.
    pub(super) left: bool,
    /// Where the next one begins, so that no text waits for ever behind those that are always typed in.
    pub(super) after: Option<TextPlace>,
}

impl Workspace {
    /// Folds soon, unless that is to happen anyway.
    pub(crate) fn fold_soon(self: &Arc<Self>) {
        self.unfolded.store(true, Ordering::Release);
        if self.folding.swap(true, Ordering::AcqRel) {
            return;
        }
        let turns = fold_in_turns(Arc::downgrade(self), self.common.clone());
        self.common.environment.executor.spawn(Box::pin(turns));
    }

    /// Folds soon what was typed before the workspace was last closed, if anything was.
    pub(super) fn fold_what_was_left(self: &Arc<Self>) -> Result<(), StoreError> {
        if !self.store.read()?.unfolded(None, 1)?.is_empty() {
            self.fold_soon();
        }
        Ok(())
    }

    /// Whether nothing more is to be folded; says so only once to whoever asks at the same time.
    fn ends_folding(&self) -> bool {
        if self.unfolded.load(Ordering::Acquire) {
            return false;
        }
        self.folding.store(false, Ordering::Release);
        // Somebody may have come between the two.
        !self.unfolded.load(Ordering::Acquire) || self.folding.swap(true, Ordering::AcqRel)
    }

    /// Folds what there is behind a place, for as long as a turn lasts.
    pub(super) fn fold_turn(&self, mut after: Option<TextPlace>) -> Result<Turn, StoreError> {
        // Two that fold one text would undo each other: the later commit has not seen the earlier.
        let _alone = self.folder.lock().unwrap_or_else(PoisonError::into_inner);
        let clock = &self.common.environment.clock;
        let begun = clock.monotonic();
        let mut left = after.is_some();
        loop {
            let places = self.store.read()?.unfolded(after.as_ref(), GROUP)?;
            if places.is_empty() {
                return Ok(Turn { left, after: None });
            }
            let (mut outcomes, mut bytes, mut late) = (Vec::new(), 0, false);
            for place in places {
                after = Some(place.clone());
                if let Some(outcome) = self.fold_one(place)? {
                    left |= outcome.more;
                    bytes += outcome.fold.as_ref().map_or(0, size);
                    outcomes.push(outcome);
                }
                if bytes > GROUP_BYTES {
                    self.commit_folds(std::mem::take(&mut outcomes))?;
                    bytes = 0;
                }
                late = clock.monotonic().saturating_sub(begun) > TURN_MS;
                if late {
                    break;
                }
            }
            self.commit_folds(outcomes)?;
            if late {
                return Ok(Turn { left: true, after });
            }
        }
    }

    /// Folds a piece of a text that somebody waits for, in a turn of its own.
    pub(crate) async fn fold_next(self: &Arc<Self>, place: TextPlace) -> Result<(), Problem> {
        let folds = Arc::clone(&self.common.folds).acquire_owned().await;
        let turn = folds.map_err(|_| Problem::Internal)?;
        let workspace = Arc::clone(self);
        let folded = self.common.environment.offload(move || {
            // The turn lasts as long as the work, though whoever waits for it may be gone.
            let _turn = turn;
            workspace.fold_piece(place)
        });
        Ok(folded.await.ok_or(Problem::Internal)??)
    }

    fn fold_piece(&self, place: TextPlace) -> Result<(), StoreError> {
        let _alone = self.folder.lock().unwrap_or_else(PoisonError::into_inner);
        match self.fold_one(place)? {
            Some(outcome) => self.commit_folds(vec![outcome]),
            // Whoever waits for it would wait for ever.
            None => Err(StoreError::Damaged(
                "a text without its document".to_owned(),
            )),
        }
    }

    /// Folds a piece of one text, if the schema knows what it is.
    fn fold_one(&self, place: TextPlace) -> Result<Option<Outcome>, StoreError> {
        let schema = &self.common.schema;
        let declared = schema.collection_by_id(place.collection);
        let field = declared.and_then(|collection| collection.field_by_id(place.field));
        let Some((field, kind)) = field.and_then(|f| Some((f, TextKind::of(f.kind)?))) else {
            return Ok(None);
        };
        let (state, stored) = {
            let mut view = self.store.read()?;
            let state = view.document(place.collection, &place.document)?;
            (state, view.text(&place, PIECE))
        };
        let text = state
            .as_ref()
            .and_then(|state| state.texts.get(place.field));
        let Some(text) = text else {
            return Ok(None);
        };
        let root = text.root;
        let stored = match stored {
            Err(StoreError::Damaged(why)) => {
                return Ok(Some(Outcome {
                    place,
                    root,
                    fold: Err(why),
                    more: false,
                }));
            }
            stored => stored?,
        };
        let counted = |version| (text.version == version).then_some(text.bytes);
        let folded = catch_unwind(AssertUnwindSafe(|| {
            fold(kind, &stored, &field.name, counted)
        }));
        let fold = match folded {
            Ok(folded) => folded.map_err(|unreadable| unreadable.to_string()),
            Err(_) => Err("folding it panicked".to_owned()),
        };
        Ok(Some(Outcome {
            place,
            root,
            fold,
            more: stored.more,
        }))
    }

    fn commit_folds(&self, outcomes: Vec<Outcome>) -> Result<(), StoreError> {
        if outcomes.is_empty() {
            return Ok(());
        }
        let mut tx = self.store.begin()?;
        for outcome in outcomes {
            let Outcome {
                place, root, fold, ..
            } = outcome;
            let state = tx.document(place.collection, &place.document)?;
            let text = state
                .as_ref()
                .and_then(|state| state.texts.get(place.field));
            if text.is_none_or(|text| text.root != root) {
                continue;
            }
            match fold {
                Ok(mut fold) => {
                    // What was typed while it was folded has not taken it off.
                    let stands = text.is_some_and(|text| text.version == fold.folded.version);
                    fold.deleted = fold.deleted.filter(|_| stands);
                    tx.put_fold(&place, &fold)?;
                }
                Err(why) => {
                    // A document's id is the app's: `inspect` names it, a log does not.
                    let (collection, field) = (place.collection, place.field);
                    tracing::error!(%why, collection, field, "a text is set aside");
                    tx.set_aside(&place, &why)?;
                }
            }
        }
        tx.commit()
    }
}

/// Turns until nothing is left, or the workspace is closed. Typing goes on meanwhile, so between two
/// there is a pause: a text is folded once a second, not at every letter.
async fn fold_in_turns(workspace: Weak<Workspace>, common: Common) {
    let environment = &common.environment;
    let usual = common.limits.fold_after_ms;
    let mut pause = usual;
    let mut after = None;
    loop {
        environment
            .executor
            .sleep(std::mem::replace(&mut pause, usual))
            .await;
        // Never closed: it is the server's own.
        let Ok(_turn) = common.folds.acquire().await else {
            break;
        };
        let Some(workspace) = workspace.upgrade() else {
            break;
        };
        workspace.unfolded.store(false, Ordering::Release);
        let folding = Arc::clone(&workspace);
        let begin = after.take();
        match environment.offload(move || folding.fold_turn(begin)).await {
            Some(Ok(turn)) => {
                if turn.left {
                    workspace.unfolded.store(true, Ordering::Release);
                }
                after = turn.after;
            }
            Some(Err(error)) => {
                tracing::warn!(%error, "texts could not be folded");
                // Nobody may type for a long time, and operators read what was folded.
                workspace.unfolded.store(true, Ordering::Release);
                pause = usual.saturating_mul(AFTER_FAILURE);
            }
            None => tracing::error!("folding texts panicked"),
        }
        if workspace.ends_folding() {
            break;
        }
    }
}

/// Puts a text together. `counted` says how many bytes its document counts at a version, if it stands
/// at that.
fn fold(
    kind: TextKind,
    stored: &StoredText,
    name: &str,
    counted: impl Fn(Version) -> Option<u64>,
) -> Result<NewFold, Unreadable> {
    let mut open = OpenText::open(kind, stored)?;
    let (content, bytes) = open.content()?;
    let version = open.version();
    Ok(NewFold {
        folded: FoldedState {
            version,
            state: open.state()?,
            marks: open.marks().to_vec(),
        },
        deleted: counted(version).map(|counted| counted.saturating_sub(bytes)),
        name: name.to_owned(),
        body: content.to_string(),
    })
}

fn size(fold: &NewFold) -> usize {
    fold.folded.state.len() + fold.body.len()
}
