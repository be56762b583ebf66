//! Apache Kafka: one node of the real one, as a process or a container, or librdkafka's in-process
//! broker where neither can be had.

mod cluster;
mod java;
mod mock;
mod secured;
mod settings;
mod storage;

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rustix::process::Signal;

pub use self::cluster::KafkaCluster;
#[cfg(test)]
pub(crate) use self::java::kafka_version as version;
pub(crate) use self::java::obstacle;
pub use self::secured::Secured;
use self::settings::{Place, changed, environment, with_listeners};
use crate::child::Child;
use crate::container::{self, Container, Plan};
use crate::dir::StackDir;
use crate::server::{Body, Recipe, Server};
use crate::servers::are_containers;
use crate::{Proxy, port, spawn};

/// No pauses for a large heap, no compiler that works for later at the cost of now.
const HEAP: &str = "-Xmx512m";
const JVM: [&str; 3] = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData"];
/// An id for the cluster: 16 bytes in base 64, any.
const CLUSTER: &str = "ZGV2c3RhY2stY2x1c3Rlcg";
/// Why the mock cannot be broken.
const NO_PROCESS: &str = "Kafka is librdkafka's in-process mock: it cannot be stopped, killed or \
                          frozen, only the real one can";

#[derive(Debug)]
pub struct Kafka {
    server: Server,
    mock: Option<mock::Mock>,
    brokers: String,
    secured: Option<Secured>,
    settings: Settings,
    /// Where this one saves its classes at its end, and where the next ones look for them.
    classes: Option<(PathBuf, PathBuf)>,
    // Last, so that it goes last.
    dir: Option<StackDir>,
}

impl Kafka {
    /// Starts one of one's own, without the other servers; see [`Kafka::secured`] for the password. Dropped,
    /// it is killed.
    pub fn start(secured: Option<&str>) -> anyhow::Result<Kafka> {
        let dir = StackDir::create()?;
        let mut kafka = Kafka::start_in(dir.path(), port::free(), secured)?;
        kafka.dir = Some(dir);
        Ok(kafka)
    }

    /// Starts it with its files in `dir`, which is there, and with a secured listener beside the
    /// usual one where a password for it is given. The mock takes a port as it comes, and has no security.
    pub(crate) fn start_in(dir: &Path, port: u16, secured: Option<&str>) -> anyhow::Result<Kafka> {
        if let Some(why) = mocked() {
            ensure!(secured.is_none(), "a secured Kafka has to be the real one: {why}");
            let mock = mock::Mock::start()?;
            return Ok(Kafka {
                server: Server::without_process(NO_PROCESS),
                brokers: mock.brokers.clone(),
                mock: Some(mock),
                secured: None,
                settings: Settings::None,
                classes: None,
                dir: None,
            });
        }
        let secured = secured.map(|password| Secured::prepare(dir, password)).transpose()?;
        if are_containers()? {
            Kafka::start_container(dir, port, Place::in_container(port)?, secured, None)
        } else {
            let place = Place { id: 1, address: "127.0.0.1", port, controller: port::free(), own: None };
            Kafka::start_process(dir, port, place, secured)
        }
    }

    fn start_process(dir: &Path, port: u16, place: Place, secured: Option<Secured>) -> anyhow::Result<Kafka> {
        let jvm = Jvm::new(dir)?;
        let config = dir.join("kafka.properties");
        let keystore = secured.as_ref().map(Secured::keystore);
        let data = dir.join("kafka");
        let properties = place.properties(port, &data, secured.as_ref().zip(keystore));
        fs::write(&config, properties).context("cannot write kafka.properties")?;
        let log = dir.join("kafka.log");
        let classes = jvm.archive_to.clone().map(|from| (from, jvm.archive.clone()));

        storage::format(&jvm, place.id, &config, &data, &log, secured.as_ref())?;

        let settings = config.clone();
        let server = Server::launch(Recipe {
            name: "Kafka",
            body: Arc::new(Child {
                discard: jvm.discard_signal(),
                command: Box::new(move || {
                    let mut command = jvm.command("kafka.Kafka", true);
                    command.arg(&settings);
                    command
                }),
                stop: Signal::TERM,
                process: Mutex::default(),
            }),
            ready: Box::new(move || answers(port)),
            log,
        })?;
        let brokers = format!("127.0.0.1:{port}");
        Ok(Kafka { server, mock: None, settings: Settings::File(config), classes, secured, brokers, dir: None })
    }

