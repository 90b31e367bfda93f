//! The live socket's two halves, as the driver polls them.

use std::collections::VecDeque;
use std::task::{Context, Poll};

use crate::environment::BoxFuture;
use crate::provider::{Live, ProviderError};
use crate::transport::{LiveMessage, LiveReceiver, LiveSender, TransportError};

type Sent = (Box<dyn LiveSender>, Result<(), TransportError>);
type Received = (
    Box<dyn LiveReceiver>,
    Result<Option<LiveMessage>, TransportError>,
);

/// Nothing, an attempt, or an open socket.
#[derive(Default)]
pub(super) enum Socket {
    #[default]
    Closed,
    Opening(BoxFuture<Result<Live, ProviderError>>),
    Open(Open),
}

/// An open socket: messages wait in `outgoing` while one is being sent.
pub(super) struct Open {
    takes_messages: bool,
    sender: Option<Box<dyn LiveSender>>,
    sending: Option<BoxFuture<Sent>>,
    outgoing: VecDeque<LiveMessage>,
    receiving: BoxFuture<Received>,
}

/// What the socket has to say.
pub(super) enum Word {
    Opened,
    Refused(ProviderError),
    Closed(Option<TransportError>),
    Message(LiveMessage),
}

impl Socket {
    /// Whether it is open, and not only for listening.
    pub(super) fn takes_messages(&self) -> bool {
        matches!(self, Socket::Open(open) if open.takes_messages)
    }

    /// Queues a message.
    pub(super) fn send(&mut self, message: LiveMessage) {
        if let Socket::Open(open) = self {
            open.outgoing.push_back(message);
        }
    }

    /// Closes it at once. What comes back says so to the other side, if it was open and can.
    pub(super) fn close(&mut self) -> Option<BoxFuture<()>> {
        match std::mem::take(self) {
            Socket::Open(open) => open.goodbye(),
            Socket::Closed | Socket::Opening(_) => None,
        }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Word> {
        match self {
            Socket::Closed => Poll::Pending,
            Socket::Opening(future) => match future.as_mut().poll(cx) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(Ok(Live { sender, receiver })) => {
                    let open = Open {
                        takes_messages: sender.is_some(),
                        sender,
                        sending: None,
                        outgoing: VecDeque::new(),
                        receiving: receive(receiver),
                    };
                    *self = Socket::Open(open);
                    Poll::Ready(Word::Opened)
                }
                Poll::Ready(Err(error)) => {
                    *self = Socket::Closed;
                    Poll::Ready(Word::Refused(error))
                }
            },
            Socket::Open(open) => match open.poll(cx) {
                Poll::Ready(word @ Word::Closed(_)) => {
                    *self = Socket::Closed;
                    Poll::Ready(word)
                }
                other => other,
            },
        }
    }
}

impl Open {
    fn goodbye(self) -> Option<BoxFuture<()>> {
        let Open {
            sender,
            sending,
            receiving,
            ..
        } = self;
        if sender.is_none() && sending.is_none() {
            return None;
        }
        Some(Box::pin(async move {
            let sender = match (sender, sending) {
                (None, Some(sending)) => Some(sending.await.0),
                (sender, _) => sender,
            };
            if let Some(mut sender) = sender {
                // Who cannot be told finds out by the silence.
                let _ = sender.close().await;
            }
            drop(receiving);
        }))
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Word> {
        loop {
            if let Some(sending) = &mut self.sending {
                match sending.as_mut().poll(cx) {
                    Poll::Pending => break,
                    Poll::Ready((sender, result)) => {
                        self.sending = None;
                        self.sender = Some(sender);
                        if let Err(error) = result {
                            return Poll::Ready(Word::Closed(Some(error)));
                        }
                    }
                }
            }
            match (self.outgoing.pop_front(), self.sender.take()) {
                (Some(message), Some(mut sender)) => {
                    self.sending = Some(Box::pin(async move {
                        let result = sender.send(message).await;
                        (sender, result)
                    }));
                }
                (None, sender) => {
                    self.sender = sender;
                    break;
                }
                (Some(message), None) => {
                    self.outgoing.push_front(message);
                    break;
                }
            }
        }
        match self.receiving.as_mut().poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready((receiver, result)) => {
                self.receiving = receive(receiver);
                Poll::Ready(match result {
                    Ok(Some(message)) => Word::Message(message),
                    Ok(None) => Word::Closed(None),
                    Err(error) => Word::Closed(Some(error)),
                })
            }
        }
    }
}

fn receive(mut receiver: Box<dyn LiveReceiver>) -> BoxFuture<Received> {
    Box::pin(async move {
        let result = receiver.receive().await;
        (receiver, result)
    })
}
