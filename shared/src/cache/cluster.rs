//! A Redis Cluster: the map of slots to nodes, and how it is refreshed when it changes.
//!
//! Each node has its own connection and its own breaker: if one is away, only its keys are affected. The map of slots
//! is read in the background; a command waits for it only if no node is known for its key (see
//! docs/adr/0006-nodes-of-a-cluster.md).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;
use redis::cluster_routing::Slot;
use redis::{Cmd, ConnectionAddr, ConnectionInfo, ErrorKind, FromRedisValue, RedisError, ServerErrorKind, Value};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

use super::breaker::breaker;
use super::diagnosis::Diagnosis;
use super::effects::Effects;
use super::node::{CommandFailure, Node};
use crate::runtime::breaker::Breaker;

/// The most redirections that a command follows.
const HOPS: usize = 3;
/// How long a node may take to answer `CLUSTER SLOTS`.
const TELL_SLOTS: Duration = Duration::from_secs(1);
/// The least time between two reads of the map.
const PAUSE: Duration = Duration::from_millis(500);
/// Attempts to connect in a row. They end, because a node may have left for good.
const TRIES: usize = 10;

/// `host`, `port`.
type Address = (String, u16);
type Owners = HashMap<Slot, Node>;

/// What to do about a key that is absent in a slot that is being moved: the new node may have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moving {
    /// Ask the new node.
    Follow,
    /// Fail.
    Refuse,
}

pub(super) struct Cluster {
    seeds: Vec<ConnectionInfo>,
    nodes: Mutex<HashMap<Address, Node>>,
    owners: watch::Sender<Arc<Owners>>,
    refreshing: AtomicBool,
    /// The breaker for keys whose node is not known.
    lost: Breaker,
    /// The log has reported that a key's node is not known, but not yet the reason.
    reason_is_due: AtomicBool,
    effects: &'static Effects,
}

/// Why the map of slots could not be read.
struct NoSlots {
    why: String,
    /// False if there was only a timeout.
    is_reason: bool,
}

/// The first slot, the last slot, and their node.
type Range = (u16, u16, Address);

impl Cluster {
    /// The first command reads the map of slots.
    pub(super) fn open(seeds: Vec<ConnectionInfo>, effects: &'static Effects) -> Arc<Self> {
        Arc::new(Self {
            seeds,
            nodes: Mutex::default(),
            owners: watch::Sender::default(),
            refreshing: AtomicBool::new(false),
            lost: breaker(),
            reason_is_due: AtomicBool::new(false),
            effects,
        })
    }

    pub(super) fn is_well(&self, key: &[u8]) -> bool {
        self.owner(key).map_or_else(|| self.lost.is_closed(), |node| node.is_well())
    }

    pub(super) fn may_be_asked(&self, key: &[u8]) -> bool {
        self.owner(key).map_or_else(|| self.lost.is_due(), |node| node.may_be_asked())
    }

    /// The node of a key, as far as is known. Always a primary: a replica lags behind.
    fn owner(&self, key: &[u8]) -> Option<Node> {
        self.owners.borrow().get(&Slot::for_key(key)).cloned()
    }

    /// Sends one command about a key to the key's node, and follows redirections.
    pub(super) async fn ask(
        self: &Arc<Self>,
        key: &[u8],
        command: &Cmd,
        moving: Moving,
        until: Instant,
    ) -> Result<Value, CommandFailure> {
        let mut node = match self.owner(key) {
            Some(node) => node,
            None => self.wait_for_owner(key, until).await?,
        };
        let mut ahead = false;
        for _ in 0..HOPS {
            let answer = if ahead { node.ask_ahead(command, until).await } else { node.ask(command, until).await };
            let error = match answer {
                Err(CommandFailure::Answered(error)) => error,
                Err(failure) => {
                    // Another node may have taken its slots.
                    self.refresh_soon();
                    return Err(failure);
                }
                Ok(answer) => return Ok(answer),
            };
            match error.kind() {
                ErrorKind::Server(ServerErrorKind::Ask) if moving == Moving::Refuse => {
                    return Err(CommandFailure::Away);
                }
                ErrorKind::Server(ServerErrorKind::Ask) => ahead = true,
                ErrorKind::Server(ServerErrorKind::Moved) => {
                    ahead = false;
                    self.refresh_soon();
                }
                _ => return Err(CommandFailure::Answered(error)),
            }
            node = self.redirected(&error, &node).ok_or(CommandFailure::Away)?;
        }
        Err(CommandFailure::Away)
    }

