//! Where a live frame begins and ends, told by its first bytes.
//!
//! A device gets every commit of its workspace, its own among them. What it has already, and what it
//! will fetch anyway, is passed over without unpacking thousands of versions.

use std::io::Read;

use minicbor::Decoder;

use super::Cursor;
use super::compress::{MAGIC, decoder};

/// More than the envelope of a frame and its two cursors take.
const ENVELOPE: usize = 64;

/// The cursors before and behind a frame of versions, compressed or not. `None` for any other frame,
/// and where the cursors do not come first: such a frame is read in full.
pub fn span(frame: &[u8]) -> Option<(Cursor, Cursor)> {
    let mut buffer = [0; ENVELOPE];
    let start = match frame.starts_with(&MAGIC) {
        true => {
            let count = fill(&mut decoder(frame).ok()?, &mut buffer)?;
            buffer.get(..count)?
        }
        false => frame,
    };
    let mut d = Decoder::new(start);
    let is_versions = d.array().ok()? == Some(2) && d.u8().ok()? == 0 && d.array().ok()? == Some(1);
    if !is_versions {
        return None;
    }
    d.map().ok()??;
    let mut member = |key: u8| match d.u8().ok()? == key {
        true => d.decode::<Cursor>().ok(),
        false => None,
    };
    Some((member(0)?, member(1)?))
}

fn fill(from: &mut impl Read, buffer: &mut [u8]) -> Option<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match from.read(rest).ok()? {
            0 => break,
            count => filled += count,
        }
    }
    Some(filled)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::protocol::{
        ChainHash, LiveFrame, SentOp, VersionEntry, Versions, compress, encode_cbor,
    };

    fn cursor(version: u64) -> Cursor {
        Cursor {
            version,
            hash: ChainHash([7; 8]),
        }
    }

    fn frame(versions: usize) -> Vec<u8> {
        let entry = VersionEntry {
            version: 1,
            ids: Vec::new(),
            documents: Vec::new(),
            echo: None,
            landed: Vec::new(),
        };
        let frame: LiveFrame<VersionEntry, SentOp> = LiveFrame::Versions(Versions {
            from: cursor(3),
            to: cursor(u64::MAX - 1),
            versions: vec![entry; versions],
            server_time: 0,
        });
        encode_cbor(&frame)
    }

    #[test]
    fn a_frame_tells_its_cursors_compressed_or_not() {
        for versions in [0, 1, 3_000] {
            let (plain, expected) = (frame(versions), (cursor(3), cursor(u64::MAX - 1)));
            assert_eq!(span(&plain), Some(expected));
            assert_eq!(span(&compress(&plain)), Some(expected));
        }
    }

    #[test]
    fn other_frames_and_damaged_ones_tell_nothing() {
        let behind: LiveFrame = LiveFrame::Behind;
        let plain = frame(2);
        let squeezed = compress(&frame(3_000));
        for other in [
            &encode_cbor(&behind)[..],
            &[],
            &plain[..20],
            &squeezed[..12],
            &MAGIC,
            b"not a frame",
        ] {
            assert_eq!(span(other), None);
        }
    }
}
