//! An issuer of tokens: publishes keys on its own port, and counts the requests for them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use devstack::Certificates;
use devstack::token::{Signer, jwks};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

#[derive(Default)]
struct State {
    answer: Mutex<String>,
    /// The answers at paths of their own.
    answers: Mutex<HashMap<String, String>>,
    asked: AtomicUsize,
}

pub(crate) struct Issuer {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
    serving: Option<JoinHandle<()>>,
    tls: Option<TlsAcceptor>,
}

impl Issuer {
    pub(crate) async fn start(signers: &[&Signer]) -> Self {
        Self::start_with(signers, None).await
    }

    async fn start_with(signers: &[&Signer], tls: Option<TlsAcceptor>) -> Self {
        let mut issuer = Self { tls, ..Self::down_at_first() };
        issuer.publish(signers);
        issuer.up().await;
        issuer
    }

    /// An issuer that is down until [`up`](Self::up).
    pub(crate) fn down_at_first() -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], devstack::port::free()));
        Self { address, state: Arc::default(), serving: None, tls: None }
    }

    /// An issuer that speaks TLS as `localhost`, with this certificate.
    pub(crate) async fn over_tls(signers: &[&Signer], certificates: &Certificates) -> Self {
        let certificate = CertificateDer::from_pem_file(&certificates.certificate).unwrap();
        let key = PrivateKeyDer::from_pem_file(&certificates.key).unwrap();
        let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
        Self::start_with(signers, Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    pub(crate) async fn up(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        let (state, tls) = (Arc::clone(&self.state), self.tls.clone());
        self.serving = Some(tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (state, tls) = (Arc::clone(&state), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => answer(stream, state).await,
                        // A client that does not trust the certificate disconnects.
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                answer(stream, state).await;
                            }
                        }
                    }
                });
            }
        }));
    }

    pub(crate) fn down(&mut self) {
        self.serving.take().unwrap().abort();
    }

    pub(crate) fn publish(&self, signers: &[&Signer]) {
        self.say("200 OK", "", &jwks(signers).unwrap());
    }

    pub(crate) fn say(&self, status: &str, headers: &str, body: &str) {
        *self.state.answer.lock().unwrap() = written(status, headers, body);
    }

    /// Answers with this document at this path.
    pub(crate) fn say_at(&self, path: &str, document: &Value) {
        let answer = written("200 OK", "content-type: application/json\r\n", &document.to_string());
        self.state.answers.lock().unwrap().insert(path.to_owned(), answer);
    }

    pub(crate) fn asked(&self) -> usize {
        self.state.asked.load(Ordering::SeqCst)
    }

    pub(crate) fn url(&self) -> String {
        format!("--jwt-jwks-url=http://{}/keys", self.address)
    }
}

fn written(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}")
}

async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, state: Arc<State>) {
    let mut request = Vec::new();
    let mut part = [0; 1024];
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read(&mut part).await {
            Ok(read @ 1..) => request.extend_from_slice(&part[..read]),
            _ => return,
        }
    }
    state.asked.fetch_add(1, Ordering::SeqCst);
    let path = String::from_utf8_lossy(&request).split(' ').nth(1).unwrap_or_default().to_owned();
    let of_path = state.answers.lock().unwrap().get(&path).cloned();
    let answer = of_path.unwrap_or_else(|| state.answer.lock().unwrap().clone());
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
}
