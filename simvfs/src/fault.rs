//! What can go wrong at an I/O call.

use std::sync::{Arc, Mutex, PoisonError};

/// What a process asks of its disk.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum CallKind {
    /// Opening a file that is there.
    Open,
    /// Opening a file that is made by it.
    Create,
    /// Unlinking a file.
    Delete,
    /// Looking whether a file is there.
    Access,
    /// Reading.
    Read,
    /// Writing.
    Write,
    /// Setting a file's length.
    Truncate,
    /// Making a file's content durable.
    Sync,
    /// Asking for a file's length.
    Size,
    /// Making more shared memory.
    Share,
}

impl CallKind {
    /// Whether it changes what is on the disk, or what of it survives.
    pub fn changes(self) -> bool {
        use CallKind::{Create, Delete, Sync, Truncate, Write};
        matches!(self, Create | Delete | Write | Truncate | Sync)
    }

    /// Whether it needs room.
    pub fn needs_room(self) -> bool {
        matches!(self, CallKind::Create | CallKind::Write)
    }
}

/// One I/O call of a process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Call {
    /// Calls are counted from 1, over all files of the process.
    pub number: u64,
    /// What it was.
    pub kind: CallKind,
    /// The file.
    pub file: String,
    /// Where in the file, or the new length.
    pub offset: u64,
    /// How many bytes.
    pub len: usize,
}

/// The calls of a process, as they are made.
#[derive(Clone, Debug, Default)]
pub struct Recording(Arc<Mutex<Vec<Call>>>);

impl Recording {
    pub(crate) fn add(&self, call: Call) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(call);
    }

    /// The calls so far.
    pub fn calls(&self) -> Vec<Call> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// What happens at a call, or from it on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The process ends, and the call did not happen.
    CrashBefore,
    /// The process ends, and a part of the write happened. Any other call did not happen.
    CrashDuring,
    /// The process ends right after the call.
    CrashAfter,
    /// This call fails, without an effect; the next ones do not.
    IoError,
    /// This call and all after it fail.
    StickyIoError,
    /// This sync fails, and the system takes what was written for clean: no later sync makes it
    /// durable, though every process sees it. What Linux does.
    SyncLoss,
    /// There is no room for this call.
    DiskFull,
    /// There is no room from this call on.
    StickyDiskFull,
    /// A part of the bytes is written, then there is no room.
    ShortWrite,
    /// From this call on syncs return at once and do nothing.
    LyingSync,
    /// What is read, or stored by a write, has one bit wrong.
    BitFlip,
}

impl Fault {
    /// Whether it stays until it is disarmed.
    pub(crate) fn is_sticky(self) -> bool {
        matches!(
            self,
            Fault::StickyIoError | Fault::StickyDiskFull | Fault::LyingSync
        )
    }

    /// Whether it makes a difference at such a call.
    pub fn applies_to(self, kind: CallKind) -> bool {
        match self {
            Fault::CrashBefore | Fault::CrashAfter | Fault::IoError | Fault::StickyIoError => true,
            Fault::CrashDuring | Fault::ShortWrite => kind == CallKind::Write,
            Fault::DiskFull | Fault::StickyDiskFull => kind.needs_room(),
            Fault::SyncLoss | Fault::LyingSync => kind == CallKind::Sync,
            Fault::BitFlip => matches!(kind, CallKind::Read | CallKind::Write),
        }
    }
}

/// The faults that a process is going to meet.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    armed: Vec<(u64, Fault)>,
}

impl Plan {
    pub(crate) fn arm(&mut self, at: u64, fault: Fault) {
        self.armed.push((at, fault));
    }

    pub(crate) fn disarm(&mut self) {
        self.armed.clear();
    }

    /// What happens to the call of that number.
    pub(crate) fn meets(&self, number: u64, kind: CallKind) -> Option<Fault> {
        let acts = |(at, fault): &&(u64, Fault)| {
            let now = *at == number || fault.is_sticky() && *at <= number;
            now && fault.applies_to(kind)
        };
        self.armed.iter().find(acts).map(|(_, fault)| *fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_acts_at_its_call_and_a_sticky_one_from_there_on() {
        let mut plan = Plan::default();
        plan.arm(3, Fault::IoError);
        plan.arm(5, Fault::StickyDiskFull);
        let met: Vec<_> = (1..8).map(|n| plan.meets(n, CallKind::Write)).collect();
        let full = Some(Fault::StickyDiskFull);
        assert_eq!(
            met,
            [None, None, Some(Fault::IoError), None, full, full, full]
        );
        assert_eq!(plan.meets(6, CallKind::Read), None);
        plan.disarm();
        assert_eq!(plan.meets(6, CallKind::Write), None);
    }
}
