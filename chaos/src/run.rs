//! A run: devices and server live and die until there were enough kills, then everything heals.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use driftline_chaos::proxy::{Network, Profile, Proxy};
use driftline_chaos::random::Random;
use driftline_server::auth::Role;
use driftline_server::auth::mint::{self, Minted};

use crate::lives::Device;
use crate::order::Order;
use crate::plan::Plan;
use crate::process::{Identity, Process, Server, ServerFiles};
use crate::progress::Progress;

/// Devices of a workspace.
const TEAM: usize = 4;
/// How long no server is there before the healing, and then for how long networks are bad.
const STORM: Duration = Duration::from_millis(1_200);
/// The purposes that draw from the seed; devices' lives are numbered from 1.
const SERVER: u64 = u64::MAX;
const NETWORK: u64 = u64::MAX - 1;

/// What a run is asked for.
pub(crate) struct Settings<'a> {
    pub(crate) driftline: &'a Path,
    pub(crate) directory: &'a Path,
    pub(crate) seed: u64,
    pub(crate) kills: u64,
    pub(crate) time: Duration,
    pub(crate) devices: usize,
}

/// What is left when everything has ended.
pub(crate) struct Aftermath {
    pub(crate) devices: Vec<Device>,
    pub(crate) server_kills: u64,
    /// How long the killing took.
    pub(crate) dying: Duration,
    /// From the last fault to everybody settled.
    pub(crate) healing: Duration,
    /// Devices that did not settle in time, and where they stand.
    pub(crate) unsettled: Vec<String>,
    /// What else went wrong.
    pub(crate) troubles: Vec<String>,
}

/// Runs to the end. An error says why the run itself could not go on.
pub(crate) fn run(settings: &Settings<'_>, progress: &Progress) -> Result<Aftermath, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start threads: {error}"))?;
    let secret = format!("{:064x}", Random::of(settings.seed, &[SERVER, 0]).draw());
    let files = ServerFiles::prepare(settings.driftline, settings.directory, secret.as_bytes())?;
    let server = files.start()?;
    let mut devices = (0..settings.devices)
        .map(|at| device(settings, &runtime, at, server.address, secret.as_bytes()))
        .collect::<Result<Vec<Device>, String>>()?;

    let began = Instant::now();
    let count = Count {
        kills: AtomicU64::new(0),
        server_kills: AtomicU64::new(0),
        over: AtomicBool::new(false),
        wanted: settings.kills,
        deadline: began + settings.time,
    };
    let proxies: Vec<Arc<Proxy>> = devices.iter().map(|d| Arc::clone(&d.proxy)).collect();
    let random = Random::of(settings.seed, &[SERVER, 1]);
    let server = std::thread::scope(|scope| {
        let lives: Vec<_> = devices
            .iter_mut()
            .map(|device| scope.spawn(|| until_over(device, &count)))
            .collect();
        let keeper = scope.spawn(|| keep_server(server, &files, &proxies, random, &count));
        while !count.is_over() {
            progress.kills(count.kills.load(Ordering::Relaxed), settings.kills);
            std::thread::sleep(Duration::from_millis(100));
        }
        let ended: Result<Vec<()>, String> = lives.into_iter().map(joined).collect();
        count.stop();
        let server = joined(keeper);
        ended.and(server)
    })?;
    progress.kills(count.kills.load(Ordering::Relaxed), settings.kills);
    let dying = began.elapsed();

    progress.say("healing");
    let mut troubles = Vec::new();
    let healed = heal(&mut devices, server, &files)?;
    if !healed.server.stop()? {
        troubles.push("the server did not end well".to_owned());
    }
    Ok(Aftermath {
        devices,
        server_kills: count.server_kills.load(Ordering::Relaxed),
        dying,
        healing: healed.took,
        unsettled: healed.unsettled,
        troubles,
    })
}

fn joined<T>(handle: std::thread::ScopedJoinHandle<'_, Result<T, String>>) -> Result<T, String> {
    handle
        .join()
        .unwrap_or_else(|_| Err("a thread of the run itself panicked".to_owned()))
}

/// How far the killing is, for all threads.
struct Count {
    kills: AtomicU64,
    server_kills: AtomicU64,
    over: AtomicBool,
    wanted: u64,
    deadline: Instant,
}

