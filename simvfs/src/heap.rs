//! Memory, counted thread by thread: a simulated world lives in one thread, so what is held there is held
//! by it.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static HELD: Cell<i64> = const { Cell::new(0) };
    static MOST: Cell<i64> = const { Cell::new(0) };
}

/// An allocator that counts, for a program to install. Of what C code takes for itself only SQLite's is seen,
/// with or without it.
pub struct Counting;

/// Bytes that this thread has taken and not given back. Less than nothing where it gave back what others
/// took; SQLite's alone without [`Counting`].
pub fn held() -> i64 {
    HELD.get()
}

/// The most that was held since this was asked last.
pub fn most() -> i64 {
    MOST.replace(HELD.get())
}

pub(crate) fn count(bytes: i64) {
    // A thread that ends may still give something back.
    let _ = HELD.try_with(|held| {
        let now = held.get() + bytes;
        held.set(now);
        let _ = MOST.try_with(|most| most.set(most.get().max(now)));
    });
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

// SAFETY: every call is handed to the system's allocator as it came; counting takes no memory.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's word on the layout is handed on.
        let taken = unsafe { System.alloc(layout) };
        if !taken.is_null() {
            count(signed(layout.size()));
        }
        taken
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        let taken = unsafe { System.alloc_zeroed(layout) };
        if !taken.is_null() {
            count(signed(layout.size()));
        }
        taken
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-signed(layout.size()));
        // SAFETY: the caller's word that it came from here with this layout is handed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        let taken = unsafe { System.realloc(pointer, layout, size) };
        if !taken.is_null() {
            count(signed(size) - signed(layout.size()));
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_counts_until_it_is_given_back() {
        let layout = Layout::new::<[u8; 4096]>();
        let before = held();
        most();
        // SAFETY: the layout is not empty, and the memory is given back below.
        let taken = unsafe { Counting.alloc(layout) };
        assert_eq!(held() - before, 4096);
        // SAFETY: taken just now with this layout.
        unsafe { Counting.dealloc(taken, layout) };
        assert_eq!(held(), before);
        assert_eq!(most() - before, 4096);
        assert_eq!(most(), before, "it begins anew");
    }
}
