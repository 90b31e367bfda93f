//! What can become of a connection, and how often it does.

use std::time::Duration;

use crate::random::Random;

/// What becomes of one connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// Everything passes.
    Pass,
    /// It ends after so many bytes in one of the two directions, wherever that is in a message.
    Cut {
        /// Bytes to the server.
        up: u64,
        /// Bytes to the device.
        down: u64,
    },
    /// Each piece arrives so much later.
    Delay(Duration),
    /// So many bytes a second and direction.
    Throttle(u64),
    /// The server gets everything; nothing it answers arrives, and after so long the connection ends.
    DropAnswers(Duration),
    /// Nothing arrives and nobody says so, until the device gives up.
    HalfOpen {
        /// Whether the server still gets what the device sends.
        sends: bool,
    },
}

impl Fate {
    pub(super) const NAMES: [&'static str; 6] = [
        "passed",
        "cut",
        "delayed",
        "throttled",
        "answers dropped",
        "half open",
    ];

    pub(super) fn index(self) -> usize {
        match self {
            Fate::Pass => 0,
            Fate::Cut { .. } => 1,
            Fate::Delay(_) => 2,
            Fate::Throttle(_) => 3,
            Fate::DropAnswers(_) => 4,
            Fate::HalfOpen { .. } => 5,
        }
    }
}

/// How many connections of a thousand meet which fate; the others pass.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Profile {
    /// [`Fate::Cut`], after up to 6,000 bytes.
    pub cut: u64,
    /// [`Fate::Delay`], 2 to 80 ms a piece.
    pub delay: u64,
    /// [`Fate::Throttle`], 2 to 200 kB/s.
    pub throttle: u64,
    /// [`Fate::DropAnswers`], for 10 to 500 ms.
    pub drop_answers: u64,
    /// [`Fate::HalfOpen`].
    pub half_open: u64,
}

impl Profile {
    /// Everything passes.
    pub const FAIR: Profile = Profile {
        cut: 0,
        delay: 0,
        throttle: 0,
        drop_answers: 0,
        half_open: 0,
    };

    pub(super) fn draw(self, random: &mut Random) -> Fate {
        let (lot, mut up_to) = (random.between(0, 1000), 0);
        let mut falls_on = |chance: u64| {
            up_to += chance;
            lot < up_to
        };
        if falls_on(self.cut) {
            let (up, down) = (random.between(1, 6_000), random.between(1, 6_000));
            Fate::Cut { up, down }
        } else if falls_on(self.delay) {
            Fate::Delay(Duration::from_millis(random.between(2, 80)))
        } else if falls_on(self.throttle) {
            Fate::Throttle(random.between(2_000, 200_000))
        } else if falls_on(self.drop_answers) {
            Fate::DropAnswers(Duration::from_millis(random.between(10, 500)))
        } else if falls_on(self.half_open) {
            Fate::HalfOpen {
                sends: random.chance(500),
            }
        } else {
            Fate::Pass
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fates_come_as_often_as_the_profile_says() {
        let profile = Profile {
            cut: 100,
            delay: 200,
            throttle: 50,
            drop_answers: 150,
            half_open: 100,
        };
        let mut random = Random::new(11);
        let mut counts = [0_u32; Fate::NAMES.len()];
        (0..10_000).for_each(|_| counts[profile.draw(&mut random).index()] += 1);
        for (count, wanted) in counts
            .into_iter()
            .zip([4_000, 1_000, 2_000, 500, 1_500, 1_000])
        {
            assert!(count.abs_diff(wanted) < 200, "{counts:?}");
        }
        assert_eq!(Profile::FAIR.draw(&mut random), Fate::Pass);
    }
}
