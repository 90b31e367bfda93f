//! SQLite's own memory, counted with everybody else's: its C code asks the system for it, past the
//! allocator that Rust programs install.
//!
//! SQLite is given functions that hand each call to the ones it would use, and count what came of it.
//! What this relies on is SQLite's contract for them (<https://sqlite.org/c3ref/mem_methods.html>): what is
//! given back or asked for its size was handed out by the same functions and is held still.

#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::ptr::null_mut;
use std::sync::OnceLock;

use rusqlite::ffi;

use crate::heap;

/// The functions that SQLite would use without these.
struct Own {
    malloc: unsafe extern "C" fn(c_int) -> *mut c_void,
    free: unsafe extern "C" fn(*mut c_void),
    realloc: unsafe extern "C" fn(*mut c_void, c_int) -> *mut c_void,
    size: unsafe extern "C" fn(*mut c_void) -> c_int,
}

static OWN: OnceLock<Own> = OnceLock::new();

/// From now on SQLite's memory counts in [`heap::held`]. Without effect where SQLite was used before.
pub(crate) fn count() {
    let mut methods = ffi::sqlite3_mem_methods {
        xMalloc: None,
        xFree: None,
        xRealloc: None,
        xSize: None,
        xRoundup: None,
        xInit: None,
        xShutdown: None,
        pAppData: null_mut(),
    };
    // SAFETY: the option takes a pointer to such methods and fills them; SQLite itself refuses the call
    // once it is initialised.
    unsafe { ffi::sqlite3_config(ffi::SQLITE_CONFIG_GETMALLOC, &raw mut methods) };
    let (Some(malloc), Some(free)) = (methods.xMalloc, methods.xFree) else {
        return;
    };
    let (Some(realloc), Some(size)) = (methods.xRealloc, methods.xSize) else {
        return;
    };
    let own = Own {
        malloc,
        free,
        realloc,
        size,
    };
    if OWN.set(own).is_err() {
        // They are in use.
        return;
    }
    methods.xMalloc = Some(take);
    methods.xFree = Some(give_back);
    methods.xRealloc = Some(resize);
    // SAFETY: the option takes a pointer to methods and copies them; SQLite refuses the call once it is
    // initialised, so no memory is out that other functions handed out.
    unsafe { ffi::sqlite3_config(ffi::SQLITE_CONFIG_MALLOC, &raw mut methods) };
}

impl Own {
    /// Bytes of what these functions handed out; nothing of nothing.
    fn size_of(&self, taken: *mut c_void) -> i64 {
        if taken.is_null() {
            return 0;
        }
        // SAFETY: every caller has it from these functions and holds it.
        i64::from(unsafe { (self.size)(taken) })
    }
}

unsafe extern "C" fn take(bytes: c_int) -> *mut c_void {
    let Some(own) = OWN.get() else {
        return null_mut();
    };
    // SAFETY: SQLite's call, handed on as it came.
    let taken = unsafe { (own.malloc)(bytes) };
    heap::count(own.size_of(taken));
    taken
}

unsafe extern "C" fn give_back(taken: *mut c_void) {
    let Some(own) = OWN.get() else {
        return;
    };
    heap::count(-own.size_of(taken));
    // SAFETY: SQLite's call, handed on as it came.
    unsafe { (own.free)(taken) }
}

unsafe extern "C" fn resize(taken: *mut c_void, bytes: c_int) -> *mut c_void {
    let Some(own) = OWN.get() else {
        return null_mut();
    };
    let before = own.size_of(taken);
    // SAFETY: SQLite's call, handed on as it came.
    let resized = unsafe { (own.realloc)(taken, bytes) };
    if !resized.is_null() {
        heap::count(own.size_of(resized) - before);
    }
    resized
}

#[cfg(test)]
mod tests {
    use rusqlite::{Connection, OpenFlags};

    use crate::{Disk, Process, heap};

    #[test]
    fn what_a_connection_keeps_in_memory_counts_until_it_is_closed() {
        let disk = Disk::new(1);
        let process = Process::start(&disk, 2);
        let open = || {
            let flags = OpenFlags::default();
            Connection::open_with_flags_and_vfs("app.db", flags, process.vfs()).unwrap()
        };
        // What SQLite keeps for the whole program is taken by the first.
        drop(open());
        let before = heap::held();
        let app = open();
        app.execute_batch(
            "PRAGMA temp_store = MEMORY; CREATE TEMP TABLE birds (song BLOB);
             INSERT INTO birds VALUES (zeroblob(1000000))",
        )
        .unwrap();
        assert!(heap::held() - before > 1_000_000);
        drop(app);
        assert_eq!(heap::held(), before);
    }
}
