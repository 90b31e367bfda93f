//! Moments and turns that a seed draws.

use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Numbers that follow from a seed (SplitMix64). Which lives end where follows from it too; how far a
/// process has come by then is real, so the same seed plays the same decisions and not the same
/// interleaving.
pub struct Draws {
    state: u64,
}

impl Draws {
    /// From the seed in `SEED`, else from one that the clock gives. It is said beside the test's
    /// captured output, so that a run that never ends has said it too.
    pub fn new(test: &str) -> Draws {
        let asked = std::env::var("SEED").ok();
        let seed = asked.map_or_else(by_the_clock, |seed| seed.parse().unwrap());
        // In one piece: the lines of other tests come between two.
        let line = format!("{test}: SEED={seed}\n");
        let _ = std::io::stderr().write_all(line.as_bytes());
        Draws::of(seed)
    }

    /// The same ones each time.
    pub fn of(seed: u64) -> Draws {
        Draws { state: seed }
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    /// Lets a part of `most` pass.
    pub fn rest(&mut self, most: Duration) {
        let micros = u64::try_from(most.as_micros()).unwrap();
        std::thread::sleep(Duration::from_micros(self.below(micros)));
    }
}

fn by_the_clock() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    // Short enough to be typed again; the processes of one run get different ones.
    (since.as_micros() as u64 ^ u64::from(std::process::id()) << 20) % 1_000_000_000
}
