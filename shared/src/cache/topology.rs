//! A single node or a cluster.

use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use redis::{
    Client, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo, ServerErrorKind, TlsCertificates, Value,
};
use tokio::time::Instant;

use super::Kind;
use super::cluster::{Cluster, Moving};
use super::effects::Effects;
use super::node::{CommandFailure, Node};
use super::scripts::Call;
use crate::cache::RedisConfig;
use crate::runtime::config::authorities;

/// The servers that hold the keys.
#[derive(Clone)]
pub(super) enum Servers {
    One(Node),
    Cluster(Arc<Cluster>),
}

const TLS_CA: &str = "REDIS_TLS_CA";

/// The same server, with the certificate authorities to trust; the system's if `trusted` is `None`. Verification cannot
/// be turned off.
fn verified(info: ConnectionInfo, trusted: Option<&str>) -> anyhow::Result<ConnectionInfo> {
    match (info.addr(), trusted) {
        (ConnectionAddr::TcpTls { insecure: true, .. }, _) => {
            bail!("REDIS_URL must not end with #insecure: certificates are always verified ({TLS_CA} names others)")
        }
        (ConnectionAddr::TcpTls { .. }, Some(pem)) => {
            let certificates = TlsCertificates { client_tls: None, root_cert: Some(pem.as_bytes().to_vec()) };
            let client = Client::build_with_tls(info, certificates).with_context(|| format!("{TLS_CA} is not PEM"))?;
            Ok(client.get_connection_info().clone())
        }
        (_, Some(_)) => bail!("{TLS_CA} needs a REDIS_URL that begins with rediss://: another one has no TLS"),
        (_, None) => Ok(info),
    }
}

/// A key that never exists: no resource's key contains a brace. It has the prefix of the first kind, so that a user with
/// the permission for that prefix may use it.
pub(super) fn absent_key(prefix: &str, kinds: &[&Kind]) -> String {
    let kind = kinds.first().map(|kind| kind.prefix).unwrap_or_default();
    format!("{prefix}{kind}{{absent}}")
}

impl Servers {
    pub(super) fn open(config: &RedisConfig, absent_key: &str, effects: &'static Effects) -> anyhow::Result<Self> {
        // The parser's error could quote a password.
        let wrong = "REDIS_URL is not a Redis URL";
        let trusted = config.tls_ca.as_deref().map(|value| authorities(TLS_CA, value)).transpose()?;
        let info = |url: &str| -> anyhow::Result<ConnectionInfo> {
            verified(url.into_connection_info().ok().context(wrong)?, trusted.as_deref())
        };
        if !config.cluster {
            let node = Node::open(info(config.url.expose())?, usize::MAX, Some(absent_key.into()), effects);
            return Ok(Self::One(node.ok().context(wrong)?));
        }
        // A brace would decide the slot: a key and its mark could be on different nodes.
        ensure!(!config.key_prefix().contains(['{', '}']), "CACHE_KEY_PREFIX must not hold a brace in a cluster");
        let seeds: Vec<_> =
            config.url.expose().split(',').map(|url| info(url.trim())).collect::<anyhow::Result<_>>()?;
        ensure!(!seeds.iter().any(|seed| matches!(seed.addr(), ConnectionAddr::Unix(_))), wrong);
        Ok(Self::Cluster(Cluster::open(seeds, effects)))
    }

    /// Connects this core, too. The nodes of a cluster are connected when a command needs them.
    pub(super) fn attend(&self) {
        if let Self::One(node) = self {
            node.attend();
        }
    }

    /// Whether keys are on different nodes: then a command may have only one key.
    pub(super) const fn is_cluster(&self) -> bool {
        matches!(self, Self::Cluster(_))
    }

    /// Sends one command about a key to the key's node, within the deadline; fails at once while that node's breaker is
    /// open.
    pub(super) async fn ask(&self, key: &[u8], command: &Cmd, until: Instant) -> Result<Value, CommandFailure> {
        match self {
            Self::One(node) => node.ask(command, until).await,
            Self::Cluster(cluster) => cluster.ask(key, command, Moving::Follow, until).await,
        }
    }

    /// Runs a script, as [`Self::ask`] sends a command.
    pub(super) async fn run(&self, call: &Call, until: Instant) -> Result<Value, CommandFailure> {
        match self.ask(call.first_key(), &call.by_hash(), until).await {
            Err(failure) if is_unknown_script(&failure) => self.ask(call.first_key(), &call.in_full(), until).await,
            answer => answer,
        }
    }

    /// The same, but fails for a key that is absent in a slot that is being moved to another node of a cluster: that
    /// it is absent on both says nothing about what the first one may have forgotten.
    pub(super) async fn run_at_owner(&self, call: &Call, until: Instant) -> Result<Value, CommandFailure> {
        let Self::Cluster(cluster) = self else { return self.run(call, until).await };
        let ask = async |command: Cmd| cluster.ask(call.first_key(), &command, Moving::Refuse, until).await;
        match ask(call.by_hash()).await {
            Err(failure) if is_unknown_script(&failure) => ask(call.in_full()).await,
            answer => answer,
        }
    }

    /// Whether the node of a key answers, as far as is known.
    pub(super) fn is_well(&self, key: &[u8]) -> bool {
        match self {
            Self::One(node) => node.is_well(),
            Self::Cluster(cluster) => cluster.is_well(key),
        }
    }

    /// Whether a command about a key could succeed now.
    pub(super) fn may_be_asked(&self, key: &[u8]) -> bool {
        match self {
            Self::One(node) => node.may_be_asked(),
            Self::Cluster(cluster) => cluster.may_be_asked(key),
        }
    }

    /// Every node that has keys; or why a cluster's nodes are not known.
    pub(super) async fn nodes(&self, until: Instant) -> Result<Vec<Node>, String> {
        match self {
            Self::One(node) => Ok(vec![node.clone()]),
            Self::Cluster(cluster) => cluster.nodes(until).await,
        }
    }
}

fn is_unknown_script(failure: &CommandFailure) -> bool {
    let unknown = ErrorKind::Server(ServerErrorKind::NoScript);
    matches!(failure, CommandFailure::Answered(error) if error.kind() == unknown)
}
