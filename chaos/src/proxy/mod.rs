//! A proxy on the loopback that stands for the network between one device and the server: it passes,
//! cuts, delays and throttles connections, swallows answers, and leaves connections half open.
//!
//! What becomes of the n-th connection follows from the seed and from nothing else.

mod carry;
mod fate;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use fate::{Fate, Profile};

use crate::random::Random;

/// How the network is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Network {
    /// Nobody gets through.
    Down,
    /// Connections fare as the profile draws.
    Up(Profile),
}

/// What new connections find.
#[derive(Clone, Copy, Debug)]
struct Standing {
    network: Network,
    upstream: SocketAddr,
}

/// One device's way to the server. Dropping it ends all its connections.
pub struct Proxy {
    address: SocketAddr,
    standing: watch::Sender<Standing>,
    counts: Arc<Counts>,
    accepting: JoinHandle<()>,
}

/// How many connections met which fate.
#[derive(Default)]
pub struct Counts {
    by_fate: [AtomicU64; Fate::NAMES.len()],
    refused: AtomicU64,
}

impl Counts {
    /// The fates' names, each with how many connections met it.
    pub fn by_fate(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.by_fate.iter().map(|n| n.load(Ordering::Relaxed));
        Fate::NAMES.into_iter().zip(counts)
    }

    /// Connections that found the network down.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

impl Proxy {
    /// Opens a way to `upstream`; must be called within a Tokio runtime.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn open(upstream: SocketAddr, network: Network, random: Random) -> io::Result<Proxy> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (standing, seen) = watch::channel(Standing { network, upstream });
        let counts = Arc::new(Counts::default());
        let accepting = tokio::spawn(accept(listener, seen, Arc::clone(&counts), random));
        Ok(Proxy {
            address,
            standing,
            counts,
            accepting,
        })
    }

    /// What the device takes for the server's address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes the network. What is under way breaks off, except for connections that are half open:
    /// nobody tells those.
    pub fn set(&self, network: Network) {
        self.standing
            .send_modify(|standing| standing.network = network);
    }

    /// The server is elsewhere from now on.
    pub fn redirect(&self, upstream: SocketAddr) {
        self.standing
            .send_modify(|standing| standing.upstream = upstream);
    }

    /// What connections met so far.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(
    listener: TcpListener,
    standing: watch::Receiver<Standing>,
    counts: Arc<Counts>,
    mut random: Random,
) {
    loop {
        let Ok((client, _)) = listener.accept().await else {
            // Out of file descriptors, say: others may be closed by then.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        // Drawn in order of arrival, not in the connection's task: tasks have no order.
        let random = Random::new(random.draw());
        tokio::spawn(connection(
            client,
            standing.clone(),
            Arc::clone(&counts),
            random,
        ));
    }
}

async fn connection(
    client: TcpStream,
    mut standing: watch::Receiver<Standing>,
    counts: Arc<Counts>,
    mut random: Random,
) {
    let now = *standing.borrow_and_update();
    let Network::Up(profile) = now.network else {
        counts.refused.fetch_add(1, Ordering::Relaxed);
        return;
    };
    let fate = profile.draw(&mut random);
    if let Some(count) = counts.by_fate.get(fate.index()) {
        count.fetch_add(1, Ordering::Relaxed);
    }
    let Ok(upstream) = TcpStream::connect(now.upstream).await else {
        return;
    };
    // Without it the two sides wait for each other's delayed acknowledgements.
    let _ = (client.set_nodelay(true), upstream.set_nodelay(true));
    let deaf = matches!(fate, Fate::HalfOpen { .. });
    let changed = async {
        // An error says that the proxy is gone.
        while standing.changed().await.is_ok() {
            if !deaf {
                return;
            }
        }
    };
    tokio::select! {
        () = carry::carry(client, upstream, fate) => {}
        () = changed => {}
    }
}

#[cfg(test)]
mod tests;
