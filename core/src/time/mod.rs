//! Where a write stands in time: clock readings, stamps and how the server places them.

mod place;
mod stamp;

pub use place::{Contact, Reading, place};
pub use stamp::Stamp;
