//! Committed versions on their way to the live sockets: encoded once, however many listen.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use driftline_core::protocol::{
    Cursor, Encoded, Form, LiveFrame, Versions, compress, encode, encode_cbor, limits,
};
use tokio::sync::broadcast;

/// What listeners are told.
#[derive(Clone, Debug)]
pub(crate) enum Frame {
    /// Versions were committed.
    Versions(Arc<Committed>),
    /// Something was committed that is fetched rather than pushed.
    Behind,
}

/// One commit's versions.
#[derive(Debug)]
pub(crate) struct Committed {
    cbor: Bytes,
    zstd: OnceLock<Bytes>,
    json: OnceLock<Bytes>,
}

impl Committed {
    /// The frame in a form, compressed where that is taken; each is made at most once.
    pub(crate) fn in_form(&self, form: Form, zstd: bool) -> Bytes {
        match form {
            Form::Cbor if zstd && self.cbor.len() > limits::COMPRESS_ABOVE => self
                .zstd
                .get_or_init(|| compress(&self.cbor).into())
                .clone(),
            Form::Cbor => self.cbor.clone(),
            Form::Json => self.json.get_or_init(|| as_json(&self.cbor)).clone(),
        }
    }
}

fn as_json(cbor: &[u8]) -> Bytes {
    let frame: Result<LiveFrame, _> = driftline_core::protocol::decode(Form::Cbor, cbor);
    // A frame that does not read back is fetched instead.
    Bytes::from(encode(Form::Json, &frame.unwrap_or(LiveFrame::Behind)))
}

/// A workspace's listeners.
#[derive(Debug)]
pub(crate) struct Feed {
    frames: broadcast::Sender<Frame>,
    most: usize,
}

impl Feed {
    /// Nobody listens yet. A slow listener may be `backlog` frames behind before it is told to pull
    /// instead, and of more than `most` bytes in a commit all are told to pull.
    pub(super) fn new(backlog: usize, most: usize) -> Feed {
        Feed {
            frames: broadcast::Sender::new(backlog.clamp(1, 1 << 20)),
            most,
        }
    }

    /// What is committed from now on.
    pub(crate) fn listen(&self) -> broadcast::Receiver<Frame> {
        self.frames.subscribe()
    }

    /// How many listen.
    pub(crate) fn listeners(&self) -> usize {
        self.frames.receiver_count()
    }

    /// Tells of a commit's versions, in the order of commits.
    pub(super) fn tell(&self, from: Cursor, to: Cursor, versions: Vec<Encoded>, server_time: i64) {
        let bytes: usize = versions.iter().map(|v| v.0.len()).sum();
        if bytes > self.most {
            return self.behind();
        }
        let frame: LiveFrame<Encoded> = LiveFrame::Versions(Versions {
            from,
            to,
            versions,
            server_time,
        });
        let cbor = Bytes::from(encode_cbor(&frame));
        self.send(Frame::Versions(Arc::new(Committed {
            cbor,
            zstd: OnceLock::new(),
            json: OnceLock::new(),
        })));
    }

    /// Tells everybody to pull.
    pub(super) fn behind(&self) {
        self.send(Frame::Behind);
    }

    fn send(&self, frame: Frame) {
        // Nobody listening is no failure.
        let _ = self.frames.send(frame);
    }
}
