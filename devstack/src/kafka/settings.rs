//! A broker's settings.

use std::path::Path;

use super::Secured;

const FIXED: &str = include_str!("../../kafka/server.properties");

/// The broker's node in its cluster, and its ports.
#[derive(Debug)]
pub(crate) struct Place {
    /// Node 1 is also the controller.
    pub(crate) id: usize,
    pub(crate) port: u16,
    pub(crate) controller: u16,
}

impl Place {
    /// The broker's settings: the fixed ones and this stack's.
    pub(crate) fn properties(&self, data: &Path, secured: Option<&Secured>) -> String {
        let Place { id, port, controller } = self;
        let (mut listeners, mut advertised) = (String::new(), String::new());
        let mut roles = "broker";
        if *id == 1 {
            roles = "broker,controller";
            listeners.push_str(&format!(",CONTROLLER://127.0.0.1:{controller}"));
        }
        let mut more = String::new();
        if let Some(secured) = secured {
            let (port, mutual) = (secured.port, secured.mutual_port);
            listeners.push_str(&format!(",SECURED://127.0.0.1:{port},MUTUAL://127.0.0.1:{mutual}"));
            advertised.push_str(&format!(",SECURED://{},MUTUAL://{}", secured.brokers(), secured.mutual_brokers()));
            more.push_str(&secured.properties());
        }
        format!(
            "{FIXED}\
             process.roles={roles}\n\
             node.id={id}\n\
             listeners=PLAINTEXT://127.0.0.1:{port}{listeners}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{port}{advertised}\n\
             controller.quorum.voters=1@127.0.0.1:{controller}\n\
             log.dirs={data}\n\
             {more}",
            data = data.display()
        )
    }
}

/// These settings with more listeners, each with its port and its advertised port.
pub(super) fn with_listeners(properties: &str, listeners: &[(u16, u16)]) -> String {
    let each = |text: &dyn Fn(usize, u16, u16) -> String| -> String {
        listeners.iter().enumerate().map(|(n, (port, advertised))| text(n, *port, *advertised)).collect()
    };
    let more = [
        ("listeners", each(&|n, port, _| format!(",PROXY{n}://127.0.0.1:{port}"))),
        ("advertised.listeners", each(&|n, _, advertised| format!(",PROXY{n}://127.0.0.1:{advertised}"))),
        ("listener.security.protocol.map", each(&|n, _, _| format!(",PROXY{n}:PLAINTEXT"))),
    ];
    let line = |line: &str| {
        let more = more.iter().find(|(name, _)| line.split('=').next() == Some(name));
        format!("{line}{}\n", more.map_or("", |(_, more)| more))
    };
    properties.lines().map(line).collect()
}

pub(super) fn changed(properties: &str, changes: &[(&str, &str)]) -> String {
    let is_kept =
        |line: &&str| !line.split_once('=').is_some_and(|(name, _)| changes.iter().any(|(new, _)| *new == name));
    let kept = properties.lines().filter(is_kept).map(|line| format!("{line}\n"));
    kept.chain(changes.iter().map(|(name, value)| format!("{name}={value}\n"))).collect()
}
