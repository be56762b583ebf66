#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail loudly")]

use serde_json::json;

use super::*;

const ROW: &str = "| it is away | `it waits` with `refused`, `away` | `waiting{partition=\"0\"}` 1, `lost_total` above 0 \
                   | `503 waiting`, `outage` | `it is back` |";

fn fault() -> Fault {
    row(ROW).unwrap()
}

const LOG: &str = "no line of ours\n{\"message\":\"it waits now\",\"error\":\"refused\"}\n{\"message\":\"away\"}\n";
const PAGE: &str = "# HELP lost_total x\nlost_total 2\nwaiting{partition=\"0\"} 1\nwaiting_more 1\n";

#[test]
fn each_thing_that_is_not_said_is_named() {
    let ready =
        json!({"status": "waiting", "outage": null, "groups": {"g": {"partitions": {"0": {"outage": "refused"}}}}});
    let said = Report { log: LOG.into(), metrics: PAGE.into(), ready: (503, ready.clone()) };
    assert_eq!(fault().unsaid(&said), [""; 0]);
    let other = LOG.replace("refused", "reset");
    assert_eq!(fault().unsaid(&Report { log: other, ..said.clone() }).len(), 1);
    let other = LOG.replace("\"away\"", "\"well\"");
    assert_eq!(fault().unsaid(&Report { log: other, ..said.clone() }).len(), 1);
    for (from, to) in [("lost_total 2", "lost_total 0"), ("\"0\"} 1", "\"0\"} 0"), ("lost_total 2", "lost_total_of 2")]
    {
        let other = PAGE.replace(from, to);
        assert_eq!(fault().unsaid(&Report { metrics: other, ..said.clone() }).len(), 1, "{from}");
    }
    assert_eq!(fault().unsaid(&Report { ready: (200, ready), ..said.clone() }).len(), 1);
    let other = json!({"status": "waiting", "groups": {"g": {"partitions": {"0": {"outage": null}}}}});
    assert_eq!(fault().unsaid(&Report { ready: (503, other), ..said.clone() }), ["readiness: no outage"]);
}

#[test]
fn when_it_is_over_nothing_of_it_is_left_but_what_is_counted() {
    let ready = json!({"status": "ready", "outage": null, "groups": {"g": {"partitions": {"0": {"outage": null}}}}});
    let log = format!("{LOG}{{\"message\":\"it is back\"}}\n");
    let page = PAGE.replace("\"0\"} 1", "\"0\"} 0");
    let said = Report { log, metrics: page, ready: (200, ready) };
    assert_eq!(fault().unsaid_of_end(&said), [""; 0]);
    assert_eq!(fault().unsaid_of_end(&Report { log: LOG.into(), ..said.clone() }).len(), 1);
    assert_eq!(fault().unsaid_of_end(&Report { metrics: PAGE.into(), ..said.clone() }).len(), 1);
    let still = json!({"status": "waiting", "outage": "refused"});
    assert_eq!(fault().unsaid_of_end(&Report { ready: (503, still), ..said.clone() }).len(), 2);
}

#[test]
fn a_row_that_is_not_as_rows_are_is_refused() {
    for (from, to) in [
        ("`it waits`", "it waits"),
        ("`outage`", "`outage"),
        (" with ", " and "),
        ("above 0", "grows"),
        ("`503 waiting`", "`waiting`"),
        (" | `it is back` |", " |"),
    ] {
        let other = ROW.replacen(from, to, 1);
        assert_ne!(other, ROW);
        assert!(row(&other).is_err(), "{other}");
    }
    assert!(row(&ROW.replace("`it is back`", "–")).unwrap().end.is_empty());
}

/// A row of the table is compared with the product only if a test causes its fault.
#[test]
fn a_test_makes_each_fault_of_the_table() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut tests = String::new();
    for folder in ["worker-service/tests/it", "devstack/tests/system"] {
        for entry in fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                tests.push_str(&fs::read_to_string(path).unwrap());
            }
        }
    }
    for fault in Fault::all().unwrap() {
        assert!(tests.contains(&format!(".tells({:?})", fault.name)), "no test makes {:?}", fault.name);
        let end = format!(".tells_end_of({:?})", fault.name);
        assert!(fault.end.is_empty() || tests.contains(&end), "no test ends {:?}", fault.name);
    }
}
