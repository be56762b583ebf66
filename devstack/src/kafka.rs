//! Apache Kafka with one node or three, as child processes.

mod cluster;
mod java;
mod secured;
mod settings;
mod storage;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rustix::process::Signal;

pub use self::cluster::KafkaCluster;
#[cfg(all(test, feature = "containers"))]
pub(crate) use self::java::kafka_version as version;
pub use self::secured::Secured;
pub(crate) use self::settings::Place;
use self::settings::{changed, with_listeners};
use crate::dir::StackDir;
use crate::server::{Recipe, Server};
use crate::{Proxy, port, spawn};

/// Enough for the 7,000 partitions of a whole run of the tests: with 512 MiB it is full at the end, and each collection
/// takes seconds. It takes what it needs. And only the quick compiler: a fast start matters more than peak speed.
const HEAP: &str = "-Xmx1g";
pub(crate) const JVM: [&str; 3] = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData"];
/// The cluster's id: any 16 bytes in base64.
const CLUSTER: &str = "ZGV2c3RhY2stY2x1c3Rlcg";

#[derive(Debug)]
pub struct Kafka {
    pub(crate) server: Server,
    brokers: String,
    secured: Option<Secured>,
    /// Its settings file; change it only while the broker is stopped.
    config: PathBuf,
    /// The class archive (AppCDS) that this broker writes at exit, and the path from which later brokers load it.
    classes: Option<(PathBuf, PathBuf)>,
}

impl Kafka {
    /// Starts a broker without the other servers; see [`Kafka::secured`] for the password. Dropping it kills
    /// it.
    pub fn start(secured: Option<&str>) -> anyhow::Result<Kafka> {
        Kafka::start_in(&StackDir::create()?, port::free(), secured)
    }

    /// Starts it with its files in `dir`; with a password it also has a secured listener.
    pub(crate) fn start_in(dir: &Arc<StackDir>, port: u16, secured: Option<&str>) -> anyhow::Result<Kafka> {
        Kafka::start_as(dir, dir.path(), Place { id: 1, port, controller: port::free() }, secured)
    }

    fn start_as(of: &Arc<StackDir>, dir: &Path, place: Place, secured: Option<&str>) -> anyhow::Result<Kafka> {
        let port = place.port;
        let mut jvm = Jvm::new(dir)?;
        let secured = secured.map(|password| Secured::prepare(dir, password)).transpose()?;
        jvm.option = secured.as_ref().map(Secured::java_option);
        let config = dir.join("kafka.properties");
        let data = dir.join("kafka");
        fs::write(&config, place.properties(&data, secured.as_ref())).context("cannot write kafka.properties")?;
        let log = dir.join("kafka.log");
        let classes = jvm.archive_to.clone().map(|from| (from, jvm.archive.clone()));

        storage::format(&jvm, place.id, &config, &data, &log, secured.as_ref())?;

        let settings = config.clone();
        let server = Server::launch(Recipe {
            name: "Kafka",
            port,
            // It saves the class archive only at a graceful exit.
            discard: if jvm.archive_to.is_some() { Signal::TERM } else { Signal::KILL },
            command: Box::new(move || {
                let mut command = jvm.command("kafka.Kafka", true);
                command.arg(&settings);
                command
            }),
            stop: Signal::TERM,
            ready: Box::new(move || answers(port)),
            log,
            dir: Arc::clone(of),
        })?;
        let brokers = format!("127.0.0.1:{port}");
        Ok(Kafka { server, brokers, secured, config, classes })
    }

    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    pub fn secured(&self) -> Option<&Secured> {
        self.secured.as_ref()
    }

    /// Proxies to the broker that can be cut and slowed individually. A client learns the broker's address from
    /// the listener that it contacts, so each proxy has its own listener that advertises it. The broker is
    /// restarted for this.
    pub fn proxies(&self, count: usize) -> anyhow::Result<Vec<Proxy>> {
        let ports: Vec<_> = std::iter::repeat_with(port::free).take(count).collect();
        let proxies = ports.iter().map(|port| Ok(Proxy::to(*port)?)).collect::<anyhow::Result<Vec<_>>>()?;
        let listeners: Vec<_> = ports.into_iter().zip(proxies.iter().map(|proxy| proxy.port)).collect();
        self.change(|properties| with_listeners(properties, &listeners))?;
        Ok(proxies)
    }

    /// Adds or replaces these settings and restarts the broker.
    pub fn set(&self, changes: &[(&str, &str)]) -> anyhow::Result<()> {
        self.change(|properties| changed(properties, changes))
    }

    fn change(&self, change: impl FnOnce(&str) -> String) -> anyhow::Result<()> {
        let properties = fs::read_to_string(&self.config).context("cannot read kafka.properties")?;
        fs::write(&self.config, change(&properties)).context("cannot write kafka.properties")?;
        self.server.restart()
    }

    /// Makes the class archive that it saved at exit, if any, available to later brokers.
    pub(crate) fn keep_classes(&self) {
        if let Some((from, to)) = &self.classes
            && from.exists()
        {
            let _ = fs::rename(from, to);
        }
    }

    /// If no class archive exists yet, restarts this broker to save one now: brokers that start while it runs then
    /// need half the time.
    pub(crate) fn hand_classes_on(&self) -> anyhow::Result<()> {
        if self.classes.as_ref().is_none_or(|(_, archive)| archive.exists()) {
            return Ok(());
        }
        self.server.stop()?;
        self.keep_classes();
        self.server.start()
    }
}

struct Jvm {
    java: &'static Path,
    class_path: String,
    logging: PathBuf,
    /// The archive of loaded classes, saved by the first broker that exited gracefully: later ones start in half
    /// the time.
    archive: PathBuf,
    /// Where this broker saves it, if it does not exist yet.
    archive_to: Option<PathBuf>,
    /// One more option.
    option: Option<String>,
}

impl Jvm {
    fn new(dir: &Path) -> anyhow::Result<Jvm> {
        let java = java::java().context("Java 17 or later is not installed (devstack/install does that)")?;
        let class_path = java::class_path()?;
        let logging = dir.join("log4j2.properties");
        fs::write(&logging, include_str!("../kafka/log4j2.properties")).context("cannot write log4j2.properties")?;
        let archive = java::home().join("classes.jsa");
        let archive_to = (!archive.exists()).then(|| dir.join("classes.jsa"));
        Ok(Jvm { java, class_path, logging, archive, archive_to, option: None })
    }

    fn command(&self, class: &str, save_classes: bool) -> Command {
        let mut command = spawn::command(self.java, None);
        command.arg(HEAP).args(JVM);
        if self.archive.exists() {
            command.arg(format!("-XX:SharedArchiveFile={}", self.archive.display()));
            // Java silently ignores an archive of another version.
            command.arg("-Xshare:auto").arg("-Xlog:disable");
        } else if let (true, Some(file)) = (save_classes, &self.archive_to) {
            command.arg(format!("-XX:ArchiveClassesAtExit={}", file.display()));
            command.arg("-Xlog:disable");
        }
        command.arg(format!("-Dlog4j2.configurationFile={}", self.logging.display())).args(&self.option);
        if let Ok(more) = std::env::var("DEVSTACK_JAVA_OPTS") {
            command.args(more.split_whitespace());
        }
        command.arg("-cp").arg(&self.class_path).arg(class);
        command
    }
}

/// Whether it serves: a broker is registered and each partition has a leader.
fn answers(port: u16) -> anyhow::Result<()> {
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
