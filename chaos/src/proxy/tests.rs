#![allow(clippy::unwrap_used)]

use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// Reads 1,000 bytes, answers with 4,000, and counts.
async fn server() -> (SocketAddr, Arc<AtomicU64>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let (address, heard) = (listener.local_addr().unwrap(), Arc::new(AtomicU64::new(0)));
    let counter = Arc::clone(&heard);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let counter = Arc::clone(&counter);
            tokio::spawn(async move {
                let mut request = [0; 1_000];
                if stream.read_exact(&mut request).await.is_ok() {
                    counter.fetch_add(1, Ordering::SeqCst);
                    let _ = stream.write_all(&[7; 4_000]).await;
                }
            });
        }
    });
    (address, heard)
}

/// The bytes answered, and how long it took; `None` when nothing comes within a second.
async fn ask(proxy: &Proxy) -> (Option<usize>, Duration) {
    let began = Instant::now();
    let exchange = async {
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        let _ = stream.write_all(&[3; 1_000]).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        answer.len()
    };
    let answered = tokio::time::timeout(Duration::from_secs(1), exchange).await;
    (answered.ok(), began.elapsed())
}

async fn proxy(profile: Profile) -> (Proxy, Arc<AtomicU64>) {
    let (address, heard) = server().await;
    let proxy = Proxy::open(address, Network::Up(profile), Random::new(1))
        .await
        .unwrap();
    (proxy, heard)
}

const NEVER: Profile = Profile::FAIR;

#[tokio::test]
async fn a_fair_network_passes_everything_and_one_that_is_down_nothing() {
    let (proxy, heard) = proxy(Profile::FAIR).await;
    assert_eq!(ask(&proxy).await.0, Some(4_000));
    proxy.set(Network::Down);
    assert_eq!(ask(&proxy).await.0, Some(0));
    assert_eq!(
        (heard.load(Ordering::SeqCst), proxy.counts().refused()),
        (1, 1)
    );
    proxy.set(Network::Up(Profile::FAIR));
    assert_eq!(ask(&proxy).await.0, Some(4_000));
}

#[tokio::test]
async fn a_cut_ends_the_connection_somewhere() {
    let (proxy, heard) = proxy(Profile { cut: 1000, ..NEVER }).await;
    let mut lengths = Vec::new();
    for _ in 0..30 {
        lengths.push(ask(&proxy).await.0.unwrap());
    }
    assert!(lengths.iter().any(|length| *length < 4_000), "{lengths:?}");
    assert!(heard.load(Ordering::SeqCst) < 30, "some requests were cut");
    assert_eq!(proxy.counts().by_fate().nth(1), Some(("cut", 30)));
}

#[tokio::test]
async fn dropped_answers_were_given() {
    let (proxy, heard) = proxy(Profile {
        drop_answers: 1000,
        ..NEVER
    })
    .await;
    assert_eq!(ask(&proxy).await.0, Some(0));
    assert_eq!(heard.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_half_open_connection_stays_silent_even_when_the_network_heals() {
    let (proxy, _) = proxy(Profile {
        half_open: 1000,
        ..NEVER
    })
    .await;
    let proxy = Arc::new(proxy);
    let healing = Arc::clone(&proxy);
    let heal = async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        healing.set(Network::Up(Profile::FAIR));
    };
    let ((answer, _), ()) = tokio::join!(ask(&proxy), heal);
    assert_eq!(answer, None);
    assert_eq!(ask(&proxy).await.0, Some(4_000));
}

#[tokio::test]
async fn slow_networks_are_slow_and_carry_everything() {
    let (delayed, _) = proxy(Profile {
        delay: 1000,
        ..NEVER
    })
    .await;
    let (answer, took) = ask(&delayed).await;
    // Once there and once back, each at least 2 ms.
    assert!(
        answer == Some(4_000) && took >= Duration::from_millis(4),
        "{took:?}"
    );

    let (throttled, _) = proxy(Profile {
        throttle: 1000,
        ..NEVER
    })
    .await;
    let (answer, took) = ask(&throttled).await;
    // 5,000 bytes at 200 kB/s or less; at 2 kB/s the second of patience is not enough.
    assert!(answer.is_none_or(|bytes| bytes == 4_000));
    assert!(took >= Duration::from_millis(20), "{took:?}");
}
