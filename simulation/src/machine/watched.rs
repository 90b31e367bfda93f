//! A query that an app watches, and what it shows of it.

use std::time::Duration;

use driftline::{Database, Rows, Subscription};

/// Registers and a counter, which everything that happens to a document may change.
const QUERY: &str = "SELECT id, title, body, count FROM notes ORDER BY id";

/// An app's view.
pub(super) struct Watched {
    subscription: Subscription,
    shown: Option<Rows>,
}

impl Watched {
    /// Begins to watch; none where the file cannot be read now.
    pub(super) fn begin(database: &Database) -> Option<Watched> {
        let subscription = database.watch(QUERY, ()).ok()?;
        Some(Watched {
            subscription,
            shown: None,
        })
    }

    /// What the app shows once it has taken all news, and what it would show if it asked. Nothing where the
    /// file cannot be read: it stays behind, and takes the news later.
    pub(super) fn look(&mut self, database: &Database) -> Option<(Rows, Rows)> {
        while let Some(update) = self.subscription.next_timeout(Duration::ZERO).ok()? {
            self.shown = Some(update.rows);
        }
        let now = database.query(QUERY, ()).ok()?;
        Some((self.shown.clone()?, now))
    }
}