    /// Reads the map now, and returns every node that has slots, or why none is known.
    pub(super) async fn nodes(&self, until: Instant) -> Result<Vec<Node>, String> {
        match timeout_at(until, self.refresh()).await {
            Ok(looked) => looked.map_err(|no_slots| no_slots.why)?,
            Err(_) => return Err(self.diagnosis().await.why),
        }
        let mut seen = HashSet::new();
        Ok(self.owners.borrow().values().filter(|node| seen.insert(node.name())).cloned().collect())
    }

    async fn wait_for_owner(self: &Arc<Self>, key: &[u8], until: Instant) -> Result<Node, CommandFailure> {
        if !self.lost.allows() {
            return Err(CommandFailure::Away);
        }
        let (slot, mut owners) = (Slot::for_key(key), self.owners.subscribe());
        self.refresh_soon();
        let found = match timeout_at(until, owners.wait_for(|owners| owners.contains_key(&slot))).await {
            Ok(Ok(owners)) => owners.get(&slot).cloned(),
            _ => None,
        };
        match found {
            Some(node) => {
                self.lost.succeeded();
                Ok(node)
            }
            None => {
                self.is_lost();
                Err(CommandFailure::Away)
            }
        }
    }

    /// No node is known for a key. The log reports this once, with the reason. If the reason was not found in time,
    /// each failing command looks for it again.
    fn is_lost(self: &Arc<Self>) {
        let is_new = self.lost.failed();
        let is_looked_for_again = || !self.lost.is_closed() && self.reason_is_due.swap(false, Ordering::Relaxed);
        if !is_new && !is_looked_for_again() {
            return;
        }
        let cluster = Arc::clone(self);
        // The command that failed does not wait for this.
        tokio::spawn(async move {
            let found = cluster.refresh().await.err();
            let has_reason = found.as_ref().is_some_and(|no_slots| no_slots.is_reason);
            cluster.reason_is_due.store(found.is_some() && !has_reason, Ordering::Relaxed);
            if !is_new && !has_reason {
                return;
            }
            let error = found.map_or_else(|| "no node that answers names one".to_owned(), |no_slots| no_slots.why);
            tracing::warn!(error, "no node of the Redis cluster is known for a key: {}", cluster.effects.away);
        });
    }

    /// The node that a redirection names. Without a host it means another port of the same host.
    fn redirected(&self, error: &RedisError, from: &Node) -> Option<Node> {
        let (host, port) = error.redirect_node()?.0.rsplit_once(':')?;
        let port = port.parse().ok()?;
        let host = if host.is_empty() { from.host() } else { host.to_owned() };
        self.node((host, port))
    }

    /// Reads the map again, in the background, at most once in [`PAUSE`].
    fn refresh_soon(self: &Arc<Self>) {
        if self.refreshing.swap(true, Ordering::Relaxed) {
            return;
        }
        let cluster = Arc::clone(self);
        tokio::spawn(async move {
            // A failure is reported by `nodes`, and by `is_lost`.
            let _ = cluster.refresh().await;
            sleep(PAUSE).await;
            cluster.refreshing.store(false, Ordering::Relaxed);
        });
    }

