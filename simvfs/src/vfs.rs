//! Where SQLite calls: C pointers in, safe calls on [`OpenFile`] and [`Tenancy`], result codes out.
//!
//! Every `unsafe` of the VFS is here. What it relies on is SQLite's contract for a VFS
//! (<https://sqlite.org/c3ref/vfs.html>): methods are called with the `sqlite3_vfs` they were
//! registered in; a file's methods with the `sqlite3_file` that `xOpen` filled, never after its
//! `xClose`, and never two at once on one file; buffers are as long as the length given with them.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering, fence};

use rusqlite::ffi;

use crate::disk::Failure;
use crate::file::{MemoryLock, OpenFile, Opening};
use crate::locks::{Busy, Level};
use crate::malloc;
use crate::process::Tenancy;
use crate::slot::Slot;

static MADE: AtomicUsize = AtomicUsize::new(0);

/// The longest path.
const LONGEST_PATH: c_int = 512;

/// Has SQLite keep no statistics of its memory: it would take one lock for the whole program at each
/// allocation, and tests run on all cores. Too late, and without effect, where a connection was opened
/// before the first process was started.
fn keep_no_statistics() {
    // SAFETY: the option takes one `int`, and SQLite itself refuses the call once it is initialised.
    unsafe { ffi::sqlite3_config(ffi::SQLITE_CONFIG_MEMSTATUS, 0 as c_int) };
}

/// A further VFS.
pub(crate) fn register() -> &'static Slot {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        keep_no_statistics();
        malloc::count();
    });
    let name = format!("driftline-sim-{}", MADE.fetch_add(1, Ordering::Relaxed));
    // No format of a number has a NUL in it.
    let c_name = CString::new(name.clone()).unwrap_or_default();
    let slot: &'static Slot = Box::leak(Box::new(Slot::new(name)));
    let vfs = Box::leak(Box::new(ffi::sqlite3_vfs {
        iVersion: 2,
        szOsFile: size_of::<RawFile>() as c_int,
        mxPathname: LONGEST_PATH,
        pNext: std::ptr::null_mut(),
        zName: c_name.into_raw(),
        pAppData: std::ptr::from_ref(slot).cast_mut().cast(),
        xOpen: Some(open),
        xDelete: Some(delete),
        xAccess: Some(access),
        xFullPathname: Some(full_pathname),
        xDlOpen: None,
        xDlError: None,
        xDlSym: None,
        xDlClose: None,
        xRandomness: Some(randomness),
        xSleep: Some(sleep),
        xCurrentTime: Some(current_time),
        xGetLastError: Some(last_error),
        xCurrentTimeInt64: Some(current_time_millis),
        xSetSystemCall: None,
        xGetSystemCall: None,
        xNextSystemCall: None,
    }));
    // SAFETY: the structure is complete and leaked, so it lives as long as SQLite may use it; the
    // call takes SQLite's own lock.
    let registered = unsafe { ffi::sqlite3_vfs_register(vfs, 0) };
    assert_eq!(registered, ffi::SQLITE_OK, "SQLite takes no VFS");
    slot
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

/// What `xOpen` puts where SQLite wants its file.
#[repr(C)]
struct RawFile {
    base: ffi::sqlite3_file,
    file: *mut OpenFile,
}

/// The process that a call on a VFS comes from; `None` if it is gone.
fn resident(vfs: *mut ffi::sqlite3_vfs) -> Option<Arc<Tenancy>> {
    // SAFETY: SQLite passes the structure that was registered, which is leaked.
    let slot = unsafe { (*vfs).pAppData };
    // SAFETY: `register` stored a leaked `Slot` there, and nothing changes it.
    let slot = unsafe { &*slot.cast::<Slot>() };
    slot.resident().upgrade()
}

/// A C string as text; `None` for the null pointer.
fn text<'a>(string: *const c_char) -> Option<std::borrow::Cow<'a, str>> {
    if string.is_null() {
        return None;
    }
    // SAFETY: it is not null, and SQLite's strings end with a NUL and live through the call.
    Some(unsafe { CStr::from_ptr(string) }.to_string_lossy())
}

