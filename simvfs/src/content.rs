//! What a file holds: as processes see it, and as the disk would have it after a loss of power.

use crate::random::Random;

/// What becomes of writes that were not synced when the power goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PowerLoss {
    /// None of them is there.
    LoseUnsynced,
    /// All of them are there: as if only the processes had ended.
    KeepUnsynced,
    /// Each sector of each of them may be there, missing or cut short, whatever their order was.
    Torn,
}

/// What a disk writes whole, or nearly so.
const SECTOR: usize = 512;

/// One change that no sync has made durable yet.
#[derive(Clone, Debug)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Truncate(usize),
}

/// A file's bytes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Content {
    current: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
}

impl Content {
    /// All of it is durable.
    pub(crate) fn durable(bytes: &[u8]) -> Content {
        Content {
            current: bytes.to_vec(),
            durable: bytes.to_vec(),
            unsynced: Vec::new(),
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.current
    }

    pub(crate) fn len(&self) -> usize {
        self.current.len()
    }

    /// Copies what is at `offset` into `into`; returns how many bytes there were.
    pub(crate) fn read(&self, offset: usize, into: &mut [u8]) -> usize {
        let there = self.current.get(offset..).unwrap_or_default();
        let count = there.len().min(into.len());
        let (filled, rest) = into.split_at_mut(count);
        filled.copy_from_slice(&there[..count]);
        rest.fill(0);
        count
    }

    pub(crate) fn write(&mut self, offset: usize, bytes: &[u8]) {
        put(&mut self.current, offset, bytes);
        self.unsynced.push(Change::Write {
            offset,
            bytes: bytes.to_vec(),
        });
    }

    pub(crate) fn truncate(&mut self, len: usize) {
        self.current.resize(len, 0);
        self.unsynced.push(Change::Truncate(len));
    }

    /// Makes everything durable that was written since the last sync.
    pub(crate) fn sync(&mut self) {
        for change in std::mem::take(&mut self.unsynced) {
            match change {
                Change::Write { offset, bytes } => put(&mut self.durable, offset, &bytes),
                Change::Truncate(len) => self.durable.resize(len, 0),
            }
        }
    }

    /// A sync failed, and the system takes the pages for clean: readers see them, but no later sync
    /// writes them.
    pub(crate) fn forget_unsynced(&mut self) {
        self.unsynced.clear();
    }

    pub(crate) fn flip_bit(&mut self, random: &mut Random) {
        let at = random.below(self.current.len());
        let bit = 1 << random.below(8);
        for image in [&mut self.current, &mut self.durable] {
            if let Some(byte) = image.get_mut(at) {
                *byte ^= bit;
            }
        }
    }

    /// The power goes: what is durable is all there is.
    pub(crate) fn power_loss(&mut self, loss: PowerLoss, random: &mut Random) {
        match loss {
            PowerLoss::LoseUnsynced => self.unsynced.clear(),
            PowerLoss::KeepUnsynced => self.sync(),
            PowerLoss::Torn => self.tear(random),
        }
        self.current.clone_from(&self.durable);
    }

    fn tear(&mut self, random: &mut Random) {
        for change in std::mem::take(&mut self.unsynced) {
            match change {
                Change::Write { offset, bytes } => {
                    for (sector_at, sector) in sectors(offset, &bytes) {
                        let kept = match random.below(16) {
                            0 => random.below(sector.len()),
                            1..8 => sector.len(),
                            _ => continue,
                        };
                        put(&mut self.durable, sector_at, &sector[..kept]);
                    }
                }
                Change::Truncate(len) => {
                    if random.one_in(2) {
                        self.durable.resize(len, 0);
                    }
                }
            }
        }
    }
}

fn put(image: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if image.len() < end {
        image.resize(end, 0);
    }
    image[offset..end].copy_from_slice(bytes);
}

/// The pieces of a write that lie in one sector each.
fn sectors(offset: usize, bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let first = (SECTOR - offset % SECTOR).min(bytes.len());
    let (head, rest) = bytes.split_at(first);
    let rest_at = offset + first;
    let rest = rest
        .chunks(SECTOR)
        .enumerate()
        .map(move |(index, sector)| (rest_at + index * SECTOR, sector));
    std::iter::once((offset, head))
        .filter(|(_, head)| !head.is_empty())
        .chain(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_is_cut_at_sector_borders() {
        let cut: Vec<(usize, usize)> = sectors(500, &[0; 600])
            .map(|(at, sector)| (at, sector.len()))
            .collect();
        assert_eq!(cut, [(500, 12), (512, 512), (1024, 76)]);
        assert_eq!(sectors(512, &[0; 512]).count(), 1);
    }

    #[test]
    fn only_what_was_synced_survives() {
        let mut content = Content::default();
        content.write(0, b"synced");
        content.sync();
        content.write(0, b"gone..");
        content.write(6, b"gone too");
        let mut random = Random::new(1);
        content.power_loss(PowerLoss::LoseUnsynced, &mut random);
        assert_eq!(content.bytes(), b"synced");
    }

    #[test]
    fn torn_sectors_come_in_any_combination() {
        let (mut both, mut neither, mut second_only, mut cut) = (false, false, false, false);
        for seed in 0..200 {
            let mut content = Content::durable(&[0; 2 * SECTOR]);
            content.write(0, &[1; 2 * SECTOR]);
            content.power_loss(PowerLoss::Torn, &mut Random::new(seed));
            let written = |range: std::ops::Range<usize>| {
                let count = content.bytes()[range].iter().filter(|b| **b == 1).count();
                (count == SECTOR, count > 0 && count < SECTOR)
            };
            let ((first, cut_first), (second, _)) =
                (written(0..SECTOR), written(SECTOR..2 * SECTOR));
            both |= first && second;
            neither |= !first && !second;
            second_only |= !first && second;
            cut |= cut_first;
        }
        assert!(both && neither && second_only && cut);
    }

    #[test]
    fn after_a_forgotten_sync_a_later_one_does_not_help() {
        let mut content = Content::durable(b"old");
        content.write(0, b"new");
        content.forget_unsynced();
        content.sync();
        assert_eq!(content.bytes(), b"new");
        content.power_loss(PowerLoss::KeepUnsynced, &mut Random::new(1));
        assert_eq!(content.bytes(), b"old");
    }
}
