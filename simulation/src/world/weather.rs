//! What happens to messages.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use driftline::transport::HttpRequest;
use driftline_core::protocol::limits::MAX_DECOMPRESSED;
use driftline_core::protocol::{inflate, span, split_snapshot};
use driftline_simvfs::Random;

use super::canned::{CANNED, FILTERED};
use super::heal::HANDSHAKE_MS;
use super::household::{Home, Said, is_shared, token_of};
use super::reached::Seen;
use super::swarm::Rates;
use super::trace::{Fnv, Trace};
use crate::machine::{Fate, FrameFate, Way, Weather};
use crate::oracles::Judgement;

/// The weather of a world. Cloning shares it.
#[derive(Clone)]
pub(super) struct Climate(Arc<Mutex<Sky>>);

struct Sky {
    rates: Rates,
    random: Random,
    partitioned: BTreeSet<usize>,
    /// What something on the way takes offence at, in good weather too; nothing where this is empty.
    filter: String,
    /// The request that is sent says it.
    offends: bool,
    /// Devices whose messages take long to the server.
    slow_uploads: BTreeSet<usize>,
    slow_handshakes: bool,
    /// How many answers each device was given.
    answers: BTreeMap<usize, u64>,
    counts: BTreeMap<&'static str, u64>,
    trace: Trace,
    /// Bodies of requests with the number of the device, until somebody looks at them.
    requests: Vec<(usize, Vec<u8>)>,
    /// What no message may say, and one does.
    leak: Judgement,
    /// What is known of a machine that several people use.
    home: Home,
    /// Devices whose last request came to nothing.
    unlucky: BTreeSet<usize>,
    /// Devices that the server answered that it failed, with the status.
    failed: Vec<(usize, u16)>,
    /// The request that is sent gets to the server.
    arrives: bool,
    /// What combinations are told by, until somebody asks.
    seen: Vec<Seen>,
}

impl Climate {
    pub(super) fn new(rates: Rates, filter: String, trace: Trace) -> Climate {
        Climate(Arc::new(Mutex::new(Sky {
            rates,
            random: Random::new(0),
            partitioned: BTreeSet::new(),
            filter,
            offends: false,
            slow_uploads: BTreeSet::new(),
            slow_handshakes: false,
            answers: BTreeMap::new(),
            counts: BTreeMap::new(),
            trace,
            requests: Vec::new(),
            leak: Ok(()),
            home: Home::default(),
            unlucky: BTreeSet::new(),
            failed: Vec::new(),
            arrives: false,
            seen: Vec::new(),
        })))
    }

    /// From now on everything is drawn from here.
    pub(super) fn reseed(&self, random: Random) {
        self.sky().random = random;
    }

    pub(super) fn partition(&self, device: usize, on: bool) {
        let mut sky = self.sky();
        match on {
            true => sky.partitioned.insert(device),
            false => sky.partitioned.remove(&device),
        };
    }

    pub(super) fn is_partitioned(&self, device: usize) -> bool {
        self.sky().partitioned.contains(&device)
    }

    /// How many answers a device was given.
    pub(super) fn answers(&self, device: usize) -> u64 {
        self.sky().answers.get(&device).copied().unwrap_or(0)
    }

    /// What a device sends takes seconds to arrive, what it hears does not; or no more.
    pub(super) fn slow_uploads(&self, device: usize, on: bool) {
        let mut sky = self.sky();
        match on {
            true => sky.slow_uploads.insert(device),
            false => sky.slow_uploads.remove(&device),
        };
    }

    /// Live sockets take seconds to open, or no more.
    pub(super) fn slow_handshakes(&self, on: bool) {
        self.sky().slow_handshakes = on;
    }

    /// Everything arrives at once from now on.
    pub(super) fn clears_up(&self) {
        let mut sky = self.sky();
        sky.rates = Rates::default();
        sky.partitioned.clear();
    }

    /// What some message said that none may.
    pub(super) fn judged(&self) -> Judgement {
        std::mem::replace(&mut self.sky().leak, Ok(()))
    }

    /// What is known of a machine that several people use.
    pub(super) fn at_home<T>(&self, work: impl FnOnce(&mut Home) -> T) -> T {
        work(&mut self.sky().home)
    }

    /// Whether the last that a device was told of a request is that it came to nothing.
    pub(super) fn failed_last(&self, device: usize) -> bool {
        self.sky().unlucky.contains(&device)
    }

    /// To whom the server said that it failed since this was asked last.
    pub(super) fn take_failed(&self) -> Vec<(usize, u16)> {
        std::mem::take(&mut self.sky().failed)
    }

