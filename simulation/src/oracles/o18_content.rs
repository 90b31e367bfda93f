//! O18: an id stands for one content. What was sent under it never says something else, and nothing else
//! is put in its place.

use driftline_core::id::OpId;
use driftline_core::op::{Change, OpBody};

use super::{Judgement, Queued, object};

const ORACLE: &str = "O18 content";

/// Two requests that carry one id carry one op. Three things may differ: it was taken back since; its
/// text was authored again; the server's history changed, and it claims to have seen nothing.
pub fn says_the_same(id: OpId, first: &OpBody, again: &OpBody) -> Judgement {
    if again.withdraw || first.withdraw {
        return Ok(());
    }
    let plain = |body: &OpBody| {
        let mut body = body.clone();
        body.base = 0;
        body.changes.iter_mut().for_each(without_text);
        body
    };
    let bases = first.base == again.base || first.base == 0 || again.base == 0;
    match bases && plain(first) == plain(again) {
        true => Ok(()),
        false => object(
            ORACLE,
            format!("{id} was sent as {first:?} and as {again:?}"),
        ),
    }
}

fn without_text(change: &mut Change) {
    change.texts = Default::default();
}

/// An op stands for earlier ones only if nobody else can have seen those, and if no page came between.
/// A retry is something else: what it stands for was decided.
pub fn stands_for_the_unseen<'b>(
    queued: &Queued,
    body_of: impl Fn(OpId) -> Option<&'b OpBody>,
    was_sent: impl Fn(OpId) -> bool,
) -> Judgement {
    if queued.body.retry_of.is_some() {
        return Ok(());
    }
    for id in &queued.body.covers {
        if was_sent(*id) {
            return object(
                ORACLE,
                format!("{} stands for {id}, which was sent already", queued.id),
            );
        }
        let base = body_of(*id).map(|body| body.base);
        if base.is_some_and(|base| base != queued.body.base) && queued.body.base != 0 {
            let (now, base) = (queued.body.base, base.unwrap_or(0));
            return object(
                ORACLE,
                format!(
                    "{} saw version {now} and stands for {id}, which saw {base}",
                    queued.id
                ),
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracles::testing::{covering, id, update, view_with};

    #[test]
    fn an_id_that_says_something_else_is_refused() {
        let first = update("a", "x");
        assert_eq!(says_the_same(id(1), &first, &first.clone()), Ok(()));
        assert!(says_the_same(id(1), &first, &update("a", "y")).is_err());
        let covers = covering(update("a", "x"), 2);
        assert!(says_the_same(id(1), &first, &covers).is_err());
        let withdrawn = first.withdrawn();
        assert_eq!(says_the_same(id(1), &first, &withdrawn), Ok(()));
        let mut seen = first.clone();
        seen.base = 4;
        assert_eq!(
            says_the_same(id(1), &seen, &first),
            Ok(()),
            "history changed"
        );
        let mut newer = seen.clone();
        newer.base = 5;
        assert!(says_the_same(id(1), &seen, &newer).is_err());
    }

    #[test]
    fn an_op_that_joins_what_was_sent_or_saw_less_is_refused() {
        let earlier = update("a", "x");
        let mut later = covering(update("a", "y"), 1);
        let judge = |later: &OpBody, sent| {
            let view = view_with(&[(2, later.clone())]);
            stands_for_the_unseen(&view.queue[0], |_| Some(&earlier), |_| sent)
        };
        assert_eq!(judge(&later, false), Ok(()));
        assert!(judge(&later, true).is_err());
        later.base = 3;
        assert!(judge(&later, false).is_err());
        later.retry_of = Some(id(1));
        assert_eq!(judge(&later, true), Ok(()));
    }
}
