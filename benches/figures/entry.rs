//! What one changed boolean takes in a request: its entry in `ops[]`, as it leaves the device.

use std::sync::{Arc, Mutex, PoisonError};

use driftline::environment::BoxFuture;
use driftline::transport::{
    BuiltinTransport, HttpRequest, HttpResponse, LiveSocket, Transport, TransportError,
};
use driftline_core::protocol::{decompress, limits};
use minicbor::Decoder;

use crate::Outcome;
use crate::bench::Bench;
use crate::figure::{Figure, Target};
use crate::ours::{self, Meeting, Ours};
use crate::payload::Documents;
use crate::raw;
use crate::raw::Durability;

/// The key of `ops[]` in a request.
const OPS: u64 = 7;

pub(super) fn measure(bench: &Bench) -> Outcome<Vec<Figure>> {
    let room = bench.room()?;
    let meeting = Meeting::start(&room.file("server"))?;
    let tap = Arc::new(Tap::new()?);
    let ours = Ours::open(&room.file("ours"), Durability::Full)?;
    let document = Documents::new(12).next_document();
    ours.insert(&document)?;
    let link = ours.connect_through(&meeting, Arc::clone(&tap) as Arc<dyn Transport>)?;
    link.settle()?;
    tap.sent();
    ours.set_done(&document.id, !document.done)?;
    link.sync_now()?;
    let entries: Vec<f64> = tap
        .sent()
        .iter()
        .map(|body| entries(body))
        .collect::<Outcome<Vec<_>>>()?
        .concat();
    let [entry] = entries[..] else {
        return Err(format!("{} entries were sent instead of one", entries.len()).into());
    };
    let mut op = Vec::new();
    raw::encode_done(&mut op, &document.id, true)?;
    Ok(vec![Figure::of(
        "boolean_bytes",
        "B",
        &[entry],
        &[op.len() as f64],
        Target::AtMost(90.0),
    )])
}

/// The lengths of the entries in a request's `ops[]`.
fn entries(body: &[u8]) -> Outcome<Vec<f64>> {
    let mut d = Decoder::new(body);
    for _ in 0..d.map()?.ok_or("a request is a map of known length")? {
        if d.u64()? != OPS {
            d.skip()?;
            continue;
        }
        let count = d.array()?.ok_or("ops[] has a length")?;
        return (0..count)
            .map(|_| {
                let before = d.position();
                d.skip()?;
                Ok((d.position() - before) as f64)
            })
            .collect();
    }
    Ok(Vec::new())
}

/// The built-in transport, with an ear at it.
struct Tap {
    inner: BuiltinTransport,
    bodies: Mutex<Vec<Vec<u8>>>,
}

impl Tap {
    fn new() -> Outcome<Tap> {
        let inner = ours::builtin_transport()?;
        Ok(Tap {
            inner,
            bodies: Mutex::default(),
        })
    }

    /// The bodies of all requests since the last call.
    fn sent(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.bodies.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Transport for Tap {
    fn request(&self, request: HttpRequest) -> BoxFuture<Result<HttpResponse, TransportError>> {
        if request.method == "POST" {
            let compressed = request
                .headers
                .iter()
                .any(|(name, _)| *name == "content-encoding");
            let body = if compressed {
                decompress(&request.body, limits::MAX_DECOMPRESSED).unwrap_or_default()
            } else {
                request.body.clone()
            };
            self.bodies
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(body);
        }
        self.inner.request(request)
    }

    fn connect(&self, request: HttpRequest) -> BoxFuture<Result<LiveSocket, TransportError>> {
        self.inner.connect(request)
    }
}
