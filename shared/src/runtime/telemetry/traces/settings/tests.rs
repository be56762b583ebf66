use clap::Parser;

use super::*;

type Cli = crate::runtime::config::Only<TraceConfig>;

const ENDPOINT: &str = "--otel-exporter-otlp-endpoint=http://planted@h:4318/";

fn with(more: &[&str]) -> (Option<Settings>, Vec<String>) {
    let args = ["test"].iter().chain(more);
    read(&Cli::try_parse_from(args).unwrap().settings, std::iter::empty())
}

/// Every setting except the collector's address.
fn names() -> Vec<String> {
    let command = <Cli as clap::CommandFactory>::command();
    let names = command.get_arguments().filter(|arg| arg.get_env().is_some()).filter_map(Arg::get_long);
    names.filter(|name| !ENDPOINT.starts_with(&format!("--{name}="))).map(str::to_owned).collect()
}

/// Reads settings that must cause no warning.
fn good(more: &[&str]) -> Settings {
    let (settings, warnings) = with(&[&[ENDPOINT], more].concat());
    assert_eq!(warnings, [""; 0], "{more:?}");
    settings.unwrap()
}

#[test]
fn an_empty_variable_is_one_that_is_not_set() {
    assert!(with(&[]).0.is_none());
    assert!(with(&["--otel-exporter-otlp-endpoint="]).0.is_none());
    assert!(with(&["--otel-exporter-otlp-endpoint= \n"]).0.is_none());
    let default = format!("{:?}", good(&[]));
    for name in names() {
        for empty in ["", " ", "\n"] {
            assert_eq!(format!("{:?}", good(&[&format!("--{name}={empty}")])), default, "{name}");
        }
    }
    assert!(default.contains("http://planted@h:4318/v1/traces"), "{default}");
}

#[test]
fn enumerations_come_in_any_case_and_with_blanks_around_them() {
    for (sampler, expected) in [
        ("ALWAYS_ON", "AlwaysOn"),
        (" Always_Off\n", "AlwaysOff"),
        ("TraceIdRatio", "TraceIdRatioBased(0.25)"),
        ("parentbased_TRACEIDRATIO", "ParentBased(TraceIdRatioBased(0.25))"),
        ("ParentBased_Always_Off", "ParentBased(AlwaysOff)"),
    ] {
        let settings = good(&[&format!("--otel-traces-sampler={sampler}"), "--otel-traces-sampler-arg= 0.25\n"]);
        assert_eq!(format!("{:?}", settings.sampler), expected);
    }
    good(&["--otel-exporter-otlp-protocol=HTTP/Protobuf ", "--otel-traces-exporter=OTLP", "--otel-sdk-disabled=FALSE"]);
    assert!(with(&[ENDPOINT, "--otel-sdk-disabled=True"]).0.is_none());
    assert!(with(&[ENDPOINT, "--otel-traces-exporter= None"]).0.is_none());
    let timeout = good(&["--otel-exporter-otlp-timeout= 250\n"]).timeout;
    assert_eq!(timeout, Duration::from_millis(250));
}

#[test]
fn what_is_not_supported_is_a_warning_and_the_default_counts() {
    let default = format!("{:?}", good(&[]));
    for (name, value) in [
        ("exporter-otlp-protocol", "grpc"),
        ("exporter-otlp-timeout", "soon"),
        ("exporter-otlp-timeout", "0"),
        ("exporter-otlp-headers", "planted"),
        ("traces-exporter", "zipkin"),
        ("traces-sampler", "jaeger_remote"),
        ("sdk-disabled", "perhaps"),
        ("exporter-otlp-headers", "a b=c"),
        ("exporter-otlp-headers", "a=%0Aplanted"),
        ("exporter-otlp-traces-headers", "planted"),
        ("resource-attributes", "service.name=a,planted"),
        ("resource-attributes", "a=%ff"),
    ] {
        let (settings, warnings) = with(&[ENDPOINT, &format!("--otel-{name}={value}")]);
        assert_eq!(format!("{:?}", settings.unwrap()), default, "{name}");
        let variable = format!("OTEL_{}", name.replace('-', "_").to_uppercase());
        assert!(warnings.len() == 1 && warnings[0].starts_with(&variable), "{warnings:?}");
        assert!(!warnings[0].contains("planted"), "{warnings:?}");
    }
    let sampled = with(&[ENDPOINT, "--otel-traces-sampler=traceidratio", "--otel-traces-sampler-arg=2"]);
    assert_eq!(sampled.1, ["OTEL_TRACES_SAMPLER_ARG is not from 0 to 1: it counts as 1"]);
    let (settings, warnings) = with(&["--otel-exporter-otlp-endpoint=planted"]);
    assert!(settings.is_none());
    assert_eq!(warnings, ["OTEL_EXPORTER_OTLP_ENDPOINT is not an http or https URL: there are no traces"]);
}

