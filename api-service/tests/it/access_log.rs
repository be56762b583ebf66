//! The binary's log lines of requests, by `ACCESS_LOG`.

use shared::runtime::config::AccessLog;

use crate::prelude::*;

async fn get(binary: &Binary, path: &str, request_id: &str) -> u16 {
    let request = binary.get(path, &admin()).header("x-request-id", request_id);
    request.send().await.unwrap().status().as_u16()
}

async fn post(binary: &Binary, event: &'static str, request_id: &str) -> u16 {
    let request = binary.post("/events", &admin(), event).header("x-request-id", request_id);
    request.send().await.unwrap().status().as_u16()
}

fn answered(seen: &[String]) -> Vec<Value> {
    let lines = seen.iter().map(|line| serde_json::from_str::<Value>(line).unwrap_or_else(|_| panic!("{line}")));
    lines.filter(|line| line["message"] == "answered").collect()
}

fn ids(seen: &[String]) -> Vec<String> {
    answered(seen).iter().map(|line| line["request_id"].as_str().unwrap().to_owned()).collect()
}

const EVENT: &str = r#"{"device_id":"d","event_id":"e-1","payload":{}}"#;

#[tokio::test]
async fn every_request_has_one_line_in_either_format() {
    let scope = prepared("access_all").await;
    for format in ["json", "pretty"] {
        let binary = Binary::with(&scope, &[("ACCESS_LOG", "all"), ("LOG_FORMAT", format)]);
        assert_eq!(post(&binary, EVENT, "r-1").await, 202);
        assert_eq!(get(&binary, "/openapi.json", "r-2").await, 200);
        assert_eq!(get(&binary, "/resource/d", "r-3").await, 404);
        assert_eq!(get(&binary, "/resource/d%20status=200", "r-5").await, 404);
        // As a load balancer's probe, every few seconds.
        assert_eq!(get(&binary, "/health/live", "r-4").await, 200);
        let (_, seen) = binary.terminate();
        if format == "json" {
            let answered = answered(&seen);
            let of = |n: usize, name: &str| answered[n][name].as_str().unwrap_or_default();
            let shown: Vec<_> = (0..answered.len())
                .map(|n| {
                    let line = ["level", "request_id", "method", "route", "device_id", "event_id"];
                    (line.map(|name| of(n, name)), answered[n]["status"].as_u64().unwrap())
                })
                .collect();
            let expected = [
                (["INFO", "r-1", "POST", "/events", "d", "e-1"], 202),
                (["INFO", "r-2", "GET", "/openapi.json", "", ""], 200),
                (["INFO", "r-3", "GET", "/resource/{id}", "d", ""], 404),
                (["INFO", "r-5", "GET", "/resource/{id}", "d status=200", ""], 404),
            ];
            assert_eq!(shown, expected);
            let took = |line: &Value| line["duration_ms"].as_f64().unwrap();
            assert!(answered.iter().all(|line| (0.0..60_000.0).contains(&took(line))), "{answered:?}");
            continue;
        }
        let lines: Vec<_> = seen.iter().filter(|line| line.contains(" answered ")).collect();
        let [post, document, read, quoted] = lines[..] else { panic!("{seen:#?}") };
        // The exact text, without quotes and colours, because people search for it.
        let expected =
            "answered request_id=r-1 method=POST route=/events status=202 device_id=d event_id=e-1 duration_ms=";
        assert!(post.contains(expected), "{post}");
        assert!(
            document.contains("request_id=r-2 method=GET route=/openapi.json status=200 duration_ms="),
            "{document}"
        );
        assert!(read.contains("status=404 code=resource_not_found device_id=d duration_ms="), "{read}");
        // A blank must not look like the end of the field.
        assert!(quoted.contains(r#"code=resource_not_found device_id="d status=200" duration_ms="#), "{quoted}");
    }
}

#[tokio::test]
async fn of_a_share_the_request_id_decides_and_errors_are_all_there() {
    let binary = Binary::with(&prepared("access_share").await, &[("ACCESS_LOG", "0.3")]);
    // The worker decides in the same way: the records carry the request ids.
    let share: AccessLog = "0.3".parse().unwrap();
    let (mut expected, mut good) = (Vec::new(), 0);
    for n in 0..60 {
        let id = format!("r-{n}");
        if n % 6 == 0 {
            assert_eq!(get(&binary, "/nowhere", &id).await, 404);
            expected.push(id);
        } else {
            assert_eq!(post(&binary, EVENT, &id).await, 202);
            if share.takes(&id) {
                expected.push(id);
                good += 1;
            }
        }
    }
    assert!((3..40).contains(&good), "{expected:?}");
    let (_, seen) = binary.terminate();
    assert_eq!(ids(&seen), expected);
}

/// A campaign that takes no more may be asked thousands of times a second.
#[tokio::test]
async fn what_a_campaign_refuses_as_a_rule_is_no_error() {
    const DRAFT: &str =
        r#"{"name":"c","pricing_model":"cpm","unit_price":"10","total_budget":"5","status":"draft","external_id":"c"}"#;
    const AD_EVENT: &str = r#"{"campaign_id":1,"user_id":"u","event_type":"impression"}"#;
    const NO_CAMPAIGN: &str = r#"{"campaign_id":7,"user_id":"u","event_type":"impression"}"#;
    let scope = prepared("access_refused").await;
    for (access_log, batch, alone) in [("errors", vec![404], vec!["r-2"]), ("all", vec![409, 404], vec!["r-1", "r-2"])]
    {
        let binary = Binary::with(&scope, &[("ACCESS_LOG", access_log)]);
        let send = async |path: &str, body: String, id: &str| {
            let request = binary.post(path, &admin(), body).header("x-request-id", id);
            request.send().await.unwrap().status().as_u16()
        };
        assert!([200, 201].contains(&send("/campaigns", DRAFT.to_owned(), "r-0").await));
        assert_eq!(send("/ad-events", AD_EVENT.to_owned(), "r-1").await, 409);
        assert_eq!(send("/ad-events", NO_CAMPAIGN.to_owned(), "r-2").await, 404);
        assert_eq!(send("/ad-events/batch", format!("[{AD_EVENT},{NO_CAMPAIGN}]"), "r-3").await, 207);
        let (_, seen) = binary.terminate();
        let told = ids(&seen).into_iter().filter(|id| alone.contains(&id.as_str()) || id == "r-1");
        assert_eq!(told.collect::<Vec<_>>(), alone, "{access_log}");
        let lines = seen.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let items = lines.filter(|line| line["message"] == "answered in a batch");
        assert_eq!(items.map(|line| line["status"].as_u64().unwrap()).collect::<Vec<_>>(), batch, "{access_log}");
    }
}
