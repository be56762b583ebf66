use super::*;
use proptest::prelude::*;

fn settings(all: &[(&str, &str)]) -> TopicSettings {
    let all = all.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    TopicSettings { all, ..TopicSettings::default() }
}

const GOOD: [(&str, &str); 8] = [
    (CLEANUP_POLICY, "delete"),
    (RETENTION, RETENTION_MS),
    (RETENTION_BYTES, "-1"),
    (MAX_MESSAGE, "1048576"),
    (TIMESTAMP_TYPE, LOG_APPEND_TIME),
    (COMPRESSION, UNCOMPRESSED),
    (MIN_INSYNC, "2"),
    (UNCLEAN, "false"),
];

fn good_letters() -> TopicSettings {
    settings(&GOOD).with(RETENTION, "-1").with(MAX_MESSAGE, "1114112")
}

fn named(faults: &[Fault]) -> Vec<&'static str> {
    faults.iter().map(|fault| fault.setting).collect()
}

#[test]
fn what_setup_makes_is_good() {
    assert_eq!(settings(&GOOD).faults(Role::Input, 2, None), []);
    assert_eq!(good_letters().faults(Role::DeadLetters, 2, Some(&settings(&GOOD))), []);
}

#[test]
fn the_replicas_are_counted_whatever_the_settings_say() {
    let on = |brokers: &[i32], partitions: &[&[i32]], min_insync| TopicSettings {
        replicas: Some(Replicas::new("t", brokers, partitions)),
        ..settings(&GOOD).with(MIN_INSYNC, min_insync)
    };
    let found = |settings: &TopicSettings, needed| named(&settings.faults(Role::Input, needed, None));
    // A good `min.insync.replicas`, but one partition has only one replica.
    let one = on(&[1, 2, 3], &[&[1, 2], &[2]], "2");
    assert_eq!(found(&one, 2), [REPLICAS]);
    let fault = &one.faults(Role::DeadLetters, 2, None).into_iter().find(|fault| fault.setting == REPLICAS).unwrap();
    assert!(fault.to_string().starts_with("replicas=1, but must be at least 2: "), "{fault}");
    let command = fault.command("b:1", "t");
    assert!(command.contains(r#"{"partition":1,"replicas":[2,3,1],"topic":"t"}"#), "{command}");
    assert!(command.contains("kafka-reassign-partitions.sh --bootstrap-server b:1 "), "{command}");
    // A topic needs at least as many replicas as its own `min.insync.replicas`.
    assert_eq!(found(&one, 1), [REPLICAS]);
    assert_eq!(found(&on(&[1], &[&[1]], "1"), 2), [REPLICAS, MIN_INSYNC]);
    assert_eq!(found(&on(&[1], &[&[1]], "1"), 1), [""; 0], "a set-up for development");
    assert_eq!(found(&on(&[1, 2], &[&[1, 2]], "2"), 2), [""; 0]);
}

#[test]
fn each_setting_is_named_with_what_it_has_to_be() {
    let input = [
        (CLEANUP_POLICY, "compact", "delete"),
        (CLEANUP_POLICY, "compact,delete", "delete"),
        (RETENTION, "86399999", RETENTION_MS),
        (RETENTION, "0", RETENTION_MS),
        (RETENTION_BYTES, "1073741824", "-1"),
        (MAX_MESSAGE, "294911", "1048576"),
        (TIMESTAMP_TYPE, "CreateTime", LOG_APPEND_TIME),
        (COMPRESSION, "producer", UNCOMPRESSED),
        (COMPRESSION, "lz4", UNCOMPRESSED),
        (MIN_INSYNC, "1", "2"),
        (UNCLEAN, "true", "false"),
    ];
    let letters = [
        (CLEANUP_POLICY, "compact", "delete"),
        (RETENTION, RETENTION_MS, "-1"),
        (RETENTION_BYTES, "1", "-1"),
        (MAX_MESSAGE, "1114111", "1114112"),
        (COMPRESSION, "zstd", UNCOMPRESSED),
        (MIN_INSYNC, "1", "2"),
        (UNCLEAN, "true", "false"),
    ];
    let tables = [(Role::Input, settings(&GOOD), &input[..]), (Role::DeadLetters, good_letters(), &letters[..])];
    for (role, all, table) in tables {
        for &(name, value, good) in table {
            let faults = all.clone().with(name, value).faults(role, 2, Some(&settings(&GOOD)));
            let [fault] = &faults[..] else { panic!("{name}={value}: {faults:?}") };
            assert_eq!((fault.setting, fault.found.as_str(), fault.good.as_str()), (name, value, good));
            assert!(fault.to_string().starts_with(&format!("{name}={value}, but must be ")), "{fault}");
            let expected = format!(
                "kafka-configs.sh --bootstrap-server b:1 --alter --entity-type topics --entity-name t --add-config {name}={good}"
            );
            assert_eq!(fault.command("b:1", "t"), expected);
        }
    }
}

#[test]
fn what_does_not_matter_is_no_fault() {
    // Settings that an older broker does not know.
    assert_eq!(settings(&[(CLEANUP_POLICY, "delete")]).faults(Role::Input, 2, None), []);
    let input = settings(&GOOD).with(RETENTION, "-1").with(MAX_MESSAGE, "400000").with(MIN_INSYNC, "3");
    assert_eq!(input.faults(Role::Input, 2, None), [], "more is good too");
    let letters = good_letters().with(MAX_MESSAGE, "465536").with(TIMESTAMP_TYPE, "CreateTime");
    assert_eq!(letters.faults(Role::DeadLetters, 2, Some(&input)), [], "room for what may come, and no more");
    // The broker never rejects a time of its own clock.
    for name in DIFFERENCES {
        let input = settings(&GOOD).with(name, "1000");
        assert_eq!(input.faults(Role::Input, 2, None), []);
        let input = input.with(TIMESTAMP_TYPE, "CreateTime");
        assert_eq!(named(&input.faults(Role::Input, 2, None)), [TIMESTAMP_TYPE, name]);
    }
}

proptest! {
    #[test]
    fn with_what_the_faults_call_good_there_is_none_left(
        policy in "delete|compact|compact,delete", retention in -1..1_000_000_000_i64, bytes in -1..5_000_000_i64,
        largest in 0..5_000_000_i64, create_time: bool, replicas in 1..4_i32, needed in 1..4_i32, unclean: bool,
        compression in "uncompressed|producer|gzip", difference in 0..10_000_000_i64, is_input: bool, of_input in 0..5_000_000_i64,
    ) {
        let kind = if create_time { "CreateTime" } else { LOG_APPEND_TIME };
        let mut found = settings(&[(CLEANUP_POLICY, &policy), (TIMESTAMP_TYPE, kind)])
            .with(RETENTION, &retention.to_string())
            .with(RETENTION_BYTES, &bytes.to_string())
            .with(MAX_MESSAGE, &largest.to_string())
            .with(MIN_INSYNC, &replicas.to_string())
            .with(UNCLEAN, &unclean.to_string())
            .with(COMPRESSION, &compression)
            .with(DIFFERENCES[0], &difference.to_string());
        let input = settings(&GOOD).with(MAX_MESSAGE, &of_input.to_string());
        let (role, input) = if is_input { (Role::Input, None) } else { (Role::DeadLetters, Some(&input)) };
        for fault in found.faults(role, needed, input) {
            found = found.with(fault.setting, &fault.good);
        }
        prop_assert_eq!(found.faults(role, needed, input), []);
    }
}
