//! A query that an app watches, and what it shows of it.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Wake, Waker};

use driftline::{Database, Rows, Subscription};

/// Registers and a counter, which everything that happens to a document may change.
const QUERY: &str = "SELECT id, title, body, count FROM notes ORDER BY id";

/// An app's view.
pub(super) struct Watched {
    view: Arc<Mutex<View>>,
    told: Waker,
}

struct View {
    subscription: Subscription,
    shown: Option<Rows>,
}

impl Watched {
    /// Begins to watch; none where the file cannot be read now. An app that `hurries` has a thread that
    /// waits for news, and looks the moment that there is some; any other looks when it is time for it.
    pub(super) fn begin(database: &Database, hurries: bool) -> Option<Watched> {
        let view = View {
            subscription: database.watch(QUERY, ()).ok()?,
            shown: None,
        };
        let view = Arc::new(Mutex::new(view));
        let told: Waker = match hurries {
            true => Arc::new(Told(Arc::downgrade(&view))).into(),
            false => Waker::noop().clone(),
        };
        Some(Watched { view, told })
    }

    /// What the app shows once it has taken all news, and what it would show if it asked. Nothing where the
    /// file cannot be read: it stays behind, and takes the news later.
    pub(super) fn look(&mut self, database: &Database) -> Option<(Rows, Rows)> {
        let mut view = lock(&self.view);
        view.take_news(&self.told)?;
        let now = database.query(QUERY, ()).ok()?;
        Some((view.shown.clone()?, now))
    }
}

impl View {
    /// Nothing where the file cannot be read.
    fn take_news(&mut self, told: &Waker) -> Option<()> {
        let mut context = Context::from_waker(told);
        loop {
            let news = pin!(self.subscription.next_async()).poll(&mut context);
            match news {
                Poll::Pending | Poll::Ready(Ok(None)) => return Some(()),
                Poll::Ready(Ok(Some(update))) => self.shown = Some(update.rows),
                Poll::Ready(Err(_)) => return None,
            }
        }
    }
}

/// Wakes the app's thread, which goes on at once. Whoever is told holds nothing itself.
struct Told(Weak<Mutex<View>>);

impl Wake for Told {
    fn wake(self: Arc<Self>) {
        let Some(view) = self.0.upgrade() else {
            return;
        };
        // One that is looking just now sees before it waits that there is more.
        if let Ok(mut view) = view.try_lock() {
            // Where the file cannot be read it looks again when it is time for it.
            let _ = view.take_news(&Waker::from(self));
        }
    }
}

fn lock(view: &Mutex<View>) -> MutexGuard<'_, View> {
    view.lock().unwrap_or_else(PoisonError::into_inner)
}
