//! One trace from the request to the write, and one to the dead letter.

use crate::collector::Span;
use crate::prelude::*;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";
const MARK: &str = "planted-7f3a";

async fn start(name: &str, more: &[(&str, &str)]) -> (Arc<System>, Collector) {
    let (collector, endpoint) = Collector::start().await;
    let mut settings = vec![("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()), ("OTEL_BSP_SCHEDULE_DELAY", "200")];
    settings.extend(more);
    (System::start(name, &settings).await, collector)
}

async fn post(system: &System, device: &str, traceparent: Option<&str>, payload: &serde_json::Value) -> u16 {
    let event = json!({"device_id": device, "event_id": "e-1", "payload": payload});
    let mut post = system.api.post("/events", &system.token, event.to_string());
    if let Some(traceparent) = traceparent {
        post = post.header("traceparent", traceparent);
    }
    post.send().await.unwrap().status().as_u16()
}

async fn span(system: &System, collector: &Collector, what: &str, fits: impl Fn(&Span) -> bool) -> Span {
    system.until(what, async || collector.spans().iter().any(&fits)).await;
    collector.spans().into_iter().find(fits).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_goes_from_the_post_to_the_write_and_one_to_the_dead_letter() {
    let (system, collector) = start("traces", &[("OTEL_EXPORTER_OTLP_HEADERS", "x-key=of%20this%20test")]).await;
    let worker = system.worker();
    let sampled = format!("00-{TRACE}-{CALLER}-01");
    assert_eq!(post(&system, "traced", Some(&sampled), &json!({"x": MARK})).await, 202);

    let process = span(&system, &collector, "the write", |span| span.name.starts_with("process ")).await;
    let send = span(&system, &collector, "the way into the topic", |span| span.name.starts_with("send ")).await;
    let answer = span(&system, &collector, "the answer", |span| span.name == "POST /events").await;
    let chain: Vec<_> = [&answer, &send, &process]
        .iter()
        .map(|span| (span.trace.as_str(), span.parent.as_str(), span.kind, span.service.as_str()))
        .collect();
    assert_eq!(
        chain,
        [
            (TRACE, CALLER, 2, "api-service"),
            (TRACE, answer.id.as_str(), 4, "api-service"),
            (TRACE, send.id.as_str(), 5, "worker-service"),
        ]
    );
    assert_eq!(process.events, ["committed"]);
    assert!([&answer, &send, &process].iter().all(|span| !span.failed));
    let named = |span: &Span, name: &str| span.attributes.get(name).cloned().unwrap_or_default();
    assert_eq!(
        (named(&answer, "http.response.status_code"), named(&answer, "http.route")),
        ("202".into(), "/events".into())
    );
    for (span, name, value) in
        [(&answer, "device_id", "traced"), (&process, "device_id", "traced"), (&process, "event_id", "e-1")]
    {
        assert_eq!(named(span, name), value, "{}", span.name);
    }
    assert_eq!(named(&process, "messaging.destination.name"), system.scope.input_topic);
    assert_eq!(named(&process, "messaging.kafka.offset"), named(&send, "messaging.kafka.offset"));

    // A request without a trace context starts a new trace; all events of a request are one span. The worker writes
    // them together, because both exist before it starts.
    worker.end().await;
    let batch = json!([{"device_id": "b", "payload": {}}, {"device_id": "b", "payload": {}}]);
    let batch = system.api.post("/events/batch", &system.token, batch.to_string());
    assert_eq!(batch.send().await.unwrap().status(), 202);
    let answer = span(&system, &collector, "the batch", |span| span.name == "POST /events/batch").await;
    assert_eq!(answer.parent, "");
    let worker = system.worker();
    let written = span(&system, &collector, "its write", |span| span.trace == answer.trace && span.kind == 5).await;
    assert_eq!(named(&written, "messaging.batch.message_count"), "2");

    // An event that fails on every attempt: its attempts and its dead letter.
    let refuse = system.sql(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
           IF NEW.device_id = 'refused' THEN RAISE EXCEPTION 'refused'; END IF; RETURN NEW; END $$;
         CREATE TRIGGER refuse BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION refuse()",
    );
    refuse.await;
    let dying = "11111111111111111111111111111111";
    assert_eq!(post(&system, "refused", Some(&format!("00-{dying}-{CALLER}-01")), &json!({"x": MARK})).await, 202);
    let letter = span(&system, &collector, "the dead letter", |span| {
        span.trace == dying && span.attributes.contains_key("dlq.reason")
    })
    .await;
    let of_trace: Vec<_> = collector.spans().into_iter().filter(|span| span.trace == dying).collect();
    let send = of_trace.iter().find(|span| span.kind == 4 && span.service == "api-service").unwrap();
    assert_eq!((letter.kind, &letter.parent, letter.service.as_str()), (4, &send.id, "worker-service"));
    assert_eq!((named(&letter, "dlq.reason"), named(&letter, "dlq.attempts")), ("failed".into(), "4".into()));
    let tries = of_trace.iter().filter(|span| span.kind == 5).collect::<Vec<_>>();
    assert!(tries.len() == 4 && tries.iter().all(|span| span.failed && span.parent == send.id), "{tries:?}");

    // Not sampled: neither service records a span.
    let unsampled = "22222222222222222222222222222222";
    assert_eq!(post(&system, "unsampled", Some(&format!("00-{unsampled}-{CALLER}-00")), &json!({})).await, 202);
    let last = "33333333333333333333333333333333";
    assert_eq!(post(&system, "unsampled", Some(&format!("00-{last}-{CALLER}-01")), &json!({})).await, 202);
    span(&system, &collector, "a later one", |span| span.trace == last && span.kind == 5).await;
    assert!(collector.spans().iter().all(|span| span.trace != unsampled));

    let token = system.token.rsplit('.').next().unwrap();
    assert!(!collector.holds(MARK) && !collector.holds(token), "no payload, and no token");
    assert!(collector.headers().iter().all(|headers| headers["x-key"] == "of this test"));
    worker.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_spans_are_sent_at_the_end() {
    // Longer than the test, so that only the shutdown sends the spans.
    let (system, collector) = start("traces-end", &[("OTEL_BSP_SCHEDULE_DELAY", "600000")]).await;
    let worker = system.worker();
    assert_eq!(post(&system, "d", None, &json!({})).await, 202);
    system.until("it is written", async || system.rows().await == 1).await;
    assert!(collector.spans().is_empty());
    worker.end().await;
    assert_eq!(collector.spans().iter().map(|span| span.kind).collect::<Vec<_>>(), [5]);
    system.api.service.terminate().unwrap();
    system
        .until("the API has sent its own", async || collector.spans().iter().any(|span| span.name == "POST /events"))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_is_no_matter_to_anybody() {
    let nobody = format!("http://127.0.0.1:{}", devstack::port::free());
    let settings = [("OTEL_EXPORTER_OTLP_ENDPOINT", nobody.as_str()), ("OTEL_BSP_SCHEDULE_DELAY", "100")];
    let system = System::start("traces-away", &settings).await;
    let worker = system.worker();
    let load = system.load(4);
    let said = |log: String| log.matches("the collector does not accept traces").count();
    system.until("the API says so", async || said(system.api.service.log()) == 1).await;
    system.until("the worker says so", async || said(worker.service.log()) == 1).await;
    let sent = load.end().await;
    assert_eq!(crate::kit::refusals(&sent), 0);
    system.settle(&sent).await;
    assert_eq!((said(system.api.service.log()), said(worker.service.log())), (1, 1), "once, and not for each try");
    worker.end().await;
}
