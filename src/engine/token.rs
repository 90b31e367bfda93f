//! Asking the app for a token, and what one says about the account.

use std::sync::Arc;

use driftline_core::sync::Event;

use super::claims;
use super::driver::Driver;
use crate::environment::BoxFuture;
use crate::provider::{ProviderMode, without_panic};
use crate::status::SyncEvent;
use crate::sync::TokenError;

impl Driver {
    pub(super) fn ask_token(&self) -> BoxFuture<Result<String, TokenError>> {
        if self.mode() == ProviderMode::Gateway {
            return Box::pin(std::future::ready(Ok(String::new())));
        }
        let source = Arc::clone(&self.connection.config.token);
        Box::pin(async move {
            let call = without_panic(|| source.token()).await;
            call.unwrap_or_else(|_| Err(TokenError("the callback panicked".to_owned())))
        })
    }

    pub(super) fn token_arrived(&mut self, result: Result<String, TokenError>) {
        let registered = self.connection.provider.registered();
        match result {
            Ok(token) if !registered.auth.takes(&token) => {
                self.shared.emit(SyncEvent::Error {
                    code: "bad_token".to_owned(),
                    message:
                        "the app's token holds a line break or something else that no header can"
                            .to_owned(),
                });
                self.tell(Event::BadToken);
            }
            Ok(token) => {
                let expires = claims::expiry(
                    &token,
                    self.store.contact(),
                    self.connection.environment.clock.read(),
                );
                self.subject = claims::subject(&token);
                self.note_role(claims::reads_only(&token, &self.connection.workspace));
                self.token = token;
                self.tell(Event::Token { expires });
            }
            Err(error) => {
                self.shared.emit(SyncEvent::Error {
                    code: "token".to_owned(),
                    message: error.to_string(),
                });
                self.tell(Event::NoToken);
            }
        }
    }

    /// Remembers what the account may do, unless the token is another account's.
    fn note_role(&mut self, reads_only: bool) {
        let account = self.store.account();
        if account.is_some() && self.subject.is_some() && account != self.subject {
            return;
        }
        if let Err(error) = self.store.note_reader(reads_only) {
            tracing::debug!(%error, "the account's role could not be noted");
        }
    }
}
