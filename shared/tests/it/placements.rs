//! What is read of a video for its files and its validation.

use shared::placements::files::FileKind;
use shared::placements::queries::files::{FileState, file};
use shared::placements::queries::subscribers::{content, snapshot, snapshot_with};
use shared::placements::snapshot::CampaignShot;
use shared::placements::{NewPlacement, PlacementId, Range, VideoId};
use time::macros::datetime;

use crate::prelude::*;

const VIDEO: &str = "01890a5d-ac96-774b-bcce-b302099a8057";
const FIRST: &str = "01890a5d-ac96-774b-bcce-b302099a8058";

/// A video with a placement that has everything, one that has only what it must have, and one that is deleted; and
/// products and campaigns, of which some are of nobody.
const ROWS: &str = r#"
    INSERT INTO videos (id, title, duration_ms, frame_rate, revision, ready_revision, version) VALUES
    ('01890a5d-ac96-774b-bcce-b302099a8057', 'A "film"', 60000, 29970, 5, 4, 6);
    INSERT INTO products (id, name, active) VALUES ('mug', 'm', true), ('old', 'o', false), ('other', 'x', true);
    INSERT INTO placement_campaigns (id, name, status, ends_at, sequence) VALUES
    (7, 'c', 'active', '2026-01-02 03:04:05.678901+00', 2), (8, 'd', 'ended', NULL, 1), (9, 'e', 'draft', NULL, 1);
    INSERT INTO placements (id, video_id, product_id, campaign_id, start_ms, end_ms, layer, region, label, version,
      deleted_at) VALUES
    ('01890a5d-ac96-774b-bcce-b302099a8058', '01890a5d-ac96-774b-bcce-b302099a8057', 'mug', 7, 0, 1500, 3,
     '{"x": 0.25, "y": 0, "width": 0.5, "height": 0.3333}', E'"\\ ü\u2028', 4, NULL),
    ('01890a5d-ac96-774b-bcce-b302099a8059', '01890a5d-ac96-774b-bcce-b302099a8057', 'none', NULL, 5, 86400000, 0,
     NULL, NULL, 5, NULL),
    ('01890a5d-ac96-774b-bcce-b302099a805a', '01890a5d-ac96-774b-bcce-b302099a8057', 'old', 8, 0, 1, 0, NULL, NULL, 5,
     now())"#;

async fn kit(name: &str) -> (Kit, VideoId) {
    let kit = Kit::new(name).await;
    sqlx::raw_sql(ROWS).execute(&kit.pool).await.unwrap();
    (kit, VIDEO.parse().unwrap())
}

#[tokio::test]
async fn a_snapshot_is_a_video_with_all_that_is_known_of_its_placements() {
    let (kit, video) = kit("snapshot").await;
    let shot = snapshot(&kit.store, video).await.unwrap().unwrap();
    let about = (shot.video.title.as_str(), shot.video.duration_ms, shot.video.frame_rate);
    assert_eq!(about, ("A \"film\"", 60_000, Some(29_970)));
    assert_eq!((shot.video.id, shot.video.revision, shot.video.ready_revision), (video, 5, 4));
    let first: PlacementId = FIRST.parse().unwrap();
    let mut placements = shot.placements.clone();
    placements.sort_by_key(|placed| placed.id);
    let [full, least] = &placements[..] else { panic!("{placements:?}") };
    assert_eq!((full.id, full.video, full.product.as_str(), full.campaign), (first, video, "mug", Some(7)));
    assert_eq!((full.range, full.layer, full.version), (Range::new(0, 1_500).unwrap(), 3, 4));
    assert_eq!(full.label.as_deref(), Some("\"\\ ü\u{2028}"));
    let region = full.region.unwrap();
    assert_eq!(
        [region.x(), region.y(), region.width(), region.height()].map(|part| part.get()),
        [2_500, 0, 5_000, 3_333]
    );
    assert_eq!((least.campaign, least.region, least.label.as_deref()), (None, None, None));
    let products: Vec<_> = shot.products.iter().map(|(id, active)| (id.as_str(), *active)).collect();
    assert_eq!(products, [("mug", true)], "of what is there, and of nothing else");
    let ends_at = Some(datetime!(2026-01-02 03:04:05.678901 UTC));
    assert_eq!(
        shot.campaigns.into_iter().collect::<Vec<_>>(),
        [(7, CampaignShot { status: "active".into(), ends_at })]
    );

    let files = content(&kit.store, video).await.unwrap().unwrap();
    assert_eq!((files.video, files.placements), (shot.video, shot.placements));
    assert!(files.products.is_empty() && files.campaigns.is_empty());
    let nobody = VideoId::generate();
    assert_eq!(snapshot(&kit.store, nobody).await.unwrap(), None);
    assert_eq!(content(&kit.store, nobody).await.unwrap(), None);
}

#[tokio::test]
async fn a_snapshot_for_a_draft_has_its_product_and_its_campaign() {
    let (kit, video) = kit("snapshot_draft").await;
    let draft = |product: &str, campaign| NewPlacement {
        video,
        product: product.parse().unwrap(),
        campaign,
        range: Range::new(0, 1).unwrap(),
        layer: 0,
        region: None,
        label: None,
    };
    for (product, campaign, products, campaigns) in [
        ("old", Some(8), &[("mug", true), ("old", false)][..], &[7, 8][..]),
        ("mug", None, &[("mug", true)], &[7]),
        ("nothing", Some(10), &[("mug", true)], &[7]),
    ] {
        let shot = snapshot_with(&kit.store, &draft(product, campaign)).await.unwrap().unwrap();
        let found: Vec<_> = shot.products.iter().map(|(id, active)| (id.as_str(), *active)).collect();
        assert_eq!((found, shot.campaigns.into_keys().collect::<Vec<_>>()), (products.to_vec(), campaigns.to_vec()));
    }
}

#[tokio::test]
async fn a_file_is_of_a_video_and_may_not_be_ready() {
    let (kit, video) = kit("snapshot_file").await;
    assert_eq!(file(&kit.store, VideoId::generate(), FileKind::Json).await.unwrap(), FileState::NoVideo);
    assert_eq!(file(&kit.store, video, FileKind::Json).await.unwrap(), FileState::NotReady);
    let sql = "INSERT INTO files (video_id, kind, revision, sha256, bytes) SELECT id, 'json', 4, sha256('abc'), 3 FROM videos";
    sqlx::raw_sql(sql).execute(&kit.pool).await.unwrap();
    let FileState::Ready(row) = file(&kit.store, video, FileKind::Json).await.unwrap() else { panic!() };
    assert_eq!((row.revision, row.bytes), (4, 3));
    assert_eq!(row.hash, shared::placements::objects::ObjectHash::of(b"abc"));
    assert_eq!(file(&kit.store, video, FileKind::Vtt).await.unwrap(), FileState::NotReady, "the other one");
}
