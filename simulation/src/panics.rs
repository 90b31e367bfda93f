//! Panics of the product, also those that it catches itself and makes an answer or an error of.

use std::cell::{Cell, RefCell};
use std::panic::{self, PanicHookInfo};
use std::sync::Once;

thread_local! {
    /// The first panic of this thread that nobody asked for yet.
    static HEARD: RefCell<Option<String>> = const { RefCell::new(None) };
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// From now on every panic is heard, in all threads. Whatever hook there was is still called.
pub(crate) fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            hear(info);
            if !QUIET.get() {
                before(info);
            }
        }));
    });
}

/// The first panic of this thread since this was asked last.
pub(crate) fn heard() -> Option<String> {
    HEARD.take()
}

/// Does something whose panics are heard, and printed by nobody.
pub(crate) fn quietly<T>(work: impl FnOnce() -> T) -> T {
    let before = QUIET.replace(true);
    let done = work();
    QUIET.set(before);
    done
}

fn hear(info: &PanicHookInfo<'_>) {
    let place = info.location().map(ToString::to_string);
    let words = info.payload_as_str().unwrap_or("no words");
    let what = format!("{words} ({})", place.unwrap_or_default());
    // A panic in a hook ends the process.
    HEARD.with(|heard| {
        if let Ok(mut heard) = heard.try_borrow_mut() {
            heard.get_or_insert(what);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_that_somebody_catches_is_heard_once_in_its_own_thread() {
        listen();
        assert_eq!(heard(), None);
        let caught = quietly(|| panic::catch_unwind(|| panic!("over {}", "this")));
        assert!(caught.is_err());
        let elsewhere = std::thread::spawn(heard).join();
        assert!(matches!(elsewhere, Ok(None)));
        assert!(heard().is_some_and(|what| what.starts_with("over this (")));
        assert_eq!(heard(), None);
    }
}