/// Stores an answer where SQLite wants it, if it does.
fn answer<T>(out: *mut T, value: T) {
    if !out.is_null() {
        // SAFETY: out-parameters of a VFS point to a variable of SQLite's for the time of the call.
        unsafe { out.write(value) };
    }
}

/// The open file behind SQLite's pointer.
fn file<'a>(raw: *mut ffi::sqlite3_file) -> &'a mut OpenFile {
    // SAFETY: `open` made a `RawFile` of it, and SQLite does not use it after `close`.
    let file = unsafe { (*raw.cast::<RawFile>()).file };
    // SAFETY: `open` stored a pointer from `Box::into_raw`, freed by `close` alone; SQLite makes one
    // call on a file at a time, so nobody else has a reference.
    unsafe { &mut *file }
}

fn code(failure: Failure, io: c_int) -> c_int {
    match failure {
        Failure::Io => io,
        Failure::Full => ffi::SQLITE_FULL,
        Failure::Missing => ffi::SQLITE_CANTOPEN,
    }
}

fn done(outcome: Result<(), Failure>, io: c_int) -> c_int {
    match outcome {
        Ok(()) => ffi::SQLITE_OK,
        Err(failure) => code(failure, io),
    }
}

fn locked(outcome: Result<Result<(), Busy>, Failure>, io: c_int) -> c_int {
    match outcome {
        Ok(Ok(())) => ffi::SQLITE_OK,
        Ok(Err(Busy)) => ffi::SQLITE_BUSY,
        Err(failure) => code(failure, io),
    }
}

/// SQLite's signed numbers are never negative where a VFS gets them.
fn size(number: impl TryInto<usize>) -> usize {
    number.try_into().unwrap_or(0)
}

unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    raw: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: SQLite gives `szOsFile` writable bytes. Without methods it will not call `close`.
    unsafe { (*raw).pMethods = std::ptr::null() };
    let Some(process) = resident(vfs) else {
        return ffi::SQLITE_CANTOPEN;
    };
    let name = text(name);
    let opening = Opening {
        name: name.as_deref(),
        create: flags & ffi::SQLITE_OPEN_CREATE != 0,
        exclusive: flags & ffi::SQLITE_OPEN_EXCLUSIVE != 0,
        delete_on_close: flags & ffi::SQLITE_OPEN_DELETEONCLOSE != 0,
    };
    match OpenFile::open(process, &opening) {
        Ok(opened) => {
            let made = RawFile {
                base: ffi::sqlite3_file { pMethods: &METHODS },
                file: Box::into_raw(Box::new(opened)),
            };
            // SAFETY: as above: `szOsFile` is the size of a `RawFile`, and SQLite aligns it for any
            // structure.
            unsafe { raw.cast::<RawFile>().write(made) };
            answer(out_flags, flags);
            ffi::SQLITE_OK
        }
        Err(Failure::Full) => ffi::SQLITE_FULL,
        Err(Failure::Io | Failure::Missing) => ffi::SQLITE_CANTOPEN,
    }
}

unsafe extern "C" fn close(raw: *mut ffi::sqlite3_file) -> c_int {
    let opened: *mut OpenFile = file(raw);
    // SAFETY: it came from `Box::into_raw` in `open`, and this is the last call on this file.
    let opened = unsafe { Box::from_raw(opened) };
    opened.close();
    ffi::SQLITE_OK
}

unsafe extern "C" fn read(
    raw: *mut ffi::sqlite3_file,
    into: *mut c_void,
    len: c_int,
    offset: i64,
) -> c_int {
    // SAFETY: SQLite's buffer has `len` bytes and is nobody else's during the call.
    let into = unsafe { std::slice::from_raw_parts_mut(into.cast::<u8>(), size(len)) };
    match file(raw).read(size(offset), into) {
        Ok(true) => ffi::SQLITE_OK,
        Ok(false) => ffi::SQLITE_IOERR_SHORT_READ,
        Err(failure) => code(failure, ffi::SQLITE_IOERR_READ),
    }
}

