//! zstd with a cap on what comes out: a few hundred bytes can claim to be gigabytes.

use std::io::Read;

use super::WireError;
use super::limits::MAX_RATIO;

/// Level 1: levels 3 and 9 are within a fifth of its size on sync traffic and cost several times
/// more.
const LEVEL: i32 = 1;

/// Compresses `bytes`.
pub fn compress(bytes: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(bytes, LEVEL).unwrap_or_else(|_| bytes.to_vec())
}

/// Decompresses at most `most` bytes, and at most [`MAX_RATIO`] times the input beyond the first
/// MiB.
///
/// # Errors
/// More than that, or damaged input.
pub fn decompress(bytes: &[u8], most: usize) -> Result<Vec<u8>, WireError> {
    let most = most.min((1 << 20) + bytes.len().saturating_mul(MAX_RATIO));
    let mut decoder = zstd::stream::read::Decoder::with_buffer(bytes).map_err(|_| WireError::Compression)?;
    // A window larger than the cap would be allocated before the first byte comes out.
    decoder.window_log_max(25).map_err(|_| WireError::Compression)?;
    let mut out = Vec::new();
    decoder.take(most as u64 + 1).read_to_end(&mut out).map_err(|_| WireError::Compression)?;
    if out.len() > most { Err(WireError::TooLarge(most)) } else { Ok(out) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bomb_is_stopped_at_the_cap() {
        let bomb = compress(&vec![0; 64 << 20]);
        assert!(bomb.len() < 64 << 10);
        assert!(matches!(decompress(&bomb, 32 << 20), Err(WireError::TooLarge(_))));
        assert_eq!(decompress(&compress(b"hello"), 100).unwrap(), b"hello");
        assert_eq!(decompress(b"not zstd", 100), Err(WireError::Compression));
        assert_eq!(decompress(&compress(&[7; 5000])[..10], 10_000), Err(WireError::Compression));
    }
}
