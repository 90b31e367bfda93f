//! A hyper server over one SQLite file: appends what it gets, hands out what it has.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::{BATCH, wire};
use crate::Outcome;
use crate::raw::{Durability, Raw};

/// A running server; dropping it stops it.
pub(crate) struct Server {
    address: SocketAddr,
    _stop: oneshot::Sender<()>,
}

const TABLES: &str =
    "CREATE TABLE IF NOT EXISTS log (version INTEGER PRIMARY KEY, op BLOB NOT NULL);
    INSERT INTO log (version, op) SELECT seq, op FROM outbox;
    DELETE FROM outbox;";

impl Server {
    /// Listens on a port of the loopback interface, with a thread of its own. What `fill` queues in
    /// the file has been received already.
    pub(crate) fn start(
        path: &Path,
        durability: Durability,
        fill: impl FnOnce(&mut Raw) -> Outcome<()>,
    ) -> Outcome<Server> {
        let mut store = Raw::create(path, durability)?;
        fill(&mut store)?;
        store.connection().execute_batch(TABLES)?;
        let store = Arc::new(Mutex::new(store));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0)))?;
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel::<()>();
        std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = accept(listener, store) => {}
                    _ = stopped => {}
                }
            });
        });
        Ok(Server {
            address,
            _stop: stop,
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn accept(listener: TcpListener, store: Arc<Mutex<Raw>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let store = Arc::clone(&store);
        let _ = stream.set_nodelay(true);
        tokio::spawn(async move {
            let service = service_fn(|request| answer(request, Arc::clone(&store)));
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service);
            // A client that hangs up ends its connection and nothing else.
            let _ = connection.await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    store: Arc<Mutex<Raw>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let result = match *request.method() {
        Method::POST => match request.into_body().collect().await {
            Ok(body) => push(&store, &body.to_bytes()),
            Err(error) => Err(error.into()),
        },
        _ => pull(
            &store,
            request
                .uri()
                .query()
                .and_then(|since| since.parse().ok())
                .unwrap_or(0),
        ),
    };
    let (status, body) = match result {
        Ok(body) => (200, body),
        Err(error) => (500, error.to_string().into_bytes()),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = hyper::StatusCode::from_u16(status).unwrap_or_default();
    Ok(response)
}

/// Appends all ops of a body in one transaction and answers with the last one's version.
fn push(store: &Mutex<Raw>, mut body: &[u8]) -> Outcome<Vec<u8>> {
    let mut store = store.lock().unwrap_or_else(PoisonError::into_inner);
    let version = store.in_transaction(|store| {
        let connection = store.connection();
        let mut append = connection.prepare_cached("INSERT INTO log (op) VALUES (?1)")?;
        while let Some((_, op, rest)) = wire::split(body) {
            wire::apply(connection, op)?;
            append.execute([op])?;
            body = rest;
        }
        Ok(connection.last_insert_rowid())
    })?;
    Ok(version.to_be_bytes().to_vec())
}

/// A page of what came behind a version.
fn pull(store: &Mutex<Raw>, since: i64) -> Outcome<Vec<u8>> {
    let store = store.lock().unwrap_or_else(PoisonError::into_inner);
    let mut select = store
        .connection()
        .prepare_cached("SELECT version, op FROM log WHERE version > ?1 ORDER BY version")?;
    let mut rows = select.query([since])?;
    let mut page = Vec::with_capacity(BATCH + 1024);
    while let Some(row) = rows.next()? {
        wire::put(&mut page, row.get(0)?, row.get_ref(1)?.as_blob()?);
        if page.len() >= BATCH {
            break;
        }
    }
    Ok(page)
}
