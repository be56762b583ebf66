//! Files: made once for each revision, kept in the store of objects, and told.

use shared::placements::VideoId;
use worker_service::placements::files::Files;

use super::kit::{CREATED, GENERATED, Placements, delivery};
use crate::prelude::*;

impl Placements {
    fn files(&self) -> Files {
        Files::new(self.store.clone(), self.objects(), self.bell(), Duration::MAX)
    }
}

/// The event of a video's change, as the handler gets it.
fn change(id: &str, video: VideoId, number: i64) -> Delivery<VideoId> {
    let data = json!({"videoId": video.to_string(), "revision": number});
    delivery::<Files>((id, number), CREATED, &video.to_string(), number, &data)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_makes_the_files_of_its_video() {
    let all = Placements::new("files", |scope| &scope.files_group).await;
    let worker = all.worker_of(&["files"]);
    let video = all.video().await;
    let (_, number) = all.place(video, "mug", (0, 1_500)).await;
    let cause = all.put_change(video, number).await;
    all.until_ready(video, number).await;
    let first = all.check_files(video).await;

    let published = all.outbox().await;
    let [told] = &published[..] else { panic!("{published:?}") };
    assert_eq!((told.aggregate.as_str(), told.sequence, told.event_type.as_str()), (&*video.to_string(), 3, GENERATED));
    let attribute = |name: &str| told.attributes[name].as_str().map(str::to_owned);
    assert_eq!(attribute("causationid").as_deref(), Some(cause.as_str()));
    assert_eq!([attribute("correlationid"), attribute("userid")].map(Option::unwrap), ["c-1", "editor"]);
    assert_eq!(attribute("subject").unwrap(), video.to_string());
    assert_eq!((&told.data["revision"], &told.data["files"][0]["sha256"]), (&json!(2), &json!(first[0].to_string())));
    let version = "SELECT count(*) FROM videos WHERE version = 3 AND revision = 2 AND ready_revision = 2";
    assert_eq!(all.count(version).await, 1);
    assert_eq!(all.count("SELECT last FROM sequences").await, 3);

    // The next revision has other files, and the old ones stay.
    let (_, number) = all.place(video, "mug", (2_000, 2_500)).await;
    all.put_change(video, number).await;
    all.until_ready(video, number).await;
    assert_ne!(all.check_files(video).await, first);
    assert!(all.objects().get(first[0]).await.unwrap().is_some());
    assert_eq!(all.outbox().await.len(), 2);
    worker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_batch_each_video_is_made_once_and_an_event_again_makes_nothing() {
    let all = Placements::new("files_batch", |scope| &scope.files_group).await;
    let handler = all.files();
    let (one, two) = (all.video().await, all.video().await);
    let numbers = [all.change(one).await, all.change(one).await];
    let batch = [change("a", one, numbers[0]), change("b", two, 1), change("c", one, numbers[1])];
    let batch: Vec<_> = batch.iter().collect();
    let outcomes = |applied: &worker_service::consumer::handler::Applied| {
        applied.events.iter().map(|event| event.outcome).collect::<Vec<_>>()
    };
    assert_eq!(outcomes(&all.apply(&handler, &batch).await), ["applied", "applied", "unchanged"]);
    assert_eq!(outcomes(&all.apply(&handler, &batch).await), ["repeated"; 3]);
    for video in [one, two] {
        all.check_files(video).await;
    }
    let told = all.outbox().await;
    assert_eq!(told.len(), 2);
    assert!(told.iter().all(|told| ["a", "b"].contains(&told.attributes["causationid"].as_str().unwrap())));
    assert_eq!(all.count("SELECT count(*) FROM inbox WHERE subscriber = 'files'").await, 3);
}

/// An event again, as after `seek`, puts what the store has lost or damaged, and changes nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn files_that_the_store_has_lost_or_damaged_are_put_again() {
    let all = Placements::new("files_lost", |scope| &scope.files_group).await;
    let handler = all.files();
    let video = all.video().await;
    let event = change("a", video, all.change(video).await);
    all.apply(&handler, &[&event]).await;
    let files = all.check_files(video).await;
    all.objects().delete(files[1]).await.unwrap();
    assert_eq!(all.apply(&handler, &[&event]).await.events[0].outcome, "repeated");
    assert_eq!(all.check_files(video).await, files);
    // A disk has changed a byte.
    let name = files[0].to_string();
    std::fs::write(all.folder().join(&name[..2]).join(&name[2..]), "damaged").unwrap();
    assert!(all.objects().get(files[0]).await.unwrap_err().is_damaged());
    assert_eq!(all.apply(&handler, &[&event]).await.events[0].outcome, "repeated");
    assert_eq!(all.check_files(video).await, files);
    assert_eq!(all.outbox().await.len(), 1);
}

/// A worker that was frozen between its put and its transaction, while another one went on.
#[tokio::test(flavor = "multi_thread")]
async fn files_never_go_back_to_an_older_revision() {
    let all = Placements::new("files_late", |scope| &scope.files_group).await;
    let (frozen, other) = (all.files(), all.files());
    let video = all.video().await;
    let first = change("a", video, all.change(video).await);
    let late = frozen.prepare(&[&first]).await.unwrap();
    let second = change("b", video, all.change(video).await);
    assert_eq!(all.apply(&other, &[&second]).await.events[0].outcome, "applied");
    let files = all.check_files(video).await;
    assert_eq!(all.apply_prepared(&frozen, &[&first], &late).await.events[0].outcome, "unchanged");
    assert_eq!(all.check_files(video).await, files);
    assert_eq!(all.outbox().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_store_is_away_nothing_dies_and_afterwards_all_is_made() {
    let all = Placements::new("files_away", |scope| &scope.files_group).await;
    // A file, where the folder should be.
    std::fs::create_dir_all(all.folder().parent().unwrap()).unwrap();
    std::fs::write(all.folder(), "").unwrap();
    let worker = all.worker_of(&["files", "read-model"]);
    let video = all.video().await;
    let numbers = [all.change(video).await, all.change(video).await];
    for number in numbers {
        all.put_change(video, number).await;
    }
    // Another group is not held up.
    all.until("SELECT count(*) FROM inbox WHERE subscriber = 'read-model'", 2).await;
    let is_of_it = |line: &str| line.contains("the store of files") && line.contains(&all.scope.group);
    until("it is told", async || own_log().lines().any(is_of_it)).await;
    assert_eq!(all.count("SELECT count(*) FROM inbox WHERE subscriber = 'files'").await, 0);
    std::fs::remove_file(all.folder()).unwrap();
    all.until_ready(video, numbers[1]).await;
    all.check_files(video).await;
    all.until("SELECT count(*) FROM inbox WHERE subscriber = 'files'", 2).await;
    worker.stop().await.unwrap();
    assert_eq!(all.dead_letters(0).await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_files_url_what_needs_it_does_not_start() {
    let kit = Kit::new("files_unset", 1).await;
    for (only, who) in [("files", "the handler files"), ("files-expire", "the task files-expire")] {
        let mut worker = program(&kit.scope, &["run", &format!("--only={only}")]);
        worker.env_remove("FILES_URL");
        let said = run(worker).await;
        assert_ne!(said.status, 0, "{said:?}");
        let all = format!("{}{}", said.out, said.error);
        assert!(all.contains(&format!("{who} needs FILES_URL")), "{said:?}");
    }
}
