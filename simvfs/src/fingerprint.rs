//! Whether two disks hold the same for SQLite.

/// Mixes words into a number. Fast rather than strong: it tells states of tests apart.
#[derive(Clone, Copy)]
pub(crate) struct Mixer(u64);

impl Mixer {
    pub(crate) fn new() -> Mixer {
        Mixer(0x9e37_79b9_7f4a_7c15)
    }

    pub(crate) fn word(&mut self, word: u64) {
        let mixed = u128::from(self.0 ^ word) * 0xd6e8_feb8_6659_fd93;
        self.0 = (mixed as u64) ^ ((mixed >> 64) as u64).rotate_left(23) ^ word;
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.word(bytes.len() as u64);
        let (words, rest) = bytes.as_chunks::<8>();
        words
            .iter()
            .for_each(|word| self.word(u64::from_le_bytes(*word)));
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.word(u64::from_le_bytes(last));
    }

    pub(crate) fn file(&mut self, name: &str, bytes: &[u8]) {
        self.bytes(name.as_bytes());
        match name.ends_with("-wal") {
            true => self.log(bytes),
            false => self.bytes(bytes),
        }
    }

    /// Of a log what SQLite reads: the pages of its transactions. Salts and checksums come from one
    /// source of randomness for the whole program, and nobody ever reads what follows the last commit.
    fn log(&mut self, bytes: &[u8]) {
        self.word(u64::from(!bytes.is_empty()));
        let Some(log) = Log::begin(bytes) else {
            return;
        };
        let pages = log.committed();
        self.word(log.page_size as u64);
        self.word(pages.len() as u64);
        for (page, commit, content) in pages {
            self.word(u64::from(page) << 32 | u64::from(commit));
            self.bytes(content);
        }
    }

    pub(crate) fn value(self) -> u64 {
        self.0
    }
}

/// A write-ahead log (<https://sqlite.org/walformat.html>).
struct Log<'a> {
    frames: &'a [u8],
    page_size: usize,
    big_endian: bool,
    salts: &'a [u8],
    sum: (u32, u32),
}

/// A page, the size of the database if this ends a transaction, and the page's content.
type Frame<'a> = (u32, u32, &'a [u8]);

const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;

impl<'a> Log<'a> {
    /// `None` if its header is none: then SQLite takes it for empty.
    fn begin(bytes: &'a [u8]) -> Option<Log<'a>> {
        let (header, frames) = bytes.split_at_checked(HEADER)?;
        let magic = word(header, 0)?;
        let page_size = word(header, 8)? as usize;
        let mut log = Log {
            frames,
            page_size,
            big_endian: magic & 1 == 1,
            salts: header.get(16..24)?,
            sum: (0, 0),
        };
        log.add(header.get(..24)?);
        let known = magic & !1 == 0x377f_0682 && page_size >= 512;
        (known && log.sum == (word(header, 24)?, word(header, 28)?)).then_some(log)
    }

    /// Frames up to the end of the last whole transaction.
    fn committed(&self) -> Vec<Frame<'a>> {
        let mut log = Log { ..*self };
        let (mut frames, mut committed) = (Vec::new(), 0);
        for frame in self.frames.chunks_exact(FRAME_HEADER + self.page_size) {
            let Some((page, commit, content)) = log.valid(frame) else {
                break;
            };
            frames.push((page, commit, content));
            if commit > 0 {
                committed = frames.len();
            }
        }
        frames.truncate(committed);
        frames
    }

    fn valid(&mut self, frame: &'a [u8]) -> Option<Frame<'a>> {
        let (header, content) = frame.split_at_checked(FRAME_HEADER)?;
        if header.get(8..16)? != self.salts {
            return None;
        }
        self.add(header.get(..8)?);
        self.add(content);
        let stored = (word(header, 16)?, word(header, 20)?);
        (self.sum == stored).then_some((word(header, 0)?, word(header, 4)?, content))
    }

    fn add(&mut self, bytes: &[u8]) {
        let (mut one, mut two) = self.sum;
        let of = |word: [u8; 4]| match self.big_endian {
            true => u32::from_be_bytes(word),
            false => u32::from_le_bytes(word),
        };
        for [a, b, c, d, e, f, g, h] in bytes.as_chunks::<8>().0.iter().copied() {
            one = one.wrapping_add(of([a, b, c, d])).wrapping_add(two);
            two = two.wrapping_add(of([e, f, g, h])).wrapping_add(one);
        }
        self.sum = (one, two);
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..at + 4)?;
    Some(u32::from_be_bytes(word.try_into().ok()?))
}