impl Count {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
            || self.kills.load(Ordering::Relaxed) >= self.wanted
            || Instant::now() >= self.deadline
    }

    fn stop(&self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

fn device(
    settings: &Settings<'_>,
    runtime: &tokio::runtime::Runtime,
    at: usize,
    server: SocketAddr,
    secret: &[u8],
) -> Result<Device, String> {
    let number = at as u64 + 1;
    let identity = Identity {
        name: format!("d{number}"),
        // Two devices an account, two accounts a workspace.
        account: format!("account-{}", at / 2),
        workspace: format!("workspace-{}", at / TEAM),
        file: settings.directory.join(format!("d{number}.db")),
        normal: at % 2 == 1,
    };
    let random = Random::of(settings.seed, &[NETWORK, number]);
    let proxy = runtime
        .block_on(Proxy::open(server, Network::Down, random))
        .map_err(|error| format!("no port for a proxy: {error}"))?;
    let token = token(secret, &identity)?;
    let plan = Plan::new(settings.seed, number);
    Ok(Device::new(identity, Arc::new(proxy), token, plan))
}

fn token(secret: &[u8], identity: &Identity) -> Result<String, String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let minted = Minted {
        account: identity.account.clone(),
        workspaces: [(identity.workspace.clone(), Role::Writer)].into(),
        issued: now.map_or(0, |since| since.as_secs() as i64),
        lifetime: 24 * 3600,
        audience: None,
        issuer: None,
    };
    mint::hs256(secret, &minted).map_err(|error| format!("cannot sign a token: {error}"))
}

fn until_over(device: &mut Device, count: &Count) -> Result<(), String> {
    while !count.is_over() {
        match device.live() {
            Ok(true) => drop(count.kills.fetch_add(1, Ordering::Relaxed)),
            Ok(false) => {}
            Err(error) => {
                count.stop();
                return Err(error);
            }
        }
    }
    Ok(())
}

/// Kills the server again and again, and leaves one running.
fn keep_server(
    mut server: Server,
    files: &ServerFiles,
    proxies: &[Arc<Proxy>],
    mut random: Random,
    count: &Count,
) -> Result<Server, String> {
    loop {
        let lives_until = Instant::now() + Duration::from_micros(random.between(50_000, 1_000_000));
        let down = match random.chance(120) {
            true => random.between(400, 1_500),
            false => random.between(0, 200),
        };
        while Instant::now() < lives_until {
            if count.is_over() {
                return Ok(server);
            }
            let left = lives_until.saturating_duration_since(Instant::now());
            std::thread::sleep(left.min(Duration::from_millis(20)));
        }
        if !server.kill()? {
            count.stop();
            return Err(format!(
                "the server ended by itself; see {}",
                files.log.display()
            ));
        }
        count.kills.fetch_add(1, Ordering::Relaxed);
        count.server_kills.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(down));
        server = files.start().inspect_err(|_| count.stop())?;
        proxies
            .iter()
            .for_each(|proxy| proxy.redirect(server.address));
    }
}

/// What healing came to.
struct Healed {
    server: Server,
    took: Duration,
    unsettled: Vec<String>,
}

/// The last storm, and calm after it. All devices live once more and write, with no server, then
/// with bad networks, long enough that they wait between attempts and sit on dead connections. Then
/// everything works, which nobody tells them: each must get there by itself. Once more with a word,
/// for what others had queued, and all close.
fn heal(devices: &mut [Device], server: Server, files: &ServerFiles) -> Result<Healed, String> {
    let proxies: Vec<Arc<Proxy>> = devices.iter().map(|d| Arc::clone(&d.proxy)).collect();
    server.kill()?;
    let mut working: Vec<(&mut Device, Process)> = Vec::new();
    for device in devices {
        if let Some(process) = device.last_life()? {
            working.push((device, process));
        }
    }
    std::thread::sleep(STORM);
    let server = files.start()?;
    proxies
        .iter()
        .for_each(|proxy| proxy.redirect(server.address));
    std::thread::sleep(STORM);

    let began = Instant::now();
    let calm = Network::Up(Profile::FAIR);
    proxies.iter().for_each(|proxy| proxy.set(calm));
    let mut unsettled = settle(&mut working, |timeout_ms| Order::Wait { timeout_ms })?;
    let took = began.elapsed();
    unsettled.extend(settle(&mut working, |timeout_ms| Order::Settle {
        timeout_ms,
    })?);
    for (device, process) in working {
        device.close(process)?;
    }
    Ok(Healed {
        server,
        took,
        unsettled,
    })
}

/// All at once; returns who does not get there, and where they stand.
fn settle(
    working: &mut [(&mut Device, Process)],
    order: fn(u64) -> Order,
) -> Result<Vec<String>, String> {
    std::thread::scope(|scope| {
        let settling: Vec<_> = working
            .iter_mut()
            .map(|(device, process)| scope.spawn(move || device.settle(process, order)))
            .collect();
        let settled: Result<Vec<Option<String>>, String> =
            settling.into_iter().map(joined).collect();
        Ok(settled?.into_iter().flatten().collect())
    })
}
