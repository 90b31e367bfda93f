//! What may happen to a message on its way.

use driftline::transport::HttpRequest;

use super::sockets::{FrameFate, Way};

/// What happens to one message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It arrives after so many milliseconds.
    Arrives(u64),
    /// It arrives twice, the second time after so many milliseconds more.
    Twice(u64, u64),
    /// It is lost, and the sender finds out after so many milliseconds.
    Lost(u64),
    /// It is cut after so many bytes.
    Cut(usize),
    /// It does not get there: something on the way answers a request like this.
    Answered(Canned),
}

/// What answers in the server's place: a proxy, a captive portal, a server that is not itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Canned {
    /// The status.
    pub status: u16,
    /// What it says it is.
    pub content_type: &'static str,
    /// What it says.
    pub body: &'static str,
    /// How long it asks for patience.
    pub retry_after_ms: Option<u64>,
}

/// Decides what happens to messages.
pub trait Weather: Send {
    /// A request of a device.
    fn request(&mut self, device: usize) -> Fate;
    /// An answer to a device.
    fn answer(&mut self, device: usize) -> Fate;
    /// A request as it leaves a device.
    fn sent(&mut self, _device: usize, _request: &HttpRequest) {}
    /// An answer as the server made it.
    fn answered(&mut self, _device: usize, _status: u16, _body: &[Vec<u8>]) {}
    /// What a device was told in the end of a request: its status, or that nothing came.
    fn told(&mut self, _device: usize, _status: Option<u16>) {}
    /// How long a further piece of an answer takes to a device.
    fn piece(&mut self, _device: Option<usize>) -> u64 {
        0
    }
    /// How much longer a live socket takes to open than a request takes.
    fn handshake(&mut self, _device: usize) -> u64 {
        0
    }
    /// A message on a live socket.
    fn frame(&mut self, _device: usize, _way: Way, _bytes: &[u8]) -> FrameFate {
        FrameFate::Arrives(0)
    }
    /// A device says something on a live socket that does not lead anywhere any more.
    fn unheard(&mut self, _device: usize, _bytes: &[u8]) {}
    /// Whether an end of a socket hears that the other is gone, or has to find out.
    fn is_told(&mut self, _device: usize) -> bool {
        true
    }
    /// Whether the newest frame of an earlier socket comes once more on a new one.
    fn repeats(&mut self, _device: usize) -> bool {
        false
    }
    /// That frame comes once more.
    fn repeated(&mut self, _device: usize, _bytes: &[u8]) {}
}

/// Everything arrives at once.
pub(super) struct Calm;

impl Weather for Calm {
    fn request(&mut self, _: usize) -> Fate {
        Fate::Arrives(0)
    }
    fn answer(&mut self, _: usize) -> Fate {
        Fate::Arrives(0)
    }
}
