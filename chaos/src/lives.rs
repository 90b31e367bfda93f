//! A device, seen from outside: one life after the other on the same file.

use std::sync::Arc;
use std::time::Duration;

use driftline_chaos::proxy::Proxy;

use crate::order::{Order, Reply};
use crate::paper::Paper;
use crate::plan::{Death, Life, Plan, Step};
use crate::process::{Identity, PATIENCE, Process};

/// A device and everything known about it.
pub(crate) struct Device {
    pub(crate) identity: Identity,
    pub(crate) proxy: Arc<Proxy>,
    pub(crate) paper: Paper,
    pub(crate) tally: Tally,
    /// What must not happen and did, in words.
    pub(crate) troubles: Vec<String>,
    token: String,
    plan: Plan,
    /// Acknowledged since the file was last asked for them.
    unchecked: Vec<u64>,
}

/// How many lives ended how.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Tally {
    pub(crate) deaths: [u64; Death::NAMES.len()],
}

impl Tally {
    pub(crate) fn kills(&self) -> u64 {
        let closed = Death::Closing.index();
        let all = self.deaths.iter().enumerate();
        all.filter(|(index, _)| *index != closed)
            .map(|(_, count)| count)
            .sum()
    }
}

impl Device {
    pub(crate) fn new(identity: Identity, proxy: Arc<Proxy>, token: String, plan: Plan) -> Device {
        let paper = Paper {
            device: identity.name.clone(),
            ..Paper::default()
        };
        Device {
            identity,
            proxy,
            paper,
            tally: Tally::default(),
            troubles: Vec::new(),
            token,
            plan,
            unchecked: Vec::new(),
        }
    }

    /// One life, from start to death. Returns whether it ended in a kill.
    pub(crate) fn live(&mut self) -> Result<bool, String> {
        let life = self.plan.next_life();
        self.proxy.set(life.network);
        let mut process = Process::start(&self.identity)?;
        let killed = match life.death {
            Death::Opening { after_us } => self.kill(process, after_us)?,
            death => {
                if !self.begin(&mut process)? {
                    return Ok(false);
                }
                self.order(&mut process, &life)?;
                self.end(process, death, &life)?
            }
        };
        if let Some(count) = self.tally.deaths.get_mut(life.death.index()) {
            *count += 1;
        }
        Ok(killed)
    }

    /// Waits until the file is open and connects. A device asked for what was acknowledged in its
    /// last life has it before any sync can bring it back.
    fn begin(&mut self, process: &mut Process) -> Result<bool, String> {
        match self.hear(process)? {
            Some(Reply::Ready) => {}
            Some(other) => {
                self.trouble(format!("said {other:?} before it was ready"));
                return Ok(false);
            }
            None => return Ok(false),
        }
        let numbers = std::mem::take(&mut self.unchecked);
        process.say(&Order::Missing { numbers })?;
        process.say(&Order::Connect {
            url: format!("http://{}", self.proxy.address()),
            token: self.token.clone(),
        })?;
        Ok(true)
    }

    fn order(&mut self, process: &mut Process, life: &Life) -> Result<(), String> {
        for step in &life.steps {
            match step {
                Step::Write { number, acts } => {
                    self.paper.ordered.insert(*number, acts.clone());
                    process.say(&Order::Write {
                        number: *number,
                        acts: acts.clone(),
                    })?;
                }
                Step::Sync => process.say(&Order::Sync)?,
                Step::Pause { ms } => std::thread::sleep(Duration::from_millis(*ms)),
            }
        }
        Ok(())
    }

