//! The key tokens are checked with.

use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};

use super::Verified;
use super::claims::{Claims, Expectations};

/// The longest token, in bytes.
const MAX_TOKEN: usize = 8 << 10;

/// The shortest HS256 secret, in bytes: as long as the hash.
const MIN_SECRET: usize = 32;

/// The shortest RSA key as DER: 2048 bits. Shorter ones can be factored.
const MIN_RSA_DER: usize = 260;

/// An uncompressed point on P-256, the curve of ES256.
const P256_POINT: usize = 65;

/// How long a token may live, in seconds, unless [`Keys::with_max_lifetime`] says otherwise: a day.
pub const MAX_LIFETIME_SECONDS: i64 = 24 * 60 * 60;

/// How far the clocks of issuer and server may be apart.
const LEEWAY_SECONDS: i64 = 60;

/// The server's key, with the one algorithm it stands for, and what it expects of tokens.
#[derive(Clone)]
pub struct Keys {
    key: DecodingKey,
    validation: Validation,
    expected: Expectations,
}

/// A key the server does not take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The secret can be guessed.
    #[error("an HS256 secret has at least {MIN_SECRET} bytes; this one has {0}")]
    ShortSecret(usize),
    /// The server only checks tokens; whoever signs them keeps the private key.
    #[error("this is a private key; the server takes the public one")]
    Private,
    /// No key the server knows.
    #[error(
        "expected a public key as PEM: RSA (RS256, 2048 bits or more), P-256 (ES256) or Ed25519 (EdDSA)"
    )]
    Unknown,
}

impl Keys {
    /// HS256 with this secret.
    ///
    /// # Errors
    /// A secret shorter than 32 bytes.
    pub fn hs256(secret: &[u8]) -> Result<Keys, KeyError> {
        if secret.len() < MIN_SECRET {
            return Err(KeyError::ShortSecret(secret.len()));
        }
        Ok(Keys::new(
            Algorithm::HS256,
            DecodingKey::from_secret(secret),
        ))
    }

    /// RS256, ES256 or EdDSA, after the kind of this public key.
    ///
    /// # Errors
    /// No PEM, a private key, another kind of key or one too short.
    pub fn public_pem(pem: &[u8]) -> Result<Keys, KeyError> {
        if pem.windows(11).any(|window| window == b"PRIVATE KEY") {
            return Err(KeyError::Private);
        }
        let long_enough = |key: &DecodingKey, least: usize| {
            key.try_get_as_bytes().is_ok_and(|der| der.len() >= least)
        };
        if let Ok(key) = DecodingKey::from_rsa_pem(pem) {
            return if long_enough(&key, MIN_RSA_DER) {
                Ok(Keys::new(Algorithm::RS256, key))
            } else {
                Err(KeyError::Unknown)
            };
        }
        if let Ok(key) = DecodingKey::from_ec_pem(pem) {
            let p256 = key
                .try_get_as_bytes()
                .is_ok_and(|point| point.len() == P256_POINT);
            return if p256 {
                Ok(Keys::new(Algorithm::ES256, key))
            } else {
                Err(KeyError::Unknown)
            };
        }
        match DecodingKey::from_ed_pem(pem) {
            Ok(key) => Ok(Keys::new(Algorithm::EdDSA, key)),
            Err(_) => Err(KeyError::Unknown),
        }
    }

    fn new(algorithm: Algorithm, key: DecodingKey) -> Keys {
        let mut validation = Validation::new(algorithm);
        // The claims are judged here, by the server's own injected clock.
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.validate_aud = false;
        let expected = Expectations {
            audience: None,
            issuer: None,
            max_lifetime: MAX_LIFETIME_SECONDS,
            leeway: LEEWAY_SECONDS,
        };
        Keys {
            key,
            validation,
            expected,
        }
    }

    /// Takes only tokens with this `aud`.
    pub fn with_audience(mut self, audience: impl Into<String>) -> Keys {
        self.expected.audience = Some(audience.into());
        self
    }

    /// Takes only tokens with this `iss`.
    pub fn with_issuer(mut self, issuer: impl Into<String>) -> Keys {
        self.expected.issuer = Some(issuer.into());
        self
    }

    /// Takes tokens that live up to so many seconds.
    pub fn with_max_lifetime(mut self, seconds: i64) -> Keys {
        self.expected.max_lifetime = seconds;
        self
    }

    /// Checks a token at a moment (Unix milliseconds).
    ///
    /// # Errors
    /// What is wrong with it, for its holder; nothing of the token is in it.
    pub fn verify(&self, token: &str, now: i64) -> Result<Verified, &'static str> {
        if token.len() > MAX_TOKEN {
            return Err("the token is longer than 8 KiB");
        }
        let claims = decode::<Claims>(token, &self.key, &self.validation)
            .map_err(|error| reason(error.kind()))?
            .claims;
        claims.judge(&self.expected, now)
    }
}

fn reason(kind: &jsonwebtoken::errors::ErrorKind) -> &'static str {
    use jsonwebtoken::errors::ErrorKind;
    match kind {
        ErrorKind::InvalidSignature => "the token's signature does not fit the server's key",
        ErrorKind::InvalidAlgorithm | ErrorKind::InvalidAlgorithmName => {
            "the token's algorithm is not the server's"
        }
        ErrorKind::Json(_) => "the token's claims are missing or of a wrong type",
        _ => "not a token",
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys")
            .field("algorithms", &self.validation.algorithms)
            .finish_non_exhaustive()
    }
}
