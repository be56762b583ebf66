//! Bounded sets of ids in Redis: each set has at most so many ids, an id that is added twice counts once, and who added
//! an id may release it again.
//!
//! A Redis may have forgotten sets: after a restart, a failover to a replica that lagged behind, an eviction, a flush.
//! Between two of these it has one **incarnation**. Every incarnation that may answer is noted beforehand, in a place
//! that forgets nothing, with a serial and the time when it was first seen. Each script compares the incarnation that
//! runs it with the noted ones, in the same atomic step in which it reads and changes sets, so no answer comes from an
//! incarnation that nobody has compared. A set is known if it has the serial of the incarnation that answers, or of an
//! earlier one that ended only because other keys were evicted; or if it is absent and cannot have had ids before this
//! incarnation was first seen. Any other set is unknown, until it is filled with the ids that are known from elsewhere.
//!
//! An incarnation that is over never comes back, even if its text does: `CONFIG RESETSTAT` sets the number of evicted keys
//! to 0, which shows in the number of processed commands.
//!
//! What this cannot see: commands that delete single keys, in a cluster also those that delete all keys of a node, and
//! evictions before a `CONFIG RESETSTAT` if nobody asks until as many commands have been processed as before it.

mod find;
mod queue;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::future::join_all;
use futures_util::{StreamExt as _, stream};
use parking_lot::Mutex;
use redis::{FromRedisValue as _, Value};
use time::OffsetDateTime;
use tokio::sync::Notify;
use tokio::time::Instant;

pub use self::find::Found;
use self::queue::Queue;
use super::effects::ID_SETS;
use super::node::Node;
use super::scripts::{self, Call};
use super::topology::Servers;
use super::{RedisConfig, millis};
use crate::kafka::ids::{EventId, percent_encoded};
use crate::runtime::sabotage::makes;

/// The most ids in one call of a script on a single node.
const MOST_IDS: usize = 256;
/// Calls under way at once to a cluster, for one request: each is about one set.
const CONCURRENCY: usize = 64;
/// The timeout of the question for incarnations.
const ASK_INCARNATION: Duration = Duration::from_secs(1);
/// The timeout for deleting a set, which an operator waits for.
const DELETE: Duration = Duration::from_secs(5);

/// Sets of ids. Clones share the connections.
#[derive(Clone)]
pub struct IdSets(Arc<Inner>);

struct Inner {
    servers: Servers,
    /// Before the name of each set.
    prefix: String,
    /// A key that is there as long as nobody deletes all keys; `None` in a cluster.
    mark: Option<String>,
    timeout: Duration,
    noted: ArcSwap<Vec<(String, Incarnation)>>,
    /// An incarnation answered that is not noted.
    changed: Notify,
    queue: Mutex<Queue>,
}

/// What is noted of an incarnation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Incarnation {
    /// Its number.
    pub serial: i64,
    /// When it was first seen. No id was added in it before.
    pub seen_at: OffsetDateTime,
    /// How many commands its server had processed when it was met last. If there were fewer, its counters would have
    /// begun anew, and it would be another incarnation.
    pub commands: u64,
}

/// An incarnation of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetIncarnation {
    /// Its text.
    pub id: String,
    /// The server's `maxmemory-policy`.
    pub policy: String,
    /// How many commands the server has processed, since it started or its counters were reset.
    pub commands: u64,
}

impl MetIncarnation {
    /// Whether the server evicts keys if it has no memory.
    pub fn evicts(&self) -> bool {
        self.policy != "noeviction"
    }
}

/// An id for a set. Only this entry can release it.
#[derive(Debug)]
pub struct Entry {
    key: String,
    id: EventId,
    nonce: u64,
}

impl Entry {
    /// The arguments that name it.
    fn add_to(&self, call: &mut Call) {
        call.arg(self.id.as_str());
        // What nobody added in particular, anybody may release.
        if makes("any-release") {
            call.arg("")
        } else {
            call.arg(self.nonce)
        };
    }
}

/// An entry that is to be added.
#[derive(Debug, Clone)]
pub struct NewId {
    /// The id and its set.
    pub entry: Arc<Entry>,
    /// The most ids that the set may have.
    pub most: u32,
    /// The set had no ids before.
    pub since: OffsetDateTime,
    /// How long the set is needed.
    pub ttl: Duration,
}

/// The answer for an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Added {
    /// It was in the set already; now nobody can release it.
    There,
    /// It was added.
    New,
    /// It was not added: the set is full.
    Full,
    /// It was not added: the incarnation with this serial does not know all ids of the set, which has to be filled.
    Unknown(i64),
    /// There was no answer in time, or none by a noted incarnation. It may have been added.
    Unsure,
}

