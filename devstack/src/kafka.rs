//! Apache Kafka: one node of the real one, as a process or a container, or librdkafka's in-process
//! broker where neither can be had.

mod java;
mod mock;
mod secured;

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

#[cfg(test)]
pub(crate) use self::java::kafka_version as version;
pub(crate) use self::java::obstacle;
pub use self::secured::Secured;
use crate::child::Child;
use crate::container::{self, Container, Plan};
use crate::engine::engine;
use crate::server::{Body, Recipe, Server, last_lines};
use crate::servers::are_containers;
use crate::{Proxy, port, spawn};

/// No pauses for a large heap, no compiler that works for later at the cost of now.
const HEAP: &str = "-Xmx512m";
const JVM: [&str; 3] = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData"];
/// An id for the cluster: 16 bytes in base 64, any.
const CLUSTER: &str = "ZGV2c3RhY2stY2x1c3Rlcg";
/// The settings that are the same in every stack.
const FIXED: &str = include_str!("../kafka/server.properties");

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
    settings: Settings,
    /// Where this one saves its classes at its end, and where the next ones look for them.
    classes: Option<(PathBuf, PathBuf)>,
}

impl Kafka {
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
            });
        }
        let secured = secured.map(|password| Secured::prepare(dir, password)).transpose()?;
        if are_containers()? {
            Kafka::start_container(dir, port, secured)
        } else {
            Kafka::start_process(dir, port, secured)
        }
    }

    fn start_process(dir: &Path, port: u16, secured: Option<Secured>) -> anyhow::Result<Kafka> {
        let jvm = Jvm::new(dir)?;
        let config = dir.join("kafka.properties");
        let place = Place { address: "127.0.0.1", port, controller: port::free(), own: None };
        let keystore = secured.as_ref().map(Secured::keystore);
        let properties = place.properties(port, &dir.join("kafka"), secured.as_ref().zip(keystore));
        fs::write(&config, properties).context("cannot write kafka.properties")?;
        let log = dir.join("kafka.log");
        let classes = jvm.archive_to.clone().map(|from| (from, jvm.archive.clone()));

        let mut format = jvm.command("kafka.tools.StorageTool", false);
        format.args(["format", "-t", CLUSTER, "-c"]);
        format.arg(&config).args(secured.iter().flat_map(Secured::scram_users));
        let formatted = spawn::background(format, &log)?.wait(Duration::from_secs(60))?;
        if !formatted.is_some_and(|status| status.success()) {
            bail!("Kafka's storage cannot be formatted:\n{}", last_lines(&log, 15));
        }

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
        Ok(Kafka { server, mock: None, settings: Settings::File(config), classes, secured, brokers })
    }

    fn start_container(dir: &Path, port: u16, secured: Option<Secured>) -> anyhow::Result<Kafka> {
        let place = Place::in_container(port)?;
        let mut plan = Plan::of(container::KAFKA);
        plan.ports.push((port, place.port));
        let keystore = Path::new("/etc/kafka/secrets/keystore.pem");
        if let Some(secured) = &secured {
            plan.ports.push((secured.port, secured.port));
            plan.files.push(("/etc/kafka/secrets/keystore.pem", fs::read(secured.keystore())?));
        }
        let data = Path::new("/var/lib/kafka/data");
        let properties = place.properties(port, data, secured.as_ref().map(|secured| (secured, keystore)));
        plan.env = environment(&properties);
        let container = Arc::new(Container::new(plan));
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
                let user = ["--entity-type", "users", "--entity-name", secured.username, "--add-config", &password];
                let command = tool.iter().chain(&user).map(|&word| word.to_owned()).collect();
                container.run(command).context("cannot add Kafka's users")?;
            }
        }
        let (settings, brokers) = (Settings::Container { container, place, properties }, format!("127.0.0.1:{port}"));
        Ok(Kafka { server, mock: None, settings, classes: None, secured, brokers })
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

/// Where a broker's settings are, to be changed while it is stopped.
#[derive(Debug)]
enum Settings {
    File(PathBuf),
    Container { container: Arc<Container>, place: Place, properties: String },
    None,
}