unsafe extern "C" fn write(
    raw: *mut ffi::sqlite3_file,
    from: *const c_void,
    len: c_int,
    offset: i64,
) -> c_int {
    // SAFETY: SQLite's buffer has `len` bytes, which nobody changes during the call.
    let from = unsafe { std::slice::from_raw_parts(from.cast::<u8>(), size(len)) };
    done(file(raw).write(size(offset), from), ffi::SQLITE_IOERR_WRITE)
}

unsafe extern "C" fn truncate(raw: *mut ffi::sqlite3_file, len: i64) -> c_int {
    done(file(raw).truncate(size(len)), ffi::SQLITE_IOERR_TRUNCATE)
}

unsafe extern "C" fn sync(raw: *mut ffi::sqlite3_file, _flags: c_int) -> c_int {
    done(file(raw).sync(), ffi::SQLITE_IOERR_FSYNC)
}

unsafe extern "C" fn file_size(raw: *mut ffi::sqlite3_file, out: *mut i64) -> c_int {
    match file(raw).size() {
        Ok(len) => {
            answer(out, len as i64);
            ffi::SQLITE_OK
        }
        Err(failure) => code(failure, ffi::SQLITE_IOERR_FSTAT),
    }
}

fn level(level: c_int) -> Level {
    match level {
        ffi::SQLITE_LOCK_NONE => Level::None,
        ffi::SQLITE_LOCK_SHARED => Level::Shared,
        ffi::SQLITE_LOCK_RESERVED => Level::Reserved,
        ffi::SQLITE_LOCK_PENDING => Level::Pending,
        _ => Level::Exclusive,
    }
}

unsafe extern "C" fn lock(raw: *mut ffi::sqlite3_file, wanted: c_int) -> c_int {
    locked(file(raw).lock(level(wanted)), ffi::SQLITE_IOERR_LOCK)
}

unsafe extern "C" fn unlock(raw: *mut ffi::sqlite3_file, kept: c_int) -> c_int {
    file(raw).unlock(level(kept));
    ffi::SQLITE_OK
}

unsafe extern "C" fn check_reserved_lock(raw: *mut ffi::sqlite3_file, out: *mut c_int) -> c_int {
    match file(raw).is_reserved() {
        Ok(reserved) => {
            answer(out, c_int::from(reserved));
            ffi::SQLITE_OK
        }
        Err(failure) => code(failure, ffi::SQLITE_IOERR_CHECKRESERVEDLOCK),
    }
}

unsafe extern "C" fn file_control(
    _raw: *mut ffi::sqlite3_file,
    _operation: c_int,
    _argument: *mut c_void,
) -> c_int {
    ffi::SQLITE_NOTFOUND
}

unsafe extern "C" fn sector_size(_raw: *mut ffi::sqlite3_file) -> c_int {
    4096
}

unsafe extern "C" fn device_characteristics(_raw: *mut ffi::sqlite3_file) -> c_int {
    // What SQLite assumes of every disk by default: a torn write leaves bytes beside it alone.
    ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE
}

unsafe extern "C" fn shm_map(
    raw: *mut ffi::sqlite3_file,
    number: c_int,
    bytes: c_int,
    make: c_int,
    out: *mut *mut c_void,
) -> c_int {
    answer(out, std::ptr::null_mut());
    match file(raw).region(size(number), size(bytes), make != 0) {
        Ok(region) => {
            let address = region.map_or(std::ptr::null_mut(), |region| region.address().cast());
            answer(out, address);
            ffi::SQLITE_OK
        }
        Err(failure) => code(failure, ffi::SQLITE_IOERR_SHMMAP),
    }
}

