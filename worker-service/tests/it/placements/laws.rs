//! The laws of handlers, for those of placements.

use std::time::Duration;

use proptest::prelude::*;
use shared::cache::CacheKey;
use shared::kafka::Delivery;
use shared::placements::objects::Objects;
use shared::placements::received::{About, DomainEvent};
use shared::placements::{ValidationId, VideoId};
use shared::store::outbox::doorbell::Doorbell;
use worker_service::consumer::handler::Handler;

use super::kit::{COMPLETED, CREATED, GENERATED, REQUESTED, UPDATED, delivery};
use crate::prelude::{Kit, json};

/// Two videos, of which one has placements, at their third revision; and validations of both, which run. The times are
/// before the test.
const GIVEN: &str = "
    INSERT INTO videos (id, title, duration_ms, revision, version, created_at, updated_at) VALUES
    ('00000000-0000-7000-8000-000000000000', 'a', 60000, 3, 3, '2026-01-01', '2026-01-01'),
    ('00000000-0000-7000-8000-000000000001', 'b', 60000, 3, 3, '2026-01-01', '2026-01-01');
    INSERT INTO sequences (aggregate, last) VALUES
    ('00000000-0000-7000-8000-000000000000', 20), ('00000000-0000-7000-8000-000000000001', 20);
    INSERT INTO placements (id, video_id, product_id, start_ms, end_ms, layer, version, created_at, updated_at) VALUES
    ('00000000-0000-7000-8000-00000000000a', '00000000-0000-7000-8000-000000000000', 'mug', 0, 70000, 0, 3,
     '2026-01-01', '2026-01-01');
    INSERT INTO validations (id, video_id, status, revision, version, requested_at, updated_at)
    SELECT ('00000000-0000-7000-8000-0000000000' || v || n)::uuid, ('00000000-0000-7000-8000-00000000000' || v)::uuid,
      'running', 3, 2 * (10 + n) + 1, '2026-01-01', '2026-01-01'
    FROM generate_series(0, 1) AS v, generate_series(0, 3) AS n";

fn video(number: u8) -> VideoId {
    format!("00000000-0000-7000-8000-00000000000{number}").parse().unwrap()
}

fn validation(video: u8, number: u8) -> ValidationId {
    format!("00000000-0000-7000-8000-0000000000{video}{number}").parse().unwrap()
}

/// What happened: to which video, what, with which id, and whether the last event of the video came again instead.
type Happened = (u8, usize, u8, bool);

/// Events of two videos and a campaign: each aggregate's are numbered in their order, and may come again.
fn logs<H: Handler<Event: Clone + std::fmt::Debug>>(
    types: &'static [&'static str],
) -> impl Strategy<Value = Vec<Delivery<H::Event>>> {
    let happened = (0..2_u8, 0..types.len(), 0..4_u8, any::<bool>());
    let log = move |all: Vec<Happened>| {
        let mut log: Vec<Delivery<H::Event>> = Vec::new();
        let mut last: [Option<Delivery<H::Event>>; 3] = Default::default();
        let mut numbers = [0; 3];
        for (offset, (of, kind, number, again)) in (0..).zip(all) {
            let event_type = types[kind];
            let is_campaign = event_type.starts_with("com.nedlia.campaign.");
            let aggregate = if is_campaign { 2 } else { usize::from(of) };
            let repeat = last[aggregate].clone().filter(|_| again);
            let event = repeat.map(|mut repeat| {
                repeat.position.offset = offset;
                repeat
            });
            let event = event.unwrap_or_else(|| {
                numbers[aggregate] += 1;
                let id = format!("e{aggregate}.{}", numbers[aggregate]);
                let key = if is_campaign { "campaign-7".to_owned() } else { video(of).to_string() };
                let data = json!({
                    "videoId": video(of).to_string(), "validationId": validation(of, number).to_string(),
                    "campaignId": 7, "name": format!("c{number}"), "status": "active",
                });
                delivery::<H>((&id, offset), event_type, &key, numbers[aggregate], &data)
            });
            last[aggregate] = Some(event.clone());
            log.push(event);
        }
        log
    };
    prop::collection::vec(happened, 4..30).prop_map(log)
}

mod read_model {
    use worker_service::placements::read_model::ReadModel;

    use super::*;

    fn touches(delivery: &Delivery<DomainEvent>) -> Vec<CacheKey> {
        match &delivery.event.about {
            About::Video(video) => vec![video.cache_key()],
            About::Validation(id, _) => vec![id.cache_key()],
            About::Campaign(_) => Vec::new(),
        }
    }

    // It fences at the numbers of its events, and not at what PostgreSQL has: `super::super::read_model` tests that.
    crate::laws::handler_laws!(
        with |_: &Kit| ReadModel::new(Duration::MAX),
        logs::<ReadModel>(&[CREATED, UPDATED, GENERATED, REQUESTED, COMPLETED]),
        touches,
        GIVEN;
        the_result_does_not_depend_on_where_batches_are_cut
        twice_is_once
        a_failed_apply_leaves_nothing
        a_late_position_changes_no_state
    );
}

mod files {
    use worker_service::placements::files::Files;

    use super::*;

    fn handler(kit: &Kit) -> Files {
        let objects = Objects::open(&kit.scope.files_url.parse().unwrap()).unwrap();
        Files::new(kit.store.clone(), objects, Doorbell::new(kit.store.clone()), Duration::MAX)
    }

    // A late event changes a state only if the files of the state were not ready; they are, once its log was applied.
    crate::laws::handler_laws!(
        with handler,
        logs::<Files>(&[CREATED, UPDATED]),
        |delivery| vec![delivery.event.cache_key()],
        GIVEN;
        the_result_does_not_depend_on_where_batches_are_cut
        twice_is_once
        what_is_touched_is_fenced_by_a_repeat_too
        a_failed_apply_leaves_nothing
        a_late_position_changes_no_state
    );
}

mod validator {
    use worker_service::placements::validator::{Asked, Validator};

    use super::*;

    fn touches(delivery: &Delivery<Asked>) -> Vec<CacheKey> {
        match &delivery.event {
            Asked::Validation(id) => vec![id.cache_key()],
            Asked::Campaign(..) => Vec::new(),
        }
    }

    crate::laws::handler_laws!(
        with |kit: &Kit| Validator::new(kit.store.clone(), Doorbell::new(kit.store.clone()), Duration::MAX),
        logs::<Validator>(&[REQUESTED, "com.nedlia.campaign.created", "com.nedlia.campaign.updated"]),
        touches,
        GIVEN;
        the_result_does_not_depend_on_where_batches_are_cut
        twice_is_once
        what_is_touched_is_fenced_by_a_repeat_too
        a_failed_apply_leaves_nothing
        a_late_position_changes_no_state
    );
}
