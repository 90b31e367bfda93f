//! Committed versions on their way to the live sockets: encoded once, however many listen.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use driftline_core::protocol::{
    Encoded, Form, LiveFrame, Versions, compress, encode, encode_cbor, limits,
};
use tokio::sync::broadcast;

/// What listeners are told.
#[derive(Clone, Debug)]
pub(crate) enum Frame {
    /// Versions were committed.
    Versions(Arc<Committed>),
    /// Something was committed that is fetched rather than pushed; who is told of it by an answer.
    Behind(Listener),
}

impl Frame {
    /// Whether an answer tells `listener` the same.
    pub(crate) fn is_known_to(&self, listener: Listener) -> bool {
        let told = match self {
            Frame::Versions(committed) => committed.told,
            Frame::Behind(told) => *told,
        };
        listener != NOBODY && listener == told
    }
}

/// What a device calls the live socket that it listens on.
pub(crate) type Listener = u64;

/// No listener that could be told apart.
pub(crate) const NOBODY: Listener = 0;

/// One commit's versions.
#[derive(Debug)]
pub(crate) struct Committed {
    frame: LiveFrame<Encoded>,
    told: Listener,
    cbor: OnceLock<Bytes>,
    zstd: OnceLock<Bytes>,
    json: OnceLock<Bytes>,
}

impl Committed {
    /// The frame in a form, compressed where that is taken; each is made at most once.
    pub(crate) fn in_form(&self, form: Form, zstd: bool) -> Bytes {
        match form {
            Form::Cbor if zstd && self.cbor().len() > limits::COMPRESS_ABOVE => self
                .zstd
                .get_or_init(|| compress(self.cbor()).into())
                .clone(),
            Form::Cbor => self.cbor().clone(),
            Form::Json => self.json.get_or_init(|| as_json(self.cbor())).clone(),
        }
    }

    fn cbor(&self) -> &Bytes {
        self.cbor
            .get_or_init(|| Bytes::from(encode_cbor(&self.frame)))
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

    /// Tells of a commit's versions, in the order of commits. `told` hears of them by its answer.
    pub(super) fn tell(&self, versions: Versions<Encoded>, told: Listener) {
        let bytes: usize = versions.versions.iter().map(|v| v.0.len()).sum();
        if bytes > self.most {
            return self.send(Frame::Behind(told));
        }
        self.send(Frame::Versions(Arc::new(Committed {
            frame: LiveFrame::Versions(versions),
            told,
            cbor: OnceLock::new(),
            zstd: OnceLock::new(),
            json: OnceLock::new(),
        })));
    }

    /// Tells everybody to pull.
    pub(super) fn behind(&self) {
        self.send(Frame::Behind(NOBODY));
    }

    fn send(&self, frame: Frame) {
        // Nobody listening is no failure.
        let _ = self.frames.send(frame);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use driftline_core::id::OpId;
    use driftline_core::protocol::{Cursor, VersionEntry};

    use super::*;

    #[test]
    fn a_frame_is_encoded_once_for_all_who_listen() {
        let feed = Feed::new(4, 1 << 20);
        let mut listeners = [feed.listen(), feed.listen(), feed.listen()];
        let entry = VersionEntry {
            version: 1,
            // Enough to be compressed.
            ids: (0..200).map(|n| OpId([n; 16])).collect(),
            documents: Vec::new(),
            echo: None,
            landed: Vec::new(),
        };
        let versions = Versions {
            from: Cursor::START,
            to: Cursor {
                version: 1,
                ..Cursor::START
            },
            versions: vec![Encoded(encode_cbor(&entry))],
            server_time: 0,
        };
        feed.tell(versions, NOBODY);
        let told = listeners
            .each_mut()
            .map(|listener| listener.try_recv().unwrap());
        let mut forms = Vec::new();
        for (form, zstd) in [(Form::Cbor, false), (Form::Cbor, true), (Form::Json, false)] {
            let bytes = told.each_ref().map(|frame| match frame {
                Frame::Versions(committed) => committed.in_form(form, zstd),
                Frame::Behind(_) => panic!("it fits a frame"),
            });
            for same in &bytes {
                assert_eq!(same.as_ptr(), bytes[0].as_ptr(), "{form:?} {zstd}");
                assert_eq!(same, &bytes[0]);
            }
            forms.push(bytes[0].clone());
        }
        assert!(forms[1].len() < forms[0].len() && forms[0] != forms[2]);
    }
}
