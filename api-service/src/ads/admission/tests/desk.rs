//! An admission with a Redis of its own behind a proxy, whose leases a test grants. PostgreSQL accepts connections, and
//! never answers.

use devstack::kit::{TEST_TIMEOUT, blocking, found, until};
use devstack::{Proxy, Redis};
use redis::AsyncCommands as _;
use redis::aio::MultiplexedConnection;
use shared::ads::caps::CapsConfig;
use shared::ads::queries::{self, Facts};
use shared::cache::RedisConfig;
use shared::runtime::config::Secret;
use shared::store::{Pooler, PostgresConfig};
use time::OffsetDateTime;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::super::book::tests::{campaign, facts, lease};
use super::super::*;

/// An event that may ask.
pub(super) struct Event {
    campaign: CampaignId,
    user: UserId,
    event_type: AdEventType,
    id: EventId,
}

pub(super) fn event(id: i64, user: &str, event_type: AdEventType, name: &str) -> Event {
    Event { campaign: campaign(id), user: user.parse().unwrap(), event_type, id: name.parse().unwrap() }
}

impl Event {
    pub(super) fn asks(&self) -> Asks<'_> {
        let Self { campaign, user, event_type, id } = self;
        Asks { campaign: *campaign, user, event_type: *event_type, id, is_named: true }
    }
}

pub(super) struct Desk {
    pub(super) admission: Arc<Admission>,
    pub(super) proxy: Proxy,
    sets: IdSets,
    redis: MultiplexedConnection,
    postgres: TcpListener,
    releasing: JoinHandle<()>,
    _server: Redis,
}

impl Desk {
    /// No incarnation of Redis is known.
    pub(super) async fn start() -> Self {
        let server = blocking(|| Redis::start(&[]).unwrap()).await;
        let (proxy, url) = Proxy::before(&server.url()).unwrap();
        let postgres = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let of_postgres = PostgresConfig {
            url: Secret::new(&format!("postgres://127.0.0.1:{}/none", postgres.local_addr().unwrap().port())),
            pooler: Pooler::None,
            max_connections: 4,
            timeout: TEST_TIMEOUT,
        };
        let of_redis = RedisConfig {
            url: Secret::new(&url),
            tls_ca: None,
            cluster: false,
            ttl: TEST_TIMEOUT,
            key_prefix: None,
            timeout: TEST_TIMEOUT,
        };
        let store = Store::open(&of_postgres, "test").unwrap();
        let sets = CapsConfig { ad_redis_url: None }.open(&of_redis).unwrap();
        let admission = Arc::new(Admission::new(&store, sets.clone()));
        let of_releases = Arc::clone(&admission);
        let releasing = tokio::spawn(async move { of_releases.caps.send_releases().await });
        let client = redis::Client::open(server.url()).unwrap();
        let patient = redis::AsyncConnectionConfig::new().set_response_timeout(Some(TEST_TIMEOUT));
        let redis = client.get_multiplexed_async_connection_with_config(&patient).await.unwrap();
        Self { admission, proxy, sets, redis, postgres, releasing, _server: server }
    }

    /// As if the incarnation that answers had been seen first at this time, and were proven.
    pub(super) async fn prove(&self, seen_at: OffsetDateTime) {
        let met = found("an answer of Redis", async || self.sets.incarnations().await).await;
        self.admission.caps.prove(&met[0].id, seen_at);
    }

    /// Grants a campaign this room. Its impressions cost 10, unless `change` says something else.
    pub(super) fn granted(&self, id: i64, room: queries::Room, change: impl FnOnce(&mut Facts)) {
        let mut facts = Facts { usable_for: TEST_TIMEOUT, ..facts() };
        change(&mut facts);
        let now = Instant::now();
        // A refusal is remembered for a second after it came: for longer than the test takes.
        let came_at = now + TEST_TIMEOUT;
        self.admission.book.granted(campaign(id), Some(queries::Granted { facts, room }), now, came_at);
    }

    /// Leases a campaign so many units.
    pub(super) fn lease(&self, id: i64, units: i64, change: impl FnOnce(&mut Facts)) {
        self.granted(id, lease(&format!("lease of {id}"), 10 * units), change);
    }

    /// How many units are there for events of this type.
    pub(super) fn units(&self, id: i64, event_type: AdEventType) -> usize {
        let now = Instant::now();
        let take = || match self.admission.book.take(campaign(id), event_type, false, now) {
            Taken::Ticket(ticket) => ticket.unit,
            Taken::Refused(_) | Taken::Wait => None,
        };
        let units: Vec<_> = std::iter::from_fn(take).collect();
        let count = units.len();
        units.into_iter().for_each(|unit| self.admission.book.give(unit, now));
        count
    }

    /// What is left of each lease. Afterwards there is none.
    pub(super) fn close(&self) -> Vec<(String, i64)> {
        self.admission.book.close();
        let returns = self.admission.book.returns().into_iter();
        let mut returns: Vec<_> = returns.map(|(lease, amount)| (lease, amount.get())).collect();
        returns.sort();
        returns
    }

    /// The ids that are in Redis, each with whether its adder may still release it.
    pub(super) async fn ids(&self) -> Vec<(String, bool)> {
        let mut redis = self.redis.clone();
        let keys: Vec<String> = redis.keys("ad:cap:[0-9]*").await.unwrap();
        let mut all = Vec::new();
        for key in keys {
            let ids: Vec<(String, String)> = redis.hgetall(key).await.unwrap();
            all.extend(ids.into_iter().filter(|(id, _)| id != "#").map(|(id, nonce)| (id, !nonce.is_empty())));
        }
        all.sort();
        all
    }

    pub(super) async fn until_ids_are(&self, expected: &[(&str, bool)]) {
        found("the ids in Redis", async || {
            let ids = self.ids().await;
            let is_so = ids.iter().map(|(id, is_own)| (id.as_str(), *is_own)).eq(expected.iter().copied());
            if is_so { Ok(()) } else { Err(ids) }
        })
        .await;
    }

    /// Waits until somebody asks PostgreSQL.
    pub(super) async fn until_postgresql_is_asked(&self) -> tokio::net::TcpStream {
        tokio::time::timeout(TEST_TIMEOUT, self.postgres.accept()).await.expect("a connection").unwrap().0
    }

    /// Waits until everything that has to be released so far is: Redis has `last` in this campaign of one unit.
    pub(super) async fn until_all_is_released(&self, id: i64) {
        let last = event(id, "last", AdEventType::Impression, "last");
        let charged = match self.admission.admit(&[last.asks()]).await.pop() {
            Some(Verdict::Admitted(charged)) => charged,
            Some(Verdict::Stored(_) | Verdict::Refused(_)) | None => panic!("there is room for it"),
        };
        assert!(self.ids().await.iter().any(|(id, _)| id == "last"));
        self.admission.take_back(charged);
        // One after the other, in order.
        until("it is released", async || self.ids().await.iter().all(|(id, _)| id != "last")).await;
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.releasing.abort();
    }
}

/// Waits until this holds while a request waits.
pub(super) async fn meanwhile<T>(request: &mut (impl Future + Unpin), condition: impl Future<Output = T>) -> T {
    tokio::select! {
        _ = request => panic!("the request has ended"),
        met = condition => met,
    }
}