    /// Asks every node for the map, and takes the first one. If that is out of date, redirections correct it.
    async fn refresh(&self) -> Result<(), NoSlots> {
        for seed in &self.seeds {
            if let ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } = seed.addr() {
                self.node((host.clone(), *port));
            }
        }
        let everyone: Vec<_> = self.nodes.lock().values().cloned().collect();
        let until = Instant::now() + TELL_SLOTS;
        let ask = |node: Node| async move {
            let answer = node.ask_anyway(redis::cmd("CLUSTER").arg("SLOTS"), until).await;
            (node, answer)
        };
        let mut answers: FuturesUnordered<_> = everyone.into_iter().map(ask).collect();
        let mut said = None;
        while let Some((node, answer)) = answers.next().await {
            let why = match answer {
                Ok(answer) => match ranges(answer, &node.host()) {
                    Some(ranges) => {
                        self.believe(&ranges);
                        return Ok(());
                    }
                    None => "it knows of no slots".to_owned(),
                },
                Err(CommandFailure::Answered(error)) if !error.is_io_error() => {
                    format!("{error} (REDIS_CLUSTER is true)")
                }
                Err(_) => continue,
            };
            said.get_or_insert(format!("Redis at {}: {why}", node.name()));
        }
        // No node answered: a new connection may tell why.
        match said {
            Some(why) => Err(NoSlots { why, is_reason: true }),
            None => Err(self.diagnosis().await),
        }
    }

    /// Why the first node that is known does not answer.
    async fn diagnosis(&self) -> NoSlots {
        let first = self.nodes.lock().values().min_by(|a, b| a.name().cmp(b.name())).cloned();
        let Some(node) = first else { return NoSlots { why: "no node is known".to_owned(), is_reason: true } };
        let found = node.diagnosis().await;
        let is_reason = !matches!(found, Diagnosis::Unknown(_));
        NoSlots { why: format!("Redis at {}: {}", node.name(), found.words()), is_reason }
    }

    fn believe(&self, ranges: &[Range]) {
        let mut owners = Owners::new();
        for (from, to, address) in ranges {
            let Some(node) = self.node(address.clone()) else { continue };
            owners.extend((*from..=*to).filter_map(Slot::new).map(|slot| (slot, node.clone())));
        }
        self.owners.send_replace(Arc::new(owners));
        // Nodes without slots are dropped.
        let seeds: HashSet<_> = self.seeds.iter().map(|seed| seed.addr().to_string()).collect();
        let named: HashSet<_> = ranges.iter().map(|(_, _, address)| address).collect();
        self.nodes.lock().retain(|address, node| named.contains(address) || seeds.contains(node.name()));
    }

    /// The node of an address, with the credentials of the first seed.
    fn node(&self, address: Address) -> Option<Node> {
        let mut nodes = self.nodes.lock();
        if let Some(node) = nodes.get(&address) {
            return Some(node.clone());
        }
        let seed = self.seeds.first()?;
        let (host, port) = address.clone();
        let place = match seed.addr().clone() {
            ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
                ConnectionAddr::TcpTls { host, port, insecure, tls_params }
            }
            _ => ConnectionAddr::Tcp(host, port),
        };
        let node = Node::open(seed.clone().set_addr(place), TRIES, None, self.effects).ok()?;
        nodes.insert(address, node.clone());
        Some(node)
    }
}

/// Parses the answer of `CLUSTER SLOTS`: ranges, each with its primary first. An empty host means the node that was
/// asked.
fn ranges(answer: Value, asked: &str) -> Option<Vec<Range>> {
    let told: Vec<Vec<Value>> = FromRedisValue::from_redis_value(answer).ok()?;
    let mut found = Vec::with_capacity(told.len());
    for range in told {
        let mut parts = range.into_iter();
        let from = FromRedisValue::from_redis_value(parts.next()?).ok()?;
        let to = FromRedisValue::from_redis_value(parts.next()?).ok()?;
        let primary: Vec<Value> = FromRedisValue::from_redis_value(parts.next()?).ok()?;
        let mut primary = primary.into_iter();
        let host: Option<String> = FromRedisValue::from_redis_value(primary.next()?).ok()?;
        let port = FromRedisValue::from_redis_value(primary.next()?).ok()?;
        match host.as_deref() {
            // The asked node does not know the host.
            Some("?") => {}
            None | Some("") => found.push((from, to, (asked.to_owned(), port))),
            Some(host) => found.push((from, to, (host.to_owned(), port))),
        }
    }
    (!found.is_empty()).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn range(from: i64, to: i64, host: Value, port: i64) -> Value {
        let primary = Value::Array(vec![host, Value::Int(port), text("id"), Value::Array(Vec::new())]);
        let replica = Value::Array(vec![text("replica"), Value::Int(1), text("id")]);
        Value::Array(vec![Value::Int(from), Value::Int(to), primary, replica])
    }

    #[test]
    fn the_primary_of_each_range_has_it() {
        let answer = Value::Array(vec![
            range(0, 9, text("10.0.0.1"), 6379),
            range(10, 10, text(""), 6380),
            range(11, 12, Value::Nil, 6381),
            range(13, 16383, text("?"), 6382),
        ]);
        let expected = vec![
            (0, 9, ("10.0.0.1".to_owned(), 6379)),
            (10, 10, ("asked".to_owned(), 6380)),
            (11, 12, ("asked".to_owned(), 6381)),
        ];
        assert_eq!(ranges(answer, "asked"), Some(expected));
        assert_eq!(ranges(Value::Array(Vec::new()), "asked"), None, "a node that knows nothing yet");
        assert_eq!(ranges(Value::Okay, "asked"), None);
        assert_eq!(ranges(Value::Array(vec![Value::Array(vec![Value::Int(1)])]), "asked"), None);
    }
}
