use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::AsyncReadExt;
use tokio_rustls::TlsAcceptor;

use super::server::{Connection, Server, ok, serve, serve_tls};
use super::*;
use crate::transport::LiveMessage;

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn acceptor(&self, name: &str, last_year: i32) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_after = date_time_ymd(last_year, 12, 31);
        let leaf = params.signed_by(&key, &self.0).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![leaf.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }

    fn server(&self) -> Server {
        serve_tls(Some(self.acceptor("localhost", 2100)), answer_all)
    }

    fn trusted(&self) -> BuiltinTransport {
        let pem = self.0.pem().into_bytes();
        BuiltinTransport::new(&TlsRoots::Custom(vec![pem])).unwrap()
    }
}

async fn answer_all(mut connection: Connection) {
    while connection.receive().await.is_some() {
        connection.say(ok("over TLS")).await;
    }
}

async fn assert_not_trusted(transport: &BuiltinTransport, url: String, why: &str) {
    let over_http = refused(transport.request(post(url.clone(), "x")).await);
    let over_socket = refused(transport.connect(post(url, "")).await);
    for error in [over_http, over_socket] {
        let TransportError::Tls(message) = error else {
            panic!("{error:?}")
        };
        assert!(message.contains(why), "{message}");
    }
}

#[tokio::test]
async fn an_own_authority_is_trusted_when_given() {
    let authority = Authority::new("ours");
    let server = authority.server();
    let der = TlsRoots::Both(vec![authority.0.der().to_vec()]);
    for transport in [authority.trusted(), BuiltinTransport::new(&der).unwrap()] {
        for _ in 0..2 {
            let request = post(server.tls_url(), "x");
            assert_eq!(answered(&transport, request).await.unwrap().1, b"over TLS");
        }
    }
    assert_eq!(
        server.accepted(),
        2,
        "one kept connection for each transport"
    );
}

#[tokio::test]
async fn an_unknown_authority_is_refused() {
    let server = Authority::new("theirs").server();
    for transport in [plain(), Authority::new("ours").trusted()] {
        assert_not_trusted(&transport, server.tls_url(), "UnknownIssuer").await;
    }
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let authority = Authority::new("ours");
    let server = serve_tls(
        Some(authority.acceptor("elsewhere.example", 2100)),
        answer_all,
    );
    assert_not_trusted(&authority.trusted(), server.tls_url(), "not valid for name").await;
}

#[tokio::test]
async fn an_expired_certificate_is_refused() {
    let authority = Authority::new("ours");
    let server = serve_tls(Some(authority.acceptor("localhost", 2020)), answer_all);
    assert_not_trusted(&authority.trusted(), server.tls_url(), "expired").await;
}

#[tokio::test]
async fn a_server_without_tls_is_refused_and_reads_no_token() {
    let (seen, mut first_bytes) = tokio::sync::mpsc::unbounded_channel();
    let server = serve(move |mut connection| {
        let seen = seen.clone();
        async move {
            let mut bytes = [0; 64];
            let length = connection.bytes.read(&mut bytes).await.unwrap();
            seen.send(bytes[..length].to_vec()).ok();
            connection
                .say("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
                .await;
        }
    });
    let error = refused(
        Authority::new("ours")
            .trusted()
            .request(post(server.tls_url(), "x"))
            .await,
    );
    assert!(matches!(error, TransportError::Tls(_)), "{error:?}");
    assert_eq!(
        told(&mut first_bytes).await[0],
        22,
        "a TLS handshake record"
    );
}

#[tokio::test]
async fn silence_in_the_handshake_times_out() {
    let server = serve(Connection::hold);
    let request = with_idle(200, post(server.tls_url(), "x"));
    assert_eq!(
        refused(plain().request(request).await),
        TransportError::TimedOut
    );
}

#[tokio::test]
async fn a_body_cut_short_is_broken() {
    let authority = Authority::new("ours");
    let acceptor = authority.acceptor("localhost", 2100);
    let server = serve_tls(Some(acceptor), |mut connection| async move {
        connection.receive().await.unwrap();
        connection
            .say("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc")
            .await;
    });
    let broken = refused(answered(&authority.trusted(), post(server.tls_url(), "x")).await);
    assert!(matches!(broken, TransportError::Broken(_)), "{broken:?}");
}

#[tokio::test]
async fn sockets_run_over_the_same_tls() {
    let authority = Authority::new("ours");
    let acceptor = authority.acceptor("localhost", 2100);
    let server = serve_tls(Some(acceptor), |connection| async move {
        let mut socket = tokio_tungstenite::accept_async(connection.bytes)
            .await
            .unwrap();
        while let Some(Ok(message)) = socket.next().await {
            if socket.send(message).await.is_err() {
                break;
            }
        }
    });
    let url = server.tls_url().replace("https:", "wss:");
    let (mut sender, mut receiver) = authority.trusted().connect(post(url, "")).await.unwrap();
    sender
        .send(crate::transport::LiveMessage::Binary(vec![1, 2, 3]))
        .await
        .unwrap();
    assert_eq!(
        receiver.receive().await,
        Ok(Some(LiveMessage::Binary(vec![1, 2, 3])))
    );
}

#[tokio::test]
async fn the_process_keeps_its_choice_of_cryptography() {
    let authority = Authority::new("ours");
    let server = authority.server();
    answered(&authority.trusted(), post(server.tls_url(), "x"))
        .await
        .unwrap();
    assert!(rustls::crypto::CryptoProvider::get_default().is_none());
}
