//! Advertising: campaigns with budgets and caps, the events that they pay for, and reports.

mod admission;
mod campaigns;
mod codes;
mod commands;
mod config;
mod events;
mod openapi;
mod refused;
mod reports;
mod rights;

use std::sync::Arc;
use std::time::Duration;

use shared::ads::REPORT;
use shared::ads::published::{OF_ADS, OF_CAMPAIGNS};

use self::admission::Admission;
use self::commands::Commands;
pub use self::config::{AdsConfig, AnonymousRole};
use self::events::Ads;
use crate::auth::{Caller, ClaimPaths};
use crate::backbone::{Backbone, Domain, Served};
use crate::http::problem::Code;
use crate::ingest;

const ALL_CODES: &[Code] = &[
    codes::CAMPAIGN_NOT_FOUND,
    codes::CAMPAIGN_ENDED,
    codes::BUDGET_BELOW_SPEND,
    codes::INVALID_CAMPAIGN,
    refused::BUDGET_EXHAUSTED,
    refused::CAMPAIGN_NOT_ACTIVE,
    refused::PACED,
    refused::FREQUENCY_CAPPED,
    refused::ADMISSION_UNAVAILABLE,
];

pub const DOMAIN: Domain = Domain {
    name: "ads",
    roles: rights::ROLES,
    codes: ALL_CODES,
    kinds: &[&REPORT],
    published: &[&OF_CAMPAIGNS, &OF_ADS],
    openapi: openapi::parts,
    describe: || {
        admission::describe();
        refused::describe();
    },
};

const EVENTS: &str = "/ad-events";
const EVENTS_BATCH: &str = "/ad-events/batch";
/// Another name of [`EVENTS`]. Without the slash it is the call of devices: the path decides, never the body.
const EVENTS_ALIAS: &str = "/events/";
/// A record may be sent twice, with a timeout each, and the worker closes a lease ten seconds after it was last spent. So
/// this is the most, whatever `KAFKA_MESSAGE_TIMEOUT` is.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(5);

/// No claim binds a token to campaigns: they have owners.
pub fn claims(_: &AdsConfig) -> Vec<(&'static str, ClaimPaths)> {
    Vec::new()
}

pub fn serve(config: &AdsConfig, backbone: &Arc<Backbone>) -> anyhow::Result<Served> {
    let anonymous = anonymous(config);
    let producer = backbone.producer_within(MESSAGE_TIMEOUT, &config.topics.input)?;
    let sets = config.caps.open(backbone.redis())?;
    let admission = Arc::new(Admission::new(&backbone.store, sets));
    let commands = Commands { backbone: Arc::clone(backbone), anonymous: anonymous.clone() };
    let mut routes = campaigns::routes(&commands);
    routes.extend(reports::routes(commands));
    let ads = Ads { admission: Arc::clone(&admission), anonymous };
    let of_events = |paths| ingest::routes(paths, ads.clone(), producer.clone(), backbone.ingest.clone());
    let [one, many] = of_events([EVENTS, EVENTS_BATCH]);
    let [alias, _] = of_events([EVENTS_ALIAS, EVENTS_BATCH]);
    routes.extend([one, many, alias]);
    let running = Arc::clone(&admission);
    let run = move || -> futures_util::future::BoxFuture<'static, ()> {
        let admission = Arc::clone(&running);
        Box::pin(async move { admission.run().await })
    };
    Ok(Served {
        routes,
        producers: vec![producer],
        webhooks: vec![EVENTS, EVENTS_BATCH, EVENTS_ALIAS],
        writes_outbox: true,
        task: Some(("ads-admission", Box::new(run))),
        drained: Some(Box::pin(async move { admission.end().await })),
    })
}

/// The caller without a token, if the settings let it come.
fn anonymous(config: &AdsConfig) -> Option<Arc<Caller>> {
    let roles = config.ads_anonymous_roles.as_ref()?;
    tracing::warn!(
        %roles,
        "ADS_ANONYMOUS_ROLES is set: anybody who reaches this service has these roles: an advertiser on the campaigns of \
         callers without a token, a tracker on every campaign, whose budget it can spend. For development only"
    );
    Some(Arc::new(Caller::anonymous(roles.iter().map(|role| role.as_str().to_owned()).collect())))
}
