//! The log lines about events, by `ACCESS_LOG`, as the binary writes them.

use shared::runtime::config::AccessLog;

use crate::prelude::*;

/// The lines with this message so far, without their common fields.
fn lines(kit: &Kit, worker: &Process, message: &str) -> Vec<Value> {
    let mut found = told(&worker.service.log(), message);
    for line in &mut found {
        let line = line.as_object_mut().unwrap();
        for usual in ["timestamp", "target"] {
            assert!(line.remove(usual).is_some());
        }
        assert_eq!(line.remove("group"), Some(json!(kit.scope.group)), "{line:?}");
    }
    found
}

async fn until_lines(kit: &Kit, worker: &Process, message: &str, count: usize) -> Vec<Value> {
    until("it is in the log", async || lines(kit, worker, message).len() >= count).await;
    let found = lines(kit, worker, message);
    assert_eq!(found.len(), count, "{found:#?}");
    found
}

const PROCESSED: &str = "Processed message";

#[tokio::test(flavor = "multi_thread")]
async fn each_event_has_a_line_with_its_outcome_its_version_and_its_cache_entry() {
    let kit = Kit::new("log_all", 1).await;
    let worker = kit.process_with(&[("ACCESS_LOG", "all")]).await;
    let mut redis = kit.redis().await;
    let origin = [
        ("origin.topic", kit.scope.input_topic.as_str()),
        ("origin.partition", "0"),
        ("origin.offset", "0"),
        ("origin.timestamp", "1000"),
    ];
    let (planted, other) = (r#"{"x":"planted-7f3a"}"#, r#"{"other":true}"#);
    let (older, newer) = (r#"{"version":0}"#, r#"{"version":7,"id":"a"}"#);
    // One by one, so that each has its own fence. "late" follows a newer state, as a redriven event does; the last one
    // has another payload with the same id.
    let steps = [
        ("1", planted, &[][..], None, "applied", 1, "absent"),
        ("2", planted, &[], Some(older), "applied", 2, "replaced"),
        ("3", planted, &[], Some("lease:of-a-reader"), "applied", 3, "lease_deleted"),
        ("4", planted, &[], Some("neither"), "applied", 4, "deleted"),
        ("5", planted, &[], Some(newer), "applied", 5, "current"),
        ("1", planted, &[], None, "repeated", 5, "absent"),
        ("late", planted, &origin, None, "superseded", 5, "absent"),
        ("2", other, &[], None, "conflicting", 5, "absent"),
    ];
    let mut expected = Vec::new();
    for (id, payload, more, cached, outcome, version, cache) in steps {
        match cached {
            Some(value) => redis.set_ex(kit.key("a"), value, 600).await.unwrap(),
            None => redis.del(kit.key("a")).await.unwrap(),
        }
        let request = format!("r-{id}");
        let headers = [more, &[("ce_requestid", request.as_str())]].concat();
        let (_, offset) = kit.event_with("a", id, payload, &headers).await;
        expected.push(json!({
            "level": "INFO", "message": PROCESSED, "device_id": "a", "event_id": id, "request_id": request,
            "partition": 0, "offset": offset, "outcome": outcome, "version": version, "cache": cache,
        }));
        assert_eq!(until_lines(&kit, &worker, PROCESSED, expected.len()).await, expected);
    }
    // Many in one batch: each has its own version, and all events of a device share one fence.
    let posts: Vec<_> = (0..50).map(|n| (format!("d{}", n % 2), format!("m-{n}"))).collect();
    join_all(posts.iter().map(|(device, id)| kit.event(device, id, "{}"))).await;
    let found = until_lines(&kit, &worker, PROCESSED, 58).await;
    for device in ["d0", "d1"] {
        let of_device = found.iter().filter(|line| line["device_id"] == device);
        let versions: Vec<_> = of_device.map(|line| line["version"].as_i64().unwrap()).collect();
        assert_eq!(versions, (1..=25).collect::<Vec<_>>());
    }
    assert!(found.iter().skip(8).all(|line| line.get("request_id").is_none()), "they have none");
    worker.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_the_line_says_that_the_fence_is_pending() {
    let kit = Kit::new("log_pending", 1).await;
    let redis = format!("redis://{}", nobody());
    let worker = kit.process_with(&[("ACCESS_LOG", "all"), ("REDIS_URL", &redis)]).await;
    kit.event("a", "1", "{}").await;
    let found = until_lines(&kit, &worker, PROCESSED, 1).await;
    assert_eq!((&found[0]["cache"], &found[0]["version"]), (&"pending".into(), &1.into()));
    worker.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_applied_is_logged_by_default_and_what_is_applied_is_not() {
    let kit = Kit::new("log_errors", 1).await;
    kit.refuse("bad").await;
    let worker = kit.process().await;
    kit.event_with("a", "1", r#"{"n":1}"#, &[("ce_requestid", "r-1")]).await;
    kit.event_with("bad", "2", r#"{"x":"planted-7f3a"}"#, &[("ce_requestid", "r-2")]).await;
    let poison = [("ce_id", Some(&b"3"[..])), ("ce_requestid", Some(&b"r-3\n"[..]))];
    let (_, offset) = kit.put(Some(b"p"), Some(b"{\"x\":\"planted-7f3a\""), &poison).await;
    kit.event_with("a", "1", r#"{"n":2}"#, &[("ce_requestid", "r-4")]).await;
    worker.tells("An event fails on its own").await;
    let found = until_lines(&kit, &worker, "a dead letter", 2).await;
    worker.tells_end_of("An event fails on its own").await;
    let letters = [
        json!({
            "level": "WARN", "message": "a dead letter", "device_id": "p", "event_id": "3", "request_id": "r-3\\n",
            "partition": 0, "offset": offset, "reason": "undecodable", "attempts": 1,
            "error": "ce_specversion is missing",
        }),
        json!({
            "level": "WARN", "message": "a dead letter", "device_id": "bad", "event_id": "2", "request_id": "r-2",
            "partition": 0, "offset": 1, "reason": "failed", "attempts": 4, "error": "SQLSTATE P0001: refused",
        }),
    ];
    assert_eq!(found, letters);
    // It was held for 2, 4 and 8 s; its dead letter is logged once, as checked above.
    let alone: Vec<_> =
        lines(&kit, &worker, "a batch failed").into_iter().filter(|line| line["records"] == 1).collect();
    let held = |retry_s: u64| {
        json!({
            "level": "WARN", "message": "a batch failed", "device_id": "bad", "event_id": "2", "request_id": "r-2",
            "partition": 0, "offset": 1, "records": 1, "class": "Failed", "then": "held", "retry_s": retry_s,
            "error": "SQLSTATE P0001: refused",
        })
    };
    assert_eq!(alone, [held(2), held(4), held(8)]);
    let processed = lines(&kit, &worker, PROCESSED);
    let [line] = &processed[..] else { panic!("{processed:#?}") };
    let names = ["device_id", "event_id", "request_id", "outcome"].map(|name| line[name].as_str().unwrap());
    assert_eq!(names, ["a", "1", "r-4", "conflicting"], "its payload is not what counts");
    worker.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_batch_that_fails_every_event_is_found_by_its_names() {
    let kit = Kit::new("log_batches", 1).await;
    kit.refuse("bad").await;
    // Written before the worker starts, so that they come in one batch.
    for n in 0..20 {
        let (device, request) = (if n == 13 { "bad" } else { "good" }, format!("r-{n}"));
        kit.event_with(device, &n.to_string(), r#"{"x":"planted-7f3a"}"#, &[("ce_requestid", &request)]).await;
    }
    let worker = kit.process_with(&[("ACCESS_LOG", "all")]).await;
    kit.until("SELECT count(*) FROM events", 19).await;
    let of_batches: Vec<_> =
        lines(&kit, &worker, "a batch failed").into_iter().filter(|line| line["records"] != 1).collect();
    let first = &of_batches[0];
    let names = ["device_id", "event_id", "request_id"].map(|name| first[name].as_str().unwrap());
    assert_eq!(names, ["good", "0", "r-0"], "the line of the batch has its first event: {first}");
    let count = usize::try_from(first["records"].as_u64().unwrap()).unwrap();
    let found: Vec<_> = lines(&kit, &worker, "its batch failed").into_iter().take(count).collect();
    let expected: Vec<_> = (0..count)
        .map(|n| {
            json!({
                "level": "INFO", "message": "its batch failed", "device_id": if n == 13 { "bad" } else { "good" },
                "event_id": n.to_string(), "request_id": format!("r-{n}"), "partition": 0, "offset": n, "then": "split",
            })
        })
        .collect();
    assert_eq!(found, expected);
    worker.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn under_load_each_event_has_its_line_once() {
    const EVENTS: usize = 9_000;
    let kit = Kit::new("log_load", 3).await;
    let worker = kit.process_with(&[("ACCESS_LOG", "all")]).await;
    let name = |n: usize| [format!("d{}", n % 50), format!("e-{n}"), format!("r-{n}")];
    let mut expected: Vec<_> = (0..EVENTS).map(name).collect();
    for some in expected.chunks(500) {
        let posts = some.iter().map(async |[device, id, request]| {
            kit.event_with(device, id, "{}", &[("ce_requestid", request)]).await;
        });
        join_all(posts).await;
    }
    kit.until("SELECT count(*) FROM events", i64::try_from(EVENTS).unwrap()).await;
    let found = until_lines(&kit, &worker, PROCESSED, EVENTS).await;
    let names =
        |line: &Value| ["device_id", "event_id", "request_id"].map(|name| line[name].as_str().unwrap().to_owned());
    let mut found: Vec<_> = found.iter().map(names).collect();
    found.sort_unstable();
    expected.sort_unstable();
    assert!(found == expected, "each can be found by any of its names, and no line comes twice");
    worker.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_share_the_request_id_decides() {
    let kit = Kit::new("log_share", 1).await;
    let worker = kit.process_with(&[("ACCESS_LOG", "0.3")]).await;
    let ids: Vec<_> = (0..60).map(|n| format!("r-{n}")).collect();
    for (n, id) in ids.iter().enumerate() {
        kit.event_with("a", &n.to_string(), "{}", &[("ce_requestid", id)]).await;
    }
    kit.until("SELECT count(*) FROM events", 60).await;
    let share: AccessLog = "0.3".parse().unwrap();
    let expected: Vec<_> = ids.iter().filter(|id| share.takes(id)).collect();
    assert!((5..35).contains(&expected.len()), "{expected:?}");
    let found = until_lines(&kit, &worker, PROCESSED, expected.len()).await;
    let found: Vec<_> = found.iter().map(|line| line["request_id"].as_str().unwrap()).collect();
    assert_eq!(found, expected);
    worker.end().await;
}
