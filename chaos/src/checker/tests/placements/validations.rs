//! Promise 10: validations.

use super::*;

#[test]
fn every_validation_ends() {
    for status in ["queued", "running"] {
        says(&[10], &format!("10 validation w: it is {status}, with the findings None"), |observed, end| {
            let row = &mut end.validations[0];
            (row.status, row.findings, row.finished) = (status.into(), None, None);
            observed.validations.pop();
        });
    }
    says(&[10], "10 validation w: it is failed", |observed, end| {
        end.validations[0].status = "failed".into();
        observed.validations.pop();
    });
    says(&[10], "it was answered 202, and has no row", |_, end| end.validations.clear());
}

#[test]
fn its_findings_are_those_of_its_revision() {
    let found = |change: fn(&mut Vec<Value>)| {
        move |observed: &mut Placements, end: &mut PlacementsEnd| {
            let findings = end.validations[0].findings.as_mut().unwrap();
            change(findings.as_array_mut().unwrap());
            observed.validations[1].findings = Some(findings.clone());
            let errors = findings.as_array().unwrap().iter().filter(|it| it["severity"] == "error").count();
            record_of(end, 8).data["errors"] = errors.into();
            record_of(end, 8).data["warnings"] = (3 - errors.min(3)).into();
        }
    };
    says(&[10], "at revision 5 it found", found(|all| all.swap(0, 1)));
    says(&[10], "at revision 5 it found", found(|all| all[0]["placementIds"] = json!(["p1", "p3"])));
    says(&[10], "at revision 5 it found", found(|all| all[1]["code"] = "campaign_missing".into()));
    says(&[10], "it is succeeded, with the findings", found(|all| all[0]["severity"] = "warning".into()));
    says(&[10], "at revision 5 it found", |observed, end| {
        let findings = end.validations[0].findings.as_mut().unwrap().as_array_mut().unwrap();
        findings.pop();
        record_of(end, 8).data["errors"] = 2.into();
        observed.validations.pop();
    });
    says(&[10], "it was read as succeeded of revision 5", |observed, _| {
        observed.validations[1].findings = Some(json!([]))
    });
    says(&[10], "it is of revision 7, which no event made", |observed, end| {
        end.validations[0].revision = 7;
        observed.validations.pop();
    });
}

#[test]
fn its_events_say_the_same() {
    says(&[10], "it was asked for by 1 events, and ended by 0", |_, end| {
        record_of(end, 8).data["validationId"] = "x".into();
    });
    says(&[10], "it was asked for by", |_, end| record_of(end, 8).data["errors"] = 2.into());
    says(&[10], "it was asked for by", |_, end| end.validations[0].version = 17);
    says(&[7, 10], "it was asked for by", |_, end| {
        // It was asked for at a later revision than the one that was validated.
        record_of(end, 6).data["revision"] = 6.into();
    });
}

/// The events of campaign 7 were taken at these seconds; the snapshot was read between 100 and 101.
fn told(created: i64, ended: i64, code: Option<&str>) -> Vec<String> {
    said(|observed, end| {
        for (event, second) in [("campaign-7-1", created), ("campaign-7-2", ended)] {
            end.inbox.iter_mut().find(|row| row.event == event).unwrap().taken = second * SECOND;
        }
        let findings = end.validations[0].findings.as_mut().unwrap().as_array_mut().unwrap();
        match code {
            Some(code) => findings[1]["code"] = code.into(),
            None => drop(findings.remove(1)),
        }
        let errors = findings.len();
        observed.validations[1].findings = end.validations[0].findings.clone();
        record_of(end, 8).data["errors"] = errors.into();
    })
}

#[test]
fn a_campaign_is_what_was_known_of_it_then() {
    let (missing, ended) = (Some("campaign_missing"), Some("campaign_ended"));
    for (created, ended_at, holds) in [
        (0, 1, [false, false, true]),
        (0, 102, [false, true, false]),
        (102, 103, [true, false, false]),
        // Its transaction may have ended before, or after.
        (0, 95, [false, true, true]),
        (95, 96, [true, true, true]),
        (100, 102, [true, true, false]),
    ] {
        for (code, holds) in [missing, None, ended].into_iter().zip(holds) {
            let said = told(created, ended_at, code);
            assert_eq!(said.is_empty(), holds, "{created} {ended_at} {code:?}: {said:?}");
        }
    }
}
