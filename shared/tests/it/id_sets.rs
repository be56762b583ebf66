//! Bounded sets of ids: an id counts once, a set has at most so many, and a Redis that may have forgotten some says so.

use std::sync::Arc;

use devstack::kit::{found, scope};
use futures_util::FutureExt as _;
use redis::aio::MultiplexedConnection;
use shared::cache::{Added, Entry, Found, IdSets, Incarnation, MetIncarnation, NewId};
use shared::kafka::ids::EventId;
use time::OffsetDateTime;
use time::macros::datetime;

use crate::kit::{redis_at, settings};
use crate::prelude::*;

/// Since then sets may have ids.
const SINCE: OffsetDateTime = datetime!(2026-11-30 00:00 UTC);
pub(crate) const EARLIER: OffsetDateTime = datetime!(2026-11-29 23:59:59.999999 UTC);
pub(crate) const LATER: OffsetDateTime = SINCE;

pub(crate) struct Sets {
    pub(crate) sets: IdSets,
    prefix: String,
    noted: Vec<(String, Incarnation)>,
}

impl Sets {
    /// With nothing noted.
    pub(crate) fn at(url: &str, prefix: &str) -> Self {
        let config = settings("postgres://127.0.0.1:1/none", url, prefix).redis;
        let sets = IdSets::open(&config, "set:").unwrap();
        Self { sets, prefix: format!("{prefix}set:"), noted: Vec::new() }
    }

    pub(crate) async fn of(redis: &Redis) -> Self {
        let mut sets = Self::at(&redis.url(), "p:");
        assert_eq!(sets.note(EARLIER).await, 1);
        sets
    }

    /// Notes every incarnation that answers, new ones as seen at this time, and returns how many are new.
    pub(crate) async fn note(&mut self, seen_at: OffsetDateTime) -> usize {
        let met = found("an answer of Redis", async || self.sets.incarnations().await).await;
        let known = self.noted.len();
        for MetIncarnation { id, commands, .. } in met {
            if self.noted.iter().all(|(noted, _)| *noted != id) {
                let serial = i64::try_from(self.noted.len()).unwrap() + 1;
                self.noted.push((id, Incarnation { serial, seen_at, commands }));
            }
        }
        self.sets.note(self.noted.clone());
        self.noted.len() - known
    }

    pub(crate) fn new_id(&self, set: &str, id: &str, most: u32) -> NewId {
        let ttl = Duration::from_secs(60);
        NewId { entry: self.sets.entry(set, id.parse().unwrap()), most, since: SINCE, ttl }
    }

    /// Adds an id to a set of two, and returns its entry.
    async fn add(&self, set: &str, id: &str) -> (Added, Arc<Entry>) {
        let new = self.new_id(set, id, 2);
        (self.sets.add(std::slice::from_ref(&new)).await[0], new.entry)
    }

    pub(crate) async fn added(&self, set: &str, id: &str) -> Added {
        self.add(set, id).await.0
    }

    async fn fill(&self, set: &str, ids: &[&str]) -> bool {
        let ids: Vec<EventId> = ids.iter().map(|id| id.parse().unwrap()).collect();
        self.sets.fill(&self.new_id(set, "any", 2), &ids).await
    }

    /// The ids of a set that is in Redis.
    async fn ids(&self, redis: &mut MultiplexedConnection, set: &str) -> Vec<String> {
        let mut ids: Vec<String> = redis.hkeys(format!("{}{set}", self.prefix)).await.unwrap();
        ids.retain(|id| id != "#");
        ids.sort();
        ids
    }

    /// Asserts that another incarnation answers, which is not noted yet, and that this wakes who waits for it.
    pub(crate) async fn assert_is_another(&self) {
        let woken = self.sets.met_another();
        eventually("the new one answers", async || {
            assert_eq!(self.added("s", "other").await, Added::Unsure);
            self.sets.incarnations().await.is_ok()
        })
        .await;
        assert_eq!(self.added("s", "a").await, Added::Unsure, "what is there says nothing, too");
        assert!(woken.now_or_never().is_some(), "it is told");
    }
}

