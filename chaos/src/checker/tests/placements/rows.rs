//! Promise 7: the rows, and what clients read.

use super::*;

#[test]
fn rows_are_what_the_topic_makes_of_them() {
    says(&[7], "its row is Video", |_, end| end.videos[0].title = "u".into());
    says(&[7, 10], "at revision 12", |_, end| end.videos[0].revision = 12);
    says(&[7], "its row is ready and of version", |_, end| end.videos[0].version = 11);
    says(&[7], "its row counts 4 placements, and it has 3", |_, end| end.videos[0].placements = 4);
    says(&[7], "the placement p3 has the row", |_, end| end.placements[2].layer = 1);
    says(&[7], "the placement p1 has the row", |_, end| end.placements[0].version = 2);
    says(&[7], "the placement p4 has the row None", |_, end| drop(end.placements.pop()));
    says(&[7], "the placement p2 has the row Some", |_, end| end.placements[1].deleted = false);
    says(&[7], "the placement p5 has the row Some", |_, end| end.placements.push(row("p5", 12, p4(), false)));
    says(&[7, 10], "video w: it has a row, and no event", |_, end| {
        end.videos.push(VideoRow { id: "w".into(), ..end.videos[0].clone() });
        end.files.extend(end.files.clone().into_iter().map(|file| FileRow { video: "w".into(), ..file }));
    });
    says(&[7], "video v: it is in the topic, and has no row", |_, end| end.videos.clear());
}

#[test]
fn events_fit_each_other() {
    says(&[7, 10], "event 4, placement.created, is of the placement p1, which is there already", |_, end| {
        record_of(end, 4).data["placementId"] = "p1".into();
    });
    says(&[7, 10], "event 9, placement.deleted, is of the placement p7, which is not there", |_, end| {
        record_of(end, 9).data["placementId"] = "p7".into();
    });
    says(&[7, 10], "event 5, placement.updated, has revision 4", |_, end| {
        record_of(end, 5).data["revision"] = 4.into()
    });
    says(&[7, 10], "event 5, placement.updated, has another version", |_, end| {
        record_of(end, 5).data["version"] = 4.into();
    });
    says(&[7, 10], "event 12, video.files_generated, is of revision 12, behind 9", |_, end| {
        record_of(end, 12).data["revision"] = 12.into();
        end.videos[0].ready_revision = 9;
    });
    says(&[7, 9], "event 12, video.renamed, has the type", |_, end| {
        let record = record_of(end, 12);
        record.kind = "video.renamed".into();
        record.data["revision"] = 12.into();
    });
}

#[test]
fn a_video_is_read_as_it_was_at_its_revision() {
    says(&[7], "it was read at revision 9, ready 5, as", |observed, _| observed.videos[0].placements = 3);
    says(&[7], "it was read at revision 9, ready 5, as", |observed, _| observed.videos[0].title = "u".into());
    says(&[7], "it was read at revision 9, ready 10", |observed, _| observed.videos[0].ready_revision = 10);
    says(&[7], "it was read at revision 10, which no event made", |observed, _| observed.videos[0].revision = 10);
}
