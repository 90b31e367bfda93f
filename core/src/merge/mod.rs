//! Who wins: one pure function a kind, the definition of *seen*, generations, and the decision
//! about a whole op.
//!
//! The server runs this to decide; a device runs it to predict ([`crate::fold`]).

mod codec;
mod counter;
mod decide;
mod decision;
mod diff;
mod document;
mod echo;
mod fields;
mod limits;
mod plain;
mod record;
mod register;
mod seen;
mod set;
mod state;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
mod text;

pub use codec::encode_inserted;
pub use decide::{Workspace, decide};
pub use decision::{Accepted, Decision, Touched};
pub use diff::Difference;
pub use document::{Effect, Incoming, Merged, Unmerged, merge};
pub use echo::echo;
pub use plain::Plain;
pub use record::{Link, Record, Verdict};
pub use register::{Contest, contest};
pub use seen::{History, Linked, Seen};
pub use state::{DocumentState, Generation, Life, Register, Reopened, SetState, TextState, Write};
pub use text::{admit_texts, unapplied_texts};
