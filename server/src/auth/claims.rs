//! What a token says.

use std::collections::BTreeMap;

use driftline_core::protocol::limits::MAX_NAME;
use serde::{Deserialize, Serialize};

/// What an account may do in a workspace.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reads.
    Reader,
    /// Reads and writes.
    Writer,
    /// Writes, and makes the workspace.
    Admin,
}

/// The claims as they stand in the token. Unknown ones are other systems' business.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Claims {
    pub(super) sub: String,
    pub(super) workspaces: BTreeMap<String, Role>,
    pub(super) iat: i64,
    pub(super) exp: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) nbf: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) aud: Option<Audience>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) iss: Option<String>,
}

/// One audience or several.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Audience {
    fn has(&self, wanted: &str) -> bool {
        match self {
            Audience::One(one) => one == wanted,
            Audience::Many(many) => many.iter().any(|one| one == wanted),
        }
    }
}

/// What the server expects of every token beside its signature.
#[derive(Clone, Debug)]
pub(super) struct Expectations {
    pub(super) audience: Option<String>,
    pub(super) issuer: Option<String>,
    pub(super) max_lifetime: i64,
    pub(super) leeway: i64,
}

/// A token that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The account (`sub`).
    pub account: String,
    /// Workspaces and the role in each.
    pub workspaces: BTreeMap<String, Role>,
    /// When it stops holding, leeway included (Unix milliseconds).
    pub until: i64,
}

impl Claims {
    /// Judges the claims at a moment (Unix milliseconds).
    pub(super) fn judge(self, expected: &Expectations, now: i64) -> Result<Verified, &'static str> {
        let now = now.div_euclid(1_000);
        if self.sub.is_empty() || self.sub.len() > MAX_NAME {
            return Err("sub must be 1 to 255 bytes");
        }
        let lifetime = self
            .exp
            .checked_sub(self.iat)
            .ok_or("exp and iat are out of range")?;
        if lifetime <= 0 || lifetime > expected.max_lifetime {
            return Err("exp must follow iat by no more than the server allows");
        }
        if now >= self.exp.saturating_add(expected.leeway) {
            return Err("the token has expired");
        }
        if now
            < self
                .iat
                .max(self.nbf.unwrap_or(self.iat))
                .saturating_sub(expected.leeway)
        {
            return Err("the token is not valid yet");
        }
        if let Some(audience) = &expected.audience
            && !self.aud.is_some_and(|aud| aud.has(audience))
        {
            return Err("the token is for another audience");
        }
        if expected.issuer.is_some() && self.iss != expected.issuer {
            return Err("the token is from another issuer");
        }
        let until = self
            .exp
            .saturating_add(expected.leeway)
            .saturating_mul(1_000);
        Ok(Verified {
            account: self.sub,
            workspaces: self.workspaces,
            until,
        })
    }
}
