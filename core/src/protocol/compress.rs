//! zstd with a cap on what comes out: a few hundred bytes can claim to be gigabytes.

use std::borrow::Cow;
use std::io::Read;

use zstd::stream::read::Decoder;
use zstd::zstd_safe;

use super::WireError;
use super::limits::{MAX_RATIO, MAX_WINDOW_LOG};

/// Level 1: levels 3 and 9 are within a fifth of its size on sync traffic and cost several times
/// more.
const LEVEL: i32 = 1;
/// What every zstd stream begins with. No message begins so: 0x28 is a negative integer in CBOR and
/// a parenthesis in JSON.
pub(super) const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Compresses `bytes`.
pub fn compress(bytes: &[u8]) -> Vec<u8> {
    match zstd::bulk::compress(bytes, LEVEL) {
        Ok(compressed) => compressed,
        #[expect(
            clippy::unreachable,
            reason = "the buffer has room for the worst case: only memory can run out, as in any Vec"
        )]
        Err(error) => unreachable!("zstd could not compress: {error}"),
    }
}

/// Decompresses at most `most` bytes, and at most [`MAX_RATIO`] times the input beyond the first
/// MiB.
///
/// # Errors
/// More than that, or damaged input.
pub fn decompress(bytes: &[u8], most: usize) -> Result<Vec<u8>, WireError> {
    let most = most.min((1 << 20) + bytes.len().saturating_mul(MAX_RATIO));
    if let Some(size) = said_size(bytes) {
        return match size <= most {
            true => zstd::bulk::decompress(bytes, size).map_err(|_| WireError::Compression),
            false => Err(WireError::TooLarge(most)),
        };
    }
    let mut out = Vec::new();
    decoder(bytes)?
        .take(most as u64 + 1)
        .read_to_end(&mut out)
        .map_err(|_| WireError::Compression)?;
    if out.len() > most {
        Err(WireError::TooLarge(most))
    } else {
        Ok(out)
    }
}

/// How much all frames of `bytes` together say to hold. They are decompressed in one go, without a
/// window; what does not keep its word is damaged.
fn said_size(bytes: &[u8]) -> Option<usize> {
    let (mut rest, mut size) = (bytes, 0_u64);
    while !rest.is_empty() {
        let end = zstd_safe::find_frame_compressed_size(rest).ok()?;
        let said = zstd_safe::get_frame_content_size(rest).ok()??;
        size = size.checked_add(said)?;
        rest = rest.get(end..).filter(|_| end > 0)?;
    }
    usize::try_from(size).ok().filter(|_| !bytes.is_empty())
}

/// What reads a compressed message bit by bit.
pub(super) fn decoder(bytes: &[u8]) -> Result<Decoder<'_, &[u8]>, WireError> {
    let mut decoder = Decoder::with_buffer(bytes).map_err(|_| WireError::Compression)?;
    // A window larger than the cap would be allocated before the first byte comes out.
    decoder
        .window_log_max(MAX_WINDOW_LOG)
        .map_err(|_| WireError::Compression)?;
    Ok(decoder)
}

/// A frame of the live socket or a snapshot: decompressed if it is compressed, which its first
/// bytes tell, else as it is.
///
/// # Errors
/// As [`decompress`], and a plain frame of more than `most` bytes.
pub fn inflate(frame: &[u8], most: usize) -> Result<Cow<'_, [u8]>, WireError> {
    if frame.starts_with(&MAGIC) {
        decompress(frame, most).map(Cow::Owned)
    } else if frame.len() > most {
        Err(WireError::TooLarge(most))
    } else {
        Ok(Cow::Borrowed(frame))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_bomb_is_stopped_at_the_cap() {
        let bomb = compress(&vec![0; 64 << 20]);
        assert!(bomb.len() < 64 << 10);
        assert!(matches!(
            decompress(&bomb, 32 << 20),
            Err(WireError::TooLarge(_))
        ));
        assert_eq!(decompress(&compress(b"hello"), 100).unwrap(), b"hello");
        assert_eq!(decompress(b"not zstd", 100), Err(WireError::Compression));
        assert_eq!(
            decompress(&compress(&[7; 5000])[..10], 10_000),
            Err(WireError::Compression)
        );
    }

    #[test]
    fn the_ratio_is_capped_before_the_size() {
        let bomb = compress(&vec![0; 8 << 20]);
        let most = (1 << 20) + bomb.len() * MAX_RATIO;
        assert_eq!(decompress(&bomb, 32 << 20), Err(WireError::TooLarge(most)));
    }

    #[test]
    fn a_window_that_would_be_allocated_first_is_refused() {
        // A frame header alone: no single segment, window descriptor 2^31, then nothing.
        let header = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 21 << 3, 0x01, 0x00, 0x00];
        assert_eq!(decompress(&header, 1 << 20), Err(WireError::Compression));
        // The same frame, an empty last block, with a window every decoder takes.
        let header = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 13 << 3, 0x01, 0x00, 0x00];
        assert_eq!(decompress(&header, 1 << 20), Ok(Vec::new()));
    }

    #[test]
    fn frames_one_after_the_other_are_one_message() {
        let parts = [compress(b"head"), compress(b""), compress(&[7; 5_000])];
        let whole = [&b"head"[..], &[7; 5_000]].concat();
        let bytes = parts.concat();
        assert_eq!(decompress(&bytes, whole.len()).unwrap(), whole);
        assert_eq!(
            decompress(&bytes, whole.len() - 1),
            Err(WireError::TooLarge(whole.len() - 1))
        );
        let cut = &bytes[..bytes.len() - 1];
        assert_eq!(decompress(cut, 10_000), Err(WireError::Compression));
        let followed = [&bytes[..], b"more"].concat();
        assert_eq!(decompress(&followed, 10_000), Err(WireError::Compression));
    }

    #[test]
    fn a_frame_tells_whether_it_is_compressed() {
        let frame = vec![7; 5_000];
        assert_eq!(inflate(&frame, 5_000).unwrap(), frame);
        assert_eq!(inflate(&compress(&frame), 5_000).unwrap(), frame);
        assert_eq!(inflate(&frame, 4_999), Err(WireError::TooLarge(4_999)));
        assert_eq!(
            inflate(&compress(&frame), 4_999),
            Err(WireError::TooLarge(4_999))
        );
    }
}
