//! The numbers that are given: what they mean, and what is said of those that make no sense.

use clap::Parser;

use super::*;

#[derive(Debug, Parser)]
struct Command {
    #[command(flatten)]
    given: load::Settings,
}

fn given(args: &str) -> Result<Load, String> {
    let command = Command::try_parse_from(["model"].into_iter().chain(args.split(' ').filter(|arg| !arg.is_empty())));
    let settings = command.map_err(|error| error.to_string())?.given;
    let devices = settings.devices.map_or(1e6, to_f64);
    Load::of(&settings, devices, &figures()).map_err(|error| error.to_string())
}

#[test]
fn numbers_are_taken_as_given() {
    let load = given(
        "--devices 5 --events-per-second 1/4 --bytes 100 --events-per-request 10 --events-retention 2days \
         --topic-retention 1day --reads-per-second 0.5 --impressions-per-second 3 --impressions-per-user 7 --peak 1.5 \
         --core-speed 0.5 --server-cores 8 --server-memory 32 --server-disk 2",
    );
    let expected = Load {
        devices: 5.0,
        events_per_second: 0.25,
        payload: 100.0,
        events_per_request: 10.0,
        events_retention: 172_800.0,
        topic_retention: 86_400.0,
        reads: 0.5,
        impressions: 3.0,
        impressions_per_user: 7.0,
        peak: 1.5,
        core_speed: 0.5,
        server: Server { cores: 8.0, memory: 32.0 * GIB, disk: 2.0 * TIB },
    };
    assert_eq!(load, Ok(expected));
    // A read a second for each hundred devices.
    assert_eq!(given("--devices 200").unwrap().reads, 2.0);
    assert_eq!(given("").unwrap().events_per_second, 1.0 / 60.0);
}

#[test]
fn numbers_that_make_no_sense_are_refused_by_name() {
    let table = [
        ("--devices 0", "--devices", "0 is not in 1..=10000000000"),
        ("--devices 1e6", "--devices", "invalid digit"),
        ("--devices -1", "", "unexpected argument"),
        ("--events-per-second 0", "--events-per-second", "devices that send nothing"),
        ("--events-per-second 1/0", "--events-per-second", "it must be from 0 to 1000"),
        ("--events-per-second NaN", "--events-per-second", "it must be from 0 to 1000"),
        ("--events-per-second often", "--events-per-second", "it is no number"),
        ("--events-per-second 9000", "--events-per-second", "it must be from 0 to 1000"),
        ("--events-per-second 1000 --peak 10", "--events-per-second", "more than one partition carries"),
        ("--bytes 1", "--bytes", "1 is not in 2..=262144"),
        ("--events-per-request 1001", "--events-per-request", "1001 is not in 1..=1000"),
        ("--events-retention 5days", "--topic-retention", "must be less than --events-retention (5days)"),
        ("--topic-retention 1h", "--topic-retention", "it must be from 1day"),
        ("--reads-per-second inf", "--reads-per-second", "it must be from 0 to 1000000000"),
        ("--peak 0.5", "--peak", "it must be from 1 to 1000"),
        ("--core-speed 0", "--core-speed", "it must be from 0.25 to 10"),
        ("--server-cores 0", "--server-cores", "0 is not in 1..=1024"),
    ];
    for (args, name, reason) in table {
        let error = given(args).unwrap_err();
        assert!(error.contains(name) && error.contains(reason), "{args}: {error}");
    }
}
