//! Campaigns, leases of their money, and ad events.

use std::ops::Deref;

use rdkafka::consumer::CommitMode;
use shared::ads::{AdData, AdDelivery, AdEvent, AdEventType, CampaignId, Nanos};
use shared::kafka::position::Position;
use sqlx::AssertSqlSafe;
use time::Date;
use time::macros::date;
use worker_service::config::RunConfig;
use worker_service::consumer::offset_fence::OffsetFences;

use crate::prelude::*;

/// A hundredth of a currency's unit, in nanos: the price of an event.
pub(crate) const CENT: i64 = 10_000_000;
/// The day of events, unless they say otherwise.
pub(crate) const DAY: Date = date!(2026 - 03 - 01);

/// The columns of a campaign without limits, whose impressions, clicks and conversions may cost anything.
const COLUMNS: [(&str, &str); 12] = [
    ("name", "'demo'"),
    ("pricing_model", "'cpm'"),
    ("unit_price", "10000000000"),
    ("currency", "'USD'"),
    ("total_budget", "1000000000000000"),
    ("timezone", "'UTC'"),
    ("status", "'active'"),
    ("pacing", "'asap'"),
    ("on_exhausted", "'refuse'"),
    ("cap_unsure", "'refuse'"),
    ("click_requires_impression", "false"),
    ("blocked_user_agents", "'{}'"),
];

/// An ad event.
#[derive(Debug, Clone)]
pub(crate) struct Ad {
    pub(crate) event: AdEvent,
    pub(crate) id: String,
    pub(crate) at: OffsetDateTime,
}

/// An impression of the user `u` in the first campaign that costs a cent, without a lease, at noon.
pub(crate) fn ad(id: &str) -> Ad {
    let event = AdEvent {
        campaign: CampaignId::try_from(1).unwrap(),
        user: "u".parse().unwrap(),
        event_type: AdEventType::Impression,
        lease: None,
        day: DAY,
        cost: Nanos::new(CENT),
        data: AdData::default(),
    };
    Ad { event, id: id.to_owned(), at: DAY.midnight().assume_utc() + time::Duration::hours(12) }
}

impl Ad {
    pub(crate) fn campaign(mut self, campaign: i64) -> Self {
        self.event.campaign = campaign.try_into().unwrap();
        self
    }

    pub(crate) fn user(mut self, user: &str) -> Self {
        self.event.user = user.parse().unwrap();
        self
    }

    pub(crate) fn click(mut self) -> Self {
        self.event.event_type = AdEventType::Click;
        self
    }

    pub(crate) fn conversion(mut self) -> Self {
        self.event.event_type = AdEventType::Conversion;
        self
    }

    pub(crate) fn lease(mut self, lease: &str) -> Self {
        self.event.lease = Some(lease.to_owned());
        self
    }

    pub(crate) fn free(mut self) -> Self {
        self.event.cost = Nanos::ZERO;
        self
    }

    pub(crate) fn agent(mut self, agent: &str) -> Self {
        self.event.data.user_agent = Some(agent.to_owned());
        self
    }

    /// It was accepted this many seconds after noon.
    pub(crate) fn after(mut self, seconds: i64) -> Self {
        self.at += time::Duration::seconds(seconds);
        self
    }

    /// It is in the log at this offset.
    pub(crate) fn delivery(&self, offset: i64) -> AdDelivery {
        let Self { event, id, at } = self;
        let envelope = event.outgoing(id.parse().unwrap(), *at, *at).envelope;
        AdDelivery { envelope, position: Position::new("t", 0, offset, *at), event: event.clone() }
    }
}

/// The ads' side of a test: the kit's topics and its group are those of the ads' handler.
pub(crate) struct Ads {
    kit: Kit,
    /// The scope of the services.
    services: Scope,
}

impl Deref for Ads {
    type Target = Kit;

    fn deref(&self) -> &Kit {
        &self.kit
    }
}

impl Ads {
    pub(crate) async fn new(name: &str, partitions: i32) -> Self {
        let kit = Kit::new(name, 1).await;
        let services = kit.scope.clone();
        let scope = Scope {
            input_topic: services.ads_topic.clone(),
            dlq_topic: services.ads_dlq_topic.clone(),
            group: services.ads_group.clone(),
            ..services.clone()
        };
        let kit = kit.moved_to(scope);
        kit.make_topics(partitions).await;
        Self { kit, services }
    }

    /// A worker that runs these handlers and tasks.
    pub(crate) fn worker_of(&self, only: &[&str]) -> Worker {
        let mut config = run_config(&self.services);
        config.only = only.iter().map(|&name| name.to_owned()).collect();
        Worker::start(&config).unwrap()
    }

    /// A worker that applies ad events and settles leases.
    pub(crate) fn worker(&self) -> Worker {
        self.worker_of(&["ads", "ads-settle"])
    }

    /// A process with these more settings.
    pub(crate) async fn process_with(&self, more: &[(&str, &str)]) -> Process {
        let kit = Kit::on(self.services.clone(), 1).await;
        kit.process_with(&[&[("WORKER_ONLY", "ads,ads-settle,ads-expire")], more].concat()).await
    }

    /// Runs the binary with a command.
    pub(crate) async fn succeeds(&self, args: &[&str]) -> String {
        let said = run(program(&self.services, args)).await;
        assert_eq!(said.status, 0, "{said:?}");
        said.out
    }

