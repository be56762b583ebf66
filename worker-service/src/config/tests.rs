use super::*;

/// Commands that take both topics.
const WITH_TOPICS: [&[&str]; 9] = [
    &["run"],
    &["setup"],
    &["dlq", "list", "--handler=devices"],
    &["dlq", "show", "0", "17", "--handler=devices"],
    &["dlq", "redrive", "--handler=devices"],
    &["seek", "--to-time=2026-01-02T03:04:05Z", "--handler=devices"],
    &["seek", "--partition=0", "--past-unreadable", "--handler=devices"],
    &["erase", "device-1"],
    &["forget", "device-1"],
];

fn parsed(command: &[&str], more: &[&str]) -> Result<Cli, String> {
    let of = |name: &str| command.first().is_some_and(|command| *command == name);
    let mut args = vec!["worker-service"];
    args.extend(command);
    if !of("resume") {
        args.push("--kafka-brokers=b:1");
    }
    if !command.contains(&"show") {
        args.push("--database-url=postgres://h/d");
    }
    if ["dlq", "seek", "resume"].into_iter().any(of) && !command.contains(&"--handler=devices") {
        args.push("--handler=devices");
    }
    if ["run", "seek", "erase", "forget"].into_iter().any(of) || command.contains(&"redrive") {
        args.push("--redis-url=redis://h");
    }
    Cli::try_parse_from(args.iter().chain(more)).map_err(|error| error.to_string())
}

#[test]
fn no_command_takes_one_topic_for_both() {
    for command in WITH_TOPICS {
        parsed(command, &[]).unwrap();
        let said = parsed(command, &["--kafka-dlq-topic=events-input"]).unwrap_err();
        assert!(said.contains("KAFKA_INPUT_TOPIC and KAFKA_DLQ_TOPIC are the same topic"), "{command:?}: {said}");
    }
}

#[test]
fn an_event_is_remembered_for_a_minute_at_least() {
    for setting in [
        "EVENTS_RETENTION",
        "ADS_EVENTS_RETENTION",
        "INBOX_RETENTION",
        "IDEMPOTENCY_RETENTION",
        "VALIDATIONS_RETENTION",
    ] {
        let flag = setting.to_lowercase().replace('_', "-");
        for (retention, good) in [("0s", false), ("59s", false), ("1min", true), ("100years", true)] {
            let taken = parsed(&["run"], &[&format!("--{flag}={retention}")]);
            assert_eq!(taken.is_ok(), good, "{setting}={retention}");
            assert!(good || taken.unwrap_err().contains(&format!("<{setting}>': it must be from 1m to 100years")));
        }
    }
}

/// The doc comment of a settings struct would replace the description.
#[test]
fn the_help_describes_each_command() {
    fn described(command: &clap::Command, path: &str, all: &mut Vec<String>) {
        for command in command.get_subcommands() {
            let path = format!("{path}{}", command.get_name());
            all.push(format!("{path}: {}", command.get_about().unwrap()));
            described(command, &format!("{path} "), all);
        }
    }
    let mut all = Vec::new();
    described(&Cli::command(), "", &mut all);
    let expected = [
        "run: Consume, until SIGTERM",
        "setup: Migrate the schema and create the topics",
        "resume: Resume a group's partitions",
        "dlq: List and show dead letters",
        "dlq list: One line for each dead letter",
        "dlq show: One dead letter with its value",
        "dlq redrive: Send dead letters back",
        "dlq purge: Delete old dead letters",
        "seek: Rewind the group",
        "erase: Erase a device: its events",
        "erase-user: Erase a user of advertising: its ad events",
        "events: Print the page of events",
        "health: Ask the worker in this container",
    ];
    assert_eq!(all.len(), expected.len(), "{all:?}");
    for (said, begins) in all.iter().zip(expected) {
        assert!(said.starts_with(begins), "{said}");
    }
}

#[test]
fn no_domain_has_a_command_of_the_backbone() {
    check().unwrap();
    for name in ["run", "resume"] {
        let refused = ensure_commands_differ(&Cli::command().subcommand(clap::Command::new(name))).unwrap_err();
        assert_eq!(refused.to_string(), format!("two commands have the name {name:?}"));
    }
}

#[test]
fn a_group_has_a_name_of_one_line() {
    for (group, good) in [("a group, of/ours:1", true), (&"g".repeat(249), true), (&"g".repeat(250), false)] {
        for command in [&["run"][..], &["resume", "--handler=devices"]] {
            assert_eq!(parsed(command, &[&format!("--kafka-group={group}")]).is_ok(), good, "{group}");
        }
    }
    assert!(parsed(&["run"], &["--kafka-group=a\nb"]).unwrap_err().contains("KAFKA_GROUP"));
}

#[test]
fn a_handler_or_task_that_is_not_known_is_refused_with_those_that_are() {
    const ALL: &str = "devices, ads, read-model, files, validator, outbox-relay, inbox-expire, keys-expire, \
        devices-expire, ads-settle, ads-expire, files-expire, validations-end, validations-expire";
    let Ok(Cli { command: Command::Run(config) }) = parsed(&["run"], &["--only=devices, devices-expire"]) else {
        panic!()
    };
    assert_eq!(config.only, ["devices", "devices-expire"]);
    for wrong in ["device", "devices,device"] {
        let said = parsed(&["run"], &[&format!("--only={wrong}")]).unwrap_err();
        assert!(said.contains("'device'") && said.contains(ALL), "{said}");
    }
}

#[test]
fn each_setting_of_each_command_means_the_same_however_it_is_given() {
    let needed = |command: &str| match command {
        "seek" => &["--handler=devices", "--to-time=2026-01-02T03:04:05Z"][..],
        "resume" | "redrive" => &["--handler=devices"],
        "show" => &["--handler=devices", "0", "17"],
        "erase" => &["device-1"],
        "erase-user" => &["user-1"],
        "purge" => &["--handler=devices", "--before=2026-01-02T03:04:05Z"],
        _ => &[],
    };
    let tried = as_given::each_means_the_same(&Cli::command(), &needed, &|matches, id| {
        as_given::of::<shared::kafka::topics::setup::TopicCompression>(matches, id)
    });
    assert!(tried > 80, "{tried}");
}
