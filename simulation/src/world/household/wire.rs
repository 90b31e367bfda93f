//! What a shared machine's messages say, and whose they are.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use driftline::transport::HttpRequest;

use super::ENGINES;
use crate::oracles::{self, Judgement, Marks};
use crate::world::wire::read;

/// A message's way.
#[derive(Clone, Copy)]
pub(in crate::world) enum Said<'t> {
    /// To the server, with the token that went with it, if it did.
    ByDevice(Option<&'t str>),
    /// To the device.
    ByServer,
}

/// Who wrote what on the shared machine, and whose engines there send and hear.
#[derive(Default)]
pub(in crate::world) struct Home {
    pub(super) marks: Marks,
    owners: BTreeMap<usize, String>,
}

impl Home {
    /// The engine of that number works on a file of `whose` from now on.
    pub(super) fn engine_is(&mut self, number: usize, whose: &str) {
        self.owners.insert(number, whose.to_owned());
    }

    /// Judges a message, inflated. Those of other machines say nothing of this one.
    pub(in crate::world) fn judge(
        &mut self,
        number: usize,
        said: Said<'_>,
        plain: &[u8],
        what: &str,
    ) -> Judgement {
        if !is_shared(number) {
            return oracles::no_canary(plain, what);
        }
        let whose = self.owners.get(&number).cloned().unwrap_or_default();
        match said {
            Said::ByDevice(token) => {
                let account = token.and_then(account_of);
                if read(plain).is_some_and(|request| !request.ops.is_empty()) {
                    self.marks.brings_ops(&whose);
                }
                self.marks.leaves(&whose, account.as_deref(), plain)
            }
            Said::ByServer => self.marks.reaches(&whose, plain, what),
        }
    }
}

/// Whether an engine is one of the shared machine's.
pub(in crate::world) fn is_shared(number: usize) -> bool {
    number >= ENGINES
}

/// The token that a request goes with.
pub(in crate::world) fn token_of(request: &HttpRequest) -> Option<&str> {
    let mut headers = request.headers.iter();
    let (_, value) = headers.find(|(name, _)| name.eq_ignore_ascii_case("authorization"))?;
    value.strip_prefix("Bearer ")
}

/// The account that a token is for, whoever signed it.
fn account_of(token: &str) -> Option<String> {
    let claims = token.split('.').nth(1)?;
    let claims = BASE64_URL_SAFE_NO_PAD.decode(claims).ok()?;
    let claims: serde_json::Value = serde_json::from_slice(&claims).ok()?;
    Some(claims.get("sub")?.as_str()?.to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::machine::Account;

    #[test]
    fn a_token_says_whose_it_is() {
        let token = Account::writer("ada").token(1_000_000).unwrap();
        assert_eq!(account_of(&token).as_deref(), Some("ada"));
        assert_eq!(account_of("nonsense"), None);
    }

    #[test]
    fn a_message_is_judged_by_whose_engine_sent_it() {
        let mut home = Home::default();
        let mark = oracles::mark("ada", 1);
        home.engine_is(ENGINES, "ada");
        home.engine_is(ENGINES + 1, "bob");
        let mut judge = |number, said| home.judge(number, said, mark.as_bytes(), "a request");
        assert!(judge(0, Said::ByDevice(None)).is_err());
        assert!(judge(ENGINES + 1, Said::ByServer).is_err());
        assert!(judge(ENGINES + 1, Said::ByDevice(None)).is_err());
        let token = Account::writer("bob").token(1_000_000).unwrap();
        assert!(judge(ENGINES, Said::ByDevice(Some(&token))).is_err());
        assert_eq!(judge(ENGINES, Said::ByDevice(None)), Ok(()));
        assert_eq!(judge(ENGINES + 1, Said::ByServer), Ok(()));
    }
}
