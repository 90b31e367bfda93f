//! Somebody who speaks the protocol without the library: what it says may be anything.

use driftline::environment::BoxFuture;
use driftline::transport::{
    BuiltinTransport, HttpRequest, HttpResponse, LiveMessage, LiveSocket, TlsRoots, Transport,
};
use driftline_core::id::{BootId, OpId};
use driftline_core::op::{Change, OpBody};
use driftline_core::protocol::{
    self, Cursor, Form, LiveFrame, PROTOCOL, SentOp, SyncRequest, SyncResponse, When, decode,
    encode,
};
use driftline_core::time::Reading;

use super::Server;
use super::device::WORKSPACE;

const LARGEST: usize = 64 << 20;

pub struct Client {
    transport: BuiltinTransport,
    runtime: tokio::runtime::Runtime,
    url: String,
    token: String,
    account: String,
    device: protocol::Device,
    /// Where it stands.
    pub cursor: Cursor,
    drawn: u64,
}

/// A live socket of it.
pub struct Socket<'c> {
    client: &'c mut Client,
    socket: LiveSocket,
}

/// The whole body of an answer, in the clear.
pub async fn body_of(mut response: HttpResponse) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(piece) = response.body.next().await {
        bytes.extend(piece.unwrap());
    }
    match response.content_encoding.as_deref() {
        Some("zstd") => protocol::decompress(&bytes, LARGEST).unwrap(),
        _ => bytes,
    }
}

impl Client {
    pub fn new(server: &Server) -> Client {
        Client::of(server, "ada", "a device that nobody made")
    }

    /// Somebody with a device of that id and label.
    pub fn of(server: &Server, account: &str, device: &str) -> Client {
        Client {
            transport: BuiltinTransport::new(&TlsRoots::default()).unwrap(),
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap(),
            url: server.url.clone(),
            token: server.token(account, WORKSPACE, "writer", "1h"),
            account: account.to_owned(),
            device: protocol::Device {
                id: device.to_owned(),
                label: device.to_owned(),
                writer: 0,
            },
            cursor: Cursor::START,
            drawn: 0,
        }
    }

    /// An op of a new id.
    pub fn op(&mut self, changes: Vec<Change>) -> SentOp {
        self.drawn += 1;
        let mut random = [0; 10];
        random[2..].copy_from_slice(&self.drawn.to_be_bytes());
        SentOp::Full {
            id: OpId::next(1_700_000_000_000 + self.drawn, random, None),
            when: When::Age(0),
            body: OpBody {
                base: self.cursor.version,
                schema: 1,
                changes,
                ..OpBody::default()
            },
        }
    }

    pub fn request(&self, ops: Vec<SentOp>) -> SyncRequest {
        SyncRequest {
            protocol: PROTOCOL,
            schema_version: 1,
            account: self.account.clone(),
            device: self.device.clone(),
            cursor: self.cursor,
            losses_ack: 0,
            now: Reading {
                wall: 1_700_000_000_000,
                boot: BootId(1),
                mono: 1,
            },
            ops,
            page_bytes: 0,
            tag: 0,
        }
    }

    fn http(&self, method: &'static str, path: &str, body: Vec<u8>) -> HttpRequest {
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        HttpRequest {
            method,
            url: format!("{}/v1/workspaces/{WORKSPACE}/{path}", self.url),
            headers: vec![
                header("authorization", &format!("Bearer {}", self.token)),
                header("content-type", Form::Cbor.content_type()),
            ],
            body,
            idle_timeout_ms: 30_000,
        }
    }

    /// Streams the workspace's snapshot and keeps nothing of it, with a pause after the first piece; how
    /// many bytes came.
    pub fn stream_snapshot(&self, pause: std::time::Duration) -> usize {
        let request = self.http("GET", "snapshot", Vec::new());
        let answered: BoxFuture<_> = self.transport.request(request);
        self.runtime.block_on(async {
            let mut response = answered.await.unwrap();
            assert_eq!(response.status, 200);
            let mut bytes = 0;
            while let Some(piece) = response.body.next().await {
                if bytes == 0 {
                    tokio::time::sleep(pause).await;
                }
                bytes += piece.unwrap().len();
            }
            bytes
        })
    }

    /// Posts bytes; the status, and the body.
    pub fn post(&self, body: Vec<u8>) -> (u16, Vec<u8>) {
        let request = self.http("POST", "sync", body);
        let answered: BoxFuture<_> = self.transport.request(request);
        self.runtime.block_on(async {
            let response = answered.await.unwrap();
            (response.status, body_of(response).await)
        })
    }

    /// Syncs by the endpoint; the cursor moves.
    pub fn sync(&mut self, ops: Vec<SentOp>) -> SyncResponse {
        let (status, body) = self.post(encode(Form::Cbor, &self.request(ops)));
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
        let response: SyncResponse = decode(Form::Cbor, &body).unwrap();
        self.cursor = response.cursor;
        response
    }

    pub fn live(&mut self) -> Socket<'_> {
        let connecting = self.transport.connect(self.http("GET", "live", Vec::new()));
        let socket = self.runtime.block_on(connecting).unwrap();
        Socket {
            client: self,
            socket,
        }
    }
}

impl Socket<'_> {
    pub fn client(&mut self) -> &mut Client {
        self.client
    }

    /// The same as [`Client::sync`].
    pub fn sync(&mut self, ops: Vec<SentOp>) -> SyncResponse {
        let mut request = self.client.request(ops);
        request.tag = 7;
        let frame: LiveFrame = LiveFrame::Request(request);
        let message = LiveMessage::Binary(encode(Form::Cbor, &frame));
        let (sender, receiver) = &mut self.socket;
        let response = self.client.runtime.block_on(async {
            sender.send(message).await.unwrap();
            loop {
                let bytes = match receiver.receive().await.unwrap().unwrap() {
                    LiveMessage::Binary(bytes) => bytes,
                    _ => continue,
                };
                let bytes = match bytes.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
                    true => protocol::decompress(&bytes, LARGEST).unwrap(),
                    false => bytes,
                };
                match decode::<LiveFrame>(Form::Cbor, &bytes).unwrap() {
                    LiveFrame::Response(response) if response.tag == 7 => return response,
                    LiveFrame::Failed { failure, .. } => panic!("{failure:?}"),
                    _ => {}
                }
            }
        });
        self.client.cursor = response.cursor;
        response
    }
}
