//! Tokens for development and tests; in production whoever signs people in mints them.

use std::collections::BTreeMap;

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};

use super::Role;
use super::claims::{Audience, Claims};

/// What a minted token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Minted {
    /// The account (`sub`).
    pub account: String,
    /// Workspaces and the role in each.
    pub workspaces: BTreeMap<String, Role>,
    /// When it is minted (Unix seconds).
    pub issued: i64,
    /// How many seconds it lives.
    pub lifetime: i64,
    /// `aud`, where the server expects one.
    pub audience: Option<String>,
    /// `iss`, where the server expects one.
    pub issuer: Option<String>,
}

/// A token could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the token could not be signed: {0}")]
pub struct MintError(String);

/// Signs with HS256.
///
/// # Errors
/// When signing fails.
pub fn hs256(secret: &[u8], minted: &Minted) -> Result<String, MintError> {
    let claims = Claims {
        sub: minted.account.clone(),
        workspaces: minted.workspaces.clone(),
        iat: minted.issued,
        exp: minted.issued.saturating_add(minted.lifetime),
        nbf: None,
        aud: minted.audience.clone().map(Audience::One),
        iss: minted.issuer.clone(),
    };
    encode(
        &Header::new(Algorithm::HS256),
        &claims,
        &EncodingKey::from_secret(secret),
    )
    .map_err(|error| MintError(error.to_string()))
}