/// On the shared Redis.
async fn sets(name: &str) -> (Sets, MultiplexedConnection) {
    let scope = scope(name).await;
    let mut sets = Sets::at(&scope.endpoints.redis_url, &scope.cache_prefix);
    sets.note(EARLIER).await;
    (sets, redis_at(&scope.endpoints.redis_url).await)
}

#[tokio::test]
async fn an_id_counts_once_and_who_added_it_may_release_it() {
    let (sets, mut redis) = sets("id_sets").await;
    ids_count_once(&sets, "s", &mut redis).await;
    let ttl: i64 = redis.ttl(format!("{}s", sets.prefix)).await.unwrap();
    assert!((50..=60).contains(&ttl), "{ttl}");
}

#[tokio::test]
async fn looking_for_ids_changes_nothing() {
    let (mut sets, mut redis) = sets("id_sets_found").await;
    let (_, a) = sets.add("s", "a").await;
    let ids = [("s", "a"), ("s", "b"), ("t", "a")].map(|(set, id)| sets.new_id(set, id, 0));
    let found = async |sets: &Sets| sets.sets.find(&ids).await;
    assert_eq!(found(&sets).await, [Found::There, Found::Absent, Found::Absent]);
    assert!(sets.sets.find(&[]).await.is_empty());
    assert!(sets.ids(&mut redis, "t").await.is_empty());
    assert!(sets.sets.release(&[a]).await);
    assert_eq!(found(&sets).await, [Found::Absent; 3], "it was not pinned");
    let many: Vec<_> = (0..600).map(|n| sets.new_id("s", &n.to_string(), 0)).collect();
    assert_eq!(sets.sets.find(&many).await, vec![Found::Absent; 600]);

    // A younger incarnation does not know what it may have forgotten.
    for (_, noted) in &mut sets.noted {
        (noted.serial, noted.seen_at) = (noted.serial + 100, LATER);
    }
    let serial = sets.noted[0].1.serial;
    sets.sets.note(sets.noted.clone());
    assert_eq!(found(&sets).await, [Found::Unknown(serial); 3]);
    assert!(sets.fill("s", &["b"]).await);
    assert_eq!(found(&sets).await, [Found::Absent, Found::There, Found::Unknown(serial)]);
    sets.sets.note(vec![("another".to_owned(), sets.noted[0].1)]);
    assert_eq!(found(&sets).await, [Found::Unsure; 3]);
    sets.sets.note(Vec::new());
    assert_eq!(found(&sets).await, [Found::Unsure; 3]);
}

#[tokio::test]
async fn sets_are_deleted_whole() {
    let (sets, mut redis) = sets("id_sets_deleted").await;
    for set in ["1:{a}", "2:b", "3:c"] {
        assert_eq!(sets.added(set, "a").await, Added::New);
    }
    let names = ["1:{a}", "2:b", "never"].map(str::to_owned);
    for _ in ["once", "again"] {
        sets.sets.delete(&names).await.unwrap();
    }
    assert_eq!(sets.ids(&mut redis, "3:c").await, ["a"], "no other set");
    assert_eq!(sets.added("1:{a}", "a").await, Added::New, "it begins anew");
    let away = Sets::at("redis://127.0.0.1:1", "p:");
    assert!(away.sets.delete(&names).await.is_err());
}

