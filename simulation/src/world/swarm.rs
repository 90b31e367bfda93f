//! How a world is set up, and what happens to its messages how often.

use driftline_simvfs::Random;
use serde::{Deserialize, Serialize};

/// How a world is set up, and what goes wrong in it how often.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Swarm {
    /// Devices at the beginning.
    pub devices: u32,
    /// Of these, bit by bit: returned writes may be lost with the power.
    pub normal: u32,
    /// Of these: the host keeps a token beside the file.
    pub host_tokens: u32,
    /// Of these: of the second account.
    pub second_account: u32,
    /// Of these: may only read.
    pub readers: u32,
    /// The server refuses long bodies.
    pub strict: bool,
    /// Versions behind which a device takes a snapshot; 0 for the server's default.
    pub far_behind: u64,
    /// The most ops in a request; 0 for the library's default.
    pub max_ops: usize,
    /// Ready tasks go on in any order.
    pub any_order: bool,
    /// Of the devices, bit by bit: keep a live socket.
    #[serde(default)]
    pub live: u32,
    /// Bytes of versions in an answer; 0 for the server's default.
    #[serde(default)]
    pub page_bytes: usize,
    /// Bytes of documents in a frame of a snapshot; 0 for the server's default.
    #[serde(default)]
    pub snapshot_frame: usize,
    /// Commits that the server keeps for a slow listener; 0 for its default.
    #[serde(default)]
    pub live_backlog: usize,
    /// Of the devices, bit by bit: speak JSON.
    #[serde(default)]
    pub json: u32,
    /// Of the devices: their app watches a query.
    #[serde(default)]
    pub watches: u32,
    /// Requests that the server takes of a device in a second; 0 for as many as come.
    #[serde(default)]
    pub requests_per_second: u32,
    /// Letters are deleted and brought back like other documents, with what others type in them.
    #[serde(default)]
    pub letters_go: bool,
    /// Letters are open in editors.
    #[serde(default)]
    pub editors: bool,
    /// What something between devices and the server lets nobody say; nothing where this is empty.
    #[serde(default)]
    pub filtered: String,
    /// What happens to messages, in thousandths.
    pub weather: Rates,
}

/// How often something happens to a message, in thousandths.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rates {
    /// Requests that do not arrive.
    pub request_lost: usize,
    /// Answers that do not arrive.
    pub answer_lost: usize,
    /// Requests that arrive twice.
    pub twice: usize,
    /// Requests or answers that take long.
    pub late: usize,
    /// Requests cut in the middle.
    pub request_cut: usize,
    /// Answers cut in the middle.
    pub answer_cut: usize,
    /// Answers of something in the server's place.
    pub canned: usize,
    /// Lost ones that are only noticed after a minute or more.
    pub silent: usize,
    /// Messages with which a live socket breaks.
    pub socket_broken: usize,
    /// Messages from which on nothing passes through a live socket, and nobody is told.
    pub socket_silent: usize,
    /// Messages cut in the middle, with the end of the live socket.
    pub frame_cut: usize,
    /// Pieces of long answers before which the line is slow.
    pub slow_piece: usize,
    /// New sockets on which the newest frame of an earlier one comes once more.
    pub frame_repeated: usize,
}

impl Swarm {
    pub(super) fn draw(random: &mut Random) -> Swarm {
        let devices = 2 + random.below(5) as u32;
        let mut bits = |one_in: usize| {
            let mut bits = 0;
            for device in 0..8 {
                bits |= u32::from(random.one_in(one_in)) << device;
            }
            bits
        };
        let (normal, host_tokens) = (bits(3), bits(2));
        let (second_account, readers) = (bits(3), bits(12) & !1);
        Swarm {
            devices,
            normal,
            host_tokens,
            second_account,
            readers,
            strict: random.one_in(2),
            far_behind: [0, 0, 2, 5, 20][random.below(5)],
            max_ops: [0, 0, 1, 2, 5][random.below(5)],
            any_order: random.one_in(2),
            weather: Rates::draw(random),
            live: match random.below(3) {
                0 => 0,
                1 => u32::MAX,
                _ => random.next() as u32,
            },
            page_bytes: [0, 0, 1, 300, 2_000][random.below(5)],
            snapshot_frame: [0, 1, 500][random.below(3)],
            live_backlog: [0, 1, 3][random.below(3)],
            json: 0,
            watches: 0,
            requests_per_second: 0,
            letters_go: false,
            editors: false,
            filtered: String::new(),
        }
    }

    /// With what was thought of later, from a source of its own.
    pub(super) fn with_later(self, random: &mut Random) -> Swarm {
        let mut some = || match random.below(3) {
            0 => random.next() as u32,
            _ => 0,
        };
        Swarm {
            json: some(),
            watches: some() | some(),
            requests_per_second: [0, 0, 0, 2, 20][random.below(5)],
            letters_go: random.one_in(2),
            // A value of one of the first machines.
            filtered: match random.one_in(3) {
                true => format!("s{}.{}", random.below(2), 10 + random.below(30)),
                false => String::new(),
            },
            editors: random.one_in(2),
            ..self
        }
    }
}

impl Rates {
    fn draw(random: &mut Random) -> Rates {
        let mut rate = || match random.below(3) {
            0 => [5, 20, 60, 200][random.below(4)],
            _ => 0,
        };
        Rates {
            request_lost: rate(),
            answer_lost: rate(),
            twice: rate(),
            late: rate(),
            request_cut: rate(),
            answer_cut: rate(),
            canned: rate(),
            silent: rate(),
            socket_broken: rate(),
            socket_silent: rate(),
            frame_cut: rate(),
            slow_piece: rate(),
            frame_repeated: rate(),
        }
    }
}
