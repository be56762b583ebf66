//! Promise 7: commands, their answers and their events.

use super::*;

#[test]
fn a_command_that_was_done_without_its_event() {
    says(&[7], "it was answered 200, and has no event", |observed, _| {
        let body = json!({"label": "another"});
        let ask = Ask::ChangePlacement { placement: "p1".into(), version: 5, body };
        observed.tries.push(done("c11", 40, ask, 200, 13, body_of_p1()));
    });
    // It is lost at the end of the topic.
    says(&[7, 8, 9, 10], "command c9: it was answered 201, and has no event", |observed, end| {
        lose(end, "c9");
        let tried = done("c9", 9, Ask::Place { video: "v".into(), body: p4() }, 201, 11, body("p4", p4()));
        observed.tries.push(tried);
    });
}

fn body_of_p1() -> Value {
    body("p1", p1_changed())
}

fn lose(end: &mut PlacementsEnd, correlation: &str) {
    end.records.retain(|record| record.correlation.as_deref() != Some(correlation));
}

#[test]
fn a_refused_command_has_no_event() {
    says(&[7], "command c9: it was answered 409, and has 1 events", |observed, _| {
        let ask = Ask::Place { video: "v".into(), body: p4() };
        observed.tries.push(refused("c9", 10, ask, 409, "too_many_placements"));
    });
    says(&[7], "command nobody: nobody sent it, and it has placement.created", |_, end| {
        record_of(end, 11).correlation = Some("nobody".into());
        record_of(end, 12).correlation = Some("nobody".into());
    });
}

#[test]
fn a_command_without_an_answer_is_done_as_a_whole_or_not_at_all() {
    let unknown = |observed: &mut Placements| {
        let tried = try_of(observed, "c3");
        (tried.status, tried.body, tried.location) = (0, String::new(), None);
    };
    assert_eq!(said(|observed, _| unknown(observed)), [""; 0], "all");
    says(&[7], "command c3: it has 1 events of 2", |observed, end| {
        unknown(observed);
        record_of(end, 4).correlation = Some("c9".into());
    });
    says(&[7], "command c9: it has 2 events of 1", |_, end| record_of(end, 4).correlation = Some("c9".into()));
}

#[test]
fn of_many_at_once_none_is_between() {
    says(&[7, 10], "other events are between its own", |observed, end| {
        for number in [3, 5] {
            record_of(end, number).correlation = Some("c3".into());
            let record = record_of(end, number);
            record.kind = "placement.created".into();
        }
        record_of(end, 5).data = placed("p9", 5, p3());
        record_of(end, 4).correlation = Some("c4".into());
        let tried = try_of(observed, "c4");
        (tried.status, tried.ask) = (0, Ask::Place { video: "v".into(), body: p3() });
    });
}

#[test]
fn a_key_has_one_answer() {
    says(&[7], "it was answered 201 None and 404", |observed, _| {
        let ask = Ask::Place { video: "v".into(), body: p1() };
        observed.tries.push(refused("c2", 25, ask, 404, "video_not_found"));
    });
    says(&[7], "it was answered (", |observed, _| {
        let again = observed.tries.iter_mut().find(|tried| tried.replayed).unwrap();
        again.body = again.body.replace("mug", "cup");
    });
    says(&[7], "it was decided 2 times", |observed, _| {
        observed.tries.iter_mut().find(|tried| tried.replayed).unwrap().replayed = false;
    });
    let waits = |observed: &mut Placements, _: &mut PlacementsEnd| {
        let ask = Ask::Place { video: "v".into(), body: p1() };
        observed.tries.push(refused("c2", 2, ask.clone(), 409, "key_in_progress"));
        observed.tries.push(refused("c2", 2, ask, 503, "outcome_unknown"));
    };
    assert_eq!(said(waits), [""; 0], "these are no answers");
    says(&[7], "it was answered 404", |observed, _| {
        let first = try_of(observed, "c7").clone();
        observed.tries.push(Tried { body: "{}".into(), from: at(30), to: at(30), replayed: true, ..first.clone() });
        observed.tries.push(Tried { status: 412, code: Some("precondition_failed".into()), ..first });
    });
}

#[test]
fn another_command_with_a_used_key_does_nothing() {
    says(&[7], "another command with its key was answered 201", |observed, _| {
        let other = observed.tries.iter_mut().find(|tried| tried.reuses).unwrap();
        (other.status, other.code) = (201, None);
    });
    says(&[7], "command c2-reused: nobody sent it, and it has video.created", |_, end| {
        let created = DomainRecord { correlation: Some("c2-reused".into()), ..record_of(end, 1).clone() };
        *record_of(end, 1) = created;
    });
}

