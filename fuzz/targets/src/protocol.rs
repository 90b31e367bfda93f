//! Every message of the protocol, in both forms: an error, or a message that is read as it is
//! written.

use driftline_core::protocol::{
    Announcement, Cursor, DocumentResult, Failure, Form, LiveFrame, Resume, SentOp, SnapshotFrame,
    SyncRequest, SyncResponse, VersionEntry, append_snapshot, decode, encode, protocol_of,
    split_snapshot,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Bytes that begin as JSON does are read as JSON, all others as CBOR; as each kind of message.
pub(crate) fn run(data: &[u8]) -> bool {
    let form = match data.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'{' | b'[' | b'"') => Form::Json,
        _ => Form::Cbor,
    };
    let _ = protocol_of(form, data);
    split(data);
    resume(data);
    [
        again::<SyncRequest>(form, data),
        again::<SyncResponse>(form, data),
        again::<LiveFrame>(form, data),
        again::<SnapshotFrame>(form, data),
        again::<Announcement>(form, data),
        again::<Failure>(form, data),
        again::<SentOp>(form, data),
        again::<VersionEntry>(form, data),
        again::<DocumentResult>(form, data),
        again::<Cursor>(form, data),
    ]
    .contains(&true)
}

fn again<T>(form: Form, bytes: &[u8]) -> bool
where
    T: Serialize + DeserializeOwned + minicbor::Encode<()> + for<'b> minicbor::Decode<'b, ()>,
{
    let Ok(message) = decode::<T>(form, bytes) else {
        return false;
    };
    for form in [Form::Cbor, Form::Json] {
        let written = encode(form, &message);
        let Ok(read) = decode::<T>(form, &written) else {
            panic!("it cannot be read in the {form:?} it was written in");
        };
        assert_eq!(encode(form, &read), written, "{form:?}");
    }
    true
}

/// A stream of snapshot frames: what is split off is within its bounds, and joins again.
fn split(data: &[u8]) {
    const MOST: usize = 1 << 16;
    let (mut rest, mut joined) = (data, Vec::new());
    while let Ok(Some((frame, taken))) = split_snapshot(rest, MOST) {
        assert!(frame.len() <= MOST && taken > 0 && taken <= rest.len());
        append_snapshot(&mut joined, frame).unwrap();
        rest = rest.get(taken..).unwrap_or_default();
    }
    assert_eq!(
        joined,
        data.get(..data.len() - rest.len()).unwrap_or_default()
    );
}

/// Where a bootstrap goes on: an address is an error, nothing, or what it says.
fn resume(data: &[u8]) {
    let Ok(query) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(Some(resume)) = Resume::from_query(query) {
        let again = Resume::from_query(&resume.to_query());
        assert_eq!(again, Ok(Some(resume)));
    }
}
