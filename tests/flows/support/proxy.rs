//! A line between device and server that is slow, far, and breaks: a TCP proxy with a seed.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::Server;

/// What the line is like.
#[derive(Clone, Copy)]
pub struct Line {
    /// In each direction of each connection.
    pub bytes_per_second: usize,
    /// How long a piece is under way.
    pub delay: Duration,
    /// One piece in so many breaks its connection, half of it delivered; 0 for none.
    pub break_one_in: u64,
    /// A connection breaks once it has brought so many bytes to the device.
    pub break_after: Option<usize>,
    /// Which pieces.
    pub seed: u64,
}

impl Default for Line {
    fn default() -> Line {
        Line {
            bytes_per_second: usize::MAX,
            delay: Duration::ZERO,
            break_one_in: 0,
            break_after: None,
            seed: 1,
        }
    }
}

/// A running line. Its threads end with the connections.
pub struct Proxy {
    pub url: String,
    broken: Arc<AtomicUsize>,
}

impl Proxy {
    /// A line to `server`.
    pub fn start(server: &Server, line: Line) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let target = server.url.trim_start_matches("http://").to_owned();
        let broken = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&broken);
        std::thread::spawn(move || {
            for (number, device) in listener.incoming().map_while(Result::ok).enumerate() {
                let Ok(server) = TcpStream::connect(&target) else {
                    continue;
                };
                let seed = line.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number as u64;
                let up = Line {
                    break_after: None,
                    seed: seed ^ 0xff00,
                    ..line
                };
                let down = Line { seed, ..line };
                carry(&device, &server, up, &count);
                carry(&server, &device, down, &count);
            }
        });
        Proxy { url, broken }
    }

    /// How many connections it has broken.
    pub fn broken(&self) -> usize {
        self.broken.load(Ordering::SeqCst)
    }
}

fn carry(from: &TcpStream, to: &TcpStream, line: Line, broken: &Arc<AtomicUsize>) {
    let (Ok(mut from), Ok(mut to)) = (from.try_clone(), to.try_clone()) else {
        return;
    };
    let broken = Arc::clone(broken);
    std::thread::spawn(move || {
        let mut random = line.seed | 1;
        let (mut piece, mut carried) = ([0; 16 << 10], 0);
        while let Ok(read @ 1..) = from.read(&mut piece) {
            let seconds = read as f64 / line.bytes_per_second as f64;
            std::thread::sleep(line.delay + Duration::from_secs_f64(seconds));
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            carried += read;
            let unlucky = line.break_one_in > 0 && random.is_multiple_of(line.break_one_in);
            let breaks = unlucky || line.break_after.is_some_and(|after| carried > after);
            let delivered = if breaks { read / 2 } else { read };
            if to.write_all(&piece[..delivered]).is_err() || breaks {
                broken.fetch_add(usize::from(breaks), Ordering::SeqCst);
                break;
            }
        }
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    });
}
