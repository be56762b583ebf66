//! The health check that a container runs against its own service: the image has no shell and no HTTP client.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::runtime::config::OpsConfig;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Question {
    /// Whether the process is alive. If it is not, restart it.
    Live,
    /// Whether it can do its work. If it cannot, wait.
    Ready,
}

/// Settings of `health`.
#[derive(Debug, Clone, clap::Args)]
pub struct HealthConfig {
    /// Which question to ask.
    #[arg(value_enum, default_value = "live")]
    pub question: Question,
    /// Where.
    #[command(flatten)]
    pub ops: OpsConfig,
}

/// The timeout of each step: connect, write and read.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);

/// Asks the service in the same container or on the same machine, on its internal port.
pub fn health(config: &HealthConfig) -> anyhow::Result<()> {
    let address = beside(config.ops.bind);
    let path = match config.question {
        Question::Live => "/health/live",
        Question::Ready => "/health/ready",
    };
    let status = get(address, path).with_context(|| format!("http://{address}{path}"))?;
    ensure!(status == "200", "http://{address}{path} answered {status}");
    Ok(())
}

/// The address at which a service that listens on `bind` is reached from its own machine.
fn beside(bind: SocketAddr) -> SocketAddr {
    let ip = match bind.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, bind.port())
}

/// The status of the answer.
fn get(address: SocketAddr, path: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, HEALTH_TIMEOUT)?;
    stream.set_read_timeout(Some(HEALTH_TIMEOUT))?;
    stream.set_write_timeout(Some(HEALTH_TIMEOUT))?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n")?;
    // "HTTP/1.1 200"
    let mut head = [0; 12];
    stream.read_exact(&mut head)?;
    let head = std::str::from_utf8(&head)?;
    head.strip_prefix("HTTP/1.1 ").map(str::to_owned).context("it does not speak HTTP/1.1")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use metrics_exporter_prometheus::PrometheusBuilder;
    use serde_json::json;

    use super::*;
    use crate::runtime::ops;

    static READY: AtomicBool = AtomicBool::new(false);

    #[tokio::test(flavor = "multi_thread")]
    async fn the_answer_is_what_the_service_says_of_itself() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let bind = listener.local_addr().unwrap();
        let metrics = PrometheusBuilder::new().build_recorder().handle();
        let service = tokio::spawn(ops::serve(listener, metrics, async || (READY.load(Ordering::Relaxed), json!({}))));
        let ask = async |question| {
            let config = HealthConfig { question, ops: OpsConfig { bind } };
            let answer = tokio::task::spawn_blocking(move || health(&config)).await.unwrap();
            answer.map_err(|error| format!("{error:#}"))
        };
        assert_eq!(ask(Question::Live).await, Ok(()));
        assert_eq!(ask(Question::Ready).await, Err(format!("http://{bind}/health/ready answered 503")));
        READY.store(true, Ordering::Relaxed);
        assert_eq!(ask(Question::Ready).await, Ok(()));
        service.abort();
        let _ = service.await;
        let away = ask(Question::Live).await.unwrap_err();
        assert!(away.starts_with(&format!("http://{bind}/health/live: ")), "{away}");
    }

    #[test]
    fn a_service_that_listens_everywhere_is_asked_at_home() {
        for (bind, asked) in [
            ("0.0.0.0:9100", "127.0.0.1:9100"),
            ("[::]:9100", "[::1]:9100"),
            ("10.1.2.3:9100", "10.1.2.3:9100"),
            ("127.0.0.1:9101", "127.0.0.1:9101"),
        ] {
            assert_eq!(beside(bind.parse().unwrap()), asked.parse().unwrap(), "{bind}");
        }
    }
}
