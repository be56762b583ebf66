//! The token endpoint of an OAuth 2.0 issuer, with the broker's certificate, which knows one client. devstack's broker
//! accepts its tokens.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::serve::Listener;
use axum::{Json, Router};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use devstack::Secured;
use devstack::logs::PLANTED;
use devstack::token::Signer;
use reqwest::Url;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::server::TlsStream;

use crate::kit::owned;
use crate::prelude::*;

pub(crate) const CLIENT: &str = "device-events";
/// Of two scopes, the second has to be encoded in the request's form.
pub(crate) const SCOPE: &str = "kafka.read kafka.write";

#[derive(Clone)]
pub(crate) struct TokenEndpoint(Arc<Inner>);

struct Inner {
    port: u16,
    signer: Signer,
    lifetime: Duration,
    /// When each token ends.
    issued: Mutex<Vec<u64>>,
    is_silent: AtomicBool,
    unanswered: AtomicUsize,
}

impl TokenEndpoint {
    pub(crate) async fn start(secured: &Secured, lifetime: Duration) -> Self {
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (port, signer) = (tcp.local_addr().unwrap().port(), secured.token_signer().unwrap());
        let (issued, is_silent, unanswered) = Default::default();
        let endpoint = Self(Arc::new(Inner { port, signer, lifetime, issued, is_silent, unanswered }));
        let listener = TlsListener { tcp, tls: acceptor(secured) };
        let app = Router::new().route("/token", post(issue)).with_state(endpoint.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        endpoint
    }

    /// Its URL with this host; the certificate is for `localhost`.
    pub(crate) fn url(&self, host: &str) -> String {
        format!("https://{host}:{}/token", self.0.port)
    }

    /// The settings of a service that logs in to the secured listener with its tokens.
    pub(crate) fn env(&self, secured: &Secured) -> Vec<(String, String)> {
        owned(&[
            ("KAFKA_BROKERS", &secured.brokers()),
            ("KAFKA_SECURITY_PROTOCOL", "SASL_SSL"),
            ("KAFKA_SSL_CA_LOCATION", &secured.authority.to_string_lossy()),
            ("KAFKA_SASL_MECHANISM", "OAUTHBEARER"),
            ("KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL", &self.url("localhost")),
            ("KAFKA_SASL_OAUTHBEARER_CLIENT_ID", CLIENT),
            ("KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET", &secret()),
            ("KAFKA_SASL_OAUTHBEARER_SCOPE", SCOPE),
            ("KAFKA_PROPERTIES", &format!("https.ca.location={}", secured.authority.display())),
        ])
    }

    /// From now on it takes requests, and answers none.
    pub(crate) fn fall_silent(&self) {
        self.0.is_silent.store(true, Ordering::Relaxed);
    }

    /// How many requests it left without an answer.
    pub(crate) fn unanswered(&self) -> usize {
        self.0.unanswered.load(Ordering::Relaxed)
    }

    /// When each token ends that was issued until now, in seconds since the Unix epoch.
    pub(crate) fn issued(&self) -> Vec<u64> {
        self.0.issued.lock().unwrap().clone()
    }
}

fn acceptor(secured: &Secured) -> TlsAcceptor {
    let certificate = CertificateDer::from_pem_file(&secured.keystore).unwrap();
    let key = PrivateKeyDer::from_pem_file(&secured.keystore).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
    TlsAcceptor::from(Arc::new(config))
}

struct TlsListener {
    tcp: TcpListener,
    tls: TlsAcceptor,
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = self.tcp.accept().await.unwrap();
            // A client that does not trust the certificate disconnects.
            if let Ok(stream) = self.tls.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.tcp.local_addr()
    }
}

fn secret() -> String {
    format!("{PLANTED}-client")
}

/// RFC 6749, section 4.4. A scope that is not [`SCOPE`] gets a token for another audience.
async fn issue(State(endpoint): State<TokenEndpoint>, headers: HeaderMap, form: String) -> Response {
    let login = format!("Basic {}", BASE64_STANDARD.encode(format!("{CLIENT}:{}", secret())));
    if headers.get("authorization").is_none_or(|given| *given != *login) {
        return (StatusCode::UNAUTHORIZED, Json(json!({"error": "invalid_client"}))).into_response();
    }
    // A form is encoded like the query of a URL.
    let form = Url::parse(&format!("form:?{form}")).unwrap();
    let of = |name: &str| Some(form.query_pairs().find(|(known, _)| known == name)?.1.into_owned());
    if of("grant_type").as_deref() != Some("client_credentials") {
        return (StatusCode::BAD_REQUEST, Json(json!({"error": "unsupported_grant_type"}))).into_response();
    }
    let Inner { signer, lifetime, issued, is_silent, unanswered, .. } = &*endpoint.0;
    if is_silent.load(Ordering::Relaxed) {
        unanswered.fetch_add(1, Ordering::Relaxed);
        return std::future::pending().await;
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let exp = (now + *lifetime).as_secs();
    let token = signer.sign(&json!({
        "iss": Secured::TOKEN_ISSUER,
        "aud": if of("scope").as_deref() == Some(SCOPE) { Secured::TOKEN_AUDIENCE } else { "another" },
        "sub": CLIENT,
        "scope": of("scope"),
        "iat": now.as_secs(),
        "exp": exp,
    }));
    issued.lock().unwrap().push(exp);
    let body = json!({"access_token": token.unwrap(), "token_type": "Bearer", "expires_in": lifetime.as_secs()});
    Json(body).into_response()
}
