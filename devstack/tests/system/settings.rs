//! Settings as they occur in environments: with surrounding blanks and line feeds; OpenTelemetry settings that are
//! empty, in capitals, or not supported; and a reduced log level.

use crate::kit::SECRET;
use crate::prelude::*;

#[tokio::test(flavor = "multi_thread")]
async fn both_services_run_with_blanks_and_line_feeds_around_every_setting() {
    let system = System::start("settings", &[]).await;
    let around = |(name, value): (String, String)| (name, format!(" {value} \n"));
    let mut padded: Vec<_> = system.scope.env().into_iter().map(around).collect();
    let more = [
        // With a trailing line feed, like a secret mounted as a file.
        ("JWT_SECRET", format!("{SECRET}\n")),
        ("LOG_FORMAT", "JSON\n".to_owned()),
        ("REDIS_CLUSTER", " False\n".to_owned()),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", String::new()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc".to_owned()),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip".to_owned()),
    ];
    padded.extend(more.map(|(name, value)| (name.to_owned(), value)));
    let settings: Vec<_> = padded.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let (api, worker) = (system.another_api_with(&settings), system.worker_with(&settings));
    let ready = async || api.public_ready().await.0 > 0;
    system.until("it answers", ready).await;
    let posted = system.send_to(&api, &event("d").id(1)).await.unwrap();
    assert_eq!(posted.status(), 202, "{:?}", posted.text().await);
    system.until("it has its row", async || system.rows().await == 1).await;
    let log = api.service.log();
    assert!(log.contains("not supported, and not read: OTEL_EXPORTER_OTLP_COMPRESSION"), "{log}");
    worker.end().await;

    // With a collector, unsupported settings cause a warning, and spans are still sent.
    let (collector, endpoint) = crate::collector::Collector::start().await;
    let settings = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("{endpoint}\n")),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc".to_owned()),
        ("OTEL_TRACES_SAMPLER", "Always_On".to_owned()),
        ("OTEL_BSP_SCHEDULE_DELAY", " 200\n".to_owned()),
        // More than any machine's memory, and more than an integer can hold.
        ("OTEL_BSP_MAX_QUEUE_SIZE", "99999999999999".to_owned()),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "18446744073709551615".to_owned()),
        ("OTEL_SPAN_LINK_COUNT_LIMIT", "many".to_owned()),
        ("OTEL_RESOURCE_ATTRIBUTES", "service.name=of%20the%20test".to_owned()),
    ];
    let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let api = system.another_api_with(&settings);
    system.until("it answers", async || api.public_ready().await.0 > 0).await;
    let posted = system.send_to(&api, &event("d").id(2)).await.unwrap();
    assert_eq!(posted.status(), 202);
    let traced =
        async || collector.spans().iter().any(|span| span.name == "POST /events" && span.service == "of the test");
    system.until("its requests are traced", traced).await;
    let log = api.service.log();
    for warning in [
        "OTEL_EXPORTER_OTLP_PROTOCOL is not http/protobuf",
        "OTEL_BSP_MAX_QUEUE_SIZE is not from 1 to 65536: it counts as 2048",
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE is not from 1 to 65536: it counts as 512",
        "OTEL_SPAN_LINK_COUNT_LIMIT is not from 0 to 2147483647: it counts as 128",
    ] {
        assert!(log.contains(warning), "{warning}: {log}");
    }
    assert!(!log.contains("OTEL_BSP_SCHEDULE_DELAY"), "{log}");
}

/// The log level has no effect on the behaviour.
#[tokio::test(flavor = "multi_thread")]
async fn both_services_run_until_they_are_told_to_end_whatever_is_logged() {
    let system = System::start("quiet", &[]).await;
    let mut events = 0;
    for filter in ["off", "error", "warn", "info,api_service=warn,worker_service=warn"] {
        let settings = [("RUST_LOG", filter), ("DRAIN_DELAY", "0s")];
        let (api, worker) = (system.another_api_with(&settings), system.worker_with(&settings));
        system.until("it answers", async || api.live().await == 200).await;
        system.until("the worker is ready", async || worker.status().await == "ready").await;
        events += 1;
        let posted = system.send_to(&api, &event("d").id(events)).await;
        assert_eq!(posted.unwrap().status(), 202, "{filter}");
        system.until("it has its row", async || system.rows().await == events).await;
        // Without a drain delay, a service that ends by itself would have ended by now.
        let ended = tokio::task::block_in_place(|| api.service.wait(Duration::from_secs(1)));
        assert!(ended.is_err(), "{filter}: the API has ended by itself");
        assert!(worker.service.is_running(), "{filter}: the worker has");
        api.service.terminate().unwrap();
        let end = tokio::task::block_in_place(|| api.service.wait(Duration::from_secs(25)));
        assert!(end.unwrap().success(), "{filter}");
        worker.end().await;
    }
}
