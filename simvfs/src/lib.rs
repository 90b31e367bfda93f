//! An SQLite VFS over disks in memory, for tests of what happens when a machine fails.
//!
//! A [`Disk`] keeps files as a real one does: what was written is seen by every process at once and
//! survives the end of a process; only what was synced survives a loss of power. A [`Process`] is a
//! running program on a disk: it has a VFS name to open databases with, counts its I/O calls, meets
//! the faults armed for them, and can be killed. Time, sleep and what a loss of power leaves follow
//! from seeds. (SQLite draws the salts of its logs from one source for the whole program: they differ
//! between runs, and nothing depends on them.)
//!
//! ```
//! use driftline_simvfs::{Disk, Fault, PowerLoss, Process};
//! use rusqlite::{Connection, OpenFlags};
//!
//! # fn main() -> rusqlite::Result<()> {
//! let disk = Disk::new(1);
//! let process = Process::start(&disk, 2);
//! let open = |process: &Process| {
//!     Connection::open_with_flags_and_vfs("app.db", OpenFlags::default(), process.vfs())
//! };
//! let app = open(&process)?;
//! app.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE birds (name TEXT)")?;
//!
//! process.arm(process.calls() + 2, Fault::CrashDuring);
//! assert!(app.execute("INSERT INTO birds VALUES ('Adelie')", ()).is_err());
//! drop(app);
//! disk.power_loss(PowerLoss::Torn);
//!
//! let after = Process::start(&disk, 3);
//! let app = open(&after)?;
//! let sound: String = app.query_row("PRAGMA integrity_check", (), |row| row.get(0))?;
//! assert_eq!(sound, "ok");
//! # Ok(()) }
//! ```

mod content;
mod disk;
mod fault;
mod file;
mod fingerprint;
pub mod heap;
mod locks;
mod malloc;
mod memory;
mod process;
mod random;
mod slot;
mod vfs;

pub use content::PowerLoss;
pub use disk::{Disk, Image};
pub use fault::{Call, CallKind, Fault, Recording};
pub use process::{Life, Process};
pub use random::Random;
