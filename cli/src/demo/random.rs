//! Numbers that look random and are the same for the same seed (SplitMix64), so that a demo that
//! failed can be run again.

/// A stream of numbers.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// A stream of its own for one purpose: drawing more there changes nothing here.
    pub(super) fn fork(&mut self) -> Random {
        Random(self.next())
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from `from` to before `to`.
    pub(super) fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.next() % to.saturating_sub(from).max(1)
    }

    /// Takes one out of `from`.
    pub(super) fn take<T>(&mut self, from: &mut Vec<T>) -> Option<T> {
        if from.is_empty() {
            return None;
        }
        let at = self.between(0, from.len() as u64) as usize;
        Some(from.swap_remove(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_story() {
        let draw = |seed| {
            let mut random = Random::new(seed);
            (0..8).map(|_| random.between(3, 9)).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        assert!(draw(7).iter().all(|n| (3..9).contains(n)));
    }

    #[test]
    fn everything_is_taken_once() {
        let (mut random, mut from) = (Random::new(1), (0..50).collect::<Vec<_>>());
        let mut taken: Vec<i32> = std::iter::from_fn(|| random.take(&mut from)).collect();
        taken.sort_unstable();
        assert_eq!(taken, (0..50).collect::<Vec<_>>());
    }
}