unsafe extern "C" fn shm_lock(
    raw: *mut ffi::sqlite3_file,
    first: c_int,
    count: c_int,
    flags: c_int,
) -> c_int {
    let how = if flags & ffi::SQLITE_SHM_UNLOCK != 0 {
        MemoryLock::Unlock
    } else if flags & ffi::SQLITE_SHM_SHARED != 0 {
        MemoryLock::Shared
    } else {
        MemoryLock::Exclusive
    };
    locked(
        file(raw).lock_memory(size(first), size(count), how),
        ffi::SQLITE_IOERR_SHMLOCK,
    )
}

unsafe extern "C" fn shm_barrier(_raw: *mut ffi::sqlite3_file) {
    fence(Ordering::SeqCst);
}

unsafe extern "C" fn shm_unmap(raw: *mut ffi::sqlite3_file, _delete: c_int) -> c_int {
    file(raw).leave_memory();
    ffi::SQLITE_OK
}

unsafe extern "C" fn delete(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    sync_directory: c_int,
) -> c_int {
    let (Some(process), Some(name)) = (resident(vfs), text(name)) else {
        return ffi::SQLITE_IOERR_DELETE;
    };
    match process.delete(&name, sync_directory != 0) {
        Err(Failure::Missing) => ffi::SQLITE_IOERR_DELETE_NOENT,
        outcome => done(outcome, ffi::SQLITE_IOERR_DELETE),
    }
}

unsafe extern "C" fn access(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    _flags: c_int,
    out: *mut c_int,
) -> c_int {
    let (Some(process), Some(name)) = (resident(vfs), text(name)) else {
        return ffi::SQLITE_IOERR_ACCESS;
    };
    match process.exists(&name) {
        Ok(exists) => {
            answer(out, c_int::from(exists));
            ffi::SQLITE_OK
        }
        Err(failure) => code(failure, ffi::SQLITE_IOERR_ACCESS),
    }
}

unsafe extern "C" fn full_pathname(
    _vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    room: c_int,
    out: *mut c_char,
) -> c_int {
    // SAFETY: SQLite's strings end with a NUL and live through the call.
    let name = unsafe { CStr::from_ptr(name) }.to_bytes_with_nul();
    if name.len() > size(room) {
        return ffi::SQLITE_CANTOPEN;
    }
    // SAFETY: SQLite gives `room` writable bytes, at least as many as are copied, and they are not
    // those of the name.
    unsafe { std::ptr::copy_nonoverlapping(name.as_ptr(), out.cast(), name.len()) };
    ffi::SQLITE_OK
}

unsafe extern "C" fn randomness(vfs: *mut ffi::sqlite3_vfs, len: c_int, out: *mut c_char) -> c_int {
    // SAFETY: SQLite gives `len` writable bytes.
    let out = unsafe { std::slice::from_raw_parts_mut(out.cast::<u8>(), size(len)) };
    match resident(vfs) {
        Some(process) => process.fill_random(out),
        None => out.fill(0),
    }
    len
}

unsafe extern "C" fn sleep(vfs: *mut ffi::sqlite3_vfs, micros: c_int) -> c_int {
    if let Some(process) = resident(vfs) {
        process.sleep(i64::from(micros));
    }
    micros
}

/// The Julian day of 1970-01-01 in milliseconds.
const UNIX_EPOCH: i64 = 210_866_760_000_000;

fn julian_millis(vfs: *mut ffi::sqlite3_vfs) -> i64 {
    let micros = resident(vfs).map_or(0, |process| process.now());
    UNIX_EPOCH + micros / 1000
}

unsafe extern "C" fn current_time_millis(vfs: *mut ffi::sqlite3_vfs, out: *mut i64) -> c_int {
    answer(out, julian_millis(vfs));
    ffi::SQLITE_OK
}

unsafe extern "C" fn current_time(vfs: *mut ffi::sqlite3_vfs, out: *mut f64) -> c_int {
    answer(out, julian_millis(vfs) as f64 / 86_400_000.0);
    ffi::SQLITE_OK
}

unsafe extern "C" fn last_error(
    _vfs: *mut ffi::sqlite3_vfs,
    _room: c_int,
    _out: *mut c_char,
) -> c_int {
    0
}