    fn start_container(
        dir: &Path,
        port: u16,
        place: Place,
        secured: Option<Secured>,
        beside: Option<String>,
    ) -> anyhow::Result<Kafka> {
        let mut plan = Plan::of(container::KAFKA);
        if beside.is_none() {
            plan.ports.push((port, place.port));
        }
        plan.beside = beside;
        let keystore = Path::new("/etc/kafka/secrets/keystore.pem");
        if let Some(secured) = &secured {
            plan.ports.push((secured.port, secured.port));
            plan.files.push(("/etc/kafka/secrets/keystore.pem", fs::read(secured.keystore())?));
        }
        let data = Path::new("/var/lib/kafka/data");
        let properties = place.properties(port, data, secured.as_ref().map(|secured| (secured, keystore)));
        plan.env = environment(&properties);
        let container = Arc::new(Container::new(plan)?);
        let server = Server::launch(Recipe {
            name: "Kafka",
            body: Arc::clone(&container) as Arc<dyn Body>,
            ready: Box::new(move || answers(port)),
            log: dir.join("kafka.log"),
        })?;
        if let Some(secured) = &secured {
            // The image formats the storage by itself, and has no place for users in that. The broker takes a
            // user once in a request.
            let at = format!("localhost:{}", place.own.unwrap_or(place.port));
            for password in secured.scram_passwords() {
                let tool = ["/opt/kafka/bin/kafka-configs.sh", "--bootstrap-server", &at, "--alter"];
                let user = ["--entity-type", "users", "--entity-name", &secured.username, "--add-config", &password];
                let command = tool.iter().chain(&user).map(|&word| word.to_owned()).collect();
                container.run(command).context("cannot add Kafka's users")?;
            }
        }
        let (settings, brokers) = (Settings::Container { container, place, properties }, format!("127.0.0.1:{port}"));
        Ok(Kafka { server, mock: None, settings, classes: None, secured, brokers, dir: None })
    }

    pub fn brokers(&self) -> &str {
        &self.brokers
    }

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
        match &self.settings {
            Settings::File(config) => {
                let properties = fs::read_to_string(config).context("cannot read kafka.properties")?;
                let properties = with_listeners(&properties, "127.0.0.1", &listeners);
                fs::write(config, properties).context("cannot write kafka.properties")?;
            }
            Settings::Container { container, place, properties } => container.change(|plan| {
                plan.env = environment(&with_listeners(properties, place.address, &listeners));
                plan.ports.extend(listeners.iter().map(|(port, _)| (*port, *port)));
            }),
            Settings::None => {}
        }
        self.server.restart()?;
        Ok(proxies)
    }

    /// Gives the broker these settings, over those that it has, and starts it anew.
    ///
    /// # Errors
    /// The mock has none; and the real one may not come back.
    pub fn set(&self, changes: &[(&str, &str)]) -> anyhow::Result<()> {
        ensure!(self.is_real(), NO_PROCESS);
        match &self.settings {
            Settings::File(config) => {
                let properties = fs::read_to_string(config).context("cannot read kafka.properties")?;
                fs::write(config, changed(&properties, changes)).context("cannot write kafka.properties")?;
            }
            Settings::Container { container, properties, .. } => {
                container.change(|plan| plan.env = environment(&changed(properties, changes)));
            }
            Settings::None => {}
        }
        self.server.restart()
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

    /// Where it is the first broker that saves its classes, does so now, by a restart: those that come while it
    /// runs start in half the time.
    pub(crate) fn hand_classes_on(&self) -> anyhow::Result<()> {
        if self.classes.as_ref().is_none_or(|(_, archive)| archive.exists()) {
            return Ok(());
        }
        self.server.stop()?;
        self.keep_classes();
        self.server.start()
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

/// Where a broker's settings are, to be changed while it is stopped.
#[derive(Debug)]
enum Settings {
    File(PathBuf),
    Container { container: Arc<Container>, place: Place, properties: String },
    None,
}

/// Whether the mock was asked for: `DEVSTACK_KAFKA=mock`.
pub(crate) fn mock_is_wanted() -> bool {
    std::env::var("DEVSTACK_KAFKA").is_ok_and(|kafka| kafka == "mock")
}

/// Why Kafka is the mock, where it is.
pub(crate) fn mocked() -> Option<&'static str> {
    match are_containers() {
        _ if mock_is_wanted() => Some("DEVSTACK_KAFKA=mock"),
        Ok(false) => obstacle(),
        // Where there is no telling, there is no broker.
        Ok(true) | Err(_) => None,
    }
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
        command.arg(HEAP).args(JVM);
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
