//! Everything the story plays with.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use driftline_server::inspect::FieldValue;
use driftline_server::store::StoreError;
use serde_json::json;
use tokio::runtime::Runtime;

use super::acts::Notes;
use super::birds::Bird;
use super::messages::{Change, Document, Report};
use super::paper::{JOURNAL, Paper};
use super::random::Random;
use super::server::Server;
use super::stage::Stage;
use super::team::{Content, Identity, Team, Written};
use super::watcher::Watcher;
use super::weather::{Network, Weather};
use crate::failure::Failure;

/// The teams, by their place in [`World::teams`].
pub(super) const BISCOE: usize = 0;
pub(super) const DREAM: usize = 1;
pub(super) const TORGERSEN: usize = 2;
/// The device that Dream's file is copied to.
pub(super) const COPY: usize = 3;

/// The workspace they share.
pub(super) const WORKSPACE: &str = "palmer";

/// How far the clock of Torgersen's device is ahead: 5 h 12 min.
pub(super) const CLOCK_AHEAD: i64 = (5 * 60 + 12) * 60 * 1000;

/// How long teams may take to settle.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// Everything the story plays with.
pub(super) struct World<'a> {
    pub(super) stage: Stage<'a>,
    pub(super) teams: Vec<Team>,
    pub(super) networks: Vec<Network>,
    pub(super) server: Server,
    pub(super) paper: Paper,
    pub(super) random: Random,
    pub(super) birds: Vec<Bird>,
    /// What is still to be written into the journal.
    pub(super) notes: Notes,
    pub(super) directory: PathBuf,
    /// What the devices reported before they were opened anew: bytes up and down.
    pub(super) bytes_before: Vec<(u64, u64)>,
    /// How long each device took to settle at the end.
    pub(super) settled_in: Vec<Duration>,
    /// The process that watches Torgersen's file.
    pub(super) watcher: Option<Watcher>,
    pub(super) runtime: Runtime,
}

