//! Campaigns' ids, subjects, types and the stream.

use proptest::prelude::*;

use super::*;

const CAMPAIGN: &str = "must be a whole number from 1 to 9223372036854775807, without leading zeros";

#[test]
fn a_campaign_has_one_spelling() {
    for (text, id) in [("1", 1), ("42", 42), ("9223372036854775807", i64::MAX)] {
        let parsed: CampaignId = text.parse().unwrap();
        assert_eq!((parsed.get(), parsed.to_string()), (id, text.to_owned()));
        assert_eq!(parsed.cache_key().to_string(), format!("report:{text}"));
        for json in [text.to_owned(), format!("{text:?}")] {
            assert_eq!(CampaignId::from_json(serde_json::from_str(&json).unwrap()), Ok(parsed));
        }
    }
    for bad in ["", "0", "00", "01", "-1", "+1", " 1", "1 ", "1.0", "1e3", "9223372036854775808", "x", "\u{661}"] {
        assert_eq!(bad.parse::<CampaignId>().unwrap_err().to_string(), CAMPAIGN, "{bad:?}");
    }
    for bad in ["0", "-1", "1.0", "1e3", "9223372036854775808", "true", "null", "[1]", r#""""#, r#""01""#, r#""1 ""#] {
        assert_eq!(CampaignId::from_json(serde_json::from_str(bad).unwrap()), Err(CAMPAIGN.to_owned()), "{bad}");
    }
    assert_eq!((CampaignId::try_from(7), CampaignId::try_from(0)), ("7".parse(), Err(CampaignIdError)));
}

#[test]
fn a_subject_that_is_refused_says_why() {
    for (bad, why) in [
        ("", "must be the id of a campaign, a colon, and the id of a user"),
        ("u1", "must be the id of a campaign, a colon, and the id of a user"),
        (":u1", &format!("the campaign's id, before the colon, {CAMPAIGN}")),
        ("01:u1", &format!("the campaign's id, before the colon, {CAMPAIGN}")),
        ("1:", "the user's id, after the colon, must be 1 to 128 characters long"),
        ("1: u1", "the user's id, after the colon, must not begin or end with a blank"),
    ] {
        assert_eq!(bad.parse::<AdSubject>().unwrap_err(), why, "{bad:?}");
    }
}

#[test]
fn a_type_has_a_short_name() {
    for (name, text) in [
        ("impression", "io.edge.ad.impression.v1"),
        ("click", "io.edge.ad.click.v1"),
        ("conversion", "io.edge.ad.conversion.v1"),
    ] {
        let event_type = AdEventType::from_name(name).unwrap();
        assert_eq!((event_type.name(), event_type.as_str()), (name, text));
    }
    assert_eq!(AdEventType::from_name("Click"), None);
    assert_eq!(AdEventType::ALL.len(), 3);
}

#[test]
fn the_stream_is_sound() {
    AdStream::SPEC.check_extensions().unwrap();
    assert_eq!(AdStream::SPEC.extensions, ["grantid", "adday", "cost"]);
    assert_ne!(AdStream::SPEC.topic.default, AdStream::SPEC.dead_letters.default);
}

proptest! {
    #[test]
    fn a_subject_comes_back(campaign in 1..=i64::MAX, user in "[!-~]{1,128}") {
        prop_assume!(user.parse::<UserId>().is_ok());
        let subject = AdSubject { campaign: CampaignId(campaign), user: user.parse().unwrap() };
        prop_assert_eq!(subject.to_string().parse(), Ok(subject.clone()));
        prop_assert_eq!(subject.key(), Key::from(format!("{campaign}:{user}")));
    }
}
