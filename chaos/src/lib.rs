//! What a test needs to spoil a network between real processes: a seeded stream of decisions and a
//! proxy that carries them out. `cargo xtask chaos` is built on it; other tests may use it too.

pub mod proxy;
pub mod random;
