//! A device's way to the server: its requests and sockets go through the network's weather.

use driftline::environment::{BoxFuture, Executor as _};
use driftline::transport::{HttpRequest, HttpResponse, LiveSocket, Transport, TransportError};
use driftline_server::LocalSocket;
use driftline_simvfs::Life;

use super::answer::{Sent, broken};
use super::executor::Executor;
use super::network::Network;
use super::sockets::{self, UNREAD};
use super::weather::Fate;

/// A device's way to the server.
#[derive(Clone)]
pub(super) struct Link {
    network: Network,
    device: usize,
    executor: Executor,
    life: Life,
}

/// The status that says that a socket is open.
const SWITCHING: u16 = 101;

/// What a device is told that gets an answer in place of a socket.
async fn refused(mut response: HttpResponse) -> TransportError {
    let mut body = Vec::new();
    while let Some(Ok(piece)) = response.body.next().await {
        body.extend_from_slice(&piece);
    }
    TransportError::Refused {
        status: response.status,
        content_type: response.content_type,
        retry_after_ms: response.retry_after_ms,
        body,
    }
}

impl Link {
    pub(super) fn new(network: Network, device: usize, executor: Executor, life: Life) -> Link {
        Link {
            network,
            device,
            executor,
            life,
        }
    }

    /// Opens a live socket.
    async fn open(self, request: HttpRequest) -> Sent<LiveSocket> {
        let (going, coming) = self.fates(&request)?;
        let handshake = self.network.handshake(self.device);
        if handshake > 0 {
            self.executor.sleep(handshake).await;
        }
        let (socket, end) = LocalSocket::pair(UNREAD);
        let answer = match going {
            Fate::Lost(after) => {
                self.executor.sleep(after).await;
                return Err(broken());
            }
            Fate::Arrives(after) | Fate::Twice(after, _) => {
                self.network
                    .hand_over_with(Some(self.device), &request, after, Some(socket))
            }
            Fate::Cut(_) => return Err(broken()),
            Fate::Answered(canned) => return Err(refused(canned.response()).await),
        };
        let server = self.network.server_life();
        let answer = answer.await.unwrap_or_else(|_| Err(broken()))?;
        let status = answer.head.status.as_u16();
        self.network.answered(self.device, status, &answer.pieces);
        match coming {
            Fate::Answered(canned) => return Err(refused(canned.response()).await),
            Fate::Lost(after) => {
                self.executor.sleep(after).await;
                return Err(broken());
            }
            Fate::Arrives(after) | Fate::Twice(after, _) => self.executor.sleep(after).await,
            Fate::Cut(_) => return Err(broken()),
        }
        let (SWITCHING, Some(server)) = (status, server) else {
            return Err(refused(answer.into_response(usize::MAX)).await);
        };
        let (network, device) = (self.network.clone(), self.device);
        let repeated = self.network.repeated(device);
        let executor = self.executor.of_nobody();
        Ok(sockets::connect(
            network, device, executor, server, end, repeated,
        ))
    }

    /// What happens to a request and to its answer.
    fn fates(&self, request: &HttpRequest) -> Sent<(Fate, Fate)> {
        if !self.life.is_alive() {
            return Err(broken());
        }
        Ok(self.network.fates(self.device, request))
    }

    /// Sends a request, and notes what came of it.
    async fn ask(self, request: HttpRequest) -> Sent<HttpResponse> {
        let (network, device) = (self.network.clone(), self.device);
        let sent = self.exchange(request).await;
        network.told(device, sent.as_ref().ok().map(|answer| answer.status));
        sent
    }

    async fn exchange(self, request: HttpRequest) -> Sent<HttpResponse> {
        let (going, coming) = self.fates(&request)?;
        let mut request = request;
        let answer = match going {
            Fate::Lost(after) => {
                self.executor.sleep(after).await;
                return Err(broken());
            }
            Fate::Arrives(after) => self.network.hand_over(Some(self.device), &request, after),
            Fate::Twice(after, again) => {
                // Nobody hears the answer to the second.
                let device = Some(self.device);
                drop(self.network.hand_over(device, &request, after + again));
                self.network.hand_over(device, &request, after)
            }
            Fate::Cut(bytes) => {
                request.body.truncate(bytes);
                self.network.hand_over(Some(self.device), &request, 0)
            }
            Fate::Answered(canned) => return Ok(canned.response()),
        };
        let answer = answer.await.unwrap_or_else(|_| Err(broken()))?;
        let status = answer.head.status.as_u16();
        self.network.answered(self.device, status, &answer.pieces);
        match coming {
            Fate::Answered(canned) => Ok(canned.response()),
            Fate::Lost(after) => {
                self.executor.sleep(after).await;
                Err(broken())
            }
            Fate::Arrives(after) | Fate::Twice(after, _) => {
                self.executor.sleep(after).await;
                Ok(answer.into_response(usize::MAX))
            }
            Fate::Cut(bytes) => Ok(answer.into_response(bytes)),
        }
    }
}

impl Transport for Link {
    fn request(&self, request: HttpRequest) -> BoxFuture<Sent<HttpResponse>> {
        Box::pin(self.clone().ask(request))
    }

    fn connect(&self, request: HttpRequest) -> BoxFuture<Sent<LiveSocket>> {
        Box::pin(self.clone().open(request))
    }
}