impl World<'_> {
    /// A device joins; nobody gets through to it yet.
    pub(super) fn join(
        &mut self,
        name: &str,
        account: &str,
        clock_ahead: i64,
    ) -> Result<(), Failure> {
        let file = name.to_lowercase().replace(' ', "-").replace('\'', "");
        let identity = Identity {
            name: name.to_owned(),
            account: account.to_owned(),
            workspace: WORKSPACE.to_owned(),
            file: self.directory.join(format!("{file}.db")),
            clock_ahead,
        };
        let random = self.random.fork();
        let network = self
            .runtime
            .block_on(Network::open(self.server.address, random));
        let network = network.map_err(|error| {
            Failure::unavailable("no_network", "cannot open a port").because(&error)
        })?;
        self.networks.push(network);
        self.teams.push(Team::start(identity)?);
        self.bytes_before.push((0, 0));
        self.settled_in.push(Duration::ZERO);
        Ok(())
    }

    pub(super) fn team(&mut self, at: usize) -> Result<&mut Team, Failure> {
        self.teams
            .get_mut(at)
            .ok_or_else(|| Failure::fault("no such team"))
    }

    pub(super) fn network(&self, at: usize) -> Result<&Network, Failure> {
        self.networks
            .get(at)
            .ok_or_else(|| Failure::fault("no such network"))
    }

    /// The process that watches Torgersen's file.
    pub(super) fn watcher(&mut self) -> Result<&mut Watcher, Failure> {
        self.watcher
            .as_mut()
            .ok_or_else(|| Failure::fault("nobody watches"))
    }

    /// Lets a device begin to sync over its network.
    pub(super) fn connect(&mut self, at: usize) -> Result<(), Failure> {
        let url = format!("http://{}", self.network(at)?.address);
        let account = self.team(at)?.identity.account.clone();
        let token = self.server.token(&account, WORKSPACE)?;
        self.team(at)?.connect(url, token)
    }

    /// Changes a device's weather and tells the device.
    pub(super) fn weather(&mut self, at: usize, weather: Weather) -> Result<(), Failure> {
        self.network(at)?.set(weather);
        self.team(at)?.network(weather != Weather::Down)
    }

    /// Changes a device's weather before the device asks for it.
    pub(super) fn weather_only(&self, at: usize, weather: Weather) -> Result<(), Failure> {
        self.network(at)?.set(weather);
        Ok(())
    }

    /// Keeps what a device has sent and received: a file opened anew begins at nothing.
    pub(super) fn remember_bytes(&mut self, at: usize, report: &Report) {
        if let Some((up, down)) = self.bytes_before.get_mut(at) {
            *up += report.bytes_up;
            *down += report.bytes_down;
        }
    }

    /// A write that stands until somebody writes the same later.
    pub(super) fn write(&mut self, at: usize, changes: Vec<Change>) -> Result<(), Failure> {
        self.commit(at, &changes)?;
        let name = self.team(at)?.name().to_owned();
        self.paper.note(&name, &changes);
        Ok(())
    }

    /// A write that the server or the schema's policy will overrule.
    pub(super) fn write_in_vain(&mut self, at: usize, changes: Vec<Change>) -> Result<(), Failure> {
        self.commit(at, &changes)?;
        let name = self.team(at)?.name().to_owned();
        self.paper.note_overruled(&name, &changes);
        Ok(())
    }

    fn commit(&mut self, at: usize, changes: &[Change]) -> Result<(), Failure> {
        let team = self.team(at)?;
        match team.write(changes.to_vec())? {
            Written::Committed => Ok(()),
            Written::Refused { code, message } => Err(Failure::fault(format!(
                "{} refused a write: {code}: {message}",
                team.name()
            ))),
        }
    }

    /// Lets a device sync until it is done, telling it again and again that the network is back, as
    /// an operating system does. Says whether it got there.
    pub(super) fn settle(&mut self, at: usize) -> Result<bool, Failure> {
        settle(self.team(at)?)
    }

    /// Lets all devices sync at once, then once more for what the others sent.
    pub(super) fn settle_all(&mut self) -> Result<bool, Failure> {
        let mut all = true;
        for _ in 0..2 {
            let settled: Vec<Result<(bool, Duration), Failure>> = std::thread::scope(|scope| {
                let settle = |team| {
                    let began = Instant::now();
                    settle(team).map(|settled| (settled, began.elapsed()))
                };
                let threads: Vec<_> = self
                    .teams
                    .iter_mut()
                    .map(|team| scope.spawn(move || settle(team)))
                    .collect();
                let joined = threads.into_iter().map(|thread| {
                    thread
                        .join()
                        .unwrap_or_else(|_| Err(Failure::fault("a thread of the demo failed")))
                });
                joined.collect()
            });
            for (settled, time) in settled.into_iter().zip(&mut self.settled_in) {
                let (settled, took) = settled?;
                all &= settled;
                *time += took;
            }
        }
        Ok(all)
    }

    /// Lets all devices sync, and checks that they got there in time.
    pub(super) fn all_settle(&mut self, who: &str) -> Result<(), Failure> {
        let settled = self.settle_all()?;
        self.stage
            .happens(&format!("{who} are up to date"), settled);
        Ok(())
    }

    /// The server's documents, as its files have them now.
    pub(super) fn server_documents(&self) -> Result<Vec<Document>, Failure> {
        let read = driftline_server::inspect::documents(&self.server.data, WORKSPACE);
        let documents = read.map_err(server_unreadable)?;
        let told = |document: driftline_server::inspect::InspectedDocument| {
            let told = |value| match value {
                FieldValue::Text { text, .. } => json!(text),
                value => json!(value),
            };
            let fields = document.fields.into_iter();
            let fields = fields.map(|(name, value)| (name, told(value)));
            Document {
                collection: document.collection,
                id: document.id,
                fields: fields.collect(),
            }
        };
        Ok(documents
            .unwrap_or_default()
            .into_iter()
            .map(told)
            .collect())
    }

    /// The journal, as the server's files have it now.
    pub(super) fn server_journal(&self) -> Result<Content, Failure> {
        let (collection, id, field) = JOURNAL;
        let read = driftline_server::inspect::documents(&self.server.data, WORKSPACE);
        let documents = read.map_err(server_unreadable)?.unwrap_or_default();
        let journal = documents
            .into_iter()
            .find(|document| document.collection == collection && document.id == id);
        Ok(match journal.and_then(|mut j| j.fields.remove(field)) {
            Some(FieldValue::Text { text, delta }) => Content { text, delta },
            _ => Content::default(),
        })
    }

    /// The server's facts, as its files have them now; `None` before the first device came.
    pub(super) fn server_facts(
        &self,
    ) -> Result<Option<driftline_server::inspect::WorkspaceFacts>, Failure> {
        driftline_server::inspect::workspace(&self.server.data, WORKSPACE)
            .map_err(server_unreadable)
    }

    /// The server's last version.
    pub(super) fn server_version(&self) -> Result<u64, Failure> {
        Ok(self.server_facts()?.map_or(0, |facts| facts.version))
    }
}

fn server_unreadable(error: StoreError) -> Failure {
    Failure::file("server_unreadable", "cannot read the server's files").because(&error)
}

/// See [`World::settle`].
fn settle(team: &mut Team) -> Result<bool, Failure> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if team.settle(Duration::from_millis(700))? {
            return Ok(true);
        }
        if Instant::now() > deadline {
            return Ok(false);
        }
        team.network(true)?;
    }
}