    /// What combinations are told by, since this was asked last.
    pub(super) fn take_seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.sky().seen)
    }

    /// What devices sent since this was asked last: their numbers, and the bodies.
    pub(super) fn take_requests(&self) -> Vec<(usize, Vec<u8>)> {
        std::mem::take(&mut self.sky().requests)
    }

    /// What happened how often.
    pub(super) fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.sky().counts.clone()
    }

    fn sky(&self) -> MutexGuard<'_, Sky> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sky {
    /// Looks for what is none of this workspace's business, nor of this account's, also inside of what is
    /// compressed. A snapshot comes frame by frame.
    fn read(&mut self, device: usize, said: Said<'_>, message: &[u8], what: &str) {
        let mut rest = message;
        let mut frames = vec![message];
        while let Ok(Some((frame, length))) = split_snapshot(rest, MAX_DECOMPRESSED) {
            frames.push(frame);
            rest = rest.get(length..).unwrap_or_default();
        }
        for frame in frames {
            if let Ok(plain) = inflate(frame, MAX_DECOMPRESSED)
                && let leak @ Err(_) = self.home.judge(device, said, &plain, what)
            {
                self.leak = leak;
            }
        }
    }

    /// Whether what a device says does not get past the filter.
    fn is_filtered(&mut self, message: &[u8]) -> bool {
        let filter = self.filter.as_bytes();
        if filter.is_empty() {
            return false;
        }
        let plain = inflate(message, MAX_DECOMPRESSED).unwrap_or_default();
        let filtered = plain.windows(filter.len()).any(|said| said == filter);
        if filtered {
            self.count("filtered");
        }
        filtered
    }

    fn frame_arrives(&mut self, device: usize, bytes: &[u8]) {
        let versions = span(bytes).map(|(from, _)| Seen::Frame(device, from));
        self.seen.extend(versions);
    }

    fn happens(&mut self, what: &'static str, rate: usize) -> bool {
        let happens = rate > 0 && self.random.chance(rate);
        if happens {
            self.count(what);
        }
        happens
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// When a sender learns that nothing came.
    fn silence(&mut self) -> u64 {
        let rate = self.rates.silent;
        match self.happens("a silent line", rate) {
            true => 40_000 + self.random.below(60_000) as u64,
            false => self.random.below(2_000) as u64,
        }
    }

    fn delay(&mut self) -> u64 {
        let rate = self.rates.late;
        match self.happens("delayed", rate) {
            true => self.random.below(20_000) as u64,
            false => self.random.below(40) as u64,
        }
    }

    /// How long a message takes to the server.
    fn upload(&mut self, device: usize) -> u64 {
        match self.slow_uploads.contains(&device) {
            true => 1_000 + self.random.below(4_000) as u64,
            false => self.delay(),
        }
    }

    fn request(&mut self, device: usize) -> Fate {
        if self.partitioned.contains(&device) {
            self.count("partitioned");
            return Fate::Lost(self.silence());
        }
        if std::mem::take(&mut self.offends) {
            return Fate::Answered(FILTERED);
        }
        let rates = self.rates.clone();
        if self.happens("request lost", rates.request_lost) {
            return Fate::Lost(self.silence());
        }
        if self.happens("request cut", rates.request_cut) {
            return Fate::Cut(self.random.below(400));
        }
        if rates.canned > 0 && self.random.chance(rates.canned) {
            let (what, canned) = CANNED[self.random.below(CANNED.len())];
            self.count(what);
            return Fate::Answered(canned);
        }
        if self.happens("request twice", rates.twice) {
            let (first, second) = (self.upload(device), self.random.below(30_000) as u64);
            return Fate::Twice(first, second);
        }
        Fate::Arrives(self.upload(device))
    }

    fn frame(&mut self, device: usize, way: Way) -> FrameFate {
        if self.partitioned.contains(&device) {
            self.count("sockets silent: partitioned");
            return FrameFate::Silent;
        }
        let rates = self.rates.clone();
        if self.happens("sockets silent", rates.socket_silent) {
            return FrameFate::Silent;
        }
        if self.happens("sockets broken", rates.socket_broken) {
            return FrameFate::Breaks;
        }
        if self.happens("frames cut", rates.frame_cut) {
            return FrameFate::Cut(self.random.below(400));
        }
        FrameFate::Arrives(match way {
            Way::Up => self.upload(device),
            Way::Down => self.delay(),
        })
    }

    fn answer(&mut self) -> Fate {
        let rates = self.rates.clone();
        if self.happens("answer lost", rates.answer_lost) {
            return Fate::Lost(self.silence());
        }
        if self.happens("answer cut", rates.answer_cut) {
            return Fate::Cut(self.random.below(400));
        }
        Fate::Arrives(self.delay())
    }
}

impl Weather for Climate {
    fn request(&mut self, device: usize) -> Fate {
        let mut sky = self.sky();
        let fate = sky.request(device);
        sky.arrives = matches!(fate, Fate::Arrives(_) | Fate::Twice(..));
        sky.trace
            .line(format_args!("    d{device} request: {fate:?}"));
        fate
    }

