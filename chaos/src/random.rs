//! Numbers that look random and are the same for the same seed (SplitMix64).

/// A stream of numbers.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The stream of `seed`.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// The stream of one purpose under a seed, named by numbers. It depends on nothing that was drawn
    /// elsewhere: what one device decides does not move when another is slower.
    pub fn of(seed: u64, purpose: &[u64]) -> Random {
        let mut random = Random(seed);
        for part in purpose {
            random.0 = random.draw() ^ part.wrapping_mul(0xd6e8_feb8_6659_fd93);
        }
        Random(random.draw())
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from `from` to before `to`; `from` where nothing lies between.
    pub fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.draw() % to.saturating_sub(from).max(1)
    }

    /// True so many times in a thousand.
    pub fn chance(&mut self, per_mille: u64) -> bool {
        self.between(0, 1000) < per_mille
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_and_purpose_give_the_same_numbers() {
        let draw = |seed, purpose: &[u64]| {
            let mut random = Random::of(seed, purpose);
            [(); 8].map(|()| random.between(3, 1_000_000))
        };
        assert_eq!(draw(7, &[1, 2]), draw(7, &[1, 2]));
        assert_ne!(draw(7, &[1, 2]), draw(7, &[2, 1]));
        assert_ne!(draw(7, &[1, 2]), draw(8, &[1, 2]));
        assert!(draw(9, &[]).iter().all(|n| (3..1_000_000).contains(n)));
    }

    #[test]
    fn chances_are_what_they_say() {
        let mut random = Random::new(5);
        let hits = (0..10_000).filter(|_| random.chance(250)).count();
        assert!((2_200..2_800).contains(&hits), "{hits}");
        assert!(!random.chance(0) && random.chance(1000));
    }
}
