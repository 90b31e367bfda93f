//! One thing that goes wrong, and how it ends.

use std::fmt;
use std::str::FromStr;

use driftline_simvfs::{Call, Fault, PowerLoss};

/// How a run ends after its fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// The app closes its database, or the operator stops the server.
    Stop,
    /// The process ends.
    Kill,
    /// The power goes, and takes what was not synced.
    Power,
    /// The power goes, and leaves what was not synced torn; several ways of it.
    Torn(u8),
    /// The process ends, and a bit is another one when somebody looks; several of them.
    Flipped(Spot, u8),
}

/// Where a bit is flipped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Spot {
    /// In the file.
    File,
    /// In its log.
    Log,
}

impl Ending {
    /// What a loss of power leaves, if it is one.
    pub fn loss(self) -> Option<PowerLoss> {
        match self {
            Ending::Stop | Ending::Kill | Ending::Flipped(..) => None,
            Ending::Power => Some(PowerLoss::LoseUnsynced),
            Ending::Torn(_) => Some(PowerLoss::Torn),
        }
    }
}

/// A fault at an I/O call, and an ending.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Point {
    /// The call's number.
    pub call: u64,
    /// What happens there.
    pub fault: Fault,
    /// How it ends.
    pub ending: Ending,
}

/// A fault at an I/O call, and all the endings that are tried after it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trial {
    pub(super) call: u64,
    pub(super) fault: Fault,
    /// The first one happens to the very processes that met the fault, the others to copies of what
    /// they left.
    pub(super) endings: &'static [Ending],
}

const AFTER_A_CRASH: &[Ending] = &[
    Ending::Kill,
    Ending::Power,
    Ending::Torn(0),
    Ending::Torn(1),
];
/// The same, and a bit flipped: where that is tried.
const AFTER_A_CRASH_AND_FLIPPED: &[Ending] = &[
    Ending::Kill,
    Ending::Power,
    Ending::Torn(0),
    Ending::Torn(1),
    Ending::Flipped(Spot::Log, 0),
    Ending::Flipped(Spot::Log, 1),
    Ending::Flipped(Spot::Log, 2),
    Ending::Flipped(Spot::File, 0),
    Ending::Flipped(Spot::File, 1),
    Ending::Flipped(Spot::File, 2),
];
const AFTER_AN_ERROR: &[Ending] = &[Ending::Stop, Ending::Kill, Ending::Power, Ending::Torn(0)];

const CRASHES: [Fault; 3] = [Fault::CrashBefore, Fault::CrashDuring, Fault::CrashAfter];
const ERRORS: [Fault; 6] = [
    Fault::IoError,
    Fault::StickyIoError,
    Fault::SyncLoss,
    Fault::DiskFull,
    Fault::StickyDiskFull,
    Fault::ShortWrite,
];

/// Everything that can go wrong at a call.
///
/// A crash at a call that changes nothing leaves what one before the next change leaves, so it is
/// not tried twice.
pub(super) fn trials_of(call: &Call) -> impl Iterator<Item = Trial> + use<> {
    let (number, kind) = (call.number, call.kind);
    CRASHES
        .into_iter()
        .filter(move |_| kind.changes())
        .chain(ERRORS)
        .filter(move |fault| fault.applies_to(kind))
        .map(move |fault| Trial::new(number, fault))
}

impl Trial {
    /// With bits flipped, where a process ends after a call.
    pub(super) fn flipping(self) -> Trial {
        match self.fault {
            Fault::CrashAfter => Trial {
                endings: AFTER_A_CRASH_AND_FLIPPED,
                ..self
            },
            _ => self,
        }
    }

    fn new(call: u64, fault: Fault) -> Trial {
        let endings = match CRASHES.contains(&fault) {
            true => AFTER_A_CRASH,
            false => AFTER_AN_ERROR,
        };
        Trial {
            call,
            fault,
            endings,
        }
    }

    pub(super) fn point(&self, ending: Ending) -> Point {
        Point {
            call: self.call,
            fault: self.fault,
            ending,
        }
    }
}

impl Point {
    /// What it is one ending of.
    pub(super) fn trial(self) -> Trial {
        Trial::new(self.call, self.fault)
    }
}