async fn ids_count_once(sets: &Sets, set: &str, redis: &mut MultiplexedConnection) {
    let (added, a) = sets.add(set, "a").await;
    assert_eq!(added, Added::New);
    let (added, b) = sets.add(set, "b").await;
    assert_eq!((added, sets.added(set, "c").await), (Added::New, Added::Full));

    // Another entry of the same id did not add it.
    let of_another = sets.sets.entry(set, "b".parse().unwrap());
    assert!(sets.sets.release(&[of_another]).await);
    assert_eq!(sets.ids(redis, set).await, ["a", "b"]);
    assert!(sets.sets.release(&[Arc::clone(&b), b]).await, "twice does no harm");
    assert_eq!(sets.ids(redis, set).await, ["a"]);
    assert_eq!(sets.added(set, "c").await, Added::New);

    // A retry keeps it for good.
    assert_eq!(sets.added(set, "a").await, Added::There);
    assert!(sets.sets.release(&[a]).await);
    assert_eq!((sets.added(set, "a").await, sets.added(set, "d").await), (Added::There, Added::Full));
    assert_eq!(sets.ids(redis, set).await, ["a", "c"]);
}

#[tokio::test]
async fn of_one_request_later_ids_see_the_earlier_ones() {
    let (sets, mut redis) = sets("id_sets_order").await;
    let several =
        [("s", "a", 2), ("t", "a", 1), ("s", "a", 2), ("s", "b", 2), ("t", "b", 1), ("s", "c", 2), ("s", "c", 3)];
    let ids: Vec<_> = several.iter().map(|(set, id, most)| sets.new_id(set, id, *most)).collect();
    use Added::{Full, New, There};
    assert_eq!(sets.sets.add(&ids).await, [New, New, There, New, Full, Full, New]);
    assert_eq!(sets.sets.add(&ids[6..]).await, [New], "a repeated call is the same call");
    assert_eq!(sets.sets.add(&[]).await, []);

    // More than fit into a call.
    let many: Vec<_> = (0..1_000).map(|n| sets.new_id("many", &n.to_string(), 900)).collect();
    let answers = sets.sets.add(&many).await;
    assert!(answers[..900].iter().all(|answer| *answer == New) && answers[900..].iter().all(|answer| *answer == Full));
    assert_eq!(sets.ids(&mut redis, "many").await.len(), 900);
}

#[tokio::test]
async fn requests_at_the_same_time_share_calls_and_exceed_no_set() {
    let redis = start(&[]).await;
    let sets = Sets::of(&redis).await;
    let ids: Vec<_> = (0..400).map(|n| sets.new_id("s", &n.to_string(), 100)).collect();
    let answers = futures_util::future::join_all(ids.chunks(1).map(|one| sets.sets.add(one))).await;
    assert_eq!(answers.iter().filter(|answer| answer[0] == Added::New).count(), 100);
    assert_eq!(answers.iter().filter(|answer| answer[0] == Added::Full).count(), 300);
    let stats: String =
        redis::cmd("INFO").arg("commandstats").query_async(&mut connection(&redis).await).await.unwrap();
    let calls = stats.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:calls=")?.split(',').next());
    let calls: usize = calls.unwrap().parse().unwrap();
    assert!(calls <= 40, "{calls}");
}

#[tokio::test]
async fn without_a_noted_incarnation_nothing_is_sure() {
    let redis = start(&[]).await;
    let mut sets = Sets::at(&redis.url(), "p:");
    assert_eq!(sets.added("s", "a").await, Added::Unsure);
    sets.sets.met_another().now_or_never().expect("it is told");
    sets.note(EARLIER).await;
    assert_eq!(sets.added("s", "a").await, Added::New);
    blocking(move || redis.stop().unwrap()).await;
    assert_eq!(sets.added("s", "b").await, Added::Unsure);
}

