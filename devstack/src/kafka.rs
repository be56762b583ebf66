//! Apache Kafka: one node of the real one, or librdkafka's in-process broker where there is no
//! Java.

mod java;
mod mock;
mod secured;

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rustix::process::Signal;

pub use self::secured::Secured;
use crate::server::{Recipe, Server, last_lines};
use crate::{Proxy, port, spawn};

/// No pauses for a large heap, no compiler that works for later at the cost of now.
const JVM: [&str; 4] = ["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData"];

/// Why the mock cannot be broken.
const NO_PROCESS: &str = "Kafka is librdkafka's in-process mock: it cannot be stopped, killed or \
                          frozen, only the real one can";

/// A running broker.
#[derive(Debug)]
pub struct Kafka {
    server: Server,
    mock: Option<mock::Mock>,
    brokers: String,
    secured: Option<Secured>,
    /// Its settings, where it has some.
    config: PathBuf,
    /// Where this one saves its classes at its end, and where the next ones look for them.
    classes: Option<(PathBuf, PathBuf)>,
}

impl Kafka {
    /// Starts it with its files in `dir`, which is there, and with a secured listener beside the
    /// usual one where a password for it is given. The mock takes a port as it comes, and has no security.
    pub(crate) fn start_in(dir: &Path, port: u16, secured: Option<&str>) -> anyhow::Result<Kafka> {
        if let Some(obstacle) = java::obstacle() {
            ensure!(secured.is_none(), "a secured Kafka has to be the real one, and there is {obstacle}");
            let mock = mock::Mock::start()?;
            return Ok(Kafka {
                server: Server::without_process(NO_PROCESS),
                brokers: mock.brokers.clone(),
                mock: Some(mock),
                secured: None,
                config: PathBuf::new(),
                classes: None,
            });
        }
        let jvm = Jvm::new(dir)?;
        let config = dir.join("kafka.properties");
        let secured = secured.map(|password| Secured::prepare(dir, password)).transpose()?;
        fs::write(&config, properties(dir, port, secured.as_ref())).context("cannot write kafka.properties")?;
        let log = dir.join("kafka.log");
        let classes = jvm.archive_to.clone().map(|from| (from, jvm.archive.clone()));

        let mut format = jvm.command("kafka.tools.StorageTool", false);
        // An id for the cluster: 16 bytes in base 64, any.
        format.args(["format", "-t", "ZGV2c3RhY2stY2x1c3Rlcg", "-c"]);
        format.arg(&config).args(secured.iter().flat_map(Secured::scram_users));
        let formatted = spawn::background(format, &log)?.wait(Duration::from_secs(60))?;
        if !formatted.is_some_and(|status| status.success()) {
            bail!("Kafka's storage cannot be formatted:\n{}", last_lines(&log, 15));
        }

        let settings = config.clone();
        let server = Server::launch(Recipe {
            name: "Kafka",
            discard: jvm.discard_signal(),
            command: Box::new(move || {
                let mut command = jvm.command("kafka.Kafka", true);
                command.arg(&settings);
                command
            }),
            ready: Box::new(move || answers(port)),
            log,
            stop: Signal::TERM,
        })?;
        Ok(Kafka { server, mock: None, config, classes, secured, brokers: format!("127.0.0.1:{port}") })
    }

    /// Its address as the services take it.
    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    /// The secured listener, where it was asked for.
    pub fn secured(&self) -> Option<&Secured> {
        self.secured.as_ref()
    }

    /// Ways into the broker that can be cut and slowed, each by itself. A client is told where to find
    /// the broker by the listener that it asks, so each way has a listener of its own that names its
    /// proxy. The broker is started anew for it.
    ///
    /// # Errors
    /// The mock has one listener; and the real one may not come back.
    pub fn proxies(&self, count: usize) -> anyhow::Result<Vec<Proxy>> {
        ensure!(self.is_real(), NO_PROCESS);
        let mut listeners = Vec::with_capacity(count);
        let mut proxies = Vec::with_capacity(count);
        for _ in 0..count {
            let port = port::free();
            let proxy = Proxy::to(port)?;
            listeners.push((port, proxy.port));
            proxies.push(proxy);
        }
        let properties = fs::read_to_string(&self.config).context("cannot read kafka.properties")?;
        fs::write(&self.config, with_listeners(&properties, &listeners)).context("cannot write kafka.properties")?;
        self.server.restart()?;
        Ok(proxies)
    }

    /// Whether this is Apache Kafka, and not the mock.
    pub fn is_real(&self) -> bool {
        self.mock.is_none()
    }

    /// Hands the classes that it saved at its end, if it did, to the brokers after it.
    pub(crate) fn keep_classes(&self) {
        if let Some((from, to)) = &self.classes
            && from.exists()
        {
            let _ = fs::rename(from, to);
        }
    }

    /// Creates a topic on the mock, which knows no call for that; on the real one, nothing:
    /// `worker-service setup` does that.
    pub fn mock_topic(&self, topic: &str, partitions: i32) -> anyhow::Result<()> {
        match &self.mock {
            Some(mock) => mock.create_topic(topic, partitions),
            None => Ok(()),
        }
    }
}

impl Deref for Kafka {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

/// Says, once in a process and on standard error, if Kafka will be the mock, and why.
pub fn announce() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if let Some(obstacle) = java::obstacle() {
            eprintln!(
                "devstack: {obstacle}: Kafka is librdkafka's in-process mock, in memory; nothing \
                 survives a restart"
            );
        }
    });
}

