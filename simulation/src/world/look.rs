//! Looking at everything that changed, and judging it.

mod devices;
mod log;
mod server;

use super::{World, logs};
use crate::oracles::{self, Judgement};
use crate::panics;

/// Documents of the collection that is written together.
pub(super) const TWIN_IDS: [&str; 3] = ["t0", "t1", "t2"];

impl World<'_> {
    /// Looks at the server first: what a device has can only be what the server said.
    pub(super) fn look(&mut self) -> Judgement {
        oracles::nothing_panicked(panics::heard())?;
        self.server_answered()?;
        self.read_requests()?;
        self.bury()?;
        self.look_at_server()?;
        for at in 0..self.sites.len() {
            self.look_at(at)?;
        }
        self.judge_requests()?;
        self.judge_what_is_held()?;
        self.climate.judged()?;
        logs::judged()
    }

    /// What devices were answered, by a server whose disk never failed in this world.
    fn server_answered(&mut self) -> Judgement {
        let met_a_fault = self.server.met() > 0;
        let mut failed = self.climate.take_failed().into_iter();
        failed.try_for_each(|(device, status)| {
            oracles::server_answers(status, met_a_fault, &format!("a request of s{device}"))
        })
    }

    /// Processes that ended since have given back what they held.
    fn judge_what_is_held(&mut self) -> Judgement {
        for site in &mut self.sites {
            let held = std::mem::take(&mut site.held);
            oracles::held_little(held, &format!("s{}", site.number))?;
        }
        oracles::held_little(std::mem::take(&mut self.server.held), "the server")
    }

    /// Processes that died of a fault are dead for everybody.
    fn bury(&mut self) -> Judgement {
        for site in &mut self.sites {
            for companion in [true, false] {
                if companion && site.companion.is_none() {
                    continue;
                }
                let program = site.program(companion);
                if program.process().is_some() && !program.is_alive() {
                    self.trace
                        .line(format_args!("    s{} has died", site.number));
                    site.kill(companion);
                }
            }
        }
        let dead = self
            .server
            .process()
            .is_some_and(|process| !process.is_alive());
        if dead {
            self.trace.line(format_args!("    the server has died"));
            self.kill_server();
            return self.look_at_dead_server();
        }
        Ok(())
    }
}
