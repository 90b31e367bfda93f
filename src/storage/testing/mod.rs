//! A small world for tests: a reference server on core's own decision, devices on real files, and
//! one clock for all of them. Nothing in it is fast or durable; everything is exact.

mod check;
mod device;
mod draft;
mod many;
mod random;
mod schedules;
mod server;
mod texts;
mod words;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use driftline_core::environment::{Clock, Ids};
use driftline_core::id::BootId;
use driftline_core::schema::Schema;

use crate::environment::{BoxFuture, Environment, Executor};

pub(crate) use check::{check_device, check_healed, check_prediction, check_texts};
pub(crate) use device::{Device, Exchange};
pub(crate) use draft::{Draft, Typed};
pub(crate) use server::Server;

/// Three collections: fields merged one by one, updates that win over deletes, whole documents.
pub(crate) const SCHEMA: &str = r#"
[schema]
name = "tests"
version = 1

[collections.notes]
id = 1
search = ["title", "story"]
[collections.notes.fields]
title = { id = 1, kind = "text" }
body = { id = 2, kind = "text" }
count = { id = 3, kind = "counter" }
tags = { id = 4, kind = "set" }
story = { id = 5, kind = "rich_text" }
steps = { id = 6, kind = "list" }

[collections.plans]
id = 2
on_conflict_delete = "update_wins"
[collections.plans.fields]
title = { id = 1, kind = "text" }
body = { id = 2, kind = "text" }
count = { id = 3, kind = "counter" }
tags = { id = 4, kind = "set" }
story = { id = 5, kind = "rich_text" }
steps = { id = 6, kind = "list" }

[collections.papers]
id = 3
merge = "document"
[collections.papers.fields]
title = { id = 1, kind = "text" }
body = { id = 2, kind = "text" }
"#;

pub(crate) fn schema() -> Arc<Schema> {
    Arc::new(Schema::parse(SCHEMA).unwrap())
}

/// Numbers that look random and are the same each time.
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// The world's time.
#[derive(Debug, Clone)]
pub(crate) struct Time(Arc<AtomicI64>);

impl Time {
    pub(crate) fn new() -> Time {
        Time(Arc::new(AtomicI64::new(1_700_000_000_000)))
    }

    pub(crate) fn pass(&self, millis: i64) {
        self.0.fetch_add(millis, Ordering::Relaxed);
    }

    pub(crate) fn now(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A device's clocks: right, unless told otherwise.
#[derive(Debug)]
pub(crate) struct TestClock {
    pub(crate) time: Time,
    pub(crate) skew: AtomicI64,
    pub(crate) boot: u32,
}

impl Clock for TestClock {
    fn wall(&self) -> i64 {
        self.time.now() + self.skew.load(Ordering::Relaxed)
    }
    fn monotonic(&self) -> i64 {
        self.time.now()
    }
    fn boot(&self) -> BootId {
        BootId(self.boot)
    }
}

struct TestIds(AtomicU64);

impl Ids for TestIds {
    fn fill(&self, bytes: &mut [u8]) {
        for byte in bytes {
            let n = self.0.fetch_add(1, Ordering::Relaxed);
            *byte = Dice::new(n).next() as u8;
        }
    }
}

/// Runs nothing in the background.
struct Idle;

impl Executor for Idle {
    fn spawn(&self, _: &str, _: BoxFuture<()>) {}
    fn sleep(&self, _: u64) -> BoxFuture<()> {
        Box::pin(std::future::pending())
    }
}

pub(crate) fn environment(clock: Arc<TestClock>, seed: u64) -> Environment {
    Environment {
        clock,
        ids: Arc::new(TestIds(AtomicU64::new(seed << 32))),
        executor: Arc::new(Idle),
        transport: None,
        files: None,
        processes: Arc::new(crate::environment::SystemProcesses),
        vfs: None,
    }
}
