//! Being told of another process's writes, where the kernel does: no timer runs, and nothing wakes the
//! processor while nobody writes.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fd::OwnedFd;
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;

use super::{FileSignal, Listening};

/// How long after the last write to the log each call follows. A commit shows a moment after its last
/// write, when the disk has it, and no write tells of that.
const CALLS: [Duration; 6] = [
    Duration::from_millis(3),
    Duration::from_millis(12),
    Duration::from_millis(45),
    Duration::from_millis(240),
    Duration::from_millis(1_000),
    Duration::from_millis(4_000),
];

/// Watches a file's log by inotify.
#[derive(Debug, Clone, Copy)]
pub struct InotifySignal;

/// Ends the thread when it is dropped.
struct Stop(Arc<OwnedFd>);

impl FileSignal for InotifySignal {
    fn listen(&self, path: &Path, changed: Box<dyn Fn() + Send>) -> io::Result<Box<dyn Listening>> {
        let mut log = OsString::from(path);
        log.push("-wal");
        let watch = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        inotify::add_watch(&watch, Path::new(&log), WatchFlags::MODIFY)?;
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let stopped = Arc::clone(&stop);
        std::thread::Builder::new()
            .name("driftline-files".to_owned())
            .spawn(move || follow(&watch, &stopped, &*changed))?;
        Ok(Box::new(Stop(stop)))
    }
}

impl Listening for Stop {}

impl Drop for Stop {
    fn drop(&mut self) {
        // A counter that cannot take one more is above zero already.
        let _ = rustix::io::write(&*self.0, &1u64.to_ne_bytes());
    }
}

fn follow(watch: &OwnedFd, stop: &OwnedFd, changed: &dyn Fn()) {
    let mut calls = CALLS.iter();
    loop {
        match wait(stop, Some(watch), calls.next()) {
            Ok(Some(())) => {
                // What happened is one thing only: the log was written to.
                let mut events = [0; 4096];
                while rustix::io::read(watch, &mut events).is_ok_and(|read| read > 0) {}
                // Many writes in a row are one piece of news.
                calls = CALLS.iter();
                if wait(stop, None, calls.next()).is_err() {
                    return;
                }
                changed();
            }
            Ok(None) => changed(),
            Err(()) => return,
        }
    }
}

/// Waits for a write, at most so long; an error means the end.
fn wait(
    stop: &OwnedFd,
    watch: Option<&OwnedFd>,
    most: Option<&Duration>,
) -> Result<Option<()>, ()> {
    let most = most.and_then(|most| Timespec::try_from(*most).ok());
    loop {
        let stopping = PollFd::new(stop, PollFlags::IN);
        let writing = watch.map(|watch| PollFd::new(watch, PollFlags::IN));
        let mut both: Vec<PollFd<'_>> = [Some(stopping), writing].into_iter().flatten().collect();
        match poll(&mut both, most.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(error) => {
                tracing::warn!(%error, "changes of other processes are not noticed any more");
                return Err(());
            }
        }
        let ready: Vec<bool> = both.iter().map(|fd| !fd.revents().is_empty()).collect();
        return match ready.as_slice() {
            [true, ..] => Err(()),
            [_, true] => Ok(Some(())),
            _ => Ok(None),
        };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn writes_are_told_until_nobody_listens() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let log = folder.path().join("a.db-wal");
        let told = || mpsc::channel::<()>();
        assert!(
            InotifySignal.listen(&path, Box::new(|| {})).is_err(),
            "there is no log yet"
        );
        std::fs::write(&log, "").unwrap();
        let (sender, heard) = told();
        let listening = InotifySignal
            .listen(
                &path,
                Box::new(move || {
                    let _ = sender.send(());
                }),
            )
            .unwrap();
        // The calls that follow the start.
        while heard.recv_timeout(Duration::from_secs(6)).is_ok() {}
        assert_eq!(heard.try_recv(), Err(mpsc::TryRecvError::Empty));
        std::fs::write(&log, "one").unwrap();
        for _ in 0..3 {
            heard.recv_timeout(Duration::from_secs(10)).unwrap();
        }
        drop(listening);
        // The thread ends and lets go of the sender.
        while heard.recv_timeout(Duration::from_secs(10)).is_ok() {}
        assert_eq!(heard.try_recv(), Err(mpsc::TryRecvError::Disconnected));
    }
}
