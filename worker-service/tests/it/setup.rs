//! The topics that `setup` creates by default, as the brokers describe them. And existing topics: what `setup` and the
//! worker report about them, and the only setting that `setup` changes.

use devstack::KafkaCluster;
use rdkafka::admin::{AdminClient, AlterConfig, ConfigSource, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;

use crate::prelude::*;

/// The required settings of a dead-letter topic.
const LETTERS: [(&str, &str); 2] = [("max.message.bytes", "1114112"), ("retention.ms", "-1")];

async fn own(kit: &Kit, topic: &str) -> BTreeMap<String, String> {
    let asked = kit.admin().describe_configs([&ResourceSpecifier::Topic(topic)], &AdminOptions::new()).await;
    let told = asked.unwrap().remove(0).unwrap().entries.into_iter();
    let own = told.filter(|entry| entry.source == ConfigSource::DynamicTopic);
    own.map(|entry| (entry.name, entry.value.unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn setup_names_each_setting_with_its_command_and_mends_the_clock_alone() {
    let kit = Kit::new("setup", 1).await;
    let (input, dlq) = (&kit.scope.input_topic, &kit.scope.dlq_topic);
    let wrong = [
        ("cleanup.policy", "compact,delete", "delete"),
        ("compression.type", "producer", "uncompressed"),
        ("max.message.bytes", "100000", "1048576"),
        ("retention.bytes", "1000000000", "-1"),
        ("retention.ms", "3600000", "604800000"),
        ("unclean.leader.election.enable", "true", "false"),
    ];
    let mut set: Vec<_> = wrong.iter().map(|(name, value, _)| (*name, *value)).collect();
    // A setting that does not matter, and the timestamp type.
    set.extend([("segment.bytes", "10000000"), ("message.timestamp.type", "CreateTime")]);
    kit.set_topic(input, &set).await;
    let of_letters = [("max.message.bytes", "150000"), ("retention.ms", "604800000")];
    kit.set_topic(dlq, &of_letters).await;

    let said = kit.command(&["setup"]).await;
    assert_eq!(said.status, 1, "{said:?}");
    let brokers = &kit.scope.endpoints.kafka_brokers;
    let change = |topic: &str, name: &str, good: &str| {
        format!(
            "\n  kafka-configs.sh --bootstrap-server {brokers} --alter --entity-type topics --entity-name {topic} \
             --add-config {name}={good}"
        )
    };
    for (name, value, good) in wrong {
        assert!(said.error.contains(&format!("\n{input}: {name}={value}, but must be ")), "{name}: {}", said.error);
        assert!(said.error.contains(&change(input, name, good)), "{name}: {}", said.error);
    }
    // The input topic's limit plus room for the headers of a dead letter.
    assert!(said.error.contains(&change(dlq, "max.message.bytes", "1114112")), "{}", said.error);
    assert!(said.error.contains(&change(dlq, "retention.ms", "-1")), "{}", said.error);
    assert_eq!(said.error.matches("kafka-configs.sh").count(), 8, "and no other: {}", said.error);
    assert!(said.error.contains("`--skip-topics`"), "{}", said.error);
    // Nothing has changed, not even the timestamp type.
    assert!(!said.out.contains("changed a setting of the topic"), "{}", said.out);
    assert_eq!(own(&kit, input).await, BTreeMap::from_iter(owned(&set)));

    kit.succeeds(&["setup", "--skip-topics"]).await;

    // A worker reports it, and continues.
    let worker = kit.process().await;
    kit.apply("a", "1", "{}").await;
    until("it has looked", async || worker.health().await["warnings"] != json!([])).await;
    let (status, page) = worker.ready().await;
    let page = page.to_string();
    assert_eq!(status, 200, "{page}");
    for (name, value, _) in wrong {
        assert!(page.contains(&format!("\"{input}: {name}={value}, but must be ")), "{name}: {page}");
    }
    assert!(page.contains(&format!("\"{dlq}: retention.ms=604800000, but must be ")), "{page}");
    worker.end().await;

    // The commands in the output suffice.
    let mut good: Vec<_> = wrong.iter().map(|(name, _, good)| (*name, *good)).collect();
    // Several other settings that do not matter, one of them empty.
    good.extend([("segment.bytes", "10000000"), ("leader.replication.throttled.replicas", "0:1,1:1")]);
    good.extend([("follower.replication.throttled.replicas", ""), ("file.delete.delay.ms", "60001")]);
    good.push(("message.timestamp.type", "CreateTime"));
    kit.set_topic(input, &good).await;
    kit.set_topic(dlq, &LETTERS).await;
    let said = kit.succeeds(&["setup"]).await;
    assert!(said.contains("changed a setting of the topic"), "{said}");
    good.last_mut().unwrap().1 = "LogAppendTime";
    assert_eq!(own(&kit, input).await, BTreeMap::from_iter(owned(&good)), "all else is as it was");
    // An operator's choice is left alone, but a worker reports it.
    kit.set_topic(dlq, &[&LETTERS[..], &[("compression.type", "lz4")]].concat()).await;
    kit.fails(&["setup"], "TOPIC_COMPRESSION=producer accepts it").await;
    kit.succeeds(&["setup", "--topic-compression=producer"]).await;
    kit.set_topic(dlq, &LETTERS).await;
    let more = ["setup", "--topic-replication=3", "--topic-min-insync-replicas=2"];
    kit.fails(&more, "min.insync.replicas=1, but must be at least 2").await;
    // Changing only that leaves the topic on one disk.
    let two = ("min.insync.replicas", "2");
    good.push(two);
    kit.set_topic(input, &good).await;
    kit.set_topic(dlq, &[&LETTERS[..], &[two]].concat()).await;
    for more in [&["setup"][..], &more] {
        let said = kit.command(more).await;
        for topic in [input, dlq] {
            let expected = format!("\n{topic}: replicas=1, but must be at least 2: ");
            assert!(said.status == 1 && said.error.contains(&expected), "{said:?}");
        }
        assert!(said.error.contains("too few brokers") && !said.error.contains("kafka-configs.sh"), "{said:?}");
    }
    let worker = kit.process().await;
    let is_told = async || worker.health().await.to_string().contains("replicas=1, but must be at least 2");
    until("it is told", is_told).await;
    worker.end().await;
}

/// A problem of one topic prevents changes to the other, the creation of a missing one, and the migration.
#[tokio::test(flavor = "multi_thread")]
async fn a_setup_that_fails_has_changed_nothing() {
    let scope = scope("setup_fails").await;
    let admin: AdminClient<DefaultClientContext> = client(&scope).create().unwrap();
    let (input, dlq) = (scope.input_topic.as_str(), scope.dlq_topic.as_str());
    let told = async |topic: &str| {
        let told = TopicSettings::of(&client(&scope), topic).await.ok()?;
        Some(["message.timestamp.type", "cleanup.policy"].map(|name| told.get(name).unwrap().to_owned()))
    };
    let make = async |topic: &str, settings: &[(&str, &str)]| {
        let new = NewTopic::new(topic, 1, TopicReplication::Fixed(1)).set("compression.type", "uncompressed");
        let new = settings.iter().fold(new, |new, (name, value)| new.set(name, value));
        admin.create_topics([&new], &AdminOptions::new()).await.unwrap().remove(0).unwrap();
        until("the topic is there", async || told(topic).await.is_some()).await;
    };
    let setup = async || run(program(&scope, &["setup"])).await;
    let pool = sqlx::PgPool::connect(&scope.database_url).await.unwrap();
    let tables = async || {
        const TABLES: &str = "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'";
        sqlx::query_scalar::<_, i64>(TABLES).fetch_one(&pool).await.unwrap()
    };

    make(dlq, &[&LETTERS[..], &[("cleanup.policy", "compact")]].concat()).await;
    let compacted = format!("{dlq}: cleanup.policy=compact, but must be ");
    let said = setup().await;
    assert!(said.status == 1 && said.error.contains(&compacted), "{said:?}");
    assert_eq!((told(input).await, tables().await), (None, 0), "nothing is made");

    make(input, &[("message.timestamp.type", "CreateTime")]).await;
    let said = setup().await;
    assert!(said.status == 1 && said.error.contains(&compacted), "{said:?}");
    assert!(!said.error.contains(input), "it would be mended: {said:?}");
    assert_eq!(told(input).await.unwrap()[0], "CreateTime", "and is not yet");
    assert_eq!(tables().await, 0);

    let change = AlterConfig::new(ResourceSpecifier::Topic(dlq)).set("retention.ms", "-1");
    let change = change.set("max.message.bytes", "1114112").set("compression.type", "uncompressed");
    admin.alter_configs(&[change], &AdminOptions::new()).await.unwrap().remove(0).unwrap();
    until("it is changed", async || told(dlq).await.unwrap()[1] == "delete").await;
    let said = setup().await;
    assert_eq!(said.status, 0, "{said:?}");
    until("it is changed", async || told(input).await.unwrap()[0] == "LogAppendTime").await;
    assert!(tables().await > 0);
}

/// At intervals, not only at the start.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_looks_at_the_topics_again_and_again() {
    let kit = Kit::new("looks_again", 1).await;
    let worker = kit.worker_with(Parts { topics_interval: Duration::from_millis(100), ..Parts::default() });
    kit.apply("a", "1", "{}").await;
    let told = || {
        let told = worker.health.report().1["warnings"].to_string();
        ["cleanup.policy=compact", "EVENTS_RETENTION"].map(|what| told.contains(what))
    };
    assert_eq!(told(), [false; 2]);
    // Events are kept for a month, and records forever.
    kit.set_topic(&kit.scope.input_topic, &[("cleanup.policy", "compact"), ("retention.ms", "-1")]).await;
    until("it is told", async || told() == [true; 2]).await;
    kit.set_topic(&kit.scope.input_topic, &[("max.message.bytes", "1048576")]).await;
    until("it is told no more", async || told() == [false; 2]).await;
    worker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_setup_makes_anew_begins_a_new_log() {
    let kit = Kit::new("anew_ends", 1).await;
    kit.event("a", "1", "{}").await;
    kit.erase("a", &[]).await.unwrap();
    const NOTED: &str = "SELECT count(*) FROM forgotten_devices WHERE end_offsets = '{1}'";
    assert_eq!(kit.count(NOTED).await, 1);
    kit.succeeds(&["setup"]).await;
    assert_eq!(kit.count(NOTED).await, 1, "it is the same topic");
    kit.delete_topic(&kit.scope.input_topic).await;
    const MADE_ANEW: &str = "SELECT count(*) FROM forgotten_devices WHERE end_offsets IS NULL AND topic IS NULL";
    // Kafka deletes a topic in the background: until then `setup` finds it.
    let made_anew = async || kit.command(&["setup"]).await.status == 0 && kit.count(MADE_ANEW).await == 1;
    until("it is made anew", made_anew).await;
}

/// The settings that the service's guarantees require.
const BOTH: [(&str, &str); 5] = [
    ("cleanup.policy", "delete"),
    ("min.insync.replicas", "2"),
    ("unclean.leader.election.enable", "false"),
    ("message.timestamp.type", "LogAppendTime"),
    ("compression.type", "uncompressed"),
];
/// A week; records of up to 1 MiB.
const INPUT: [(&str, &str); 3] =
    [("retention.ms", "604800000"), ("retention.bytes", "-1"), ("max.message.bytes", "1048576")];
/// Forever; with room for the headers of a dead letter.
const DEAD_LETTERS: [(&str, &str); 3] =
    [("retention.ms", "-1"), ("retention.bytes", "-1"), ("max.message.bytes", "1114112")];

/// The broker's defaults.
const DEFAULTS: [(&str, &str); 4] = [
    ("cleanup.policy", "delete"),
    ("retention.bytes", "-1"),
    ("retention.ms", "604800000"),
    ("unclean.leader.election.enable", "false"),
];

/// Runs `setup` without the settings for a Kafka of one node.
async fn setup_with_defaults(scope: &Scope) {
    let mut setup = program(scope, &["setup"]);
    for (name, _) in devstack::one_node() {
        setup.env_remove(name);
    }
    let said = run(setup).await;
    assert_eq!(said.status, 0, "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_topics_are_made_with_every_setting_that_the_promises_need() {
    let cluster = blocking(|| KafkaCluster::start().unwrap()).await;
    let mut scope = scope("made_topics").await;
    scope.endpoints.kafka_brokers = cluster.brokers();
    // Twice, because it is safe to repeat.
    setup_with_defaults(&scope).await;
    setup_with_defaults(&scope).await;
    let pool = sqlx::PgPool::connect(&scope.database_url).await.unwrap();
    for index in queries::INDEXES.needed.iter().chain(shared::placements::queries::INDEXES.needed) {
        let valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass($1)";
        let valid: Option<bool> = sqlx::query_scalar(valid).bind(index.name).fetch_optional(&pool).await.unwrap();
        assert_eq!(valid, Some(true), "{}: the indexes of the domains are made too", index.name);
    }

    let consumer: BaseConsumer = client(&scope).create().unwrap();
    let admin: AdminClient<DefaultClientContext> = client(&scope).create().unwrap();
    let asked = async |of: ResourceSpecifier<'_>| {
        admin.describe_configs([&of], &AdminOptions::new()).await.unwrap().remove(0).unwrap()
    };
    for (topic, of_its_own) in [
        (&scope.input_topic, INPUT),
        (&scope.dlq_topic, DEAD_LETTERS),
        (&scope.ads_topic, INPUT),
        (&scope.ads_dlq_topic, DEAD_LETTERS),
        (&scope.domain_topic, INPUT),
        (&scope.domain_dlq_topic, DEAD_LETTERS),
    ] {
        let metadata = consumer.fetch_metadata(Some(topic), TEST_TIMEOUT).unwrap();
        let replicas: Vec<_> =
            metadata.topics()[0].partitions().iter().map(|partition| partition.replicas().len()).collect();
        assert_eq!(replicas, [3; 6], "{topic}");
        let described = asked(ResourceSpecifier::Topic(topic)).await;
        let expected: BTreeMap<_, _> = BOTH.into_iter().chain(of_its_own).collect();
        let value = |name: &str| described.get(name).and_then(|entry| entry.value.as_deref()).unwrap();
        let found: BTreeMap<_, _> = expected.keys().map(|name| (*name, value(name))).collect();
        assert_eq!(found, expected, "{topic}");
        for entry in &described.entries {
            let is_ours = entry.source == ConfigSource::DynamicTopic;
            assert!(!is_ours || expected.contains_key(entry.name.as_str()), "{topic}: nobody asked for {entry:?}");
            // Clusters with a policy refuse such a setting, whatever its value.
            let is_default = DEFAULTS.contains(&(entry.name.as_str(), entry.value.as_deref().unwrap_or_default()));
            assert!(!is_ours || !is_default, "{topic}: it is a default already: {entry:?}");
        }
    }

    // If one broker has other defaults, the settings are set explicitly.
    let change = AlterConfig::new(ResourceSpecifier::Broker(2))
        .set("unclean.leader.election.enable", "true")
        .set("log.cleanup.policy", "compact");
    admin.alter_configs(&[change], &AdminOptions::new()).await.unwrap().remove(0).unwrap();
    let told = async || {
        let told = asked(ResourceSpecifier::Broker(2)).await;
        told.get("log.cleanup.policy").and_then(|entry| entry.value.as_deref()) == Some("compact")
    };
    until("the topic is compacted", told).await;
    let devices = [&mut scope.input_topic, &mut scope.dlq_topic];
    let others = [&mut scope.ads_topic, &mut scope.ads_dlq_topic, &mut scope.domain_topic, &mut scope.domain_dlq_topic];
    // Topics of other names: those that exist lack what was a default when they were made.
    devices.into_iter().chain(others).for_each(|topic| topic.push_str("-2"));
    setup_with_defaults(&scope).await;
    let described = asked(ResourceSpecifier::Topic(&scope.input_topic)).await;
    for (name, value) in [("unclean.leader.election.enable", "false"), ("cleanup.policy", "delete")] {
        let entry = described.get(name).unwrap();
        assert_eq!((entry.value.as_deref(), &entry.source), (Some(value), &ConfigSource::DynamicTopic), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_citus_setup_migrates_and_says_why_nothing_is_distributed() {
    let kit = Kit::new("no_citus", 1).await;
    let said = kit.command(&["setup", "--skip-topics", "--distribute"]).await;
    assert_eq!(said.status, 1, "{said:?}");
    assert!(said.error.contains("nothing was distributed: the server of the database "), "{}", said.error);
    assert!(said.out.contains("the schema is up to date"), "{}", said.out);
}