    /// The same for a command that fails; returns its error output.
    pub(crate) async fn fails(&self, args: &[&str]) -> String {
        let said = run(program(&self.services, args)).await;
        assert_eq!(said.status, 1, "{said:?}");
        said.error
    }

    /// Asks Kafka for the fences of the ads' handler.
    pub(crate) fn fences(&self) -> OffsetFences {
        let RunConfig { kafka, sources, .. } = run_config(&self.services);
        let source = sources.0.iter().find(|source| source.handler.name == "ads").unwrap();
        OffsetFences::open(&shared::kafka::client(&kafka).unwrap(), source).unwrap()
    }

    /// Writes an ad event to the topic as the API does; returns its partition and offset.
    pub(crate) async fn put_ad(&self, ad: &Ad) -> (i32, i64) {
        let outgoing = ad.event.outgoing(ad.id.parse().unwrap(), ad.at, ad.at);
        let headers = shared::kafka::headers(&outgoing);
        let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), Some(value.as_bytes()))).collect();
        let key = outgoing.envelope.key.as_str().as_bytes();
        self.put(Some(key), Some(&outgoing.envelope.data), &headers).await
    }

    /// Commits this offset of every partition for the group, which must be stopped.
    pub(crate) async fn commit_all(&self, offset: i64) {
        let (scope, partitions) = (self.scope.clone(), self.committed().await);
        blocking(move || {
            let group: BaseConsumer = client(&scope).set("group.id", &scope.group).create().unwrap();
            let mut list = TopicPartitionList::new();
            for partition in partitions.into_keys() {
                list.add_partition_offset(&scope.input_topic, partition, Offset::Offset(offset)).unwrap();
            }
            group.commit(&list, CommitMode::Sync).unwrap();
        })
        .await;
    }

    /// Waits until an ad event of the first campaign has its row with this outcome, or this reason.
    pub(crate) async fn until_ad(&self, id: &str, outcome: &str) {
        let sql = "SELECT coalesce(reason, outcome) FROM ad_events WHERE event_id = $1";
        let is_it = async || {
            let found: Option<String> = sqlx::query_scalar(sql).bind(id).fetch_optional(&self.pool).await.unwrap();
            if found.as_deref() == Some(outcome) { Ok(()) } else { Err(found) }
        };
        found(&format!("{id} is {outcome}"), is_it).await;
    }
}

impl Kit {
    /// Makes a campaign, with these columns changed; returns its id, which is 1 for the first one.
    pub(crate) async fn campaign(&self, changed: &[(&str, &str)]) -> i64 {
        let columns: BTreeMap<_, _> = COLUMNS.iter().chain(changed).copied().collect();
        let (names, values): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
        let sql = format!("INSERT INTO campaigns ({}) VALUES ({}) RETURNING id", names.join(", "), values.join(", "));
        sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&self.pool).await.unwrap()
    }

    /// Leases money of a campaign's day, as a grant does. The lease ended this many seconds ago.
    pub(crate) async fn lease(&self, id: &str, campaign: i64, day: Date, cents: i64, ended_s: f64) {
        let sql = "
            WITH leased AS (
              INSERT INTO ad_leases (id, campaign_id, day, instance, amount, expires_at)
              VALUES ($1, $2, $3, 'test', $4, now() - make_interval(secs => $5))
            ), days AS (
              INSERT INTO campaign_days AS d (campaign_id, day, budget, cap, reserved)
              SELECT id, $3, daily_budget, cap, $4 FROM campaigns WHERE id = $2
              ON CONFLICT (campaign_id, day) DO UPDATE SET reserved = d.reserved + $4
            )
            UPDATE campaigns SET reserved = reserved + $4 WHERE id = $2";
        let query = sqlx::query(sql).bind(id).bind(campaign).bind(day).bind(cents * CENT).bind(ended_s);
        query.execute(&self.pool).await.unwrap();
    }

    /// What a campaign has spent and reserved, in cents.
    pub(crate) async fn money(&self, campaign: i64) -> (i64, i64) {
        let query = sqlx::query_as("SELECT spent / $2, reserved / $2 FROM campaigns WHERE id = $1");
        query.bind(campaign).bind(CENT).fetch_one(&self.pool).await.unwrap()
    }

    /// Waits until a campaign has spent and reserved this, in cents.
    pub(crate) async fn until_money(&self, campaign: i64, expected: (i64, i64)) {
        let is_it = async || {
            let money = self.money(campaign).await;
            if money == expected { Ok(()) } else { Err(money) }
        };
        found(&format!("{expected:?} is spent and reserved"), is_it).await;
    }

    /// Makes PostgreSQL refuse ad events with this id, with this SQLSTATE.
    pub(crate) async fn refuse_ad(&self, id: &str, sqlstate: &str) {
        let trigger = format!(
            "CREATE OR REPLACE FUNCTION refuse_ad() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
               IF NEW.event_id = '{id}' THEN RAISE EXCEPTION 'refused' USING ERRCODE = '{sqlstate}'; END IF;
               RETURN NEW; END $$;
             CREATE OR REPLACE TRIGGER refuse BEFORE INSERT ON ad_events FOR EACH ROW EXECUTE FUNCTION refuse_ad()"
        );
        self.sql(AssertSqlSafe(trigger)).await;
    }

    pub(crate) async fn refuse_no_ad(&self) {
        self.sql("DROP TRIGGER refuse ON ad_events").await;
    }
}
