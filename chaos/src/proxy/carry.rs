//! Carrying one connection's bytes the way its fate wants it.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::fate::Fate;

/// The most bytes carried at once.
const PIECE: usize = 16 << 10;
/// The most bytes carried at once on a slow way: small, so that it is slow within a message.
const SLOW_PIECE: usize = 512;

/// Carries until one side ends or the fate says so. Both streams are closed on return.
pub(super) async fn carry(mut client: TcpStream, mut server: TcpStream, fate: Fate) {
    let (from_client, mut to_client) = client.split();
    let (from_server, mut to_server) = server.split();
    match fate {
        Fate::Pass => {
            either(
                copy(from_client, &mut to_server, u64::MAX),
                copy(from_server, &mut to_client, u64::MAX),
            )
            .await;
        }
        Fate::Cut { up, down } => {
            either(
                copy(from_client, &mut to_server, up),
                copy(from_server, &mut to_client, down),
            )
            .await;
        }
        Fate::Delay(by) => {
            either(
                slowly(from_client, &mut to_server, PIECE, |_| by),
                slowly(from_server, &mut to_client, PIECE, |_| by),
            )
            .await;
        }
        Fate::Throttle(rate) => {
            let time = move |bytes: usize| {
                Duration::from_micros((bytes as u64).saturating_mul(1_000_000) / rate.max(1))
            };
            either(
                slowly(from_client, &mut to_server, SLOW_PIECE, time),
                slowly(from_server, &mut to_client, SLOW_PIECE, time),
            )
            .await;
        }
        Fate::DropAnswers(after) => {
            let swallowed = async {
                let _ = swallow(from_server).await;
                // The server has ended it; the device is told when the time is over.
                std::future::pending::<()>().await;
            };
            tokio::select! {
                _ = copy(from_client, &mut to_server, u64::MAX) => {}
                () = swallowed => {}
                () = tokio::time::sleep(after) => {}
            }
        }
        // Until the device gives up, whatever the server does.
        Fate::HalfOpen { sends: true } => {
            let _ = copy(from_client, &mut to_server, u64::MAX).await;
        }
        Fate::HalfOpen { sends: false } => {
            let _ = swallow(from_client).await;
        }
    }
}

async fn either(
    up: impl Future<Output = io::Result<()>>,
    down: impl Future<Output = io::Result<()>>,
) {
    tokio::select! {
        _ = up => {}
        _ = down => {}
    }
}

/// Carries bytes to the end, or so many.
async fn copy(
    from: impl AsyncRead + Unpin,
    to: &mut (impl AsyncWrite + Unpin),
    most: u64,
) -> io::Result<()> {
    tokio::io::copy(&mut from.take(most), to).await?;
    Ok(())
}

async fn slowly(
    mut from: impl AsyncRead + Unpin,
    to: &mut (impl AsyncWrite + Unpin),
    piece: usize,
    time: impl Fn(usize) -> Duration,
) -> io::Result<()> {
    let mut buffer = vec![0; piece];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        tokio::time::sleep(time(read)).await;
        to.write_all(buffer.get(..read).unwrap_or_default()).await?;
    }
}

async fn swallow(mut from: impl AsyncRead + Unpin) -> io::Result<u64> {
    tokio::io::copy(&mut from, &mut tokio::io::sink()).await
}