/// How to run a class of Kafka's.
struct Jvm {
    java: &'static Path,
    class_path: String,
    logging: PathBuf,
    /// Loaded classes, saved by the first broker that ended in an orderly way: the later ones
    /// start in half the time.
    archive: PathBuf,
    /// Where this broker saves them, if none did.
    archive_to: Option<PathBuf>,
}

impl Jvm {
    fn new(dir: &Path) -> anyhow::Result<Jvm> {
        let java = java::java().context("no Java found")?;
        let class_path = java::class_path()?;
        let logging = dir.join("log4j2.properties");
        fs::write(&logging, include_str!("../kafka/log4j2.properties")).context("cannot write log4j2.properties")?;
        let archive = java::home().join("classes.jsa");
        let archive_to = (!archive.exists()).then(|| dir.join("classes.jsa"));
        Ok(Jvm { java, class_path, logging, archive, archive_to })
    }

    fn command(&self, class: &str, save_classes: bool) -> Command {
        let mut command = spawn::command(self.java, None);
        command.args(JVM);
        if self.archive.exists() {
            command.arg(option("-XX:SharedArchiveFile=", &self.archive));
            // One that another Java wrote is passed over without a word.
            command.arg("-Xshare:auto").arg("-Xlog:disable");
        } else if let (true, Some(file)) = (save_classes, &self.archive_to) {
            command.arg(option("-XX:ArchiveClassesAtExit=", file));
            command.arg("-Xlog:disable");
        }
        command.arg(option("-Dlog4j2.configurationFile=", &self.logging));
        if let Ok(more) = std::env::var("DEVSTACK_JAVA_OPTS") {
            command.args(more.split_whitespace());
        }
        command.arg("-cp").arg(&self.class_path).arg(class);
        command
    }

    fn discard_signal(&self) -> Signal {
        match self.archive_to {
            Some(_) => Signal::TERM,
            None => Signal::KILL,
        }
    }
}

fn option(name: &str, path: &Path) -> std::ffi::OsString {
    let mut option = std::ffi::OsString::from(name);
    option.push(path);
    option
}

/// The broker's settings: the fixed ones, and this stack's own.
fn properties(dir: &Path, port: u16, secured: Option<&Secured>) -> String {
    let fixed = include_str!("../kafka/server.properties");
    let controller = port::free();
    let data = dir.join("kafka");
    let listener = secured.map(|secured| format!(",{}", secured.listener())).unwrap_or_default();
    let advertised = secured.map(|secured| format!(",{}", secured.advertised())).unwrap_or_default();
    let security = secured.map(Secured::properties).unwrap_or_default();
    format!(
        "{fixed}\
         listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}{listener}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{port}{advertised}\n\
         controller.quorum.voters=1@127.0.0.1:{controller}\n\
         log.dirs={data}\n\
         {security}",
        data = data.display()
    )
}

/// These settings with more listeners: where each listens, and where it says that it does.
fn with_listeners(properties: &str, listeners: &[(u16, u16)]) -> String {
    let each = |text: &dyn Fn(usize, u16, u16) -> String| -> String {
        listeners.iter().enumerate().map(|(n, (port, advertised))| text(n, *port, *advertised)).collect()
    };
    let mut text = String::new();
    for line in properties.lines() {
        text.push_str(line);
        match line.split_once('=').map(|(name, _)| name) {
            Some("listeners") => text.push_str(&each(&|n, port, _| format!(",PROXY{n}://127.0.0.1:{port}"))),
            Some("advertised.listeners") => {
                text.push_str(&each(&|n, _, advertised| format!(",PROXY{n}://127.0.0.1:{advertised}")));
            }
            Some("listener.security.protocol.map") => text.push_str(&each(&|n, _, _| format!(",PROXY{n}:PLAINTEXT"))),
            _ => {}
        }
        text.push('\n');
    }
    text
}

/// Whether it serves: a broker registered, and a leader for each partition there is.
fn answers(port: u16) -> anyhow::Result<()> {
    // Much cheaper than a client, while nothing listens.
    drop(TcpStream::connect((Ipv4Addr::LOCALHOST, port))?);
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", format!("127.0.0.1:{port}"))
        .set("reconnect.backoff.ms", "10")
        .set("reconnect.backoff.max.ms", "50")
        .create()?;
    let metadata = consumer.fetch_metadata(None, Duration::from_secs(2))?;
    ensure!(!metadata.brokers().is_empty(), "no broker is registered");
    for topic in metadata.topics() {
        let mut partitions = topic.partitions().iter();
        if let Some(partition) = partitions.find(|partition| partition.leader() < 0) {
            bail!("{}/{} has no leader", topic.name(), partition.id());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::with_listeners;

    #[test]
    fn a_listener_names_its_proxy() {
        let before = "listener.security.protocol.map=PLAINTEXT:PLAINTEXT\n\
                      listeners=PLAINTEXT://127.0.0.1:1\n\
                      advertised.listeners=PLAINTEXT://127.0.0.1:1\n\
                      log.dirs=/x\n";
        let after = "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,PROXY0:PLAINTEXT,PROXY1:PLAINTEXT\n\
                     listeners=PLAINTEXT://127.0.0.1:1,PROXY0://127.0.0.1:2,PROXY1://127.0.0.1:4\n\
                     advertised.listeners=PLAINTEXT://127.0.0.1:1,PROXY0://127.0.0.1:3,PROXY1://127.0.0.1:5\n\
                     log.dirs=/x\n";
        assert_eq!(with_listeners(before, &[(2, 3), (4, 5)]), after);
    }
}
