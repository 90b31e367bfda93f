//! The network between one device and the server: a proxy on the loopback that lets through, breaks
//! off, or swallows what comes back.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::random::Random;

/// How the network is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Weather {
    /// Everything passes.
    Fair,
    /// Nobody gets through.
    Down,
    /// The next connections break off after some bytes, wherever that is.
    Storm,
    /// Everything passes until the server has committed something: that answer does not come back,
    /// and then it is [`Weather::Down`].
    LoseAnswer,
}

/// One device's network.
pub(super) struct Network {
    /// What the device takes for the server's address.
    pub(super) address: SocketAddr,
    weather: watch::Sender<Weather>,
    seen: Arc<Seen>,
}

/// What happened on it.
#[derive(Default)]
struct Seen {
    breaks: AtomicU32,
    /// Connections still to be broken in a storm.
    gusts: AtomicU32,
    lost: Mutex<Option<LostAnswer>>,
    /// Says whether the server has committed what is to be lost.
    committed: Mutex<Option<Committed>>,
}

/// Asks whether something is committed.
type Committed = Box<dyn Fn() -> bool + Send>;

/// An answer that was read to its end and thrown away.
#[derive(Clone, Debug)]
pub(super) struct LostAnswer {
    pub(super) status: u16,
    pub(super) bytes: usize,
}

impl Network {
    /// Opens a way to `server`; nobody gets through yet.
    pub(super) async fn open(server: SocketAddr, random: Random) -> io::Result<Network> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (weather, forecast) = watch::channel(Weather::Down);
        let seen = Arc::new(Seen::default());
        tokio::spawn(accept(
            listener,
            server,
            weather.clone(),
            forecast,
            Arc::clone(&seen),
            random,
        ));
        Ok(Network {
            address,
            weather,
            seen,
        })
    }

    /// Changes the weather. What is under way breaks off, unless the weather is what it was.
    pub(super) fn set(&self, weather: Weather) {
        self.weather
            .send_if_modified(|now| std::mem::replace(now, weather) != weather);
    }

    /// The next `connections` break off somewhere; the later ones pass.
    pub(super) fn storm(&self, connections: u32) {
        self.seen.gusts.store(connections, Ordering::SeqCst);
        self.weather.send_replace(Weather::Storm);
    }

    /// Loses the first answer for which `committed` holds when the server has given it.
    pub(super) fn lose_answer(&self, committed: impl Fn() -> bool + Send + 'static) {
        *lock(&self.seen.committed) = Some(Box::new(committed));
        self.weather.send_replace(Weather::LoseAnswer);
    }

    /// How many connections were broken off by a storm.
    pub(super) fn breaks(&self) -> u32 {
        self.seen.breaks.load(Ordering::SeqCst)
    }

    /// The answer that was lost, once it is.
    pub(super) fn lost_answer(&self) -> Option<LostAnswer> {
        lock(&self.seen.lost).clone()
    }
}

async fn accept(
    listener: TcpListener,
    server: SocketAddr,
    weather: watch::Sender<Weather>,
    forecast: watch::Receiver<Weather>,
    seen: Arc<Seen>,
    mut random: Random,
) {
    loop {
        let Ok((client, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let (random, seen) = (random.fork(), Arc::clone(&seen));
        tokio::spawn(carry(
            client,
            server,
            weather.clone(),
            forecast.clone(),
            seen,
            random,
        ));
    }
}

/// Carries one connection as the weather allows; ends it when the weather changes.
async fn carry(
    client: TcpStream,
    server: SocketAddr,
    weather: watch::Sender<Weather>,
    mut forecast: watch::Receiver<Weather>,
    seen: Arc<Seen>,
    mut random: Random,
) {
    let now = *forecast.borrow_and_update();
    if now == Weather::Down {
        return;
    }
    let Ok(upstream) = TcpStream::connect(server).await else {
        return;
    };
    let _ = (client.set_nodelay(true), upstream.set_nodelay(true));
    let carried = async {
        match now {
            Weather::LoseAnswer => swallow(client, upstream, &weather, &seen).await,
            Weather::Storm if take_one(&seen.gusts) => {
                // Sometimes within the request, sometimes within the answer, sometimes at once.
                let (up, down) = (random.between(1, 3_000), random.between(1, 3_000));
                let counter = match both_ways(client, upstream, up, down).await {
                    true => &seen.breaks,
                    false => &seen.gusts,
                };
                counter.fetch_add(1, Ordering::SeqCst);
            }
            _ => drop(both_ways(client, upstream, u64::MAX, u64::MAX).await),
        }
    };
    tokio::select! {
        () = carried => {}
        _ = forecast.changed() => {}
    }
}

fn take_one(count: &AtomicU32) -> bool {
    count
        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
            left.checked_sub(1)
        })
        .is_ok()
}

/// Carries bytes until one side ends or its way has carried as many as it will; says whether it was
/// the latter.
async fn both_ways(mut client: TcpStream, mut server: TcpStream, up: u64, down: u64) -> bool {
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    tokio::select! {
        carried = one_way(from_client, to_server, up) => carried.is_ok_and(|bytes| bytes == up),
        carried = one_way(from_server, to_client, down) => carried.is_ok_and(|bytes| bytes == down),
    }
}

async fn one_way(
    from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    most: u64,
) -> io::Result<u64> {
    tokio::io::copy(&mut from.take(most), &mut to).await
}

