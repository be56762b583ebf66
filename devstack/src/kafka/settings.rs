//! A broker's settings: as a file for a process, as variables for a container.

use std::path::Path;

use super::{CLUSTER, HEAP, JVM, Secured};
use crate::container::engine;
use crate::port;

const FIXED: &str = include_str!("../../kafka/server.properties");

/// Which node of its cluster a broker is, and where it listens.
#[derive(Debug)]
pub(super) struct Place {
    /// The first is the controller, too.
    pub(super) id: usize,
    /// Without one, everywhere.
    pub(super) address: &'static str,
    pub(super) port: u16,
    pub(super) controller: u16,
    /// For itself and the tools beside it, where the address that it tells the others leads nowhere.
    pub(super) own: Option<u16>,
}

impl Place {
    /// On the host, or at the image's own port.
    pub(super) fn in_container(port: u16) -> anyhow::Result<Place> {
        Ok(if engine()?.on_host {
            Place { id: 1, address: "127.0.0.1", port, controller: port::free(), own: None }
        } else {
            Place { id: 1, address: "", port: 9092, controller: 29_093, own: Some(19_092) }
        })
    }

    /// The broker's settings: the fixed ones, and this stack's own. `port` is where others find it.
    pub(super) fn properties(&self, port: u16, data: &Path, secured: Option<(&Secured, &Path)>) -> String {
        let Place { id, address, port: inside, controller, own } = self;
        let (mut listeners, mut advertised) = (String::new(), String::new());
        let mut roles = "broker";
        if *id == 1 {
            roles = "broker,controller";
            listeners.push_str(&format!(",CONTROLLER://{address}:{controller}"));
        }
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
             process.roles={roles}\n\
             node.id={id}\n\
             listeners=PLAINTEXT://{address}:{inside}{listeners}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{port}{advertised}\n\
             controller.quorum.voters=1@127.0.0.1:{controller}\n\
             log.dirs={data}\n\
             {more}",
            data = data.display()
        )
    }
}

/// What the image takes: the settings of a broker, each in a variable, and those of its Java.
pub(super) fn environment(properties: &str) -> Vec<(String, String)> {
    let more = std::env::var("DEVSTACK_JAVA_OPTS").unwrap_or_default();
    let java = [("CLUSTER_ID", CLUSTER.to_owned()), ("KAFKA_HEAP_OPTS", HEAP.to_owned())]
        .into_iter()
        .chain([("KAFKA_JVM_PERFORMANCE_OPTS", format!("{} {more}", JVM.join(" ")))])
        .map(|(name, value)| (name.to_owned(), value));
    let settings = properties.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('='));
    let variable = |setting: &str| setting.to_uppercase().replace('_', "__").replace('-', "___").replace('.', "_");
    java.chain(settings.map(|(name, value)| (format!("KAFKA_{}", variable(name)), value.to_owned()))).collect()
}

/// These settings with more listeners: where each listens, and where it says that it does.
pub(super) fn with_listeners(properties: &str, address: &str, listeners: &[(u16, u16)]) -> String {
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

/// These settings with others in place of some.
pub(super) fn changed(properties: &str, changes: &[(&str, &str)]) -> String {
    let is_kept =
        |line: &&str| !line.split_once('=').is_some_and(|(name, _)| changes.iter().any(|(new, _)| *new == name));
    let kept = properties.lines().filter(is_kept).map(|line| format!("{line}\n"));
    kept.chain(changes.iter().map(|(name, value)| format!("{name}={value}\n"))).collect()
}

#[cfg(test)]
mod tests {
    use super::{changed, environment, with_listeners};

    #[test]
    fn a_setting_is_changed_once() {
        assert_eq!(changed("# a=0\na=1\nab=2\n", &[("a", "3"), ("c", "4")]), "# a=0\nab=2\na=3\nc=4\n");
    }

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
