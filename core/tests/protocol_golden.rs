//! The protocol as bytes: every message in both forms against files that other implementations can
//! be tested with, what hostile bytes do, and whether `docs/protocol.md` says the same as the code.
//!
//! A change of a message shows as a failing golden file. If the change is wanted,
//! `DRIFTLINE_WRITE_GOLDEN=1 cargo test -p driftline-core --test protocol_golden` writes the files
//! and the examples in `docs/protocol.md` anew, and fails all the same, so that no run with the switch
//! on ever counts as a pass; a further run without it then holds. (What depends on a file that was
//! just written needs the switch twice.) A new message needs two empty files first.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

#[path = "protocol/docs.rs"]
mod docs;
#[path = "protocol/golden.rs"]
mod golden;
#[path = "protocol/hostile.rs"]
mod hostile;
#[path = "protocol/page.rs"]
mod page;
#[path = "protocol/samples/mod.rs"]
mod samples;
#[path = "protocol/session.rs"]
mod session;
#[path = "protocol/tolerance.rs"]
mod tolerance;
