//! Parts of a message that are read when their turn comes.

use minicbor::decode::{self, Decode, Decoder};

use super::wire::cbor_error;
use super::{WireError, shape};

/// Where a part stands in the bytes of its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unread {
    from: usize,
    to: usize,
}

impl Unread {
    /// The part, of the message that it was found in.
    ///
    /// # Errors
    /// Bytes that are not one.
    pub fn read<'b, T: Decode<'b, ()>>(self, message: &'b [u8]) -> Result<T, WireError> {
        let part = self.bytes(message);
        Decoder::new(part)
            .decode()
            .map_err(|error| cbor_error(&error))
    }

    /// Its bytes, of the message that it was found in.
    pub fn bytes(self, message: &[u8]) -> &[u8] {
        message.get(self.from..self.to).unwrap_or_default()
    }
}

impl<'b, C> Decode<'b, C> for Unread {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Unread, decode::Error> {
        let from = d.position();
        d.skip()?;
        Ok(Unread {
            from,
            to: d.position(),
        })
    }
}

/// Reads a message of the binary form around parts that stay [`Unread`]. What is malformed in them as
/// CBOR is found here; what they are not is found when they are read.
///
/// # Errors
/// Those of [`decode`](super::decode).
pub fn decode_around<'b, T: Decode<'b, ()>>(bytes: &'b [u8]) -> Result<T, WireError> {
    shape::check(bytes)?;
    let mut decoder = Decoder::new(bytes);
    let message = decoder.decode().map_err(|error| cbor_error(&error))?;
    match bytes.len() - decoder.position() {
        0 => Ok(message),
        rest => Err(WireError::Trailing(rest)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::OpId;
    use crate::protocol::{Device, Encoded, SentOp, SyncRequest, encode_cbor};

    fn request<O>(ops: Vec<O>) -> SyncRequest<O> {
        SyncRequest {
            protocol: 1,
            schema_version: 3,
            account: "ann".to_owned(),
            device: Device::default(),
            cursor: Default::default(),
            losses_ack: 0,
            now: Default::default(),
            ops,
            page_bytes: 9,
            tag: 0,
        }
    }

    #[test]
    fn parts_are_read_where_they_stand() {
        let ids = [OpId([1; 16]), OpId([2; 16])];
        let whole = request(ids.map(SentOp::Named).to_vec());
        let bytes = encode_cbor(&whole);
        let around: SyncRequest<Unread> = decode_around(&bytes).unwrap();
        let ops = around.ops.iter();
        let read: Vec<SentOp> = ops.map(|op| op.read(&bytes).unwrap()).collect();
        assert_eq!(read, whole.ops);
        assert_eq!((around.account, around.page_bytes), (whole.account, 9));
    }

    #[test]
    fn a_part_that_is_something_else_is_told_when_it_is_read() {
        let number = Encoded(vec![7]);
        let bytes = encode_cbor(&request(vec![number]));
        let around: SyncRequest<Unread> = decode_around(&bytes).unwrap();
        let read = around.ops[0].read::<SentOp>(&bytes);
        assert!(matches!(read, Err(WireError::Malformed { .. })));
        let cut = &bytes[..bytes.len() - 1];
        assert!(decode_around::<SyncRequest<Unread>>(cut).is_err());
    }
}
