//! When to sync: a state machine without I/O. Events go in, actions come out; a driver executes
//! them and reports back.
//!
//! All time is monotonic milliseconds, passed in with each event. The machine names the next moment
//! it wants to be woken ([`Machine::next_wake`]); it never sleeps. Between any two events it either
//! has a request in flight, a moment to wake, or rests in a state that [`Status`] names with its
//! cause.

mod backoff;
mod bootstrap;
mod isolation;
mod live;
mod machine;
mod signal;
mod status;
mod token;

#[cfg(test)]
mod tests;

pub use backoff::Backoff;
pub use bootstrap::Phase;
pub use isolation::Isolation;
pub use machine::{Machine, Settings};
pub use signal::{Action, Answer, Event, PROVIDER_FAILED, Plan, Purpose};
pub use status::{Cause, State, Status};
