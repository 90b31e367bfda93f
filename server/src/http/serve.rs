//! Connections: accepted within bounds, dropped when silent, and finished before the server stops.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::Shared;
use super::patience::Patient;

/// How long to wait when the system has no descriptors left.
const ACCEPT_PAUSE_MS: u64 = 100;

/// Serves connections until `shutdown` resolves; then takes no more, lets requests finish, closes
/// live sockets, and returns.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    router: Router,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) {
    let places = Arc::new(Semaphore::new(shared.limits.connections));
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepting = accept(&shared, &listener, &places);
        let (stream, place) = tokio::select! {
            biased;
            () = &mut shutdown => break,
            accepted = accepting => accepted,
        };
        let connection = connection(Arc::clone(&shared), router.clone(), stream, place);
        shared.environment.executor.spawn(Box::pin(connection));
    }
    drop(listener);
    shared.stopping.send_replace(true);
    let all = u32::try_from(shared.limits.connections).unwrap_or(u32::MAX);
    let finished = async {
        (
            places.acquire_many(all).await,
            shared.sockets.acquire_many(all).await,
        )
    };
    if shared
        .environment
        .within(shared.limits.shutdown_timeout_ms, finished)
        .await
        .is_none()
    {
        tracing::warn!("some connections did not finish in time");
    }
}

async fn accept(
    shared: &Shared,
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> (TcpStream, Option<OwnedSemaphorePermit>) {
    let place = Arc::clone(places).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, place),
            Err(error) => {
                tracing::debug!(%error, "a connection was not accepted");
                shared.environment.executor.sleep(ACCEPT_PAUSE_MS).await;
            }
        }
    }
}

async fn connection(
    shared: Arc<Shared>,
    router: Router,
    stream: TcpStream,
    place: Option<OwnedSemaphorePermit>,
) {
    // Frames are small and each is waited for.
    let _ = stream.set_nodelay(true);
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(shared.limits.header_timeout_ms));
    let service = TowerToHyperService::new(router);
    let stream = Patient::new(
        stream,
        shared.environment.clone(),
        shared.limits.write_idle_ms,
    );
    let connection = builder
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let mut stopping = shared.stopping.subscribe();
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = stopped(&mut stopping) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, "a connection ended early");
    }
    drop(place);
}

/// Resolves when the server is about to stop.
pub(super) async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // The sender lives as long as the server; without it there is nothing to wait for either.
    let _ = stopping.wait_for(|stopping| *stopping).await;
}