#[test]
fn a_request_becomes_what_it_says() {
    says(&[7], "became", |_, end| record_of(end, 2).data["startMs"] = 41.into());
    says(&[7, 10], "became", |_, end| record_of(end, 3).data["region"]["x"] = 0.2501.into());
    says(&[7, 10], "it made", |_, end| record_of(end, 5).data["label"] = "b".into());
    says(&[7], "its event is", |observed, _| {
        let tried = try_of(observed, "c4");
        tried.body = tried.body.replace("a --> b", "b");
    });
    says(&[7], "its event is", |observed, _| try_of(observed, "c4").etag = Some("\"4\"".into()));
    says(&[7], "its event is", |observed, _| try_of(observed, "c1").location = Some("/videos/w".into()));
    says(&[7], "its event is", |observed, _| {
        let tried = try_of(observed, "c3");
        tried.body = tried.body.replace("\"revision\":4", "\"revision\":3");
    });
    says(&[7], "it was answered 200, not 201", |observed, _| try_of(observed, "c1").status = 200);
}

#[test]
fn a_change_is_of_the_state_that_it_named() {
    says(&[7], "it named version 3, and changed version 2", |observed, _| {
        let Ask::ChangePlacement { version, .. } = &mut try_of(observed, "c4").ask else { panic!() };
        *version = 3;
    });
    says(&[7], "it named version 2, and changed version 3", |observed, _| {
        let Ask::DeletePlacement { version, .. } = &mut try_of(observed, "c6").ask else { panic!() };
        *version = 2;
    });
    // The video, changed at the end.
    let changed = |version: i64| {
        move |observed: &mut Placements, end: &mut PlacementsEnd| {
            let data = with(video(), json!({"videoId": "v", "title": "u", "revision": 13}));
            end.records.insert(12, event("v", 13, "video.updated", "c8", data));
            let Ask::ChangeVideo { version: named, .. } =
                &mut observed.tries.iter_mut().find(|tried| tried.key == "c8").unwrap().ask
            else {
                panic!()
            };
            *named = version;
        }
    };
    let wrong = |version| said(changed(version)).into_iter().filter(|said| said.contains("c8")).collect::<Vec<_>>();
    assert_eq!(wrong(10), ["7 command c8: it named version 10, and changed revision 11"]);
    assert_eq!(wrong(11), [""; 0]);
    assert_eq!(wrong(12), [""; 0], "its files got ready meanwhile");
    assert_eq!(wrong(13), ["7 command c8: it named version 13, and changed revision 11"]);
}

#[test]
fn what_is_there_is_found() {
    let not_found = |at_: u64| {
        move |observed: &mut Placements, _: &mut PlacementsEnd| {
            let ask = Ask::Validate { video: "v".into() };
            observed.tries.push(refused("c11", at_, ask, 404, "video_not_found"));
        }
    };
    says(&[7], "it was answered 404, and v was there", not_found(2));
    assert_eq!(said(not_found(1)), [""; 0], "it was being made");
}

#[test]
fn what_follows_names_its_cause() {
    says(&[7], "follows from v-99, which is not its own", |_, end| {
        record_of(end, 10).causation = Some("v-99".into());
    });
    says(&[7], "follows from v-9, which is not its own", |_, end| record_of(end, 10).correlation = Some("c4".into()));
}

#[test]
fn each_change_of_a_campaign_is_told() {
    let lose = |end: &mut PlacementsEnd, key: &str, number: i64| {
        end.records.retain(|record| record.key != key || record.sequence != Some(number));
        end.inbox.retain(|row| row.aggregate != key || row.sequence != Some(number));
        end.numbers.iter_mut().find(|it| it.aggregate == key).unwrap().last -= 1;
    };
    says(&[7], "campaign-1: revision 2 has no event", |_, end| {
        lose(end, "campaign-1", 2);
        end.campaigns.iter_mut().find(|known| known.campaign == 1).unwrap().sequence = 1;
    });
    says(&[7], "campaign-1: revision 2 is active, and was told as campaign.ended", |_, end| {
        let record = end.records.iter_mut().find(|record| record.id == "campaign-1-2").unwrap();
        record.kind = "campaign.ended".into();
    });
    says(&[7], "placements know", |_, end| end.campaigns[0].sequence = 1);
}
