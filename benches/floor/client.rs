//! A hyper client over one raw file: sends its queue in batches, stores pages as they come.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

use super::{BATCH, wire};
use crate::Outcome;
use crate::raw::Raw;

/// A connected client.
pub(crate) struct Client {
    runtime: Runtime,
    sender: SendRequest<Full<Bytes>>,
}

impl Client {
    pub(crate) fn connect(server: SocketAddr) -> Outcome<Client> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let sender = runtime.block_on(async {
            let stream = TcpStream::connect(server).await?;
            stream.set_nodelay(true)?;
            let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            Outcome::Ok(sender)
        })?;
        Ok(Client { runtime, sender })
    }

    /// Sends the whole queue and empties it; each batch leaves the queue in one transaction once it
    /// was answered.
    pub(crate) fn push(&mut self, raw: &mut Raw) -> Outcome<()> {
        let mut sent = 0;
        loop {
            let (body, last) = batch(raw, sent)?;
            if body.is_empty() {
                return Ok(());
            }
            self.request("POST", "/", body)?;
            raw.in_transaction(|raw| {
                raw.connection()
                    .prepare_cached("DELETE FROM outbox WHERE seq <= ?1")?
                    .execute([last])?;
                Ok(())
            })?;
            sent = last;
        }
    }

    /// Receives everything behind what the file has; each page is one transaction.
    pub(crate) fn pull(&mut self, raw: &mut Raw) -> Outcome<()> {
        let mut since = cursor(raw)?;
        loop {
            let page = self.request("GET", &format!("/?{since}"), Vec::new())?;
            let is_last = page.len() < BATCH;
            since = raw.in_transaction(|raw| {
                let mut rest = &page[..];
                let mut last = since;
                while let Some((version, op, behind)) = wire::split(rest) {
                    wire::apply(raw.connection(), op)?;
                    (last, rest) = (version, behind);
                }
                raw.connection()
                    .prepare_cached(
                        "INSERT OR REPLACE INTO meta (key, value) VALUES ('cursor', ?1)",
                    )?
                    .execute([last])?;
                Ok(last)
            })?;
            if is_last {
                return Ok(());
            }
        }
    }

    fn request(&mut self, method: &str, path: &str, body: Vec<u8>) -> Outcome<Bytes> {
        self.runtime.block_on(async {
            let request = Request::builder()
                .method(method)
                .uri(path)
                .header("host", "127.0.0.1")
                .body(Full::new(Bytes::from(body)))?;
            self.sender.ready().await?;
            let response = self.sender.send_request(request).await?;
            let status = response.status();
            let body = response.into_body().collect().await?.to_bytes();
            if status.is_success() {
                Ok(body)
            } else {
                Err(format!("the floor's server answered {status}").into())
            }
        })
    }
}

fn batch(raw: &Raw, behind: i64) -> Outcome<(Vec<u8>, i64)> {
    let mut select = raw
        .connection()
        .prepare_cached("SELECT seq, op FROM outbox WHERE seq > ?1 ORDER BY seq")?;
    let mut rows = select.query([behind])?;
    let (mut body, mut last) = (Vec::new(), behind);
    while let Some(row) = rows.next()? {
        last = row.get(0)?;
        wire::put(&mut body, last, row.get_ref(1)?.as_blob()?);
        if body.len() >= BATCH {
            break;
        }
    }
    Ok((body, last))
}

fn cursor(raw: &Raw) -> Outcome<i64> {
    let mut select = raw
        .connection()
        .prepare_cached("SELECT coalesce(max(value), 0) FROM meta WHERE key = 'cursor'")?;
    Ok(select.query_row([], |row| row.get(0))?)
}
