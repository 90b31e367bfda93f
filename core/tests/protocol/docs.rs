//! Whether `docs/protocol.md` says the same as the code.