    fn end(&mut self, mut process: Process, death: Death, life: &Life) -> Result<bool, String> {
        let writes = life
            .steps
            .iter()
            .filter(|step| matches!(step, Step::Write { .. }))
            .count();
        let (wanted, after_us) = match death {
            Death::Opening { after_us } => (0, after_us),
            Death::Writing {
                acknowledged,
                after_us,
            } => (acknowledged, after_us),
            Death::Syncing { after_us } => (writes, after_us),
            Death::Closing => {
                self.close(process)?;
                return Ok(false);
            }
        };
        let before = self.paper.acknowledged.len();
        while self.paper.acknowledged.len() < before + wanted {
            if self.hear(&mut process)?.is_none() {
                return Ok(false);
            }
        }
        self.kill(process, after_us)
    }

    fn kill(&mut self, process: Process, after_us: u64) -> Result<bool, String> {
        std::thread::sleep(Duration::from_micros(after_us));
        let (killed, said) = process.kill().map_err(|error| self.named(&error))?;
        // What it said before it died was said of committed writes.
        said.iter().for_each(|reply| self.note(reply));
        if !killed {
            self.trouble("ended by itself".to_owned());
        }
        Ok(killed)
    }

    /// The next reply, noted; `None`, with a trouble, where the process ended instead.
    fn hear(&mut self, process: &mut Process) -> Result<Option<Reply>, String> {
        let reply = process.hear().map_err(|error| self.named(&error))?;
        match &reply {
            Some(reply) => self.note(reply),
            None => self.trouble("ended by itself".to_owned()),
        }
        Ok(reply)
    }

    /// Hears and notes; false when the process has ended, as it was told to.
    fn hear_more(&mut self, process: &mut Process) -> Result<bool, String> {
        let reply = process.hear().map_err(|error| self.named(&error))?;
        if let Some(reply) = &reply {
            self.note(reply);
        }
        Ok(reply.is_some())
    }

    fn note(&mut self, reply: &Reply) {
        match reply {
            Reply::Written { number } => {
                self.paper.acknowledged.insert(*number);
                if self.paper.keeps_row(*number) {
                    self.unchecked.push(*number);
                }
            }
            Reply::Missing { numbers } if !numbers.is_empty() => {
                self.trouble(format!("acknowledged and gone after a kill: {numbers:?}"));
            }
            Reply::Failed {
                order,
                code,
                message,
            } => self.trouble(format!("{code}: {message}; ordered: {order}")),
            Reply::Missing { .. } | Reply::Ready | Reply::Done | Reply::Settled { .. } => {}
        }
    }

    fn trouble(&mut self, what: String) {
        let what = self.named(&what);
        self.troubles.push(what);
    }

    fn named(&self, what: &str) -> String {
        format!("{}: {what}", self.identity.name)
    }

    /// The last life, which nobody ends: it begins in whatever network was drawn for it.
    pub(crate) fn last_life(&mut self) -> Result<Option<Process>, String> {
        let life = self.plan.next_life();
        self.proxy.set(life.network);
        let mut process = Process::start(&self.identity)?;
        if !self.begin(&mut process)? {
            return Ok(None);
        }
        self.order(&mut process, &life)?;
        Ok(Some(process))
    }

    /// Waits for what `order` settles; says where the device stands if it does not get there.
    pub(crate) fn settle(
        &mut self,
        process: &mut Process,
        order: fn(u64) -> Order,
    ) -> Result<Option<String>, String> {
        let timeout_ms = u64::try_from(PATIENCE.as_millis()).unwrap_or(u64::MAX);
        process.say(&order(timeout_ms))?;
        loop {
            match self.hear(process)? {
                Some(Reply::Settled { settled: true, .. }) => return Ok(None),
                Some(Reply::Settled { state, .. }) => return Ok(Some(self.named(&state))),
                Some(_) => {}
                None => return Ok(Some(self.named("ended by itself"))),
            }
        }
    }

    /// Closes as an app should.
    pub(crate) fn close(&mut self, mut process: Process) -> Result<(), String> {
        process.say(&Order::Close)?;
        while self.hear_more(&mut process)? {}
        if !process.wait()? {
            self.trouble("did not close well".to_owned());
        }
        Ok(())
    }
}
