//! Why a Redis does not answer, in its own words.
//!
//! The connection comes back by itself, and whoever waits for it is told nothing but that time is up. So the server
//! is asked once more, by a connection of its own: one that has too many clients says so before it is asked anything,
//! and one that has to save and cannot says it to a `PING`.

use std::time::Duration;

use redis::{AsyncConnectionConfig, Client, ConnectionAddr, RedisResult, Value};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long each step may take.
const STEP_TIMEOUT: Duration = Duration::from_millis(500);
/// How long a server that speaks first has for that.
const GREETING_TIMEOUT: Duration = Duration::from_millis(100);
/// The longest answer that is kept, in bytes.
const MAX_ANSWER: usize = 256;

/// For a server that has not answered.
pub(super) const NO_ANSWER: &str = "no answer in time";

/// What another connection to a server met.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Diagnosis {
    /// The server answers now.
    Answers,
    /// The reason, in the server's or the network's own words.
    Reason(String),
    /// Time was up, before anything was said. The reason may still come: on a busy machine a TLS handshake takes long.
    Unknown(&'static str),
}

impl Diagnosis {
    /// Why the server does not answer.
    pub(super) fn words(self) -> String {
        match self {
            Self::Reason(reason) => reason,
            Self::Unknown(what) => what.to_owned(),
            // The connection in use leads nowhere.
            Self::Answers => NO_ANSWER.to_owned(),
        }
    }
}

/// What is wrong.
pub(super) async fn of(client: &Client) -> Diagnosis {
    if let ConnectionAddr::Tcp(host, port) = client.get_connection_info().addr() {
        match timeout(STEP_TIMEOUT, TcpStream::connect((host.as_str(), *port))).await {
            Ok(Ok(stream)) => {
                if let Some(refusal) = greeting(stream).await {
                    return Diagnosis::Reason(refusal);
                }
            }
            Ok(Err(error)) => return Diagnosis::Reason(error.to_string()),
            Err(_) => return Diagnosis::Unknown("no connection in time"),
        }
    }
    match timeout(2 * STEP_TIMEOUT, ping(client)).await {
        Ok(Ok(_)) => Diagnosis::Answers,
        Ok(Err(error)) if !error.is_timeout() => Diagnosis::Reason(error.to_string()),
        Ok(Err(_)) | Err(_) => Diagnosis::Unknown(NO_ANSWER),
    }
}

/// What a server says unasked: why it will not serve. Asked first, its answer may be lost with the connection.
async fn greeting(mut stream: TcpStream) -> Option<String> {
    let mut said = [0; MAX_ANSWER];
    let read = timeout(GREETING_TIMEOUT, stream.read(&mut said)).await.ok()?.ok()?;
    let text = String::from_utf8_lossy(said.get(..read)?).into_owned();
    let line = text.strip_prefix('-')?.lines().next()?;
    Some(line.to_owned())
}

async fn ping(client: &Client) -> RedisResult<Value> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(STEP_TIMEOUT))
        .set_response_timeout(Some(STEP_TIMEOUT));
    let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
    redis::cmd("PING").query_async(&mut connection).await
}
