//! When a token expires, on the machine's own monotonic clock.

use base64::Engine;
use driftline_core::time::{Contact, Reading};

/// The monotonic moment at which `token` should count as expired: its `exp` claim, seen from the
/// server's clock. Tokens that are no JWT, and claims that make no sense, count as endless; the
/// server's 401 then says when a new one is due.
pub(super) fn expiry(token: &str, contact: Option<Contact>, now: Reading) -> Option<i64> {
    #[derive(serde::Deserialize)]
    struct Claims {
        exp: i64,
    }
    let claims: Claims = claims(token)?;
    let server_now = contact.map_or(now.wall, |contact| contact.server_time_at(now));
    let left = claims.exp.checked_mul(1000)?.checked_sub(server_now)?;
    // Without a contact the wall clock may be hours wrong, and a token that was just issued must not
    // be asked for again at once.
    (left > 120_000).then(|| now.mono.saturating_add(left))
}

/// Whose token it is: its `sub` claim. A token that is no JWT tells nobody but the server.
pub(super) fn subject(token: &str) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Claims {
        sub: String,
    }
    claims::<Claims>(token).map(|claims| claims.sub)
}

/// Whether it lets its holder read `workspace` and no more. One that is no JWT does not tell.
pub(super) fn reads_only(token: &str, workspace: &str) -> bool {
    #[derive(serde::Deserialize)]
    struct Claims {
        workspaces: std::collections::BTreeMap<String, serde_json::Value>,
    }
    let roles = claims::<Claims>(token).map(|claims| claims.workspaces);
    roles.is_some_and(|roles| roles.get(workspace).is_some_and(|role| role == "reader"))
}

/// The claims, taken at their word: the server judges the signature.
fn claims<T: serde::de::DeserializeOwned>(token: &str) -> Option<T> {
    let payload = token.split('.').nth(1)?;
    let json = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(payload)
        .ok()?;
    serde_json::from_slice(&json).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use driftline_core::id::BootId;

    fn token(exp: i64) -> String {
        let claims =
            base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(format!("{{\"exp\":{exp}}}"));
        format!("e30.{claims}.x")
    }

    #[test]
    fn the_claim_is_read_on_the_servers_clock() {
        let device = Reading {
            wall: 50_000_000,
            boot: BootId(1),
            mono: 1_000,
        };
        let contact = Contact {
            device,
            server: 7_000_000,
        };
        let now = Reading {
            mono: 2_000,
            ..device
        };
        assert_eq!(
            expiry(&token(7_500), Some(contact), now),
            Some(2_000 + 7_500_000 - 7_001_000)
        );
    }

    #[test]
    fn the_account_is_read_where_there_is_one() {
        let encode = |json: &str| {
            let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
            format!("e30.{}.x", engine.encode(json))
        };
        let ada = encode(r#"{"sub":"ada","exp":1}"#);
        assert_eq!(subject(&ada).as_deref(), Some("ada"));
        for none in [encode("{}"), encode(r#"{"sub":7}"#), "opaque".to_owned()] {
            assert_eq!(subject(&none), None);
        }
    }

    #[test]
    fn the_role_is_read_where_there_is_one() {
        let encode = |json: &str| {
            let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
            format!("e30.{}.x", engine.encode(json))
        };
        let token = encode(r#"{"workspaces":{"here":"reader","there":"writer","new":{"x":1}}}"#);
        assert!(reads_only(&token, "here"));
        for other in ["there", "new", "elsewhere"] {
            assert!(!reads_only(&token, other), "{other}");
        }
        for none in [
            encode("{}"),
            encode(r#"{"workspaces":7}"#),
            "opaque".to_owned(),
        ] {
            assert!(!reads_only(&none, "here"));
        }
    }

    #[test]
    fn nonsense_and_the_past_count_as_endless() {
        let now = Reading {
            wall: 50_000_000,
            boot: BootId(1),
            mono: 1_000,
        };
        assert_eq!(expiry("opaque", None, now), None);
        assert_eq!(expiry(&token(1), None, now), None);
        assert_eq!(expiry(&token(i64::MAX), None, now), None);
    }
}
