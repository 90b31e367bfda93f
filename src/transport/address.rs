//! What makes an address one that can be asked at all.
//!
//! Messages name what is wrong, never the address: it may hold secrets.

use http::Uri;
use http::uri::{PathAndQuery, Scheme};

use super::TransportError;

/// `url`, complete and of HTTP; for a `socket` it may begin like one.
///
/// # Errors
/// [`TransportError::BadAddress`] says what is wrong with it.
pub(crate) fn absolute(url: &str, socket: bool) -> Result<Uri, TransportError> {
    let unusable = |why: &str| TransportError::BadAddress(why.to_owned());
    let mut parts = url
        .parse::<Uri>()
        .map_err(|error| unusable(&error.to_string()))?
        .into_parts();
    let scheme = parts
        .scheme
        .as_ref()
        .map(|scheme| scheme.as_str().to_ascii_lowercase());
    let scheme = match (scheme.as_deref(), socket) {
        (Some("http"), _) | (Some("ws"), true) => Scheme::HTTP,
        (Some("https"), _) | (Some("wss"), true) => Scheme::HTTPS,
        (Some(_), false) => return Err(unusable("it begins with neither http: nor https:")),
        (Some(_), true) => return Err(unusable("it begins with none of http: https: ws: wss:")),
        (None, _) => return Err(unusable("it is not absolute")),
    };
    match parts.authority.as_ref() {
        Some(authority) if authority.as_str().contains('@') => {
            return Err(unusable("it holds credentials"));
        }
        Some(authority) => check_host(authority.host(), &scheme).map_err(unusable)?,
        None => return Err(unusable("it names no host")),
    }
    parts.scheme = Some(scheme);
    parts
        .path_and_query
        .get_or_insert_with(|| PathAndQuery::from_static("/"));
    Uri::from_parts(parts).map_err(|error| unusable(&error.to_string()))
}

fn check_host(host: &str, scheme: &Scheme) -> Result<(), &'static str> {
    let name = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    if name.is_empty() {
        return Err("it names no host");
    }
    #[cfg(feature = "network")]
    if *scheme == Scheme::HTTPS && rustls::pki_types::ServerName::try_from(name).is_err() {
        return Err("no certificate can be issued for its host");
    }
    #[cfg(not(feature = "network"))]
    let _ = scheme;
    Ok(())
}
