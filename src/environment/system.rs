//! The real machine: its clocks, its random source, a thread per task.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use driftline_core::id::BootId;

use super::{BoxFuture, Clock, Executor, Ids};

/// The machine's clocks.
#[derive(Debug)]
pub struct SystemClock {
    boot: BootId,
    started: Instant,
}

impl SystemClock {
    /// Reads the boot session once.
    pub fn new() -> SystemClock {
        SystemClock {
            boot: boot_session(),
            started: Instant::now(),
        }
    }
}

impl Default for SystemClock {
    fn default() -> SystemClock {
        SystemClock::new()
    }
}

impl Clock for SystemClock {
    fn wall(&self) -> i64 {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
        }
    }

    fn monotonic(&self) -> i64 {
        uptime_millis().unwrap_or_else(|| {
            i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX)
        })
    }

    fn boot(&self) -> BootId {
        self.boot
    }
}

/// Milliseconds since the system started, sleep included: a write before eight hours of sleep was made
/// eight hours ago, and must not be placed behind what others wrote meanwhile.
#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
fn uptime_millis() -> Option<i64> {
    #[cfg(not(target_vendor = "apple"))]
    let clock = rustix::time::ClockId::Boottime;
    // Apple's CLOCK_MONOTONIC goes on while the system sleeps; the one of `Instant` does not.
    #[cfg(target_vendor = "apple")]
    let clock = rustix::time::ClockId::Monotonic;
    let since = rustix::time::clock_gettime(clock);
    Some(
        since
            .tv_sec
            .saturating_mul(1000)
            .saturating_add(since.tv_nsec / 1_000_000),
    )
}

/// Elsewhere the process's own monotonic clock stands in; each process is then its own session.
#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
fn uptime_millis() -> Option<i64> {
    None
}

/// A number that differs between runs of the operating system. Where the system names its boots,
/// that name; else a random one, so that nothing of another process is ever taken for comparable.
fn boot_session() -> BootId {
    let named = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
    let hash = match named {
        Some(name) => u64::from_str_radix(
            &name
                .trim()
                .replace('-', "")
                .chars()
                .take(8)
                .collect::<String>(),
            16,
        )
        .ok(),
        None => None,
    };
    let random = || {
        let mut bytes = [0; 4];
        SystemIds.fill(&mut bytes);
        u64::from(u32::from_be_bytes(bytes))
    };
    BootId(hash.unwrap_or_else(random) as u32)
}

/// The operating system's random source.
#[derive(Debug, Clone, Copy)]
pub struct SystemIds;

impl Ids for SystemIds {
    fn fill(&self, bytes: &mut [u8]) {
        // Without a random source no id is unique, and every promise rests on that.
        assert!(
            getrandom::fill(bytes).is_ok(),
            "the operating system has no random source"
        );
    }
}

/// One thread with its own single-threaded runtime per task: a task may block on SQLite without
/// holding up anybody else's timers.
#[derive(Debug, Clone, Copy)]
pub struct ThreadExecutor;

impl Executor for ThreadExecutor {
    fn spawn(&self, name: &str, task: BoxFuture<()>) {
        let spawned = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                match tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                {
                    Ok(runtime) => runtime.block_on(task),
                    Err(error) => tracing::error!(%error, "no runtime for a background task"),
                }
            });
        if let Err(error) = spawned {
            tracing::error!(%error, "no thread for a background task");
        }
    }

    fn sleep(&self, millis: u64) -> BoxFuture<()> {
        Box::pin(tokio::time::sleep(std::time::Duration::from_millis(millis)))
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn run_aside(&self, work: &mut (dyn FnMut() + Send)) {
        let ran = std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("driftline-aside".to_owned());
            let spawned = thread.spawn_scoped(scope, || {
                // Only this thread's, and it ends with it: who comes last cannot come first again. By 5
                // others were not let in at once, by 10 not always. Refused, it runs like any other.
                let _ = rustix::process::nice(15);
                work();
            });
            let joined = spawned.map(std::thread::ScopedJoinHandle::join);
            joined.map(|joined| joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        if ran.is_err() {
            work();
        }
    }
}