/// Where a broker listens.
#[derive(Debug)]
struct Place {
    /// Without one, everywhere.
    address: &'static str,
    port: u16,
    controller: u16,
    /// For itself and the tools beside it, where the address that it tells the others leads nowhere.
    own: Option<u16>,
}

impl Place {
    /// On the host, or at the image's own port.
    fn in_container(port: u16) -> anyhow::Result<Place> {
        Ok(if engine()?.on_host {
            Place { address: "127.0.0.1", port, controller: port::free(), own: None }
        } else {
            Place { address: "", port: 9092, controller: 29_093, own: Some(19_092) }
        })
    }

    /// The broker's settings: the fixed ones, and this stack's own. `port` is where others find it.
    fn properties(&self, port: u16, data: &Path, secured: Option<(&Secured, &Path)>) -> String {
        let Place { address, port: inside, controller, own } = self;
        let (mut listeners, mut advertised) = (String::new(), String::new());
        let mut more = String::new();
        if let Some((secured, keystore)) = secured {
            listeners.push_str(&format!(",{}", secured.listener(address)));
            advertised.push_str(&format!(",{}", secured.advertised()));
            more.push_str(&secured.properties(keystore));
        }
        if let Some(own) = own {
            listeners.push_str(&format!(",OWN://{address}:{own}"));
            advertised.push_str(&format!(",OWN://localhost:{own}"));
            more.push_str("inter.broker.listener.name=OWN\n");
        }
        format!(
            "{FIXED}\
             listeners=PLAINTEXT://{address}:{inside},CONTROLLER://{address}:{controller}{listeners}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{port}{advertised}\n\
             controller.quorum.voters=1@127.0.0.1:{controller}\n\
             log.dirs={data}\n\
             {more}",
            data = data.display()
        )
    }
}

/// What the image takes: the settings of a broker, each in a variable, and those of its Java.
fn environment(properties: &str) -> Vec<(String, String)> {
    let more = std::env::var("DEVSTACK_JAVA_OPTS").unwrap_or_default();
    let java = [("CLUSTER_ID", CLUSTER.to_owned()), ("KAFKA_HEAP_OPTS", HEAP.to_owned())]
        .into_iter()
        .chain([("KAFKA_JVM_PERFORMANCE_OPTS", format!("{} {more}", JVM.join(" ")))])
        .map(|(name, value)| (name.to_owned(), value));
    let settings = properties.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('='));
    let variable = |setting: &str| setting.to_uppercase().replace('_', "__").replace('-', "___").replace('.', "_");
    java.chain(settings.map(|(name, value)| (format!("KAFKA_{}", variable(name)), value.to_owned()))).collect()
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

/// These settings with more listeners: where each listens, and where it says that it does.
fn with_listeners(properties: &str, address: &str, listeners: &[(u16, u16)]) -> String {
    let each = |text: &dyn Fn(usize, u16, u16) -> String| -> String {
        listeners.iter().enumerate().map(|(n, (port, advertised))| text(n, *port, *advertised)).collect()
    };
    let mut text = String::new();
    for line in properties.lines() {
        text.push_str(line);
        match line.split_once('=').map(|(name, _)| name) {
            Some("listeners") => text.push_str(&each(&|n, port, _| format!(",PROXY{n}://{address}:{port}"))),
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
    use super::{environment, with_listeners};

    #[test]
    fn the_image_gives_each_setting_its_name_back() {
        let properties = "# none\nlog.dirs=/x\nlistener.name.secured.scram-sha-256.sasl.jaas.config=a b=\"c\";\n";
        let variables: Vec<_> = environment(properties)
            .into_iter()
            .filter(|(name, _)| name.contains("DIRS") || name.contains("LISTENER"))
            .collect();
        let jaas = "KAFKA_LISTENER_NAME_SECURED_SCRAM___SHA___256_SASL_JAAS_CONFIG";
        let expected = [("KAFKA_LOG_DIRS", "/x"), (jaas, "a b=\"c\";")];
        assert_eq!(variables, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

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
        assert_eq!(with_listeners(before, "127.0.0.1", &[(2, 3), (4, 5)]), after);
    }
}
