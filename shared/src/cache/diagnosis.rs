//! Why Redis does not answer, in its own words.
//!
//! The connection in use reconnects by itself, and a command that waits for it sees only a timeout. So the reason is
//! found on a separate connection: a server with too many clients reports that before the first command, and a server
//! that cannot save reports that in its answer to `PING`.

use std::time::Duration;

use redis::{AsyncConnectionConfig, Client, ConnectionAddr, RedisResult, Value};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

const STEP_TIMEOUT: Duration = Duration::from_millis(500);
/// How long to wait for a server that speaks first.
const GREETING_TIMEOUT: Duration = Duration::from_millis(100);
const MAX_ANSWER: usize = 256;

/// The reason if there is no better one.
pub(super) const NO_ANSWER: &str = "no answer in time";

/// The result of the attempt on a separate connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Diagnosis {
    /// The server answers now.
    Answers,
    /// The reason, in the server's or the network's own words.
    Reason(String),
    /// The attempt timed out without a reason. A later one may find it: on a busy machine a TLS handshake takes long.
    Unknown(&'static str),
}

impl Diagnosis {
    /// Why the server does not answer.
    pub(super) fn words(self) -> String {
        match self {
            Self::Reason(reason) => reason,
            Self::Unknown(what) => what.to_owned(),
            // Only the connection in use is dead.
            Self::Answers => NO_ANSWER.to_owned(),
        }
    }
}

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

/// Why a server rejects the connection, which it says before the first command. If a command were sent, the server
/// could close the connection before its answer is read.
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
