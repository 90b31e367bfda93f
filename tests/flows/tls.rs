//! The whole way over TLS, with a root certificate of the app's own.

use std::sync::Arc;

use driftline::transport::{BuiltinTransport, TlsRoots};
use driftline::{SyncConfig, Value};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{Device, SCHEMA, Server};

/// Terminates TLS in front of a server. Returns its address and the root's PEM.
fn terminate(server: &Server) -> (String, String) {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let pem = certified.cert.pem();
    let key =
        rustls::pki_types::PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(
        rustls::crypto::ring::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .unwrap()
    .with_no_client_auth()
    .with_single_cert(vec![certified.cert.der().clone()], key)
    .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let behind = server.url.trim_start_matches("http://").to_owned();
    let (tell, port) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            tell.send(listener.local_addr().unwrap().port()).unwrap();
            while let Ok((socket, _)) = listener.accept().await {
                let (acceptor, behind) = (acceptor.clone(), behind.clone());
                tokio::spawn(async move {
                    let Ok(mut outside) = acceptor.accept(socket).await else {
                        return;
                    };
                    let Ok(mut inside) = TcpStream::connect(behind).await else {
                        return;
                    };
                    let _ = tokio::io::copy_bidirectional(&mut outside, &mut inside).await;
                });
            }
        });
    });
    (format!("https://localhost:{}", port.recv().unwrap()), pem)
}

#[test]
fn records_and_live_changes_travel_over_tls() {
    let server = Server::start(SCHEMA);
    let (url, pem) = terminate(&server);
    let token = server.token("ada", crate::support::device::WORKSPACE, "writer", "1h");
    let connect = |device: &Device, roots: TlsRoots| {
        let token = token.clone();
        let mut config = SyncConfig::new(&url, move || Ok(token.clone()));
        config.roots = roots;
        device.db.connect(config).unwrap()
    };
    let (a, b) = (Device::new("a"), Device::new("b"));
    let id = a.note("sealed");
    connect(&a, TlsRoots::Custom(vec![pem.clone().into_bytes()]));
    a.sync();
    connect(&b, TlsRoots::Custom(vec![pem.into_bytes()]));
    b.sync();
    assert_eq!(b.title(&id), Some(Value::from("sealed")));
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while !b.db.sync().unwrap().status().live && std::time::Instant::now() < deadline {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert!(
        b.db.sync().unwrap().status().live,
        "the socket came up over TLS"
    );
    a.set(&id, "title", "sealed again");
    while b.title(&id) != Some(Value::from("sealed again")) && std::time::Instant::now() < deadline
    {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert_eq!(b.title(&id), Some(Value::from("sealed again")));
}

#[test]
fn a_certificate_nobody_vouches_for_is_refused() {
    let server = Server::start(SCHEMA);
    let (url, _) = terminate(&server);
    let a = Device::new("a");
    let token = server.token("ada", crate::support::device::WORKSPACE, "writer", "1h");
    let config = SyncConfig::new(&url, move || Ok(token.clone()));
    let sync = a.db.connect(config).unwrap();
    a.note("stays here");
    assert!(!sync.sync_until(std::time::Duration::from_secs(2)));
    assert_eq!(sync.status().pending, 1);
    drop(BuiltinTransport::new(&TlsRoots::default()));
}
