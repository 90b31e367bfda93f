//! What the product says in its logs while a world lives, read by the oracle on isolation.

use std::cell::RefCell;
use std::fmt::{Debug, Write};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::oracles::{self, Judgement};

thread_local! {
    /// A line that says too much, from the world in this thread.
    static TOLD: RefCell<Judgement> = const { RefCell::new(Ok(())) };
}

/// From now on all logs of the product are read, in all threads.
pub fn read_logs() {
    // Another one is there already only if this was called before.
    let _ = tracing::subscriber::set_global_default(Reader);
}

/// What was wrong with a log of this thread since this was asked last.
pub(super) fn judged() -> Judgement {
    TOLD.with(|told| told.replace(Ok(())))
}

struct Reader;

impl Reader {
    fn judge(&self, line: &Line) {
        let judged = oracles::says_nothing_private(&line.0);
        if judged.is_err() {
            TOLD.with(|told| *told.borrow_mut() = judged);
        }
    }
}

#[derive(Default)]
struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // Writing to memory cannot fail.
        let _ = write!(self.0, "{}={value:?} ", field.name());
    }
}

impl Subscriber for Reader {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("driftline")
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut line = Line::default();
        span.record(&mut line);
        self.judge(&line);
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        let mut line = Line::default();
        values.record(&mut line);
        self.judge(&line);
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        self.judge(&line);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