/// Lets a sync's request through and reads the whole answer. If the server has committed by then,
/// the answer is lost; whatever else the device asks for passes.
async fn swallow(
    mut client: TcpStream,
    mut server: TcpStream,
    weather: &watch::Sender<Weather>,
    seen: &Seen,
) {
    let Some(request) = read_head(&mut client).await else {
        return;
    };
    let sync = is_sync(&request);
    // Asked to close, the server ends the connection after one answer: that is where it ends, and the
    // next request is looked at as well.
    let Some(request) = asking_to_close(&request) else {
        return;
    };
    if server.write_all(&request).await.is_err() {
        return;
    }
    if !sync {
        both_ways(client, server, u64::MAX, u64::MAX).await;
        return;
    }
    let mut answer = Vec::new();
    {
        let (mut from_client, _keep) = client.split();
        let (mut from_server, mut to_server) = server.split();
        let upwards = async {
            let _ = tokio::io::copy(&mut from_client, &mut to_server).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = upwards => {}
            read = from_server.read_to_end(&mut answer) => if read.is_err() { return },
        }
    }
    if !seen.has_committed() {
        let _ = client.write_all(&answer).await;
        return;
    }
    let lost = LostAnswer {
        status: status_of(&answer),
        bytes: answer.len(),
    };
    *lock(&seen.lost) = Some(lost);
    weather.send_replace(Weather::Down);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Seen {
    fn has_committed(&self) -> bool {
        lock(&self.committed)
            .as_ref()
            .is_some_and(|committed| committed())
    }
}

/// The most bytes a request's head may have.
const MAX_HEAD: usize = 16 << 10;

/// Reads until the head is complete; what of the body came along is behind it.
async fn read_head(client: &mut TcpStream) -> Option<Vec<u8>> {
    let mut request = Vec::new();
    while end_of_head(&request).is_none() {
        let read = client.read_buf(&mut request).await.ok()?;
        if read == 0 || request.len() > MAX_HEAD {
            return None;
        }
    }
    Some(request)
}

fn end_of_head(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|four| four == b"\r\n\r\n")
}

/// Whether it is a sync.
fn is_sync(request: &[u8]) -> bool {
    let line: Vec<u8> = request
        .iter()
        .copied()
        .take_while(|byte| *byte != b'\r')
        .collect();
    let line = String::from_utf8_lossy(&line);
    line.starts_with("POST ") && (line.contains("/sync ") || line.contains("/sync?"))
}

fn asking_to_close(request: &[u8]) -> Option<Vec<u8>> {
    let line = request.windows(2).position(|two| two == b"\r\n")? + 2;
    let (first, rest) = request.split_at_checked(line)?;
    Some([first, b"connection: close\r\n", rest].concat())
}

fn status_of(answer: &[u8]) -> u16 {
    let text = String::from_utf8_lossy(answer.get(..32).unwrap_or(answer)).into_owned();
    text.split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers every request with its own length and counts them.
    async fn server(answered: Arc<AtomicU32>) -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let answered = Arc::clone(&answered);
                tokio::spawn(async move {
                    let Some(mut request) = read_head(&mut stream).await else {
                        return;
                    };
                    // Closed with bytes unread, a connection is reset and its answer is lost.
                    let whole = end_of_head(&request).unwrap() + 4 + 300;
                    while request.len() < whole
                        && stream.read_buf(&mut request).await.unwrap_or(0) > 0
                    {
                    }
                    if request.len() == whole {
                        answered.fetch_add(1, Ordering::SeqCst);
                        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\ncommitted").await;
                    }
                });
            }
        });
        address
    }

    async fn ask(network: &Network) -> String {
        let body = "x".repeat(300);
        let request = format!(
            "POST /v1/workspaces/w/sync?listener=1 HTTP/1.1\r\ncontent-length: 300\r\n\r\n{body}"
        );
        let mut stream = TcpStream::connect(network.address).await.unwrap();
        let _ = stream.write_all(request.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }

    #[tokio::test]
    async fn an_answer_is_lost_after_the_server_gave_it() {
        let answered = Arc::new(AtomicU32::new(0));
        let network = Network::open(server(Arc::clone(&answered)).await, Random::new(1))
            .await
            .unwrap();
        assert_eq!(ask(&network).await, "");
        assert_eq!(answered.load(Ordering::SeqCst), 0);
        let committed = Arc::clone(&answered);
        network.lose_answer(move || committed.load(Ordering::SeqCst) == 2);
        assert!(
            ask(&network).await.ends_with("committed"),
            "not committed yet"
        );
        assert_eq!(ask(&network).await, "");
        let lost = network.lost_answer().unwrap();
        assert_eq!((lost.status, answered.load(Ordering::SeqCst)), (200, 2));
        assert_eq!(
            ask(&network).await,
            "",
            "it is down until somebody says otherwise"
        );
        network.set(Weather::Fair);
        assert!(ask(&network).await.ends_with("committed"));
    }

    #[tokio::test]
    async fn a_storm_breaks_as_many_as_it_was_told() {
        let network = Network::open(server(Arc::default()).await, Random::new(2))
            .await
            .unwrap();
        network.storm(3);
        let mut asked = 0;
        while network.breaks() < 3 {
            ask(&network).await;
            asked += 1;
            assert!(asked < 1_000);
        }
        assert!(ask(&network).await.ends_with("committed"));
        assert_eq!(network.breaks(), 3);
    }
}
