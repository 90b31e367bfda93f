//! Schedules played by hand: a few devices and a server, one step after the other.

mod replies;
mod review;

use tempfile::TempDir;

use super::*;

const NOTES: u16 = 1;
const TITLE: u16 = 1;

struct Stage {
    directory: TempDir,
    time: Time,
    server: Server,
    opened: u64,
}

impl Stage {
    fn new() -> Stage {
        let time = Time::new();
        let server = Server::new(schema(), time.clone());
        Stage {
            directory: tempfile::tempdir().unwrap(),
            time,
            server,
            opened: 0,
        }
    }

    fn device(&mut self) -> Device {
        self.opened += 1;
        Device::open(
            self.directory.path(),
            &format!("d{}", self.opened),
            &self.time,
            self.opened,
        )
    }

    fn copy(&mut self, device: &Device) -> Device {
        self.opened += 1;
        device.copy(
            self.directory.path(),
            &format!("d{}", self.opened),
            self.opened,
        )
    }

    /// One write, the clock going on.
    fn write(&self, device: &mut Device, draft: Draft) -> driftline_core::id::OpId {
        self.time.pass(1_000);
        device.write(&[draft]).unwrap()
    }

    /// A device and another one that both have document `a`.
    fn pair(&mut self) -> (Device, Device) {
        let (mut x, mut z) = (self.device(), self.device());
        self.write(&mut x, Draft::insert(NOTES, "a").set(TITLE, "first"));
        x.sync(&mut self.server);
        z.sync(&mut self.server);
        (x, z)
    }

    fn heal(&mut self, devices: &mut [&mut Device]) {
        for _ in 0..3 {
            for device in devices.iter_mut() {
                self.time.pass(1_000);
                device.sync(&mut self.server);
                device.pull(&mut self.server, 1_000);
                check_device(device, &self.server);
            }
        }
    }
}