impl IdSets {
    /// Sets whose keys begin with `prefix`, after `CACHE_KEY_PREFIX`. It connects in the background, so call it in a
    /// Tokio runtime.
    pub fn open(config: &RedisConfig, prefix: &str) -> anyhow::Result<Self> {
        let prefix = format!("{}{prefix}", config.key_prefix());
        // No set's name has a brace.
        let servers = Servers::open(config, &format!("{prefix}{{absent}}"), &ID_SETS)?;
        let mark = (!servers.is_cluster()).then(|| format!("{prefix}{{mark}}"));
        Ok(Self(Arc::new(Inner {
            servers,
            prefix,
            mark,
            timeout: config.timeout,
            noted: ArcSwap::default(),
            changed: Notify::new(),
            queue: Mutex::default(),
        })))
    }

    /// An entry for a set.
    pub fn entry(&self, set: &str, id: EventId) -> Arc<Entry> {
        // Redis keeps what fits into an i64 in 8 bytes, and other numbers as text.
        Arc::new(Entry { key: self.key(set), id, nonce: fastrand::u64(..) >> 1 })
    }

    /// The incarnation of each server that answers; an error if none does.
    pub async fn incarnations(&self) -> Result<Vec<MetIncarnation>, String> {
        let until = Instant::now() + self.0.timeout.max(ASK_INCARNATION);
        let nodes = self.0.servers.nodes(until).await?;
        let met = join_all(nodes.iter().map(|node| self.incarnation(node, until))).await;
        let (met, failed): (Vec<_>, Vec<_>) = met.into_iter().partition(Result::is_ok);
        match failed.into_iter().find_map(Result::err) {
            Some(why) if met.is_empty() => Err(why),
            _ => Ok(met.into_iter().flatten().collect()),
        }
    }

    async fn incarnation(&self, node: &Node, until: Instant) -> Result<MetIncarnation, String> {
        let mut call = scripts::incarnation();
        if let Some(mark) = &self.0.mark {
            call.key(mark);
        }
        call.arg(format!("{:032x}", fastrand::u128(..)));
        let met = match node.ask(&call.in_full(), until).await {
            Ok(answer) => <(String, String, u64)>::from_redis_value(answer).map_err(|error| error.to_string()),
            Err(failure) => Err(failure.to_string()),
        };
        let (id, policy, commands) = met.map_err(|why| format!("Redis at {}: {why}", node.name()))?;
        if id.is_empty() {
            return Err(format!(
                "Redis at {}: INFO lacks run_id, master_replid, evicted_keys or total_commands_processed",
                node.name()
            ));
        }
        Ok(MetIncarnation { id, policy, commands })
    }

    /// Replaces the list of the incarnations that may answer.
    pub fn note(&self, noted: Vec<(String, Incarnation)>) {
        self.0.noted.store(Arc::new(noted));
    }

    /// Waits until an incarnation has answered that was not noted.
    pub async fn met_another(&self) {
        self.0.changed.notified().await;
    }

    /// Adds ids to sets that have room: one answer for each id, in order. Of ids for the same set, the earlier ones
    /// are added first.
    ///
    /// If the future is dropped, the ids may have been added.
    pub async fn add(&self, ids: &[NewId]) -> Vec<Added> {
        if self.0.noted.load().is_empty() {
            self.0.changed.notify_one();
            return vec![Added::Unsure; ids.len()];
        }
        if self.0.servers.is_cluster() {
            return self.add_by_set(ids).await;
        }
        let mut answers = Vec::with_capacity(ids.len());
        // One after the other: an id's set may be in several chunks.
        for chunk in ids.chunks(MOST_IDS) {
            answers.extend(self.add_with_others(chunk.to_vec()).await);
        }
        answers
    }

    /// In a cluster: a call for each set.
    async fn add_by_set(&self, ids: &[NewId]) -> Vec<Added> {
        let mut sets: HashMap<&str, Vec<usize>> = HashMap::new();
        for (place, id) in ids.iter().enumerate() {
            sets.entry(&id.entry.key).or_default().push(place);
        }
        let mut calls = Vec::with_capacity(sets.len());
        for places in sets.into_values() {
            calls.push(async move {
                let of_set: Vec<_> = places.iter().filter_map(|place| ids.get(*place)).collect();
                let answers = self.send(&of_set).await;
                (places, answers)
            });
        }
        let mut answers = vec![Added::Unsure; ids.len()];
        let mut calls = stream::iter(calls).buffer_unordered(CONCURRENCY);
        while let Some((places, of_set)) = calls.next().await {
            for (place, answer) in places.into_iter().zip(of_set) {
                if let Some(of_id) = answers.get_mut(place) {
                    *of_id = answer;
                }
            }
        }
        answers
    }

