//! Placing a device's writes on the server's time axis.
//!
//! A wall clock can be set, wrong or absurd; a monotonic clock cannot, but means something only
//! within one boot session. So an op stores both, a request carries both as read at sending, and
//! the distance between the two monotonic readings says how long before the contact the op was
//! written. A queue may hold ops of several boot sessions with different clock errors: one offset
//! for the whole queue put 1,690 of 14,762 schedules in the wrong order.

use serde::{Deserialize, Serialize};

use super::Stamp;
use crate::id::BootId;
use crate::mutant::{Mutant, planted};

/// One look at a device's clocks.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    Debug,
    Default,
    Serialize,
    Deserialize,
    minicbor::Encode,
    minicbor::Decode,
)]
#[serde(default)]
pub struct Reading {
    /// Unix milliseconds as the device believes them.
    #[n(0)]
    #[serde(with = "crate::protocol::json")]
    pub wall: i64,
    /// The boot session the monotonic reading belongs to.
    #[n(1)]
    pub boot: BootId,
    /// Milliseconds of a clock that never goes back and counts sleep.
    #[n(2)]
    #[serde(with = "crate::protocol::json")]
    pub mono: i64,
}

/// A moment known on both sides: the device's readings and the server's time at it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Contact {
    /// The device's clocks.
    pub device: Reading,
    /// The server's Unix milliseconds.
    pub server: i64,
}

impl Contact {
    /// The server's time when the device reads `now`, as far as the device can know.
    pub fn server_time_at(&self, now: Reading) -> i64 {
        if now.boot == self.device.boot {
            self.server
                .saturating_add(now.mono.saturating_sub(self.device.mono))
        } else {
            now.wall
        }
    }

    /// How far the device's wall clock was ahead of the server's (negative: behind).
    pub fn clock_offset(&self) -> i64 {
        self.device.wall.saturating_sub(self.server)
    }
}

/// The stamp of an op written at `written`, given a contact after it.
///
/// Within the contact's boot session: the server's time minus the monotonic distance. Else the wall
/// clock as read, never raised. In no case above the server's own time.
///
/// The server calls this with the request's readings and its own clock; a device calls it with the
/// last contact to predict the same answer.
pub fn place(written: Reading, contact: &Contact) -> Stamp {
    let millis = if written.boot == contact.device.boot || planted(Mutant::BootIgnored) {
        let distance = contact.device.mono.saturating_sub(written.mono);
        contact.server.saturating_sub(distance)
    } else {
        written.wall
    };
    if planted(Mutant::StampAboveServer) {
        return Stamp::at(millis);
    }
    Stamp::at(millis.min(contact.server))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(wall: i64, boot: u32, mono: i64) -> Reading {
        Reading {
            wall,
            boot: BootId(boot),
            mono,
        }
    }

    #[test]
    fn a_wrong_wall_clock_does_not_matter_within_the_boot_session() {
        let contact = Contact {
            device: reading(-1_000_000, 1, 500),
            server: 10_000,
        };
        assert_eq!(
            place(reading(99_999_999, 1, 200), &contact),
            Stamp::at(9_700)
        );
    }

    #[test]
    fn another_session_counts_as_read_and_is_never_in_the_future() {
        let contact = Contact {
            device: reading(10_000, 2, 5),
            server: 10_000,
        };
        assert_eq!(
            place(reading(7_000, 1, 900_000), &contact),
            Stamp::at(7_000)
        );
        assert_eq!(
            place(reading(70_000, 1, 900_000), &contact),
            Stamp::at(10_000)
        );
    }

    #[test]
    fn absurd_readings_stay_in_range() {
        let contact = Contact {
            device: reading(i64::MIN, 1, i64::MIN),
            server: 10_000,
        };
        assert_eq!(place(reading(0, 1, i64::MAX), &contact), Stamp::at(10_000));
        let contact = Contact {
            device: reading(0, 1, i64::MAX),
            server: 10_000,
        };
        assert_eq!(place(reading(0, 1, i64::MIN), &contact), Stamp::ZERO);
    }

    /// All schedules of write, clock jump and reboot before one contact, up to six steps: two writes
    /// of one boot session keep their order and their true distance, whatever the wall clock did.
    #[test]
    fn small_world_of_clock_jumps_and_reboots() {
        let mut schedules = 0;
        for length in 1..=6u32 {
            for code in 0..4u32.pow(length) {
                schedules += 1;
                check_schedule(code, length);
            }
        }
        assert_eq!(schedules, 5_460);
    }

    fn check_schedule(mut code: u32, length: u32) {
        let (mut truth, mut skew, mut boot, mut booted) = (1_000_000i64, 0i64, 1u32, 0i64);
        let mut writes = Vec::new();
        for _ in 0..length {
            truth += 1_000;
            match code % 4 {
                0 => writes.push((truth, reading(truth + skew, boot, truth - booted))),
                1 => skew += 3_600_000,
                2 => skew -= 7_200_000,
                _ => {
                    boot += 1;
                    booted = truth;
                }
            }
            code /= 4;
        }
        truth += 1_000;
        let contact = Contact {
            device: reading(truth + skew, boot, truth - booted),
            server: truth,
        };
        for (at, written) in writes {
            let stamp = place(written, &contact);
            assert!(stamp <= Stamp::at(truth), "never above the server's time");
            if written.boot.0 == boot {
                assert_eq!(
                    stamp,
                    Stamp::at(at),
                    "exact within the session of the contact"
                );
            } else {
                assert_eq!(
                    stamp,
                    Stamp::at(written.wall.min(truth)),
                    "as read, capped, else"
                );
            }
        }
    }
}