    fn answer(&mut self, device: usize) -> Fate {
        let mut sky = self.sky();
        let fate = sky.answer();
        if sky.arrives
            && matches!(fate, Fate::Lost(_) | Fate::Cut(_))
            && let Some((_, body)) = sky.requests.last().filter(|(of, _)| *of == device)
        {
            let body = body.clone();
            sky.seen.push(Seen::AnswerLost(device, body));
        }
        sky.trace
            .line(format_args!("    d{device} answer: {fate:?}"));
        fate
    }

    fn sent(&mut self, device: usize, request: &HttpRequest) {
        let mut hash = Fnv::default();
        hash.add(&request.body);
        let (url, bytes) = (&request.url, request.body.len());
        let mut sky = self.sky();
        sky.trace.line(format_args!(
            "    d{device} asks {url} {bytes} bytes {:x}",
            hash.0
        ));
        let said = Said::ByDevice(token_of(request));
        sky.read(device, said, &request.body, "a request");
        sky.offends = sky.is_filtered(&request.body);
        if bytes > 0 && !is_shared(device) {
            sky.requests.push((device, request.body.clone()));
        }
        if url.contains("/snapshot") && !is_shared(device) {
            sky.seen.push(Seen::SnapshotAsked(device));
        }
    }

    fn answered(&mut self, device: usize, status: u16, body: &[Vec<u8>]) {
        let mut sky = self.sky();
        sky.read(device, Said::ByServer, &body.concat(), "an answer");
        drop(sky);
        *self.sky().answers.entry(device).or_default() += 1;
        if status >= 500 {
            self.sky().failed.push((device, status));
        }
        let mut hash = Fnv::default();
        body.iter().for_each(|piece| hash.add(piece));
        let bytes: usize = body.iter().map(Vec::len).sum();
        self.sky().trace.line(format_args!(
            "    d{device} is answered {status} {bytes} bytes {:x}",
            hash.0
        ));
    }

    fn told(&mut self, device: usize, status: Option<u16>) {
        let unlucky = &mut self.sky().unlucky;
        match status {
            Some(200..300) => unlucky.remove(&device),
            _ => unlucky.insert(device),
        };
    }

    fn piece(&mut self, device: Option<usize>) -> u64 {
        let mut sky = self.sky();
        let rate = sky.rates.slow_piece;
        match device {
            // Half of them: what is slow is slow for a while.
            Some(_) if rate > 0 && sky.random.one_in(2) => {
                sky.count("slow pieces");
                sky.random.below(3_000) as u64
            }
            _ => 0,
        }
    }

    fn handshake(&mut self, _: usize) -> u64 {
        match self.sky().slow_handshakes {
            true => HANDSHAKE_MS.unsigned_abs(),
            false => 0,
        }
    }

    fn frame(&mut self, device: usize, way: Way, bytes: &[u8]) -> FrameFate {
        let mut sky = self.sky();
        // A request may have gone by the socket since.
        sky.unlucky.remove(&device);
        let fate = match way == Way::Up && sky.is_filtered(bytes) {
            true => FrameFate::Breaks,
            false => sky.frame(device, way),
        };
        let mut hash = Fnv::default();
        hash.add(bytes);
        sky.count(match way {
            Way::Up => "frames to the server",
            Way::Down => "frames to devices",
        });
        sky.trace.line(format_args!(
            "    d{device} frame {way:?} {} bytes {:x}: {fate:?}",
            bytes.len(),
            hash.0
        ));
        let said = match way {
            Way::Up => Said::ByDevice(None),
            Way::Down => Said::ByServer,
        };
        sky.read(device, said, bytes, "a frame");
        if way == Way::Up && !bytes.is_empty() && !is_shared(device) {
            sky.requests.push((device, bytes.to_vec()));
        }
        let arrives = matches!(fate, FrameFate::Arrives(_)) && !is_shared(device);
        if way == Way::Down && arrives {
            sky.frame_arrives(device, bytes);
        }
        fate
    }

    fn unheard(&mut self, device: usize, bytes: &[u8]) {
        let mut sky = self.sky();
        let said = Said::ByDevice(None);
        sky.read(device, said, bytes, "a frame that nobody heard");
        if !bytes.is_empty() && !is_shared(device) {
            sky.requests.push((device, bytes.to_vec()));
        }
    }

    fn is_told(&mut self, device: usize) -> bool {
        let mut sky = self.sky();
        let rate = sky.rates.socket_silent;
        let told = !sky.partitioned.contains(&device) && !sky.happens("nobody is told", rate);
        sky.trace
            .line(format_args!("    d{device} socket ends, told: {told}"));
        told
    }

    fn repeats(&mut self, device: usize) -> bool {
        let mut sky = self.sky();
        let rate = sky.rates.frame_repeated;
        let repeats = sky.happens("frames of an earlier socket", rate);
        sky.trace.line(format_args!(
            "    d{device} socket opens, repeats: {repeats}"
        ));
        repeats
    }

    fn repeated(&mut self, device: usize, bytes: &[u8]) {
        self.sky().frame_arrives(device, bytes);
    }
}
