//! The schemas of the events that advertising publishes: those of campaigns' commands, and the accepted ad events.

use serde_json::{Map, Value};
use time::macros::format_description;
use time::{OffsetDateTime, UtcOffset};

use super::{CampaignId, Terms};
use crate::kafka::schemas::{EventSchema, Published, event_schema};

/// A campaign was created.
pub static CAMPAIGN_CREATED: EventSchema = event_schema!("com.nedlia.campaign.created", 1);
/// The terms of a campaign were changed.
pub static CAMPAIGN_UPDATED: EventSchema = event_schema!("com.nedlia.campaign.updated", 1);
/// A campaign was ended.
pub static CAMPAIGN_ENDED: EventSchema = event_schema!("com.nedlia.campaign.ended", 1);

static IMPRESSION: EventSchema = event_schema!("io.edge.ad.impression.v1", 1);
static CLICK: EventSchema = event_schema!("io.edge.ad.click.v1", 1);
static CONVERSION: EventSchema = event_schema!("io.edge.ad.conversion.v1", 1);

/// What commands of campaigns publish, by the outbox.
pub static OF_CAMPAIGNS: Published = Published {
    domain: "ads",
    stream: "domain-events",
    schemas: &[&CAMPAIGN_CREATED, &CAMPAIGN_UPDATED, &CAMPAIGN_ENDED],
};
/// The accepted ad events.
pub static OF_ADS: Published = Published { domain: "ads", stream: "ads", schemas: &[&IMPRESSION, &CLICK, &CONVERSION] };

/// CloudEvents `source` of campaigns' events.
pub(super) const SOURCE: &str = "/campaigns";

/// The aggregate of a campaign's events, and the key of their records.
pub(super) fn aggregate(campaign: CampaignId) -> String {
    format!("campaign-{campaign}")
}

/// The data of a campaign's event. It tells no money, because it is for every subscriber.
pub(super) fn data(campaign: CampaignId, owner: Option<&str>, revision: i64, terms: &Terms) -> String {
    let at = |at: Option<OffsetDateTime>| at.map(|at| Value::from(micros(at)));
    let text = |text: Option<&str>| text.map(Value::from);
    let members = [
        ("campaignId", Some(Value::from(campaign.get()))),
        ("externalId", text(terms.external_id.as_deref())),
        ("owner", text(owner)),
        ("name", text(Some(&terms.name))),
        ("status", text(Some(terms.status.as_str()))),
        ("startsAt", at(terms.starts_at)),
        ("endsAt", at(terms.ends_at)),
        ("revision", Some(Value::from(revision))),
    ];
    let members: Map<_, _> = members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
    Value::Object(members).to_string()
}

/// A time as PostgreSQL keeps it: in UTC, with microseconds.
fn micros(at: OffsetDateTime) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");
    // Every time of a campaign was parsed from RFC 3339, in years that can be written.
    at.to_offset(UtcOffset::UTC).format(format).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;
    use crate::ads::samples;
    use crate::ads::{AdEventType, Status};

    #[test]
    fn a_campaign_is_told_without_its_money() {
        let mut terms = samples::campaign();
        terms.name = "an \"ad\", ü".to_owned();
        let id = CampaignId::try_from(7).unwrap();
        let told = data(id, None, 1, &terms);
        assert_eq!(told, r#"{"campaignId":7,"name":"an \"ad\", ü","revision":1,"status":"active"}"#);
        terms.external_id = Some("x-1".to_owned());
        terms.starts_at = Some(datetime!(2026-01-02 03:04:05.678_901_234 +01:00));
        terms.ends_at = Some(datetime!(0001-01-01 00:00 UTC));
        terms.status = Status::Ended;
        let told = data(id, Some("alice"), 3, &terms);
        let expected = concat!(
            r#"{"campaignId":7,"endsAt":"0001-01-01T00:00:00.000000Z","externalId":"x-1","name":"an \"ad\", ü","#,
            r#""owner":"alice","revision":3,"startsAt":"2026-01-02T02:04:05.678901Z","status":"ended"}"#
        );
        assert_eq!(told, expected);
        for schema in OF_CAMPAIGNS.schemas {
            assert_eq!(schema.check(&told), Ok(()));
            let fault = schema.check(r#"{"campaignId":7,"name":"n","revision":1,"status":"active","spent":"1"}"#);
            assert_eq!(fault.unwrap_err().reason, "the schema has no spent");
        }
    }

    proptest::proptest! {
        #[test]
        fn whatever_its_terms_are_a_campaign_can_be_told(
            terms in samples::terms(), id in 1..=i64::MAX, owner in proptest::option::of("[ -~\u{e9}]{0,40}")
        ) {
            let told = data(CampaignId::try_from(id).unwrap(), owner.as_deref(), id, &terms);
            proptest::prop_assert_eq!(CAMPAIGN_CREATED.check(&told), Ok(()), "{}", told);
        }
    }

    #[test]
    fn every_type_of_an_ad_event_has_a_schema() {
        let types: Vec<_> = OF_ADS.schemas.iter().map(|schema| schema.event_type).collect();
        assert_eq!(types, AdEventType::ALL);
    }
}
