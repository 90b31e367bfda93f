//! O21: no process holds more and more, no step takes more than it needs, and nothing is left of a world.
//! SQLite's own memory counts like Rust's.

use super::{Judgement, object};

const ORACLE: &str = "O21 memory";

/// What a process of these small worlds may hold when it ends.
const MOST_HELD: i64 = 4 << 20;

/// What one step may take at its height, beyond what was held before. The largest of what the world itself
/// makes up, a message of 24 MiB that was blown up, passes through it more than once.
const MOST_TAKEN: i64 = 160 << 20;

/// What may be left when a world is over: names that are given to the next one's processes.
const MOST_LEFT: i64 = 64 << 10;

/// A process that ended has given back no more than it may hold.
pub fn held_little(bytes: i64, whose: &str) -> Judgement {
    match bytes > MOST_HELD {
        true => object(ORACLE, format!("{whose} held {bytes} bytes when it ended")),
        false => Ok(()),
    }
}

/// A step took no more than it may.
pub fn took_little(bytes: i64) -> Judgement {
    match bytes > MOST_TAKEN {
        true => object(ORACLE, format!("one step took {bytes} bytes")),
        false => Ok(()),
    }
}

/// Whoever ended has given everything back, connections of SQLite included.
pub fn left_little(bytes: i64) -> Judgement {
    match bytes > MOST_LEFT {
        true => object(
            ORACLE,
            format!("{bytes} bytes are left of a world that is over"),
        ),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_holds_takes_or_leaves_too_much_is_refused() {
        assert_eq!(held_little(MOST_HELD, "it"), Ok(()));
        assert!(held_little(MOST_HELD + 1, "it").is_err());
        assert_eq!(took_little(MOST_TAKEN), Ok(()));
        assert!(took_little(MOST_TAKEN + 1).is_err());
        assert_eq!(left_little(MOST_LEFT), Ok(()));
        assert!(left_little(MOST_LEFT + 1).is_err());
    }
}
