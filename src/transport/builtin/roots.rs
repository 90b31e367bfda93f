//! Which certificates are trusted.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use crate::transport::TransportError;

/// Which root certificates are trusted. Nothing is read from the system: the same on every
/// platform, and nothing an administrator of the device can extend unseen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TlsRoots {
    /// Mozilla's list, compiled in.
    #[default]
    WebPki,
    /// Only these, each DER, or PEM with one certificate or more.
    Custom(Vec<Vec<u8>>),
    /// Mozilla's list and these.
    Both(Vec<Vec<u8>>),
}

/// The one TLS configuration of a transport, with its own cryptography: a host that installed
/// another provider for itself is neither used nor disturbed.
pub(super) fn client_config(roots: &TlsRoots) -> Result<Arc<ClientConfig>, TransportError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| TransportError::Tls(error.to_string()))?
        .with_root_certificates(store(roots)?)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn store(roots: &TlsRoots) -> Result<RootCertStore, TransportError> {
    let (public, own): (bool, &[Vec<u8>]) = match roots {
        TlsRoots::WebPki => (true, &[]),
        TlsRoots::Custom(own) => (false, own),
        TlsRoots::Both(own) => (true, own),
    };
    let mut store = RootCertStore::empty();
    if public {
        store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    for (place, given) in own.iter().enumerate() {
        let unusable = |why: &dyn std::fmt::Display| {
            TransportError::Tls(format!("root certificate {}: {why}", place + 1))
        };
        for certificate in certificates(given).map_err(|error| unusable(&error))? {
            store.add(certificate).map_err(|error| unusable(&error))?;
        }
    }
    if store.is_empty() {
        return Err(TransportError::Tls(
            "no root certificate: no server could be trusted".into(),
        ));
    }
    Ok(store)
}

fn certificates(given: &[u8]) -> Result<Vec<CertificateDer<'_>>, String> {
    const ARMOUR: &[u8] = b"-----BEGIN ";
    if !given.windows(ARMOUR.len()).any(|window| window == ARMOUR) {
        return Ok(vec![CertificateDer::from(given)]);
    }
    let read: Vec<CertificateDer<'_>> = CertificateDer::pem_slice_iter(given)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("not PEM: {error}"))?;
    if read.is_empty() {
        return Err("the PEM text holds no certificate".to_owned());
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authority() -> rcgen::Certificate {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.self_signed(&key).unwrap()
    }

    #[test]
    fn der_and_pem_are_both_read_and_pem_may_hold_several() {
        let (one, two) = (authority(), authority());
        let both = format!("# two\n{}{}", one.pem(), two.pem()).into_bytes();
        assert_eq!(
            store(&TlsRoots::Custom(vec![one.der().to_vec()]))
                .unwrap()
                .len(),
            1
        );
        assert_eq!(
            store(&TlsRoots::Custom(vec![both.clone()])).unwrap().len(),
            2
        );
        let public = store(&TlsRoots::WebPki).unwrap().len();
        assert_eq!(
            store(&TlsRoots::Both(vec![both])).unwrap().len(),
            public + 2
        );
    }

    #[test]
    fn what_is_no_certificate_is_named_by_its_place() {
        let good = authority().der().to_vec();
        let key = rcgen::KeyPair::generate()
            .unwrap()
            .serialize_pem()
            .into_bytes();
        for bad in [
            b"".to_vec(),
            b"junk".to_vec(),
            b"-----BEGIN CERT".to_vec(),
            key,
        ] {
            let refused = store(&TlsRoots::Custom(vec![good.clone(), bad])).unwrap_err();
            let TransportError::Tls(why) = refused else {
                panic!("{refused:?}")
            };
            assert!(why.starts_with("root certificate 2: "), "{why}");
        }
    }

    #[test]
    fn trusting_nobody_is_refused_at_once() {
        assert!(matches!(
            store(&TlsRoots::Custom(Vec::new())),
            Err(TransportError::Tls(_))
        ));
    }
}
