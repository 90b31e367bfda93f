//! Sizes and counts both sides keep to; each with its reason in `docs/protocol.md`.

/// The largest request body in bytes, before and after decompression, unless the schema's
/// `max_group` asks for more: see [`max_body`].
pub const MAX_BODY: usize = 8 << 20;
/// The largest answer, live frame or snapshot frame after decompression.
pub const MAX_DECOMPRESSED: usize = 32 << 20;
/// How many times larger a body may become by decompression, beyond the first MiB.
pub const MAX_RATIO: usize = 200;
/// The largest zstd window, as a power of two: the 8 MiB of RFC 9659.
pub const MAX_WINDOW_LOG: u32 = 23;
/// Bodies above this are compressed.
pub const COMPRESS_ABOVE: usize = 1 << 10;
/// How deep arrays and maps may be nested in the CBOR form.
pub const MAX_DEPTH: usize = 32;
/// CBOR items in one message; a larger message may have one for every three bytes.
pub const MAX_ITEMS: usize = 1 << 20;
/// Ops in one request.
pub const MAX_OPS: usize = 3_500;
/// Earlier ops that one op may cover.
pub const MAX_COVERS: usize = 1_000;
/// Bytes of ops a device puts in one request (a single larger op travels alone).
pub const BATCH_BYTES: usize = 1 << 20;
/// Versions in one page.
pub const PAGE_VERSIONS: usize = 4_000;
/// Bytes of versions in one page (a single larger version travels alone).
pub const PAGE_BYTES: usize = 1 << 20;
/// Bytes of documents that one op may bring back. With what an op itself may write it leaves a
/// version well below [`MAX_DECOMPRESSED`].
pub const MAX_VERSION: usize = 8 << 20;
/// Losses in one answer.
pub const PAGE_LOSSES: usize = 500;
/// Bytes of documents in one frame of a snapshot (a single larger document travels alone).
pub const SNAPSHOT_FRAME: usize = 256 << 10;
/// A device further behind than this takes a snapshot instead of the log.
pub const FAR_BEHIND: u64 = 50_000;
/// Bytes of a device id or an account name.
pub const MAX_NAME: usize = 255;
/// Bytes of a device's label.
pub const MAX_LABEL: usize = 100;

/// The largest request body for a schema with this `max_group`: an op has to fit one request, with
/// its ids and links around it, in either form.
pub fn max_body(max_group: u32) -> usize {
    let group = max_group as usize;
    MAX_BODY.max(group.saturating_add(group / 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_op_a_schema_may_allow_fits_a_body() {
        assert_eq!(max_body(4 << 20), MAX_BODY);
        assert_eq!(max_body(16 << 20), 24 << 20);
        assert!(max_body(u32::MAX) > u32::MAX as usize);
    }
}
