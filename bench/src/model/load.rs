//! The load that is asked for, as settings.

use std::time::Duration;

use anyhow::ensure;
use shared::runtime::config::duration_in;

use super::assumed::{GIB, TIB, share};
use super::figures::Figures;

const DAY: Duration = Duration::from_secs(86_400);
/// The bounds of retentions, as those of the services' settings.
const YEARS: Duration = Duration::from_secs(100 * 365 * 86_400);
/// Without `--reads-per-second`: one read a second for so many devices.
const DEVICES_OF_A_READ: f64 = 100.0;

/// The numbers of a load. A number that is not given has the value of the examples in docs/scale.md.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Settings {
    /// How many devices send events, 1 to 10000000000. Without it: 10 thousand, 1 million and 100 million.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=10_000_000_000))]
    pub(super) devices: Option<u64>,
    /// Events a second of each device, on average: a number or a fraction, such as 0.5 or 1/60.
    #[arg(long, default_value = "1/60", value_name = "N", value_parser = rate(1e3))]
    pub(super) events_per_second: f64,
    /// Bytes of a payload, 2 to 262144.
    #[arg(long, default_value_t = 200, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=262_144))]
    bytes: u32,
    /// Events in a request: 1 for `POST /events`, up to 1000 for batches.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    events_per_request: u32,
    /// How long events are kept in PostgreSQL (EVENTS_RETENTION), from 1m to 100years.
    #[arg(long, default_value = "30days", value_name = "TIME", value_parser = duration_in(Duration::from_secs(60)..=YEARS))]
    events_retention: Duration,
    /// How long records are kept in Kafka (retention.ms of the topic), from 1day to 100years.
    #[arg(long, default_value = "7days", value_name = "TIME", value_parser = duration_in(DAY..=YEARS))]
    topic_retention: Duration,
    /// Reads of a state a second, of all readers together. Without it: one for each 100 devices.
    #[arg(long, value_name = "N", value_parser = rate(1e9))]
    reads_per_second: Option<f64>,
    /// Ad impressions with a frequency cap a second, all together.
    #[arg(long, default_value = "0", value_name = "N", value_parser = rate(1e9))]
    impressions_per_second: f64,
    /// Impressions of a user of a campaign in a day, 1 to 10000.
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    impressions_per_user: u32,
    /// The peak, as a multiple of the average: 1 to 1000.
    #[arg(long, default_value = "2", value_name = "N", value_parser = between(1.0, 1e3))]
    peak: f64,
    /// How fast a core is, as a multiple of those of the figures: 0.25 to 10.
    #[arg(long, default_value = "1", value_name = "N", value_parser = between(0.25, 10.0))]
    core_speed: f64,
    /// Cores of the largest PostgreSQL server, 1 to 1024.
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_024))]
    server_cores: u32,
    /// Its memory in GiB, 1 to 65536.
    #[arg(long, default_value_t = 512, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    server_memory: u32,
    /// Its disk in TiB, 1 to 1024.
    #[arg(long, default_value_t = 128, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_024))]
    server_disk: u32,
}

/// Bytes, seconds, and numbers a second.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Load {
    pub(crate) devices: f64,
    pub(crate) events_per_second: f64,
    pub(crate) payload: f64,
    pub(crate) events_per_request: f64,
    pub(crate) events_retention: f64,
    pub(crate) topic_retention: f64,
    pub(crate) reads: f64,
    pub(crate) impressions: f64,
    pub(crate) impressions_per_user: f64,
    pub(crate) peak: f64,
    pub(crate) core_speed: f64,
    pub(crate) server: Server,
}

/// The largest PostgreSQL server; bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Server {
    pub(crate) cores: f64,
    pub(crate) memory: f64,
    pub(crate) disk: f64,
}

impl Load {
    /// The load of so many devices, if the numbers make sense together.
    pub(super) fn of(settings: &Settings, devices: f64, figures: &Figures) -> anyhow::Result<Self> {
        let events_per_second = settings.events_per_second;
        ensure!(events_per_second > 0.0, "--events-per-second is 0: devices that send nothing need nothing");
        ensure!(
            settings.topic_retention < settings.events_retention,
            "--topic-retention is {}, but must be less than --events-retention ({}): a record that is read again after \
             its event was deleted is a new event",
            humantime::format_duration(settings.topic_retention),
            humantime::format_duration(settings.events_retention),
        );
        let one = figures.partition_rate.value * settings.core_speed * share::PARTITION;
        ensure!(
            events_per_second * settings.peak <= one,
            "a device with {} events/s at its peak is more than one partition carries ({one:.0}/s), and all its events \
             are in one: --events-per-second, --peak",
            events_per_second * settings.peak,
        );
        Ok(Self {
            devices,
            events_per_second,
            payload: settings.bytes.into(),
            events_per_request: settings.events_per_request.into(),
            events_retention: settings.events_retention.as_secs_f64(),
            topic_retention: settings.topic_retention.as_secs_f64(),
            reads: settings.reads_per_second.unwrap_or(devices / DEVICES_OF_A_READ),
            impressions: settings.impressions_per_second,
            impressions_per_user: settings.impressions_per_user.into(),
            peak: settings.peak,
            core_speed: settings.core_speed,
            server: Server {
                cores: settings.server_cores.into(),
                memory: f64::from(settings.server_memory) * GIB,
                disk: f64::from(settings.server_disk) * TIB,
            },
        })
    }

    /// More or fewer devices of the same kind, with as many reads and impressions for each.
    pub(crate) fn with_devices(&self, devices: f64) -> Self {
        let times = devices / self.devices;
        Self { devices, reads: self.reads * times, impressions: self.impressions * times, ..self.clone() }
    }
}

/// A parser for a number that is not negative, or a fraction.
fn rate(most: f64) -> impl Fn(&str) -> Result<f64, String> + Clone + Send + Sync + 'static {
    move |text| within(fraction(text), 0.0, most)
}

fn between(least: f64, most: f64) -> impl Fn(&str) -> Result<f64, String> + Clone + Send + Sync + 'static {
    move |text| within(text.trim().parse().ok(), least, most)
}

fn fraction(text: &str) -> Option<f64> {
    let number = |text: &str| text.trim().parse::<f64>().ok();
    match text.split_once('/') {
        Some((above, below)) => Some(number(above)? / number(below)?),
        None => number(text),
    }
}

fn within(number: Option<f64>, least: f64, most: f64) -> Result<f64, String> {
    let number = number.ok_or("it is no number")?;
    if (least..=most).contains(&number) { Ok(number) } else { Err(format!("it must be from {least} to {most}")) }
}