#[tokio::test]
async fn a_young_incarnation_knows_a_set_once_it_is_filled() {
    let redis = start(&[]).await;
    let mut direct = connection(&redis).await;
    let mut sets = Sets::at(&redis.url(), "p:");
    sets.note(LATER).await;
    assert_eq!(sets.added("s", "a").await, Added::Unknown(1));
    assert!(sets.fill("s", &["a"]).await);
    assert_eq!(sets.added("s", "a").await, Added::There);
    let (added, b) = sets.add("s", "b").await;
    assert_eq!((added, sets.added("s", "c").await), (Added::New, Added::Full));
    // The fill of another instance takes nothing away.
    assert!(sets.fill("s", &["a", "x"]).await);
    assert_eq!(sets.ids(&mut direct, "s").await, ["a", "b", "x"]);
    assert!(sets.sets.release(&[b]).await);
    assert_eq!(sets.added("s", "c").await, Added::Full, "a and x are there for good");
    // A set that is filled with nothing is known, too.
    assert!(sets.fill("t", &[]).await);
    assert_eq!(sets.added("t", "a").await, Added::New);
    let ttl: i64 = direct.ttl("p:set:t").await.unwrap();
    assert!((50..=60).contains(&ttl), "{ttl}");
}

#[tokio::test]
async fn a_restarted_redis_is_another_incarnation() {
    let redis = Arc::new(start(&["--appendonly", "yes"]).await);
    let mut direct = connection(&redis).await;
    let mut sets = Sets::of(&redis).await;
    for id in ["a", "b"] {
        assert_eq!(sets.added("s", id).await, Added::New);
    }
    assert_eq!(sets.added("s", "a").await, Added::There);
    // It begins with what it had, which may be older than what it forgot.
    let () = direct.hdel("p:set:s", "none").await.unwrap();
    let restarted = Arc::clone(&redis);
    blocking(move || restarted.restart().unwrap()).await;
    sets.assert_is_another().await;
    let mut direct = connection(&redis).await;
    assert_eq!(sets.ids(&mut direct, "s").await, ["a", "b"], "nothing was added meanwhile");

    assert_eq!(sets.note(LATER).await, 1);
    assert_eq!((sets.added("s", "a").await, sets.added("t", "a").await), (Added::Unknown(2), Added::Unknown(2)));
    // `b` may have been released, and is not known from elsewhere; a retry of `a` found it accepted.
    assert!(sets.fill("s", &["c"]).await);
    assert_eq!(sets.ids(&mut direct, "s").await, ["a", "c"]);
    assert_eq!((sets.added("s", "a").await, sets.added("s", "b").await), (Added::There, Added::Full));
}

#[tokio::test]
async fn one_that_is_older_than_a_set_knows_that_it_is_absent_but_not_what_another_one_left() {
    let redis = start(&[]).await;
    let mut sets = Sets::of(&redis).await;
    let () = connection(&redis).await.hset_multiple("p:set:s", &[("#", "7"), ("a", "")]).await.unwrap();
    assert_eq!((sets.added("s", "a").await, sets.added("t", "a").await), (Added::Unknown(1), Added::New));
    assert_eq!(sets.note(LATER).await, 0, "it is the same one");
}

#[tokio::test]
async fn one_whose_keys_were_deleted_is_another_incarnation() {
    let redis = start(&[]).await;
    let mut sets = Sets::of(&redis).await;
    for command in ["FLUSHALL", "FLUSHDB"] {
        sets.added("s", "a").await;
        let () = redis::cmd(command).query_async(&mut connection(&redis).await).await.unwrap();
        sets.assert_is_another().await;
        assert_eq!(sets.note(EARLIER).await, 1, "{command}");
        assert_eq!(sets.added("s", "a").await, Added::New);
    }
}