    /// Sends one call.
    async fn send(&self, ids: &[&NewId]) -> Vec<Added> {
        let mut call = scripts::admit_ids();
        for id in ids {
            call.key(&id.entry.key);
        }
        self.compared(&mut call);
        for NewId { entry, most, since, ttl } in ids {
            entry.add_to(&mut call);
            call.arg(*most).arg(millis(*ttl)).arg(micros(*since));
        }
        let answer = self.0.servers.run_at_owner(&call, Instant::now() + self.0.timeout).await;
        let answers = answer.ok().and_then(|answer| self.understood(answer));
        let answers = answers.and_then(|(serial, codes)| codes.bytes().map(|code| Added::of(code, serial)).collect());
        answers.filter(|all: &Vec<_>| all.len() == ids.len()).unwrap_or_else(|| vec![Added::Unsure; ids.len()])
    }

    /// Fills the set of an entry with all ids that are known from elsewhere. These are in it for good. Returns whether
    /// it is known now.
    pub async fn fill(&self, of: &NewId, known: &[EventId]) -> bool {
        let mut call = scripts::fill_ids();
        call.key(&of.entry.key);
        self.compared(&mut call);
        call.arg(millis(of.ttl));
        for id in known {
            call.arg(id.as_str());
        }
        let answer = self.0.servers.run_at_owner(&call, Instant::now() + self.0.timeout).await;
        answer.is_ok_and(|answer| self.understood(answer).is_some())
    }

    /// Releases ids that these entries added. Returns whether Redis acknowledged it; repeating it does no harm.
    pub async fn release(&self, entries: &[Arc<Entry>]) -> bool {
        let size = if self.0.servers.is_cluster() { 1 } else { MOST_IDS };
        let mut calls = Vec::with_capacity(entries.len().div_ceil(size));
        for chunk in entries.chunks(size) {
            let mut call = scripts::release_ids();
            for entry in chunk {
                entry.add_to(call.key(&entry.key));
            }
            calls.push(async move { self.0.servers.run(&call, Instant::now() + self.0.timeout).await.is_ok() });
        }
        stream::iter(calls).buffer_unordered(CONCURRENCY).all(std::future::ready).await
    }

    /// Deletes whole sets; an error if Redis did not acknowledge it. Repeating it does no harm.
    pub async fn delete(&self, sets: &[String]) -> anyhow::Result<()> {
        let delete = async |set: &String| {
            let key = self.key(set);
            let mut command = redis::cmd("UNLINK");
            command.arg(&key);
            self.0.servers.ask(key.as_bytes(), &command, Instant::now() + DELETE).await
        };
        let mut answers = stream::iter(sets.iter().map(delete)).buffer_unordered(CONCURRENCY);
        while let Some(answer) = answers.next().await {
            answer?.extract_error()?;
        }
        Ok(())
    }

    fn key(&self, set: &str) -> String {
        let prefix = &self.0.prefix;
        let mut key = String::with_capacity(prefix.len() + set.len());
        key.push_str(prefix);
        key.extend(percent_encoded(set));
        key
    }

    /// Adds what a script needs to compare its incarnation.
    fn compared(&self, call: &mut Call) {
        if let Some(mark) = &self.0.mark {
            call.key(mark);
        }
        let noted = self.0.noted.load();
        call.arg(noted.len());
        for (id, Incarnation { serial, seen_at, commands }) in noted.iter() {
            call.arg(id).arg(*serial).arg(format!("{} {commands}", micros(*seen_at)));
        }
    }

    /// The serial of the incarnation that answered, and the rest; `None` if it is not noted.
    fn understood(&self, answer: Value) -> Option<(i64, String)> {
        let Value::Array(parts) = answer else {
            self.0.changed.notify_one();
            return None;
        };
        let mut parts = parts.into_iter().map(String::from_redis_value);
        let serial = parts.next()?.ok()?.parse().ok()?;
        Some((serial, parts.next().and_then(Result::ok).unwrap_or_default()))
    }
}

impl Added {
    fn of(code: u8, serial: i64) -> Option<Self> {
        match code {
            b't' => Some(Self::There),
            b'a' => Some(Self::New),
            b'f' => Some(Self::Full),
            b'u' => Some(Self::Unknown(serial)),
            _ => None,
        }
    }
}

/// As PostgreSQL has it. Lua's numbers have it exactly, too.
fn micros(time: OffsetDateTime) -> i64 {
    i64::try_from(time.unix_timestamp_nanos() / 1_000).unwrap_or(i64::MAX)
}
