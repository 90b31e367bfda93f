//! Who asks, and what they may do: JSON Web Tokens, checked on every request and every frame.
//!
//! The algorithm is fixed by the server's key, never taken from the token. `docs/protocol.md` has
//! the claims.

mod claims;
mod keys;
pub mod mint;

pub use claims::{Role, Verified};
pub use keys::{KeyError, Keys, MAX_LIFETIME_SECONDS};
