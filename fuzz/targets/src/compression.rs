//! zstd: never more out than the cap, and what is compressed comes back.

use driftline_core::protocol::{compress, decompress, inflate};

/// The most that comes out here.
const MOST: usize = 1 << 20;

pub(crate) fn run(data: &[u8]) -> bool {
    assert_eq!(
        decompress(&compress(data), data.len().max(1)).unwrap(),
        data
    );
    if let Ok(frame) = inflate(data, MOST) {
        assert!(frame.len() <= MOST);
    }
    match decompress(data, MOST) {
        Ok(plain) => {
            assert!(plain.len() <= MOST);
            assert_eq!(decompress(&compress(&plain), MOST).unwrap(), plain);
            true
        }
        Err(_) => false,
    }
}
