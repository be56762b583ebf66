//! Faults of a reachable server: the API's log, metrics and readiness name them in the words that
//! `docs/operations.md` quotes.

use devstack::{Redis, RedisCluster};

use crate::kit::says_down;
use crate::prelude::*;

const OPERATIONS: &str = include_str!("../../../docs/operations.md");

struct Faulty<'a> {
    system: &'a System,
    api: Api,
}

impl<'a> Faulty<'a> {
    fn start(system: &'a System, settings: &[(&str, &str)]) -> Self {
        Self { system, api: system.another_api_with(settings) }
    }

    async fn read(&self, device: &str) -> u16 {
        let answer = self.system.get_from(&self.api, device).await;
        answer.map_or(0, |response| response.status().as_u16())
    }

    /// Reads resources until the log has a line with this message and this text.
    async fn logs(&self, message: &str, text: &str) {
        assert!(OPERATIONS.contains(&format!("`{message}")), "docs/operations.md does not tell: {message}");
        let in_log = async || {
            for n in 0..5 {
                self.read(&format!("device-{n}")).await;
            }
            logged(&self.api.service.log(), message, text).next().is_some()
        };
        self.system.until(&format!("the log says {message:?} with {text:?}"), in_log).await;
    }

    /// Waits until the readiness on the internal port reports the server as down for this reason.
    async fn says_down(&self, member: &str, text: &str) {
        let down = async || says_down(&self.api, member, text).await;
        self.system.until(&format!("readiness says {text:?}"), down).await;
    }

    async fn counts_refusals(&self, code: &str) {
        let series = format!("redis_refusals_total{{code=\"{code}\"}}");
        self.system.until(&series, async || self.api.sample(&series).await > Some(0.0)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_do_not_fit_the_servers_are_named() {
    let system = System::start("named-settings", &[]).await;
    let topic = format!("{}-elsewhere", system.scope.input_topic);
    let faulty = Faulty::start(&system, &[("KAFKA_INPUT_TOPIC", &topic)]);
    assert!(OPERATIONS.contains("`the topic … does not exist`"));
    let why = format!("the topic {topic} does not exist");
    faulty.says_down("kafka", &why).await;
    faulty.logs("down", &why).await;

    // A single node is configured as a cluster.
    let faulty = Faulty::start(&system, &[("REDIS_CLUSTER", "true")]);
    let why = "This instance has cluster support disabled (REDIS_CLUSTER is true)";
    assert!(OPERATIONS.contains(why));
    faulty.says_down("redis", why).await;
    faulty.logs("no node of the Redis cluster is known for a key", why).await;
    assert_eq!(faulty.read("nothing").await, 404, "reads come from PostgreSQL");

    // A node of a cluster is configured as a single Redis.
    let cluster = blocking(|| RedisCluster::start().unwrap()).await;
    let faulty = Faulty::start(&system, &[("REDIS_URL", &cluster.nodes[0].url())]);
    let why = "it is a node of a cluster, and REDIS_CLUSTER is false";
    assert!(OPERATIONS.contains(why));
    faulty.says_down("redis", why).await;
    faulty.logs("Redis refuses commands", "Moved").await;
    faulty.counts_refusals("other").await;
    assert_eq!(faulty.read("nothing").await, 404, "reads come from PostgreSQL");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_becomes_a_replica_is_named() {
    let redis = blocking(|| Redis::start(&[]).unwrap()).await;
    let system = System::start("named-replica", &[]).await;
    let faulty = Faulty::start(&system, &[("REDIS_URL", &redis.url())]);
    system.until("it serves", async || faulty.read("nothing").await == 404).await;
    let mut direct = direct(&redis.url()).await;
    // A replica of a server that does not exist, which Redis accepts.
    ask(&mut direct, &["REPLICAOF", "127.0.0.1", &devstack::port::free().to_string()]).await.unwrap();
    faulty.logs("Redis is a replica now", "").await;
    faulty.counts_refusals("READONLY").await;
    faulty.says_down("redis", "").await;
    assert_eq!(faulty.read("nothing").await, 404, "reads come from PostgreSQL");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_with_too_many_clients_is_named() {
    let redis = blocking(|| Redis::start(&[]).unwrap()).await;
    let system = System::start("named-clients", &[]).await;
    let mut direct = direct(&redis.url()).await;
    ask(&mut direct, &["CONFIG", "SET", "maxclients", "1"]).await.unwrap();
    let faulty = Faulty::start(&system, &[("REDIS_URL", &redis.url())]);
    let why = "max number of clients reached";
    assert!(OPERATIONS.contains(&format!("`{why}`")));
    faulty.logs("Redis is away", why).await;
    faulty.says_down("redis", why).await;
    assert_eq!(faulty.read("nothing").await, 404, "reads come from PostgreSQL");
}