const FAULTS: [(&str, Fault); 9] = [
    ("crash-before", Fault::CrashBefore),
    ("crash-during", Fault::CrashDuring),
    ("crash-after", Fault::CrashAfter),
    ("io-error", Fault::IoError),
    ("sticky-io-error", Fault::StickyIoError),
    ("sync-loss", Fault::SyncLoss),
    ("disk-full", Fault::DiskFull),
    ("sticky-disk-full", Fault::StickyDiskFull),
    ("short-write", Fault::ShortWrite),
];

const ENDINGS: [(&str, Ending); 11] = [
    ("stop", Ending::Stop),
    ("kill", Ending::Kill),
    ("power", Ending::Power),
    ("torn0", Ending::Torn(0)),
    ("torn1", Ending::Torn(1)),
    ("log0", Ending::Flipped(Spot::Log, 0)),
    ("log1", Ending::Flipped(Spot::Log, 1)),
    ("log2", Ending::Flipped(Spot::Log, 2)),
    ("file0", Ending::Flipped(Spot::File, 0)),
    ("file1", Ending::Flipped(Spot::File, 1)),
    ("file2", Ending::Flipped(Spot::File, 2)),
];

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fault = FAULTS.iter().find(|(_, fault)| *fault == self.fault);
        let ending = ENDINGS.iter().find(|(_, ending)| *ending == self.ending);
        let name = |found: Option<&'static str>| found.unwrap_or("?");
        let (fault, ending) = (fault.map(|f| f.0), ending.map(|e| e.0));
        write!(f, "{}:{}:{}", self.call, name(fault), name(ending))
    }
}

impl FromStr for Point {
    type Err = String;

    fn from_str(text: &str) -> Result<Point, String> {
        let mut parts = text.split(':');
        let mut next = || parts.next().unwrap_or_default();
        let (call, fault, ending) = (next(), next(), next());
        let bad = || format!("expected CALL:FAULT:ENDING, such as 17:crash-after:kill, got {text}");
        Ok(Point {
            call: call.parse().map_err(|_| bad())?,
            fault: FAULTS.iter().find(|f| f.0 == fault).ok_or_else(bad)?.1,
            ending: ENDINGS.iter().find(|e| e.0 == ending).ok_or_else(bad)?.1,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use driftline_simvfs::CallKind;

    fn call(kind: CallKind) -> Call {
        Call {
            number: 7,
            kind,
            file: "app.db".to_owned(),
            offset: 0,
            len: 1,
        }
    }

    fn points(kind: CallKind) -> Vec<Point> {
        let points = trials_of(&call(kind))
            .flat_map(|trial| trial.endings.iter().map(move |ending| trial.point(*ending)));
        points.collect()
    }

    #[test]
    fn a_call_has_the_points_that_make_a_difference() {
        assert_eq!(points(CallKind::Write).len(), 3 * 4 + 5 * 4);
        assert_eq!(points(CallKind::Sync).len(), 2 * 4 + 3 * 4);
        assert_eq!(points(CallKind::Read).len(), 2 * 4);
    }

    #[test]
    fn bits_are_flipped_where_a_process_ended_after_a_call() {
        let trials = trials_of(&call(CallKind::Write)).map(Trial::flipping);
        let points = trials.flat_map(|t| t.endings.iter().map(move |end| t.point(*end)));
        let flipped = |point: &Point| matches!(point.ending, Ending::Flipped(..));
        let flipped: Vec<Point> = points.filter(flipped).collect();
        assert_eq!(flipped.len(), 6);
        for point in flipped {
            assert_eq!(point.fault, Fault::CrashAfter);
            assert_eq!(point.to_string().parse(), Ok(point));
        }
        let of_a_read = trials_of(&call(CallKind::Read)).map(Trial::flipping);
        assert_eq!(of_a_read.map(|trial| trial.endings.len()).sum::<usize>(), 8);
    }

    #[test]
    fn a_point_is_written_as_it_is_read() {
        for kind in [CallKind::Write, CallKind::Sync, CallKind::Create] {
            for point in points(kind) {
                assert_eq!(point.to_string().parse(), Ok(point));
            }
        }
        assert!("7:crash-after".parse::<Point>().is_err());
        assert!("x:crash-after:kill".parse::<Point>().is_err());
    }
}