/// A number outside its bounds, or that is not a number, causes a warning, and the default or the bound applies.
#[test]
fn a_number_is_within_its_bounds_or_a_warning_and_the_default_counts() {
    let default = format!("{:?}", good(&[]));
    let ours = ["schedule_delay", "export_timeout"];
    for (name, field, bounds) in [
        ("bsp-schedule-delay", "schedule_delay", 1..=3_600_000_u64),
        ("bsp-max-queue-size", "queue_size", 1..=65_536),
        ("bsp-max-export-batch-size", "batch_size", 1..=2_048),
        ("bsp-export-timeout", "export_timeout", 1..=3_600_000),
        ("span-attribute-count-limit", "attributes", 0..=2_147_483_647),
        ("span-event-count-limit", "events", 0..=2_147_483_647),
        ("span-link-count-limit", "links", 0..=2_147_483_647),
    ] {
        for number in [*bounds.start(), 1_000, *bounds.end()] {
            let settings = good(&[&format!("--otel-{name}= {number}\n")]);
            let number = match ours.contains(&field) {
                true => format!("{:?}", Duration::from_millis(number)),
                false => number.to_string(),
            };
            let shown = format!("{:?}", settings.spans);
            assert!(shown.contains(&format!("{field}: {number}")), "{name}: {shown}");
        }
        let beyond = (bounds.end() + 1).to_string();
        let wrong = ["soon", "-1", "1.5", "99999999999999", "18446744073709551615", "18446744073709551616", &beyond];
        for value in wrong.into_iter().chain((*bounds.start() > 0).then_some("0")) {
            let (settings, warnings) = with(&[ENDPOINT, &format!("--otel-{name}={value}")]);
            let settings = settings.unwrap();
            let variable = format!("OTEL_{}", name.replace('-', "_").to_uppercase());
            assert!(warnings.len() == 1 && warnings[0].starts_with(&variable), "{name}={value}: {warnings:?}");
            if (name, value) == ("bsp-max-export-batch-size", "2049") {
                assert_eq!(settings.spans.batch_size, settings.spans.queue_size);
            } else {
                assert_eq!(format!("{settings:?}"), default, "{name}={value}");
            }
        }
    }
}

#[test]
fn a_batch_is_no_larger_than_the_queue_and_the_shorter_time_counts() {
    let small = good(&["--otel-bsp-max-queue-size=100"]);
    assert_eq!((small.spans.queue_size, small.spans.batch_size), (100, 100), "a default says nothing");
    let (small, warnings) = with(&[ENDPOINT, "--otel-bsp-max-queue-size=10", "--otel-bsp-max-export-batch-size=20"]);
    assert_eq!(small.unwrap().spans.batch_size, 10);
    assert_eq!(warnings, ["OTEL_BSP_MAX_EXPORT_BATCH_SIZE is more than OTEL_BSP_MAX_QUEUE_SIZE: it counts as 10"]);
    let export = "--otel-bsp-export-timeout=200";
    assert_eq!(good(&[export]).timeout, Duration::from_millis(200));
    assert_eq!(good(&[export, "--otel-exporter-otlp-timeout=100"]).timeout, Duration::from_millis(100));
    assert_eq!(good(&[]).timeout, Duration::from_secs(10));
}

#[test]
fn lists_are_percent_encoded_and_those_for_traces_count_first() {
    let general = "--otel-exporter-otlp-headers= x-key = of%20all ,,b=";
    let settings = good(&[general, "--otel-resource-attributes=deployment.environment=a%2Cb, k=v=w"]);
    let headers: Vec<_> = settings.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    assert_eq!(headers, [("x-key", &b"of all"[..]), ("b", b"")]);
    assert!(!format!("{settings:?}").contains("of all"), "{settings:?}");
    let attributes = [KeyValue::new("deployment.environment", "a,b"), KeyValue::new("k", "v=w")];
    assert_eq!(settings.attributes, attributes);
    let settings = good(&[general, "--otel-exporter-otlp-traces-headers=x-key=of%20traces"]);
    assert_eq!(settings.headers.iter().map(|(_, value)| value.as_bytes()).collect::<Vec<_>>(), [b"of traces"]);
}

/// A value that is not UTF-8 does not stop the start.
#[test]
fn what_is_not_unicode_is_a_warning() {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt as _;

    for name in names() {
        let value = OsString::from_vec([format!("--{name}=").as_bytes(), b"\xff"].concat());
        let cli = Cli::try_parse_from([OsString::from("test"), ENDPOINT.into(), value]).unwrap();
        read(&cli.settings, std::iter::empty());
    }
}

#[test]
fn a_variable_that_nobody_reads_is_named() {
    let config = Cli::try_parse_from(["test"]).unwrap().settings;
    let all = ["OTEL_EXPORTER_OTLP_COMPRESSION", "PATH", "OTEL_SERVICE_NAME", "OTEL_ATTRIBUTE_COUNT_LIMIT"];
    let (_, warnings) = read(&config, all.into_iter().map(str::to_owned));
    let expected = "not supported, and not read: OTEL_ATTRIBUTE_COUNT_LIMIT, OTEL_EXPORTER_OTLP_COMPRESSION";
    assert_eq!(warnings, [expected]);
}
