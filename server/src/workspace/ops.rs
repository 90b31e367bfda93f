//! The ops of a request on their way to be decided.

use driftline_core::id::OpId;
use driftline_core::protocol::{SentOp, SyncRequest, Unread, WireError};

/// Ops as they came: each of a long push is read when its turn comes. Read all at once, those of a
/// push of thousands took more memory than anything else, new to the process each time.
#[derive(Clone, Debug)]
pub(crate) enum Ops {
    /// Read.
    Read(Vec<SentOp>),
    /// Still in the bytes of their request.
    Unread { request: Vec<u8>, ops: Vec<Unread> },
}

/// Major type 4 of CBOR: an op that is told in full; one that is only named is a byte string.
const ARRAY: u8 = 4;

impl Ops {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        match self {
            Ops::Read(ops) => ops.len(),
            Ops::Unread { ops, .. } => ops.len(),
        }
    }

    /// Whether one of them is told in full.
    pub(super) fn any_full(&self) -> bool {
        match self {
            Ops::Read(ops) => ops.iter().any(|op| matches!(op, SentOp::Full { .. })),
            Ops::Unread { request, ops } => {
                let mut heads = ops.iter().filter_map(|op| op.bytes(request).first());
                heads.any(|head| head >> 5 == ARRAY)
            }
        }
    }

    /// The ids of those that are only named.
    pub(super) fn named(&self) -> Result<Vec<OpId>, WireError> {
        match self {
            Ops::Read(ops) => Ok(ops.iter().map(SentOp::id).collect()),
            Ops::Unread { request, ops } => {
                let ops = ops.iter().map(|op| op.read::<SentOp>(request));
                ops.map(|op| op.map(|op| op.id())).collect()
            }
        }
    }
}

/// A request, its ops apart from it.
#[derive(Clone, Debug)]
pub(crate) struct Parted {
    /// All but its ops.
    pub(crate) request: SyncRequest,
    /// Its ops.
    pub(crate) ops: Ops,
}

impl Parted {
    /// A request whose ops are in these bytes.
    pub(crate) fn unread(request: SyncRequest<Unread>, bytes: Vec<u8>) -> Parted {
        let (request, ops) = request.apart();
        let ops = Ops::Unread {
            request: bytes,
            ops,
        };
        Parted { request, ops }
    }
}

impl From<SyncRequest> for Parted {
    fn from(request: SyncRequest) -> Parted {
        let (request, ops) = request.apart();
        Parted {
            request,
            ops: Ops::Read(ops),
        }
    }
}