#[tokio::test]
async fn one_that_evicted_keys_is_another_incarnation() {
    use Added::{Full, New, There, Unknown, Unsure};

    // The keys that end soon are evicted first.
    let redis = start(&["--maxmemory-policy", "volatile-ttl"]).await;
    let mut direct = connection(&redis).await;
    let mut sets = Sets::of(&redis).await;
    let met = sets.sets.incarnations().await.unwrap();
    assert!(met[0].evicts(), "{met:?}");
    assert_eq!((sets.added("s", "a").await, sets.added("evicted", "a").await), (New, New));
    config_set(&mut direct, "maxmemory", "4mb").await;
    let mut stats = "evicted_keys:0\r\n".to_owned();
    for n in 0.. {
        if !stats.contains("evicted_keys:0\r\n") {
            break;
        }
        let () = direct.set_ex(format!("other:{n}"), "x".repeat(100_000), 20).await.unwrap();
        stats = redis::cmd("INFO").arg("stats").query_async(&mut direct).await.unwrap();
    }
    config_set(&mut direct, "maxmemory", "0").await;
    let () = direct.del("p:set:evicted").await.unwrap();
    // A set that is absent may have been evicted. One that is there was not: it is whole.
    assert_eq!(sets.added("s", "b").await, New);
    let woken = sets.sets.met_another();
    assert_eq!((sets.added("evicted", "a").await, sets.added("t", "a").await), (Unsure, Unsure));
    assert!(woken.now_or_never().is_some(), "it is told");
    assert_eq!((sets.added("s", "a").await, sets.added("s", "c").await), (There, Full));

    assert_eq!(sets.note(LATER).await, 1);
    assert_eq!((sets.added("evicted", "a").await, sets.added("s", "a").await), (Unknown(2), There));
    assert!(sets.fill("evicted", &["a", "b"]).await);
    assert_eq!((sets.added("evicted", "a").await, sets.added("evicted", "c").await), (There, Full));
    // Without the incarnation in which it was whole, a set has to be filled, too.
    sets.noted.remove(0);
    sets.sets.note(sets.noted.clone());
    assert_eq!((sets.added("s", "a").await, sets.added("evicted", "a").await), (Unknown(2), There));
    let neither = start(&[]).await;
    assert!(!Sets::at(&neither.url(), "p:").sets.incarnations().await.unwrap()[0].evicts());
}

/// Its text is that of the one before: nothing else shows that it may have evicted keys in between.
#[tokio::test]
async fn one_whose_counters_began_anew_is_another_incarnation() {
    let redis = start(&[]).await;
    let mut direct = connection(&redis).await;
    for _ in 0..500 {
        let () = redis::cmd("PING").query_async(&mut direct).await.unwrap();
    }
    let mut sets = Sets::of(&redis).await;
    assert_eq!(sets.added("s", "a").await, Added::New);
    let before = sets.sets.incarnations().await.unwrap();
    let () = direct.del("p:set:s").await.unwrap();
    let () = redis::cmd("CONFIG").arg("RESETSTAT").query_async(&mut direct).await.unwrap();
    sets.assert_is_another().await;
    let after = sets.sets.incarnations().await.unwrap();
    assert!(after[0].id == before[0].id && after[0].commands < before[0].commands, "{after:?} {before:?}");
    assert!(!sets.fill("s", &[]).await, "nor is it filled");
    // As who asks it notes it.
    sets.noted.clear();
    assert_eq!(sets.note(LATER).await, 1);
    assert_eq!(sets.added("s", "a").await, Added::Unknown(1));
}

#[tokio::test]
async fn one_without_memory_takes_no_id_and_does_not_grow() {
    let redis = start(&[]).await;
    let mut direct = connection(&redis).await;
    let sets = Sets::of(&redis).await;
    let (added, a) = sets.add("s", "a").await;
    assert_eq!(added, Added::New);
    config_set(&mut direct, "maxmemory", "1").await;
    assert_eq!(sets.added("s", "b").await, Added::Unsure);
    assert_eq!(sets.ids(&mut direct, "s").await, ["a"]);
    assert!(sets.sets.release(&[a]).await, "that needs none");
    config_set(&mut direct, "maxmemory", "0").await;
    eventually("it takes ids again", async || sets.added("s", "b").await != Added::Unsure).await;
    assert_eq!(sets.ids(&mut direct, "s").await, ["b"]);
}
