//! A provider for the backend beside it: what an app with a backend of its own writes, here over nothing but
//! the standard library. It carries messages and decides nothing.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use driftline::environment::BoxFuture;
use driftline::provider::{Message, ProviderError, ProviderRequest, SyncProvider};
use driftline::transport::{TransportError, callback};

/// The backend at a host and port, in JSON, without a snapshot and without subscriptions.
pub(crate) struct PlainJson {
    authority: String,
}

impl PlainJson {
    /// The one at an address such as `http://127.0.0.1:4200`.
    pub(crate) fn at(url: &str) -> PlainJson {
        let authority = url.trim_start_matches("http://").trim_end_matches('/');
        PlainJson {
            authority: authority.to_owned(),
        }
    }

    /// Posts the message. A thread waits for the answer, as a callback of an app's HTTP stack would.
    fn post(&self, request: ProviderRequest) -> BoxFuture<Result<Message, ProviderError>> {
        // Nothing is to be cancelled: the thread ends with its time-out, and nobody waits for it.
        let (call, answer) = callback::completion(|| {});
        let authority = self.authority.clone();
        std::thread::spawn(move || {
            call.complete(exchange(&authority, &request).map_err(explained))
        });
        Box::pin(async move {
            let answer: Vec<u8> = answer.await?;
            read(&answer)
        })
    }
}

impl SyncProvider for PlainJson {
    fn push(&self, request: ProviderRequest) -> BoxFuture<Result<Message, ProviderError>> {
        self.post(request)
    }

    fn pull(&self, request: ProviderRequest) -> BoxFuture<Result<Message, ProviderError>> {
        self.post(request)
    }
}

/// One request in HTTP/1.0, which ends with its connection.
fn exchange(authority: &str, request: &ProviderRequest) -> io::Result<Vec<u8>> {
    let (workspace, message) = (&request.workspace, &request.message.bytes);
    let mut head = format!(
        "POST /v1/workspaces/{workspace}/sync HTTP/1.0\r\nHost: {authority}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n",
        message.len()
    );
    if let Some((name, value)) = &request.auth {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    let mut stream = TcpStream::connect(authority)?;
    let patience = Some(Duration::from_millis(request.idle_timeout_ms));
    stream.set_read_timeout(patience)?;
    stream.set_write_timeout(patience)?;
    stream.write_all(head.as_bytes())?;
    stream.write_all(message)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

/// What the answer says: a message, or why there is none, in the words of the protocol's table.
fn read(answer: &[u8]) -> Result<Message, ProviderError> {
    let no_answer = || ProviderError::NotAnAnswer("it is not HTTP".to_owned());
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n");
    let (head, body) = answer.split_at(end.ok_or_else(no_answer)?);
    let body = body.get(4..).unwrap_or_default();
    let status = std::str::from_utf8(head).ok();
    let status = status.and_then(|head| head.split(' ').nth(1)?.parse().ok());
    match status.ok_or_else(no_answer)? {
        200 => Ok(Message::plain(body.to_vec())),
        status => {
            let failure: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
            let said = |name: &str| failure[name].as_str().unwrap_or_default().to_owned();
            Err(ProviderError::Refused {
                status,
                code: said("code"),
                retry_after_ms: failure["retry_after"].as_u64(),
                message: said("message"),
            })
        }
    }
}

fn explained(error: io::Error) -> TransportError {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => TransportError::TimedOut,
        io::ErrorKind::ConnectionRefused => TransportError::Unreachable(error.to_string()),
        _ => TransportError::Broken(error.to_string()),
    }
}
