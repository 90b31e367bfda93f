//! Seeded mutations, for the run without libFuzzer.

/// Numbers that look random and are the same for the same seed (SplitMix64).
pub struct Random(u64);

impl Random {
    /// The stream of `seed`.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`; 0 if that is 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.draw() % (end as u64).max(1)) as usize
    }
}

/// Bytes at which readers of lengths and signs go wrong.
const TELLING: &[u8] = &[
    0, 1, 2, 0x40, 0x5b, 0x7b, 0x7f, 0x80, 0x9f, 0xbf, 0xff, b'"', b'\\', b'\'', b'.',
];

/// The most bytes a mutant grows to.
const LARGEST: usize = 1 << 16;

/// Changes `bytes` in one to four places; pieces come from `other` and from `words` too.
pub fn mutate(bytes: &mut Vec<u8>, other: &[u8], words: &[&str], random: &mut Random) {
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() + 1);
        match random.below(9) {
            0 => change(
                bytes,
                at,
                |byte, random| byte ^ (1 << random.below(8)),
                random,
            ),
            1 => change(
                bytes,
                at,
                |_, random| TELLING[random.below(TELLING.len())],
                random,
            ),
            2 => change(bytes, at, |byte, _| byte.wrapping_add(1), random),
            3 => bytes.insert(at, random.draw() as u8),
            4 => {
                let end = (at + 1 + random.below(16)).min(bytes.len());
                bytes.drain(at.min(end)..end);
            }
            5 => {
                let piece = piece(bytes, 32, random);
                bytes.splice(at..at, piece);
            }
            6 => {
                let piece = piece(other, 64, random);
                bytes.splice(at..at, piece);
            }
            7 if !words.is_empty() => {
                let word = words[random.below(words.len())];
                bytes.splice(at..at, word.bytes());
            }
            _ => bytes.truncate(at),
        }
    }
    bytes.truncate(LARGEST);
}

/// Changes a text in one to four of its words, so that more of it still means something.
pub fn mutate_words(bytes: &mut Vec<u8>, other: &[u8], words: &[&str], random: &mut Random) {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let other = String::from_utf8_lossy(other).into_owned();
    let others: Vec<&str> = other.split(' ').collect();
    let mut text: Vec<&str> = text.split(' ').collect();
    for _ in 0..=random.below(4) {
        let at = random.below(text.len() + 1);
        let word = match random.below(5) {
            0 if !words.is_empty() => words[random.below(words.len())],
            _ => others[random.below(others.len())],
        };
        match random.below(5) {
            0 => text.insert(at, word),
            1 if at < text.len() => drop(text.remove(at)),
            2 if at < text.len() => text.insert(random.below(text.len()), text[at]),
            3 => text.truncate(at.max(1)),
            _ if at < text.len() => text[at] = word,
            _ => text.push(word),
        }
    }
    *bytes = text.join(" ").into_bytes();
    bytes.truncate(LARGEST);
}

fn change(bytes: &mut [u8], at: usize, how: impl Fn(u8, &mut Random) -> u8, random: &mut Random) {
    if let Some(byte) = bytes.get_mut(at) {
        *byte = how(*byte, random);
    }
}

fn piece(from: &[u8], longest: usize, random: &mut Random) -> Vec<u8> {
    let start = random.below(from.len());
    let end = (start + 1 + random.below(longest)).min(from.len());
    from.get(start..end).unwrap_or_default().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_mutants_and_others_differ() {
        let mutant = |seed| {
            let mut bytes = b"SELECT title FROM notes".to_vec();
            mutate(&mut bytes, b"other", &["LIMIT"], &mut Random::new(seed));
            bytes
        };
        assert_eq!(mutant(1), mutant(1));
        let mutants: std::collections::BTreeSet<Vec<u8>> = (0..100).map(mutant).collect();
        assert!(mutants.len() > 80);
    }
}
